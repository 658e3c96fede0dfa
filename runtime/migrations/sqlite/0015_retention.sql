-- Finished jobs are removed after a while, their bytes after them, and a file after the last job that names it.

-- Which jobs name which files. A job may be noted before it is there.
create table file_uses (
    file     blob    not null,
    job      blob    not null,
    noted_at integer not null,
    primary key (file, job)
) strict, without rowid;
create index file_uses_of_job on file_uses (job);
-- By whom a file was named before this was noted nobody knows: it is kept.
update files set used_at = 9223372036854775807 where used_at is not null;
drop index files_unused;
create index files_by_use on files (coalesce(used_at, created_at)) where doomed = 0;
create index files_doomed on files (id) where doomed = 1;

-- The ids of jobs whose producers publish by themselves. They outlive the jobs, so that a late repeat is no second one.
create table foreign_jobs (
    id         blob    primary key check (length(id) = 16),
    removed_at integer
) strict, without rowid;
create index foreign_jobs_here on foreign_jobs (id) where removed_at is null;
create index foreign_jobs_removed on foreign_jobs (removed_at) where removed_at is not null;
-- Ours are of version 7, in the order of time.
insert into foreign_jobs (id) select id from jobs where substr(hex(id), 13, 1) <> '7';

-- Jobs that are gone and whose bytes may not be.
create table leftovers (
    job blob primary key check (length(job) = 16)
) strict, without rowid;

-- A job stays while somebody has yet to be told of it.
drop index webhook_deliveries_own;
create index webhook_deliveries_of_job on webhook_deliveries (job, id) where job is not null;
