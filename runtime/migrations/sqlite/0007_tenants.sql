-- Whose a job, a file and a caller's key is. The house's own jobs, which are most, are not in the index.
alter table jobs add column tenant text not null default 'default';
alter table files add column tenant text not null default 'default';
create index jobs_of_tenants on jobs (tenant, id) where tenant <> 'default';

-- Two tenants may choose the same key and never meet. A primary key cannot be changed here, so the tables are made anew.
create table keys_of_tenants (
    tenant      text    not null,
    key         text    not null,
    fingerprint blob    not null check (length(fingerprint) = 32),
    job         blob    not null,
    expires_at  integer not null,
    primary key (tenant, key)
) strict, without rowid;
insert into keys_of_tenants select 'default', key, fingerprint, job, expires_at from idempotency;
drop table idempotency;
alter table keys_of_tenants rename to idempotency;
create index idempotency_expiry on idempotency (expires_at);
create index idempotency_job on idempotency (job);

create table unique_keys_of_tenants (
    tenant text not null,
    kind   text not null,
    key    text not null,
    job    blob not null check (length(job) = 16),
    primary key (tenant, kind, key)
) strict, without rowid;
insert into unique_keys_of_tenants select 'default', kind, key, job from unique_keys;
drop table unique_keys;
alter table unique_keys_of_tenants rename to unique_keys;
