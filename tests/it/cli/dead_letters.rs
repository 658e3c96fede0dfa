//! Listings and dead letters by commands alone, each in words and in JSON.

use anyhow::Result;
use longshore_tests::{media, scratch};
use serde_json::{Value, json};

use super::jobs::{Desk, source};

/// A job that fails for good: its table has a column that its file has not.
async fn buried(desk: &Desk) -> Result<String> {
    let dir = scratch::dir("cli-files")?;
    let csv = media::csv(dir.path(), 50, 0)?;
    let payload = r#"{"table": "t", "columns": [{"name": "shoe_size", "type": "integer"}]}"#;
    let file = source(&csv.path);
    let said = desk.ask(&["submit", "csv.import", payload, "--file", &file, "--wait", "--json"]).await?;
    let view = said.json()?;
    assert_eq!((said.code, &view["dead_letter"]), (Some(1), &json!(true)), "{said:?}");
    Ok(view["id"].as_str().unwrap_or_default().to_owned())
}

async fn words(desk: &Desk, args: &[&str]) -> Result<String> {
    let said = desk.ask(args).await?;
    assert_eq!(said.code, Some(0), "{args:?} {said:?}");
    Ok(said.out)
}

fn ids(page: &Value) -> Vec<&str> {
    page["jobs"].as_array().into_iter().flatten().filter_map(|job| job["id"].as_str()).collect()
}

#[tokio::test]
async fn jobs_are_listed_by_state_kind_and_page() -> Result<()> {
    let desk = Desk::open().await?;
    let (old, new) = (desk.later().await?, desk.later().await?);
    let canceled = desk.later().await?;
    desk.json(&["cancel", &canceled, "--json"]).await?;
    let page = desk.json(&["list", "--json", "--state", "pending", "--kind", "csv.import"]).await?;
    assert_eq!(ids(&page), [&new, &old]);
    let first = words(&desk, &["list", "--state", "pending", "--limit", "1"]).await?;
    assert!(first.starts_with(&new) && first.contains("pending (scheduled)"), "{first}");
    assert!(first.contains(&format!("more: --before {new}")), "{first}");
    assert!(words(&desk, &["list", "--before", &new]).await?.starts_with(&old));
    assert_eq!(words(&desk, &["list", "--kind", "image.resize"]).await?, "none\n");
    desk.close().await
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() -> Result<()> {
    let desk = Desk::open().await?;
    let (dead, alive) = (buried(&desk).await?, desk.later().await?);
    assert_eq!(ids(&desk.json(&["dlq", "list", "--json"]).await?), [&dead]);
    let listed = words(&desk, &["dlq", "list"]).await?;
    assert!(listed.starts_with(&dead) && listed.contains("failed (dead letter)"), "{listed}");
    assert_eq!(desk.json(&["dlq", "show", &dead, "--json"]).await?["state"], "failed");
    assert!(words(&desk, &["dlq", "show", &dead]).await?.contains("shoe_size"));
    let no = desk.ask(&["dlq", "show", &alive]).await?;
    assert!(no.code == Some(1) && no.err.contains("no dead letter") && no.err.contains("longshore status"), "{no:?}");
    desk.close().await
}

#[tokio::test]
async fn dead_letters_are_replayed_by_id_and_by_kind() -> Result<()> {
    let desk = Desk::open().await?;
    let dead = buried(&desk).await?;
    let again = desk.json(&["dlq", "replay", &dead, "01890a5d-ac96-774b-bcce-b302099a8057", "--json"]).await?;
    assert_eq!(again, json!({"replayed": 1, "skipped": 1, "more": false}));
    // It fails again, with a second attempt in its history.
    let watched = desk.ask(&["watch", &dead]).await?;
    assert!(watched.code == Some(1) && watched.out.contains("#2"), "{watched:?}");
    assert_eq!(words(&desk, &["dlq", "replay", "--kind", "csv.import"]).await?, "1 replayed\n");
    desk.close().await
}

#[tokio::test]
async fn dead_letters_are_purged_by_id_and_by_kind() -> Result<()> {
    let desk = Desk::open().await?;
    let dead = buried(&desk).await?;
    let other = buried(&desk).await?;
    assert_eq!(words(&desk, &["dlq", "purge", &dead]).await?, "1 purged\n");
    assert_eq!(desk.ask(&["status", &dead]).await?.code, Some(1));
    let rest = desk.json(&["dlq", "purge", "--kind", "csv.import", "--limit", "5", "--json"]).await?;
    assert_eq!(rest, json!({"purged": 1, "skipped": 0, "more": false}));
    assert_eq!(desk.ask(&["status", &other]).await?.code, Some(1));
    desk.close().await
}
