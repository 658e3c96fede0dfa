-- Who is told of events over HTTP. A delivery is a job of the kind longshore.webhook, made in the transaction of the transition it
-- tells of; the line here says what it is to tell and whom.
create table webhooks (
    id         blob primary key check (length(id) = 16),
    tenant     text not null default 'default',
    url        text not null,
    kinds      text not null,
    events     text not null,
    secrets    text not null,
    -- Why nothing is sent; null: it is.
    disabled   text,
    created_at integer not null
) strict;

create table webhook_deliveries (
    id         blob primary key check (length(id) = 16),
    tenant     text not null default 'default',
    -- Null: the job's own.
    webhook    blob,
    -- Null: a test.
    job        blob,
    sequence   integer not null,
    event      text not null,
    created_at integer not null
) strict;
create index webhook_deliveries_of on webhook_deliveries (webhook, id) where webhook is not null;
create index webhook_deliveries_age on webhook_deliveries (created_at);

create table webhook_tries (
    delivery    blob not null,
    attempt     integer not null,
    tenant      text not null default 'default',
    at          integer not null,
    duration_ms integer not null,
    status      integer,
    error       text,
    answer      text,
    primary key (delivery, attempt)
) strict;

-- A job's own: its address, secret and events. Constant, and null for most.
alter table jobs add column webhook text;
