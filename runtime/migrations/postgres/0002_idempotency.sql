-- Callers' dedupe keys, apart from the jobs: most jobs have none, and a key outlives its turn without touching its job's row.
create table idempotency (
    key         text primary key,
    fingerprint bytea not null,
    job         uuid not null,
    expires_at  timestamptz not null
);
-- The sweep's, and a purge's.
create index idempotency_expiry on idempotency (expires_at);
create index idempotency_job on idempotency (job);
