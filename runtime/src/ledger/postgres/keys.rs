//! API keys: rows that are looked up by their id, and never removed. The house's operators act for every tenant: then `of` is `None`.

use std::time::Duration;

use tokio_postgres::Row;

use super::Postgres;
use super::read::{self, long_ms};
use super::trail::noted;
use crate::keys::Scopes;
use crate::ledger::trail::Deed;
use crate::ledger::{Answer, ApiKey, NewKey};
use crate::tenant::Tenant;

const KEY: &str = "id, tenant, name, scopes, hash, created_at, expires_at, coalesce(expires_at <= now(), false) as expired, \
     revoked_at, last_used_at";

impl Postgres {
    pub(super) async fn write_key(&self, key: &NewKey) -> Answer<()> {
        let sql = format!(
            "with made as (insert into api_keys (id, tenant, name, scopes, hash, expires_at) \
                values ($1, $2, $3, $4, $5, now() + $6::bigint * interval '1 ms') on conflict do nothing \
                returning id, tenant){} select id from made",
            noted(7, Deed::KeyCreated, "id", "made")
        );
        let (scopes, lives) = (key.scopes.to_string(), key.lives.map(long_ms));
        let (tenant, (name, address, request)) = (key.tenant.as_str(), self.actor());
        let params: super::Params<'_> =
            &[&key.id, &tenant, &key.name, &scopes, &&key.hash[..], &lives, &name, &address, &request];
        self.query(&sql, params).await.map(drop)
    }

    pub(super) async fn read_key(&self, id: &str) -> Answer<Option<ApiKey>> {
        let row = self.one(&format!("select {KEY} from api_keys where id = $1"), &[&id]).await?;
        Ok(row.as_ref().map(key))
    }

    pub(super) async fn read_keys(&self, of: Option<&Tenant>) -> Answer<Vec<ApiKey>> {
        let sql = format!("select {KEY} from api_keys where $1::text is null or tenant = $1 order by created_at, id");
        let rows = self.query(&sql, &[&of.map(Tenant::as_str)]).await?;
        Ok(rows.iter().map(key).collect())
    }

    pub(super) async fn end_key(&self, of: Option<&Tenant>, id: &str, within: Option<Duration>) -> Answer<bool> {
        let deed = if within.is_some() { Deed::KeyRotated } else { Deed::KeyRevoked };
        let update = "update api_keys set \
                revoked_at = case when $3::bigint is null then coalesce(revoked_at, now()) else revoked_at end, \
                expires_at = case when $3::bigint is null then expires_at \
                    else least(expires_at, now() + $3::bigint * interval '1 ms') end \
             where id = $1 and ($2::text is null or tenant = $2) returning id, tenant";
        let sql = format!("with ended as ({update}){} select id from ended", noted(4, deed, "id", "ended"));
        let (whose, within, (name, address, request)) = (of.map(Tenant::as_str), within.map(long_ms), self.actor());
        Ok(self.one(&sql, &[&id, &whose, &within, &name, &address, &request]).await?.is_some())
    }

    pub(super) async fn touch_key(&self, id: &str) -> Answer<()> {
        let sql = "update api_keys set last_used_at = now() \
             where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')";
        self.query(sql, &[&id]).await.map(drop)
    }
}

fn key(row: &Row) -> ApiKey {
    ApiKey {
        id: row.get("id"),
        tenant: read::tenant(row),
        name: row.get("name"),
        scopes: Scopes::known_of(row.get::<_, &str>("scopes").split(' ')),
        // Of another length it is no hash, and this one is of nothing.
        hash: row.get::<_, &[u8]>("hash").try_into().unwrap_or_default(),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        expired: row.get("expired"),
        revoked_at: row.get("revoked_at"),
        last_used_at: row.get("last_used_at"),
    }
}
