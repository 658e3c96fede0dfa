//! Kinds and uploaded files: what the API must know of processes and stores it does not see.

use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, text};
use crate::ledger::{Answer, File, Kind};

impl Postgres {
    pub(super) async fn write_kinds(&self, kinds: &[Kind]) -> Answer<()> {
        // The last to register wins: during a rolling upgrade both schemas are served in turn.
        let sql = "insert into kinds (kind, payload_schema, output_schema, policy) \
             values ($1, $2::text::json, $3::text::json, $4::text::json) on conflict (kind) do update set \
             payload_schema = excluded.payload_schema, output_schema = excluded.output_schema, policy = excluded.policy, \
             seen_at = now()";
        for kind in kinds {
            let (payload, output, policy) = (text(&kind.payload_schema), text(&kind.output_schema), text(&kind.policy));
            self.query(sql, &[&kind.kind, &payload, &output, &policy]).await?;
        }
        Ok(())
    }

    pub(super) async fn read_kinds(&self) -> Answer<Vec<Kind>> {
        let rows =
            self.query("select kind, payload_schema, output_schema, policy from kinds order by kind", &[]).await?;
        Ok(rows.iter().map(kind).collect())
    }

    pub(super) async fn write_file(&self, file: &File) -> Answer<()> {
        let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
        let sql = "insert into files (id, name, content_type, bytes, sha256, tenant) values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
        self.query(sql, &[&file.id, &file.name, &file.content_type, &bytes, &file.sha256, &file.tenant.as_str()])
            .await
            .map(drop)
    }

    pub(super) async fn read_file(&self, id: Uuid) -> Answer<Option<File>> {
        let row = self
            .one("select id, tenant, name, content_type, bytes, sha256 from files where id = $1 and not doomed", &[&id])
            .await?;
        Ok(row.map(|row| File {
            id: row.get("id"),
            tenant: read::tenant(&row),
            name: row.get("name"),
            content_type: row.get("content_type"),
            bytes: u64::try_from(row.get::<_, i64>("bytes")).unwrap_or(0),
            sha256: row.get("sha256"),
        }))
    }
}

fn kind(row: &Row) -> Kind {
    Kind {
        kind: row.get("kind"),
        payload_schema: read::json(row, "payload_schema").unwrap_or_default(),
        output_schema: read::json(row, "output_schema").unwrap_or_default(),
        policy: read::json(row, "policy").unwrap_or_default(),
    }
}
