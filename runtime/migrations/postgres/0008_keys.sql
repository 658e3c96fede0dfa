-- API keys. Of a key's secret there is only a hash here, so that who reads this table can call nothing with it. Rows stay after
-- a revoke: what a key did is told by its id.
create table api_keys (
    id           text primary key,
    tenant       text not null,
    name         text not null,
    -- Its words, separated by blanks.
    scopes       text not null,
    hash         bytea not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- To the minute, so that a busy key is no busy row.
    last_used_at timestamptz
);
