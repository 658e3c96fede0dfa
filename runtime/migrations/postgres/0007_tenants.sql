-- Whose a job, a file and a caller's key is. No update ever touches a tenant, so its index costs no update its HOT path; the
-- house's own jobs, which are most, are not in it and cost an insert nothing.
alter table jobs add column tenant text not null default 'default';
alter table files add column tenant text not null default 'default';
create index jobs_of_tenants on jobs (tenant, id) where tenant <> 'default';

-- Two tenants may choose the same key and never meet.
alter table idempotency add column tenant text not null default 'default';
alter table idempotency drop constraint idempotency_pkey, add primary key (tenant, key);
alter table unique_keys add column tenant text not null default 'default';
alter table unique_keys drop constraint unique_keys_pkey, add primary key (tenant, kind, key);
