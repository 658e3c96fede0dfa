-- The ledger's first schema. Why the indexes are what they are: every job is updated twice (claim, record), and an update
-- stays cheap (HOT) only while it touches no indexed column and no index predicate. So `state` and `worker` are in no index,
-- and rows leave half of each page free for their next versions.
create table jobs (
    id               uuid primary key,
    kind             text not null,
    state            smallint not null default 0,
    priority         smallint not null default 1,
    version          bigint not null default 1,
    attempt          integer not null default 0,
    charged          integer not null default 0,
    max_attempts     integer not null,
    crashes          integer not null default 0,
    crashed_alone    integer not null default 0,
    alone            boolean not null default false,
    publishes        integer not null default 0,
    timeout_ms       bigint not null,
    worker           uuid,
    cancel_requested boolean not null default false,
    unannounced      boolean not null default false,
    created_at       timestamptz not null default now(),
    due_at           timestamptz,
    queued_at        timestamptz,
    -- Since when it could have run, once it is on the road or runs: published again, a job keeps it. Null: since changed_at.
    ready_at         timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    -- The last transition: an event's time, the same on every repeat.
    changed_at       timestamptz not null default now(),
    correlation_id   text,
    -- json, not jsonb: payloads and results come back byte for byte.
    payload          json not null,
    checkpoint       json,
    result           json,
    error            json,
    progress         json,
    artifacts        json,
    metadata         json
) with (fillfactor = 50);

-- The relay's: only jobs that wait for their time are in it.
create index jobs_due on jobs (due_at) where due_at is not null;
-- The heartbeat's and the announcer's: both marks are rare, and clear again soon.
create index jobs_canceling on jobs (id) where cancel_requested;
create index jobs_unannounced on jobs (id) where unannounced;

create table attempts (
    job         uuid not null,
    attempt     integer not null,
    worker      uuid,
    ended       text not null,
    error       json,
    started_at  timestamptz not null,
    finished_at timestamptz not null default now(),
    primary key (job, attempt)
);

create table workers (
    id           uuid primary key,
    host         text not null,
    kinds        text[] not null,
    slots        integer not null,
    busy         integer not null default 0,
    draining     boolean not null default false,
    started_at   timestamptz not null default now(),
    announced_to timestamptz not null default now(),
    lease_until  timestamptz not null
);

create table roles (
    role   text primary key,
    holder uuid not null,
    until  timestamptz not null
);

create table kinds (
    kind          text primary key,
    payload_schema json not null,
    output_schema  json not null,
    policy         json not null,
    seen_at        timestamptz not null default now()
);

create table files (
    id           uuid primary key,
    name         text not null,
    content_type text not null,
    bytes        bigint not null,
    sha256       text not null,
    created_at   timestamptz not null default now()
);
