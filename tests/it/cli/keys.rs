//! API keys on the command line: made in the ledger itself, shown once, listed without their secrets, ended.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::postgres::Postgres;

use super::longshore;

#[tokio::test]
async fn a_server_open_to_other_machines_does_not_start_without_keys() -> Result<()> {
    let data = longshore_tests::scratch::dir("open")?;
    let place = data.path().to_string_lossy().into_owned();
    let args = ["dev", "--listen", "0.0.0.0:0", "--data-dir", &place, "--set", "auth.anonymous=always"];
    let said = longshore(&args, &[], "").await?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.err.contains("auth.trusted_network") && said.err.contains("longshore keys create"), "{said:?}");
    Ok(())
}

async fn on(database: &str, args: &[&str]) -> Result<super::Said> {
    let args: Vec<&str> = ["keys"].iter().chain(args).copied().chain(["--database-url", database]).collect();
    longshore(&args, &[], "").await
}

async fn migrated() -> Result<String> {
    let database = Postgres::shared().await?.database().await?;
    let said = longshore(&["migrate", "--database-url", &database], &[], "").await?;
    ensure!(said.code == Some(0), "{said:?}");
    Ok(database)
}

const DAY: i64 = 24 * 3600;

/// For how many seconds a key was made.
fn lifetime(key: &serde_json::Value) -> Result<i64> {
    let at = |field: &str| -> Result<jiff::Timestamp> { Ok(key[field].as_str().context("no moment")?.parse()?) };
    Ok(at("expires_at")?.as_second() - at("created_at")?.as_second())
}

#[tokio::test]
async fn a_key_is_made_listed_rotated_and_revoked_in_json() -> Result<()> {
    let database = migrated().await?;
    let create =
        ["create", "--name", "ci", "--tenant", "north", "--scopes", "submit,read", "--expires", "90d", "--json"];
    let made = on(&database, &create).await?.json()?;
    let (id, key) = (made["id"].as_str().context("no id")?, made["key"].as_str().context("no key")?);
    ensure!(
        key.starts_with(&format!("lsk_{id}_")) && made["scopes"] == serde_json::json!(["submit", "read"]),
        "{made}"
    );
    let new = on(&database, &["rotate", id, "--overlap", "1h", "--json"]).await?.json()?;
    ensure!(new["tenant"] == "north" && new["good"] == true && new["id"] != id, "{new}");
    ensure!(lifetime(&made)? == 90 * DAY && lifetime(&new)? == 90 * DAY, "it lives as long as its predecessor: {new}");
    let revoked = on(&database, &["revoke", id, "--json"]).await?.json()?;
    ensure!(revoked["revoked"] == true, "{revoked}");
    let list = on(&database, &["list", "--tenant", "north", "--json"]).await?;
    let keys = list.json()?;
    ensure!(keys["keys"][0]["good"] == false && keys["keys"][1]["good"] == true, "{keys}");
    ensure!(!list.out.contains(&key[25..]), "a list shows no secret");
    Ok(())
}

#[tokio::test]
async fn a_key_is_made_listed_rotated_and_revoked_in_words() -> Result<()> {
    let database = migrated().await?;
    let empty = on(&database, &["list"]).await?;
    ensure!(empty.out == "there are no keys\n", "{empty:?}");
    let made = on(&database, &["create", "--name", "first"]).await?;
    let id = made.out.split('_').nth(1).context("a key has parts")?.to_owned();
    ensure!(made.code == Some(0) && made.out.starts_with("lsk_") && made.out.lines().count() == 1, "{made:?}");
    ensure!(on(&database, &["rotate", &id]).await?.out.starts_with("lsk_"));
    let revoked = on(&database, &["revoke", &id]).await?;
    ensure!(revoked.out == format!("key {id} opens nothing any more\n"), "{revoked:?}");
    let list = on(&database, &["list"]).await?.out;
    ensure!(list.contains(&format!("{id}  revoked  default")) && list.contains("good     default"), "{list}");
    for args in [["revoke", "0123456789abcdef"], ["rotate", id.as_str()]] {
        let said = on(&database, &args).await?;
        ensure!(said.code == Some(1) && said.err.contains("longshore keys list"), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_log_says_who_made_and_ended_a_key() -> Result<()> {
    let database = migrated().await?;
    let audit = async |more: &[&str]| {
        longshore(&[&["audit", "--database-url", &database][..], more].concat(), &[("USER", "ann")], "").await
    };
    ensure!(audit(&[]).await?.out == "nothing was noted\n");
    let made = on(&database, &["create", "--name", "ci", "--tenant", "north", "--json"]).await?.json()?;
    let id = made["id"].as_str().context("no id")?;
    on(&database, &["revoke", id]).await?;
    let told = audit(&[]).await?;
    ensure!(told.out.contains("key.created") && told.out.contains("cli:"), "{told:?}");
    let page = audit(&["--tenant", "north", "--limit", "1", "--json"]).await?.json()?;
    ensure!(page["lines"][0]["deed"] == "key.revoked" && page["lines"][0]["object"] == id, "{page}");
    let before = page["next"].to_string();
    let older = audit(&["--tenant", "north", "--before", &before, "--json"]).await?.json()?;
    ensure!(older["lines"][0]["deed"] == "key.created" && older["lines"].as_array().is_some_and(|all| all.len() == 1));
    Ok(())
}
