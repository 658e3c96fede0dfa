//! `migrate` and `all` on real servers: what they say, what they answer, and how they end.

use std::time::Duration;

use anyhow::Result;
use longshore_tests::longshore::Longshore;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::{media, scratch};
use serde_json::json;

use super::jobs::{IMPORT, source};
use super::longshore;

#[tokio::test]
async fn one_process_serves_and_works_on_real_servers_and_drains() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let broker = RabbitMq::shared().await?.vhost().await?;
    let migrated = longshore(&["migrate", "--database-url", &database], &[], "").await?;
    assert!(migrated.code == Some(0) && migrated.out.starts_with("the ledger's schema is at version "), "{migrated:?}");
    let again = longshore(&["migrate", "--database-url", &database, "--json"], &[], "").await?;
    assert!(again.json()?["schema_version"].as_u64() >= Some(2), "{again:?}");
    let dir = scratch::dir("cli-all")?;
    let all = Longshore::all(&database, &broker)?.arg("--data-dir").arg(&dir.path().to_string_lossy()).start().await?;
    let csv = media::csv(dir.path(), 200, 0)?;
    let args = ["submit", "csv.import", IMPORT, "--file", &source(&csv.path), "--wait", "--json"];
    let done = longshore(&args, &[("LONGSHORE_SERVER", &all.url())], "").await?;
    assert_eq!((done.code, &done.json()?["state"]), (Some(0), &json!("completed")), "{done:?}");
    let page = all.http()?.get("/metrics").await?.expect(200)?.text;
    assert!(page.contains("longshore_slots ") && page.contains("longshore_http_requests_total"), "{page}");
    assert_eq!(all.drain(Duration::from_secs(60)).await?, 0);
    Ok(())
}
