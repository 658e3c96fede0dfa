-- At most one unfinished job per kind and key. A table of its own, because a unique index on the jobs, partial by their state,
-- would make every claim and record of every job touch an index, and cost it its HOT path. A row whose job is finished holds
-- nothing: the next submit takes it over, and the janitor removes what nobody takes.
alter table jobs add column unique_key text;
create table unique_keys (
    kind text not null,
    key  text not null,
    job  uuid not null,
    primary key (kind, key)
);
