//! What a setting must be beyond its type, each rule about one key and with the way out. Pure.
//! What depends on the machine (a directory, a server) is found by whoever opens it. Read [`super::layers`] for who asks.

use std::time::Duration;

use longshore_sdk::executor::kind_is_valid;
use reqwest::Url;
use tracing_subscriber::EnvFilter;

use super::{Config, guess};
use crate::api::auth::oidc::{OidcSettings, grant_of};
use crate::api::cors::is_origin;
use crate::preflight::CHECKS;

const SECOND: Duration = Duration::from_secs(1);
const NO_RATE: &str = "must be 0 for no limit, or a number of calls above it";
/// Waits between tries to deliver a webhook.
const MAX_TRIES: usize = 100;
/// The longest that a signature of AWS is good for.
const MOST_SIGNED: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_PREFIX_BYTES: usize = 64;
/// Some 1.5 GiB.
const MAX_SPANS: usize = 1_000_000;
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// The rules that `config` breaks, each as a sentence to follow the key's place.
pub(super) fn faults(config: &Config) -> Vec<String> {
    let rules = [
        (config.database.connections == 0, "must be at least 1"),
        (config.agents.crash_limit == 0, "must be at least 1"),
        (config.agents.audit_interval < SECOND, "must be at least 1 second: it is a scan"),
        (config.agents.audit_jobs == 0, "must be at least 1"),
        (config.worker.limits.lease < SECOND, "must be at least 1 second: a shorter lease is lost to a busy machine"),
        (config.worker.limits.prefetch_extra > 65_535, "must be at most 65535, for RabbitMQ takes no more"),
        (!prefix_is_valid(&config.broker.prefix), "must have 1 to 64 letters, digits, dots, dashes or underscores"),
        (config.storage.http_ports.contains(&0), "port 0 leads nowhere; name ports from 1 to 65535"),
        (config.storage.max_input_bytes == 0, "must be at least 1"),
        (config.storage.keep_unfinished < SECOND, "must be at least 1 second: no upload is finished in no time"),
        (
            !(SECOND..=MOST_SIGNED).contains(&config.storage.link_lifetime),
            "must be from 1 second to 7 days: no bucket takes a longer one",
        ),
        (config.api.max_body_bytes == 0, "must be at least 1"),
        (config.api.max_upload_bytes == 0, "must be at least 1"),
        (config.api.body_idle.is_zero(), "must be above 0: no body comes in no time"),
        (config.api.recheck.is_zero(), "must be above 0: it would ask without a pause"),
        (config.api.max_attempts == 0, "must be at least 1"),
        (config.api.max_timeout.is_zero(), "must be above 0: no attempt ends in no time"),
        (config.api.max_page == 0, "must be at least 1"),
        (config.api.idempotency_ttl.is_zero(), "must be above 0: a key must outlive its submit"),
        (config.api.max_batch == 0, "must be at least 1"),
        (config.api.max_batch_bytes == 0, "must be at least 1"),
        (config.api.max_bulk == 0, "must be at least 1"),
        (config.api.publish_timeout.is_zero(), "must be above 0"),
        (config.api.ledger_timeout.is_zero(), "must be above 0"),
        (config.api.probe_timeout.is_zero(), "must be above 0"),
        (config.api.max_connections == 0, "must be at least 1"),
        (config.api.header_timeout.is_zero(), "must be above 0: no head comes in no time"),
        (config.api.idle_timeout.is_zero(), "must be above 0"),
        (config.api.max_header_bytes < 8192, "must be at least 8192"),
        (config.api.tls.handshake_timeout.is_zero(), "must be above 0: nobody shakes hands in no time"),
        (!config.limits.requests_per_second.is_finite() || config.limits.requests_per_second < 0.0, NO_RATE),
        (!config.limits.key_requests_per_second.is_finite() || config.limits.key_requests_per_second < 0.0, NO_RATE),
        (config.auth.key_cache > Duration::from_secs(60), "must be at most 60 seconds: a revoked key would live on"),
        (config.webhooks.concurrency == 0, "must be at least 1"),
        (config.webhooks.timeout.is_zero(), "must be above 0: no receiver answers in no time"),
        (config.webhooks.schedule.len() > MAX_TRIES, "must have at most 100 waits"),
        (config.webhooks.max_body_bytes < 8192, "must be at least 8192: a long error must fit"),
        (!(1..=16_384).contains(&config.resize.max_side), "must be from 1 to 16384"),
        (config.transcode.threads == 0, "must be at least 1"),
        (!(0..=19).contains(&config.transcode.nice), "must be from 0 to 19"),
        (config.csv_import.schema.is_empty(), "must name a schema, e.g. \"imports\""),
        (config.csv_import.limits.chunk_rows == 0, "must be at least 1"),
        (config.csv_import.limits.chunk_bytes == 0, "must be at least 1"),
        (
            !is_collector(&config.traces.endpoint),
            "must be an http(s) URL, e.g. http://collector:4318/v1/traces, or empty",
        ),
        (config.traces.service_name.is_empty(), "must name the service, e.g. \"longshore\""),
        (!(0.0..=1.0).contains(&config.traces.sample_ratio), "must be from 0 to 1"),
        (!(1..=MAX_SPANS).contains(&config.traces.max_queue), "must be from 1 to 1000000"),
        (config.traces.interval.is_zero(), "must be above 0: spans gather that long"),
        (config.traces.timeout.is_zero(), "must be above 0: no collector answers in no time"),
    ];
    let broken = rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule.to_owned());
    broken
        .chain(bad_kinds(config))
        .chain(bad_origins(config))
        .chain(bad_identities(config))
        .chain(bad_checks(config))
        .chain(bad_level(config))
        .collect()
}

