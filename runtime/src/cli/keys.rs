//! `keys`: API keys, made and ended in the ledger itself, for whoever may open it: so the first key comes to be, and so the door is
//! opened again when the last one is lost. Over HTTP the same is `/v1/keys`. A key is shown once, when it is made.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use longshore_sdk::api::KeyMade;

use super::serve::{self, LedgerFlags};
use super::{Done, Ending, audit, given, jobs, tell, verify};
use crate::api::key_view;
use crate::config::Config;
use crate::keys::{Minted, Scopes};
use crate::ledger::{ApiKey, Ledger, NewKey};
use crate::tenant::Tenant;

/// `longshore keys`
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and show it, this once
    Create(Create),
    /// List keys, good and ended
    List(List),
    /// Make a key in an old one's place, which stays good for a while
    Rotate(Rotate),
    /// End a key: it opens nothing any more, everywhere within seconds
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    flags: LedgerFlags,
    /// What you call it
    #[arg(long)]
    name: String,
    /// For whom it acts
    #[arg(long, default_value = Tenant::DEFAULT)]
    tenant: Tenant,
    /// What it may do: some of submit, read, cancel, and admin, which is all
    #[arg(long, value_name = "SCOPES", default_value = "admin")]
    scopes: Scopes,
    /// How long it is good, e.g. 90d; until it is revoked when left out
    #[arg(long, value_name = "TIME", value_parser = given::duration)]
    expires: Option<Duration>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    flags: LedgerFlags,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    flags: LedgerFlags,
    /// The old key's id
    id: String,
    /// How long the old one stays good, e.g. 1h; auth.rotation_overlap when left out
    #[arg(long, value_name = "TIME", value_parser = given::duration)]
    overlap: Option<Duration>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    flags: LedgerFlags,
    /// The key's id
    id: String,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(super) fn run(self) -> Done {
        match self.command {
            KeysCommand::Create(create) => {
                let (config, json) = (create.flags.load()?, create.json);
                with(&config, async |ledger| {
                    let minted = Minted::fresh()?;
                    let Create { name, tenant, scopes, expires: lives, .. } = create;
                    let (id, hash) = (minted.id.clone(), minted.hash);
                    show(ledger, &NewKey { id, tenant, name, scopes, hash, lives }, &minted, json).await
                })
            }
            KeysCommand::List(list) => with(&list.flags.load()?, async |ledger| {
                let keys: Vec<_> = ledger.keys(list.tenant.as_ref()).await?.iter().map(key_view).collect();
                let listed = longshore_sdk::api::KeyList { keys };
                Ok(tell(&if list.json { jobs::json(&listed)? } else { table(&listed.keys) })?)
            }),
            KeysCommand::Rotate(rotate) => {
                let config = rotate.flags.load()?;
                let overlap = rotate.overlap.unwrap_or(config.auth.rotation_overlap);
                with(&config, async |ledger| {
                    let old =
                        ledger.key(&rotate.id).await?.filter(ApiKey::is_good).ok_or_else(|| unknown(&rotate.id))?;
                    let minted = Minted::fresh()?;
                    show(ledger, &old.successor(minted.id.clone(), minted.hash), &minted, rotate.json).await?;
                    ledger.end_key(None, &rotate.id, Some(overlap)).await?;
                    Ok(())
                })
            }
            KeysCommand::Revoke(revoke) => with(&revoke.flags.load()?, async |ledger| {
                if !ledger.end_key(None, &revoke.id, None).await? {
                    return Err(unknown(&revoke.id));
                }
                let told = format!("key {} opens nothing any more", revoke.id);
                let json = serde_json::json!({"id": revoke.id, "revoked": true}).to_string();
                Ok(tell(if revoke.json { &json } else { &told })?)
            }),
        }
    }
}

fn with(config: &Config, work: impl AsyncFnOnce(&dyn Ledger) -> Done) -> Done {
    serve::run_to_end(async |_| {
        let ledger = verify::ledger(config)?;
        ledger
            .keys(None)
            .await
            .context("the ledger cannot be used; is database.url right, and its schema up to date?")?;
        work(&*ledger.by(audit::here())).await
    })
}

async fn show(ledger: &dyn Ledger, new: &NewKey, minted: &Minted, json: bool) -> Done {
    ledger.add_key(new).await?;
    let kept = ledger.key(&new.id).await?.context("the key was kept and is not there")?;
    let made = KeyMade { key: minted.reveal().to_owned(), view: key_view(&kept) };
    Ok(tell(&if json { jobs::json(&made)? } else { made.key.clone() })?)
}

fn unknown(id: &str) -> Ending {
    Ending::Failure(anyhow::anyhow!("no good key has the id {id}; `longshore keys list` shows those there are"))
}

fn table(keys: &[longshore_sdk::api::KeyView]) -> String {
    let line = |key: &longshore_sdk::api::KeyView| {
        let state = match (key.good, key.revoked_at) {
            (true, _) => "good",
            (false, Some(_)) => "revoked",
            (false, None) => "expired",
        };
        format!("{}  {state:<7}  {:<12}  {:<24}  {}", key.id, key.tenant, key.scopes.join(","), key.name)
    };
    if keys.is_empty() { "there are no keys".to_owned() } else { keys.iter().map(line).collect::<Vec<_>>().join("\n") }
}
