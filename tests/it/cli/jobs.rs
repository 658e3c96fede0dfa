//! A job's life by commands alone, against a `longshore dev`: the words for people and the JSON for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use longshore_tests::longshore::Longshore;
use longshore_tests::{media, scratch};
use serde_json::{Value, json};

use super::{Said, longshore};

pub(super) const IMPORT: &str = r#"{"table": "customers", "columns": [{"name": "id", "type": "integer"},
    {"name": "email", "type": "text"}, {"name": "balance", "type": "decimal"}, {"name": "joined", "type": "date"}]}"#;

/// A server, and the commands that ask it.
pub(super) struct Desk {
    dev: Longshore,
    _data: tempfile::TempDir,
}

impl Desk {
    pub(super) async fn open() -> Result<Self> {
        let data = scratch::dir("cli-dev")?;
        Ok(Self { dev: Longshore::dev(data.path())?.start().await?, _data: data })
    }

    pub(super) async fn ask(&self, args: &[&str]) -> Result<Said> {
        self.ask_with(args, "").await
    }

    pub(super) fn url(&self) -> String {
        self.dev.url()
    }

    async fn ask_with(&self, args: &[&str], stdin: &str) -> Result<Said> {
        longshore(args, &[("LONGSHORE_SERVER", &self.dev.url())], stdin).await
    }

