-- API keys. Of a key's secret there is only a hash here, so that who reads this table can call nothing with it. Rows stay after
-- a revoke: what a key did is told by its id.
create table api_keys (
    id           text    primary key,
    tenant       text    not null,
    name         text    not null,
    -- Its words, separated by blanks.
    scopes       text    not null,
    hash         blob    not null check (length(hash) = 32),
    created_at   integer not null,
    expires_at   integer,
    revoked_at   integer,
    -- To the minute, so that a busy key is no busy row.
    last_used_at integer
) strict, without rowid;
