-- Who is told of events over HTTP. A delivery is a job of the kind longshore.webhook, made in the transaction of the transition it
-- tells of; the line here says what it is to tell and whom. Nothing of this is touched where nobody subscribed.
create table webhooks (
    id         uuid primary key,
    tenant     text not null default 'default',
    url        text not null,
    kinds      text[] not null,
    events     text[] not null,
    secrets    json not null,
    -- Why nothing is sent; null: it is.
    disabled   text,
    created_at timestamptz not null default now()
);
-- Every round asks who is there: by this index, for it switches sequential scans off.
create index webhooks_enabled on webhooks (id) where disabled is null;

create table webhook_deliveries (
    id         uuid primary key,
    tenant     text not null default 'default',
    -- Null: the job's own.
    webhook    uuid,
    -- Null: a test.
    job        uuid,
    sequence   bigint not null,
    event      text not null,
    created_at timestamptz not null default now()
);
create index webhook_deliveries_of on webhook_deliveries (webhook, id) where webhook is not null;
create index webhook_deliveries_age on webhook_deliveries (created_at);

create table webhook_tries (
    delivery    uuid not null,
    attempt     integer not null,
    tenant      text not null default 'default',
    at          timestamptz not null default now(),
    duration_ms bigint not null,
    status      integer,
    error       text,
    answer      text,
    primary key (delivery, attempt)
);

-- A job's own: its address, secret and events. Constant, and null for most.
alter table jobs add column webhook json;