    pub(super) async fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.ask(args).await?;
        assert_eq!(said.code, Some(0), "{args:?} {said:?}");
        said.json()
    }

    /// A job that starts in an hour.
    pub(super) async fn later(&self) -> Result<String> {
        let view = self.json(&["submit", "csv.import", &later_payload(), "--delay", "1h", "--json"]).await?;
        assert_eq!((&view["state"], &view["waiting"]), (&json!("pending"), &json!("scheduled")), "{view}");
        Ok(view["id"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) async fn close(self) -> Result<()> {
        assert_eq!(self.dev.drain(Duration::from_secs(60)).await?, 0);
        Ok(())
    }
}

fn later_payload() -> String {
    IMPORT.replacen('{', r#"{"source": {"file": "01890a5d-ac96-774b-bcce-b302099a8057"}, "#, 1)
}

pub(super) fn source(path: &Path) -> String {
    format!("source={}", path.display())
}

#[tokio::test]
async fn a_job_is_submitted_with_its_file_awaited_and_shown() -> Result<()> {
    let desk = Desk::open().await?;
    let dir = scratch::dir("cli-files")?;
    let csv = media::csv(dir.path(), 1000, 100)?;
    let file = source(&csv.path);
    let view = desk.json(&["submit", "csv.import", IMPORT, "--file", &file, "--wait", "--json"]).await?;
    assert_eq!((&view["state"], &view["result"]["rows_imported"]), (&json!("completed"), &json!(csv.rows - csv.bad)));
    let id = view["id"].as_str().unwrap_or_default();
    assert_eq!(desk.json(&["status", id, "--json"]).await?["result"], view["result"]);
    let shown = desk.ask(&["status", id]).await?;
    assert!(shown.code == Some(0) && shown.out.starts_with(&format!("{id}  csv.import  completed\n")), "{shown:?}");
    assert!(shown.out.contains("rejects.csv"), "{shown:?}");
    let watched = desk.ask(&["watch", id]).await?;
    assert_eq!((watched.code, &watched.out), (Some(0), &shown.out));
    let last = desk.ask(&["watch", id, "--json"]).await?;
    assert_eq!(last.json()?["state"], "completed");
    desk.close().await
}

#[tokio::test]
async fn a_payload_comes_from_a_file_or_stdin_and_names_an_upload() -> Result<()> {
    let desk = Desk::open().await?;
    let dir = scratch::dir("cli-files")?;
    let csv = media::csv(dir.path(), 50, 0)?;
    let upload = desk.json(&["upload", &csv.path.to_string_lossy(), "--json"]).await?;
    let file = upload["id"].as_str().unwrap_or_default();
    let payload = IMPORT.replacen('{', &format!(r#"{{"source": {{"file": "{file}"}}, "#), 1);
    let said = desk.ask_with(&["submit", "csv.import", "-", "--wait"], &payload).await?;
    assert!(said.code == Some(0) && said.out.contains("csv.import  completed"), "{said:?}");
    assert!(said.err.contains("submitted as"), "{said:?}");
    let named = dir.path().join("payload.json");
    std::fs::write(&named, &payload)?;
    let said = desk.ask(&["submit", "csv.import", &format!("@{}", named.display()), "--wait"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    desk.close().await
}

#[tokio::test]
async fn an_upload_says_what_to_write_into_a_payload() -> Result<()> {
    let desk = Desk::open().await?;
    let dir = scratch::dir("cli-files")?;
    let file = dir.path().join("photo.jpg");
    std::fs::write(&file, "twelve bytes")?;
    let path = file.to_string_lossy();
    let told = desk.json(&["upload", &path, "--json"]).await?;
    assert_eq!((&told["name"], &told["bytes"]), (&json!("photo.jpg"), &json!(12)));
    let shown = desk.ask(&["upload", &path]).await?;
    let lines: Vec<&str> = shown.out.lines().collect();
    assert_eq!((shown.code, lines.len()), (Some(0), 2), "{shown:?}");
    let id = lines[0].strip_suffix("  photo.jpg  12 B").unwrap_or_default();
    assert_eq!(lines[1], format!("  payload   {{\"file\": \"{id}\"}}"), "{shown:?}");
    assert_ne!(told["id"], id, "each upload is a file of its own");
    desk.close().await
}

#[tokio::test]
async fn a_canceled_job_is_a_bad_end_for_whoever_watches_it() -> Result<()> {
    let desk = Desk::open().await?;
    let id = desk.later().await?;
    let canceled = desk.ask(&["cancel", &id]).await?;
    assert!(canceled.code == Some(0) && canceled.out.contains("canceled"), "{canceled:?}");
    let watched = desk.ask(&["watch", &id]).await?;
    assert!(watched.code == Some(1) && watched.out.contains("canceled"), "{watched:?}");
    let other = desk.later().await?;
    assert_eq!(desk.json(&["cancel", &other, "--json"]).await?["state"], "canceled");
    desk.close().await
}

#[tokio::test]
async fn a_failed_job_ends_the_wait_with_code_1_and_its_reason() -> Result<()> {
    let desk = Desk::open().await?;
    let dir = scratch::dir("cli-files")?;
    let csv = media::csv(dir.path(), 50, 0)?;
    let payload = r#"{"table": "t", "columns": [{"name": "shoe_size", "type": "integer"}]}"#;
    let said = desk.ask(&["submit", "csv.import", payload, "--file", &source(&csv.path), "--wait"]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("failed") && said.out.contains("shoe_size"), "{said:?}");
    desk.close().await
}

#[tokio::test]
async fn a_refusal_names_the_field_or_the_kinds_there_are() -> Result<()> {
    let desk = Desk::open().await?;
    let unknown = desk.ask(&["submit", "csv.imprt", "{}"]).await?;
    assert!(unknown.code == Some(1) && unknown.err.contains("csv.import"), "{unknown:?}");
    let wrong = desk.ask(&["submit", "csv.import", r#"{"table": 7}"#]).await?;
    assert!(wrong.code == Some(1) && wrong.err.contains("/payload"), "{wrong:?}");
    let nobody = desk.ask(&["status", "01890a5d-ac96-774b-bcce-b302099a8057"]).await?;
    assert!(nobody.code == Some(1) && nobody.out.is_empty() && !nobody.err.is_empty(), "{nobody:?}");
    desk.close().await
}

#[tokio::test]
async fn the_kinds_are_listed() -> Result<()> {
    let desk = Desk::open().await?;
    let listed = desk.json(&["kinds", "--json"]).await?;
    let kinds: Vec<&str> =
        listed["kinds"].as_array().into_iter().flatten().filter_map(|k| k["kind"].as_str()).collect();
    for kind in ["csv.import", "image.resize"] {
        assert!(kinds.contains(&kind), "{listed}");
    }
    let shown = desk.ask(&["kinds"]).await?;
    assert!(shown.out.lines().any(|line| line.starts_with("image.resize") && line.contains("1 worker,")), "{shown:?}");
    desk.close().await
}
