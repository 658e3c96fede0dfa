-- Callers' dedupe keys, apart from the jobs: most jobs have none, and a key outlives its turn without touching its job's row.
create table idempotency (
    key         text    primary key,
    fingerprint blob    not null check (length(fingerprint) = 32),
    job         blob    not null,
    expires_at  integer not null
) strict, without rowid;
-- The sweep's, and a purge's.
create index idempotency_expiry on idempotency (expires_at);
create index idempotency_job on idempotency (job);
