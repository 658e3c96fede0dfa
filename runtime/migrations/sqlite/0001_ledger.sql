-- The ledger's first schema. Times are microseconds since 1970 by the ledger's clock, ids are 16 bytes, JSON is text and
-- comes back byte for byte. The checks are the last line behind the Rust that decides every move.
create table jobs (
    seq              integer primary key,
    id               blob    not null unique check (length(id) = 16),
    kind             text    not null,
    state            integer not null default 0 check (state between 0 and 4),
    priority         integer not null,
    version          integer not null default 1,
    attempt          integer not null default 0,
    charged          integer not null default 0,
    max_attempts     integer not null,
    crashes          integer not null default 0,
    crashed_alone    integer not null default 0,
    alone            integer not null default 0,
    publishes        integer not null default 0,
    timeout_ms       integer not null,
    worker           blob,
    cancel_requested integer not null default 0 check (cancel_requested = 0 or state = 1),
    unannounced      integer not null default 0,
    created_at       integer not null,
    due_at           integer check (due_at is null or state = 0),
    queued_at        integer check (queued_at is null or state = 0),
    -- Since when it could have run, once it is on the road or runs: published again, a job keeps it. Null: since changed_at.
    ready_at         integer,
    started_at       integer,
    finished_at      integer check ((finished_at is null) = (state < 2)),
    -- The last transition: an event's time, the same on every repeat.
    changed_at       integer not null,
    correlation_id   text,
    checkpoint       text,
    result           text,
    error            text,
    progress         text,
    artifacts        text,
    check (state <> 1 or (worker is not null and started_at is not null))
) strict;

-- Apart, because SQLite writes a whole row anew at every update, and a payload may have a megabyte.
create table payloads (
    seq      integer primary key,
    payload  text not null,
    metadata text
) strict;

-- Each holds only the rows that somebody looks for, so none grows with the finished jobs but the last, which finds what a
-- dead worker settled lately.
create index jobs_due         on jobs (due_at)          where due_at is not null;
create index jobs_on_the_road on jobs (kind, queued_at) where queued_at is not null;
create index jobs_running     on jobs (worker)          where state = 1;
create index jobs_failed      on jobs (id)              where state = 3;
create index jobs_unannounced on jobs (changed_at)      where unannounced = 1;
create index jobs_settled     on jobs (finished_at)     where finished_at is not null;

create table attempts (
    seq         integer not null,
    attempt     integer not null,
    worker      blob,
    ended       text    not null,
    error       text,
    started_at  integer not null,
    finished_at integer not null,
    primary key (seq, attempt)
) strict, without rowid;

create table workers (
    id           blob    primary key,
    host         text    not null,
    kinds        text    not null,
    slots        integer not null,
    busy         integer not null default 0,
    draining     integer not null default 0,
    started_at   integer not null,
    announced_to integer not null,
    lease_until  integer not null
) strict;

create table roles (
    role   text    primary key,
    holder blob    not null,
    until  integer not null
) strict;

create table kinds (
    kind           text primary key,
    payload_schema text not null,
    output_schema  text not null,
    policy         text not null
) strict;

create table files (
    id           blob    primary key,
    name         text    not null,
    content_type text    not null,
    bytes        integer not null,
    sha256       text    not null
) strict;