fn bad_kinds(config: &Config) -> impl Iterator<Item = String> {
    let bad = config.worker.kinds.iter().filter(|kind| !kind_is_valid(kind));
    bad.map(|kind| format!("{kind:?} is no kind: kinds are lower-case words joined by dots, e.g. image.resize"))
}

fn bad_origins(config: &Config) -> impl Iterator<Item = String> {
    let bad = config.api.cors_origins.iter().filter(|origin| !is_origin(origin));
    bad.map(|origin| format!("{origin:?} is no origin: write a scheme and a host, e.g. https://app.example.org"))
}

fn bad_identities(config: &Config) -> impl Iterator<Item = String> {
    let oidc = &config.auth.oidc;
    let places =
        [&oidc.issuer, &oidc.jwks_url].into_iter().filter(|url| !url.is_empty() && !OidcSettings::is_secure(url));
    let places = places.map(|url| format!("{url:?} must be an https:// address"));
    let grants = oidc.scopes.iter().filter(|grant| grant_of(grant).is_none());
    let grants = grants.map(|grant| format!("{grant:?} grants nothing: write WORD=SCOPE, e.g. jobs.write=submit"));
    let rules = [
        (oidc.algorithms.is_empty(), "must name at least one, e.g. RS256"),
        (oidc.leeway > MAX_LEEWAY, "must be at most 300 seconds: an expired token would live on"),
        (oidc.refetch < SECOND, "must be at least 1 second: anybody can send tokens with made-up keys"),
        (oidc.refresh < SECOND, "must be at least 1 second"),
        (oidc.tenant_claim.is_empty() || oidc.scope_claim.is_empty(), "must name a claim"),
    ];
    let broken = rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule.to_owned());
    places.chain(grants).chain(broken)
}

fn bad_checks(config: &Config) -> impl Iterator<Item = String> {
    let bad = config.preflight.overridden.iter().filter(|name| !CHECKS.contains(&name.as_str()));
    bad.map(|name| match guess(name, CHECKS) {
        Some(meant) => format!("{name:?} is no check; did you mean {meant}?"),
        None => format!("{name:?} is no check; `longshore doctor` lists those there are"),
    })
}

fn bad_level(config: &Config) -> Option<String> {
    let error = EnvFilter::try_new(&config.log.level).err()?;
    Some(format!("{error}; write error, warn, info, debug or trace"))
}

fn is_collector(endpoint: &str) -> bool {
    let http = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    endpoint.is_empty() || Url::parse(endpoint).is_ok_and(http)
}

fn prefix_is_valid(prefix: &str) -> bool {
    (1..=MAX_PREFIX_BYTES).contains(&prefix.len())
        && prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
