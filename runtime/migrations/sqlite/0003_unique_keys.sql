-- At most one unfinished job per kind and key. A row whose job is finished holds nothing: the next submit takes it over, and
-- the janitor removes what nobody takes.
alter table jobs add column unique_key text;
create table unique_keys (
    kind text not null,
    key  text not null,
    job  blob not null check (length(job) = 16),
    primary key (kind, key)
) strict, without rowid;
