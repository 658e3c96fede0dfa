-- Uploads that come in pieces, until each is a file. The bytes are in the storage; what is acknowledged of them is here.
create table uploads (
    id           uuid primary key,
    tenant       text not null default 'default',
    name         text not null,
    content_type text not null,
    -- The header Upload-Metadata, as it was given.
    metadata     text,
    bytes        bigint not null,
    received     bigint not null default 0,
    -- Where the received bytes lie, in the storage's words, and how far their checksum is.
    place        json not null,
    hash         bytea not null,
    -- Who appends now, and until when nobody else may.
    writer       uuid,
    writer_until timestamptz,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    -- It is a file.
    done_at      timestamptz,
    -- Nobody is shown it any more; its bytes are being removed.
    doomed       boolean not null default false
);
create index uploads_open on uploads (tenant) where done_at is null;
create index uploads_expiry on uploads (expires_at);

-- When a job first named a file; those from before nobody knows of, so they count as used.
alter table files add column used_at timestamptz, add column doomed boolean not null default false;
update files set used_at = now();
create index files_unused on files (created_at) where used_at is null;
