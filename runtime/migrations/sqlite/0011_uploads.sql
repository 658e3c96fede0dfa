-- Uploads that come in pieces, until each is a file. The bytes are in the storage; what is acknowledged of them is here.
create table uploads (
    id           blob    primary key check (length(id) = 16),
    tenant       text    not null default 'default',
    name         text    not null,
    content_type text    not null,
    -- The header Upload-Metadata, as it was given.
    metadata     text,
    bytes        integer not null,
    received     integer not null default 0,
    -- Where the received bytes lie, in the storage's words, and how far their checksum is.
    place        text    not null,
    hash         blob    not null,
    -- Who appends now, and until when nobody else may.
    writer       blob,
    writer_until integer,
    created_at   integer not null,
    expires_at   integer not null,
    -- It is a file.
    done_at      integer,
    -- Nobody is shown it any more; its bytes are being removed.
    doomed       integer not null default 0
) strict;
create index uploads_open on uploads (tenant) where done_at is null;
create index uploads_expiry on uploads (expires_at);

-- When a job first named a file; those from before nobody knows of, so they count as used.
alter table files add column created_at integer not null default 0;
alter table files add column used_at integer;
alter table files add column doomed integer not null default 0;
update files set used_at = 0;
create index files_unused on files (created_at) where used_at is null;
