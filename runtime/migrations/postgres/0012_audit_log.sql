-- Who did what to which object. A line is written by the transaction that makes the change, is never changed, and goes with its age.
create table audit_log (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    -- Whose the object is.
    tenant     text not null,
    actor      text not null,
    address    text,
    request_id text,
    deed       text not null,
    object     text not null,
    outcome    text not null
);
create index audit_log_of_tenant on audit_log (tenant, id);
create index audit_log_by_age on audit_log (at);
