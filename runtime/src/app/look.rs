//! Looks at the servers and the machine on behalf of [`crate::preflight`], for `doctor` and before a worker starts. It judges
//! nothing: facts go to the judges, and what they find comes back. A server that is away is no reason not to start a worker,
//! for it may be back in a moment.

use longshore_executors::transcode::Transcoder;
use longshore_sdk::Payload as _;

use super::{Executors, postgres, rabbit, storage_settings};
use crate::broker::rabbitmq;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::preflight::broker::Longest;
use crate::preflight::machine::{self, MachineFacts, nearest};
use crate::preflight::{self, Finding, Level, broker, database};
use crate::storage::Storage;
use crate::worker::registry::Registry;

/// Everything there is to say about this machine and the servers that the settings name.
///
/// # Errors
/// When executors contradict each other.
pub async fn doctor(config: &Config, executors: Executors) -> anyhow::Result<Vec<Finding>> {
    let registry = Registry::new(executors)?.only(&config.worker.kinds)?;
    let mut findings = look_at_machine(config).await;
    if config.database.url.is_some() {
        let looked = look_at_database(config).await;
        findings.extend(looked.map_or_else(|why| vec![database::unreachable(&why)], |(found, _)| found));
    }
    if !config.broker.urls.is_empty() {
        findings.extend(look_at_broker(config, &registry).await.unwrap_or_else(|why| vec![broker::unreachable(&why)]));
    }
    Ok(preflight::settle(findings, &config.preflight))
}

/// Before a worker takes its first job: an error is why it must not. What does not answer is not judged; says whether the
/// ledger was, for one that is away or has no schema yet may still come, and is to be looked at then.
pub(super) async fn refuse_if_dangerous(config: &Config, registry: &Registry) -> anyhow::Result<bool> {
    let (machine, database, broker) =
        tokio::join!(look_at_machine(config), look_at_database(config), look_at_broker(config, registry));
    let (database, judged) = database.unwrap_or_else(|why| {
        tracing::warn!(why, "the database was not looked at");
        (vec![], false)
    });
    let broker = broker.unwrap_or_else(|why| {
        tracing::warn!(why, "the broker was not looked at");
        vec![]
    });
    let mut findings = preflight::settle([machine, database, broker].concat(), &config.preflight);
    // Whoever migrates may be on his way.
    findings.retain(|finding| judged || finding.check != "database.schema");
    for finding in findings.iter().filter(|finding| finding.level == Level::Warn || finding.passing) {
        tracing::warn!(check = finding.check, what = finding.what, change = finding.change, "preflight");
    }
    preflight::refusal(&findings).map_or(Ok(judged), |told| Err(anyhow::Error::msg(told)))
}

/// What there is to say, and whether there is a schema that it could be said of.
async fn look_at_database(config: &Config) -> Result<(Vec<Finding>, bool), String> {
    let ledger = postgres(config, 1).map_err(|error| error.to_string())?;
    let facts = ledger.facts().await.map_err(|error| error.to_string())?;
    // The heartbeat has one of its own.
    let ours = i64::try_from(config.database.connections).unwrap_or(i64::MAX).saturating_add(1);
    let reachable = Finding::ok("database.reachable", format!("it answers, and knows us as {}", facts.user));
    let judged = database::judge(&facts, &config.preflight, ours);
    Ok((std::iter::once(reachable).chain(judged).collect(), facts.schema.is_some()))
}

async fn look_at_broker(config: &Config, registry: &Registry) -> Result<Vec<Finding>, String> {
    let settings = rabbit(config).map_err(|error| error.to_string())?;
    let kinds: Vec<String> = registry.kinds().map(str::to_owned).collect();
    let facts = rabbitmq::inspect(&settings, &kinds).await.map_err(|error| error.to_string())?;
    let longest = registry.entries().max_by_key(|(_, entry)| entry.policy.timeout).map(|(kind, entry)| Longest {
        kind: kind.to_owned(),
        timeout: entry.policy.timeout,
        consumer_timeout: settings.consumer_timeout,
    });
    let reachable = Finding::ok("broker.reachable", format!("{} answers", facts.place));
    let judged = broker::judge(&facts, longest.as_ref(), &config.preflight);
    Ok(std::iter::once(reachable).chain(judged).collect())
}

async fn look_at_machine(config: &Config) -> Vec<Finding> {
    let settings = storage_settings(config, None);
    let storage = settings.location.clone();
    let tried = match Storage::open(settings) {
        Ok(opened) => opened.try_out().await,
        Err(error) => Err(error),
    };
    let embedded = config.database.url.is_none();
    let facts = MachineFacts {
        storage,
        storage_fault: tried.err().map(|error| error.to_string()),
        data_dir: config.data_dir.clone(),
        taken: embedded.then(|| DataDir::is_taken(&config.data_dir)),
        free_bytes: free_bytes(config),
        ffmpeg: Transcoder::available(&config.transcode).await,
        needs_ffmpeg: config.worker.kinds.iter().any(|kind| kind == longshore_executors::transcode::Transcode::KIND),
        lease: config.worker.limits.lease,
    };
    machine::judge(&facts, &config.preflight)
}

fn free_bytes(config: &Config) -> Option<u64> {
    let there = rustix::fs::statvfs(nearest(&config.data_dir)).ok()?;
    there.f_bavail.checked_mul(there.f_frsize)
}
