//! How often a tenant and a key may call, and how many jobs a tenant may have waiting. A bucket holds `burst` calls and is filled at a
//! rate; who finds it empty is told when to come again, and everybody is told how much is left, as the IETF's draft on RateLimit
//! headers has it. Each process counts for itself. The arithmetic is pure; a crate would bring nine others for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::{Caller, Who};
use super::problem::{Answer, Fault, Refusal};
use crate::ledger;
use crate::tenant::Tenant;

/// What a tenant may take of the server. 0: as much as it likes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Calls of a tenant, on average. Default 0.
    pub requests_per_second: f64,
    /// Calls of a tenant at once. Default 200.
    pub burst: u32,
    /// Calls of one key, on average. Default 0.
    pub key_requests_per_second: f64,
    /// Calls of one key at once. Default 100.
    pub key_burst: u32,
    /// Pending jobs of a tenant; one more is refused. Default 0.
    pub max_pending_jobs: u64,
    /// Unfinished uploads of a tenant; one more is refused. Default 1,000.
    pub max_unfinished_uploads: u64,
    /// Streams of a tenant at one API process; one more is refused. Default 0.
    pub max_streams: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            requests_per_second: 0.0,
            burst: 200,
            key_requests_per_second: 0.0,
            key_burst: 100,
            max_pending_jobs: 0,
            max_unfinished_uploads: 1_000,
            max_streams: 0,
        }
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// Buckets that are full again are forgotten when there are more than this.
const MOST: usize = 10_000;
/// Pending jobs are counted so often; between two counts those accepted here are added.
const COUNTED: Duration = Duration::from_secs(1);
/// When a tenant whose jobs wait may ask again.
const FULL_FOR: Duration = Duration::from_secs(5);

/// How fast a bucket fills, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    per_second: f64,
    burst: u32,
}

/// What a call found in a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    /// So many are left; it is full again after so long.
    Left { calls: u32, full_in: Duration },
    /// None: one will be there after so long.
    Empty { wait: Duration },
}

impl Rate {
    /// One call more. `full_at` is when the bucket is full again, and all that is kept of it; both are on one clock.
    fn take(self, full_at: Duration, now: Duration) -> (Duration, Found) {
        let each = span(1.0 / self.per_second);
        let room = each.saturating_mul(self.burst.max(1));
        let then = full_at.max(now).saturating_add(each);
        let owed = then.saturating_sub(now);
        if owed > room {
            return (full_at, Found::Empty { wait: owed - room });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the burst, and not negative"
        )]
        let calls = ((room - owed).as_secs_f64() * self.per_second + 1e-6) as u32;
        (then, Found::Left { calls, full_in: owed })
    }

    /// How long an empty bucket takes to be full.
    fn window(self) -> u64 {
        whole(span(f64::from(self.burst.max(1)) / self.per_second))
    }
}

/// As long as the calendar reaches, where the rate is next to nothing.
fn span(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.min(1e9))
}

/// Seconds, rounded up: who comes then is not sent away again.
fn whole(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The buckets of this process, and the last counts of what waits.
pub(super) struct Limits {
    settings: LimitSettings,
    began: Instant,
    buckets: Mutex<HashMap<String, Duration>>,
    pending: Mutex<HashMap<Tenant, (Instant, u64)>>,
    /// One counts at a time: many that come at once must not all find nothing counted.
    counting: tokio::sync::Mutex<()>,
    streams: Arc<Mutex<HashMap<Tenant, usize>>>,
}

/// A tenant's place among its streams.
#[derive(Debug)]
pub(super) struct StreamPlace {
    streams: Arc<Mutex<HashMap<Tenant, usize>>>,
    tenant: Tenant,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().expect("no panic while held");
        if let Some(open) = streams.get_mut(&self.tenant) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.tenant);
            }
        }
    }
}

impl Limits {
    pub(super) fn new(settings: LimitSettings) -> Self {
        let (buckets, pending, counting, streams) = Default::default();
        Self { settings, began: Instant::now(), buckets, pending, counting, streams }
    }

    /// A place for one more stream of a tenant.
    ///
    /// # Errors
    /// 429 when it has all that it may have at this process.
    pub(super) fn stream(&self, tenant: &Tenant) -> Answer<StreamPlace> {
        let most = self.settings.max_streams;
        let mut streams = self.streams.lock().expect("no panic while held");
        let open = streams.entry(tenant.clone()).or_default();
        if most > 0 && *open >= most {
            let detail = format!(
                "the tenant has {most} streams open, which is all it may have here (limits.max_streams); end one, or ask for the job itself"
            );
            return Err(Refusal::new(Fault::QuotaExceeded, detail).after(FULL_FOR));
        }
        *open += 1;
        Ok(StreamPlace { streams: Arc::clone(&self.streams), tenant: tenant.clone() })
    }

    /// How many unfinished uploads a tenant may have.
    pub(super) fn most_uploads(&self) -> u64 {
        match self.settings.max_unfinished_uploads {
            0 => u64::MAX,
            most => most,
        }
    }

    /// One call of this caller; the headers that tell what is left.
    ///
    /// # Errors
    /// 429 when its tenant's or its key's bucket is empty.
    pub(super) fn take(&self, caller: &Caller) -> Answer<HeaderMap> {
        let key = (caller.who != Who::Anonymous).then(|| caller.who.to_string());
        let settings = &self.settings;
        let tenant =
            (Some(format!("tenant:{}", caller.tenant)), "tenant", settings.requests_per_second, settings.burst);
        let key = (key, "key", settings.key_requests_per_second, settings.key_burst);
        let (mut policies, mut left, mut wait) = (vec![], vec![], None::<Duration>);
        // The key first: one that is used up takes nothing of what its tenant's others share.
        for (name, policy, per_second, burst) in [key, tenant] {
            let Some(name) = name.filter(|_| per_second > 0.0) else { continue };
            let rate = Rate { per_second, burst };
            policies.push(format!("\"{policy}\";q={};w={}", burst.max(1), rate.window()));
            left.push(match self.take_from(name, rate, wait.is_none()) {
                Found::Left { calls, full_in } => format!("\"{policy}\";r={calls};t={}", whole(full_in)),
                Found::Empty { wait: until } => {
                    wait = wait.max(Some(until));
                    format!("\"{policy}\";r=0;t={}", whole(until))
                }
            });
        }
        policies.reverse();
        left.reverse();
        let headers = told(&policies, &left);
        match wait {
            None => Ok(headers),
            Some(wait) => {
                let seconds = whole(wait).max(1);
                let detail = format!("the caller's share of calls is used up; the next is taken in {seconds} s");
                Err(Refusal::new(Fault::RateLimited, detail).after(Duration::from_secs(seconds)).with_headers(headers))
            }
        }
    }

    /// What a call finds in a bucket; it takes its part only if it `counts`.
    fn take_from(&self, name: String, rate: Rate, counts: bool) -> Found {
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock().expect("no panic while held");
        if buckets.len() >= MOST {
            buckets.retain(|_, full_at| *full_at > now);
        }
        let bucket = buckets.entry(name).or_default();
        let (full_at, found) = rate.take(*bucket, now);
        if counts {
            *bucket = full_at;
        }
        found
    }

    /// The last count of a tenant's pending jobs, with one more; `None` when it is to be counted anew.
    fn counted(&self, tenant: &Tenant) -> Option<u64> {
        let mut pending = self.pending.lock().expect("no panic while held");
        let (_, count) = pending.get_mut(tenant).filter(|(at, _)| at.elapsed() < COUNTED)?;
        *count += 1;
        Some(*count - 1)
    }

    fn count(&self, tenant: &Tenant, count: u64) {
        let mut pending = self.pending.lock().expect("no panic while held");
        if pending.len() >= MOST {
            pending.clear();
        }
        pending.insert(tenant.clone(), (Instant::now(), count + 1));
    }
}

fn told(policies: &[String], left: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, all) in [(POLICY, policies), (LEFT, left)] {
        if let Some(value) = (!all.is_empty()).then(|| HeaderValue::try_from(all.join(", ")).ok()).flatten() {
            headers.insert(name, value);
        }
    }
    headers
}

impl Api {
    /// Whether a tenant may have one more pending job. A repeat with an idempotency key makes none.
    ///
    /// # Errors
    /// 429 when it has all it may have.
    pub(super) async fn has_room(&self, tenant: &Tenant, key: Option<&str>) -> Answer<()> {
        let most = self.limits.settings.max_pending_jobs;
        if most == 0 || self.pending(tenant, most).await? < most {
            return Ok(());
        }
        if let Some(key) = key
            && self.ask(self.ledger.knows_key(tenant, key)).await?
        {
            return Ok(());
        }
        let detail =
            format!("the tenant has {most} pending jobs, which is all it may have; submit again when some have run");
        Err(Refusal::new(Fault::QuotaExceeded, detail).after(FULL_FOR))
    }

    async fn pending(&self, tenant: &Tenant, most: u64) -> ledger::Answer<u64> {
        if let Some(count) = self.limits.counted(tenant) {
            return Ok(count);
        }
        let _turn = self.limits.counting.lock().await;
        if let Some(count) = self.limits.counted(tenant) {
            return Ok(count);
        }
        let count = self.ask(self.ledger.count_pending(tenant, most)).await?;
        self.limits.count(tenant, count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Scopes;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let rate = Rate { per_second: 2.0, burst: 3 };
        let (mut full_at, now) = (Duration::ZERO, 100 * SECOND);
        for calls in [2, 1, 0] {
            let (then, found) = rate.take(full_at, now);
            assert!(matches!(found, Found::Left { calls: left, .. } if left == calls), "{found:?}");
            full_at = then;
        }
        let (same, empty) = rate.take(full_at, now);
        assert_eq!((same, empty), (full_at, Found::Empty { wait: SECOND / 2 }), "who is sent away takes nothing");
        assert!(matches!(rate.take(full_at, now + SECOND / 2).1, Found::Left { calls: 0, .. }));
        assert!(matches!(rate.take(full_at, now + 100 * SECOND).1, Found::Left { calls: 2, .. }), "it holds no more");
        assert_eq!(rate.window(), 2);
    }

    fn caller(tenant: &str, key: &str) -> Caller {
        Caller {
            tenant: tenant.parse().unwrap(),
            scopes: Scopes::all(),
            who: Who::Key(key.into()),
            until: None,
            origin: Default::default(),
        }
    }

    #[test]
    fn each_tenant_and_each_key_has_its_own_share_and_is_told_of_it() {
        let settings = LimitSettings {
            requests_per_second: 0.001,
            burst: 3,
            key_requests_per_second: 0.001,
            key_burst: 2,
            ..LimitSettings::default()
        };
        let limits = Limits::new(settings);
        let headers = limits.take(&caller("north", "a")).unwrap();
        assert_eq!(headers[POLICY], "\"tenant\";q=3;w=3000, \"key\";q=2;w=2000");
        assert_eq!(headers[LEFT], "\"tenant\";r=2;t=1000, \"key\";r=1;t=1000");
        limits.take(&caller("north", "a")).unwrap();
        let refused = limits.take(&caller("north", "a")).unwrap_err();
        assert_eq!(refused.fault(), Fault::RateLimited);
        // That call took none of the tenant's: another key of it has the last one. The south has all of its own.
        limits.take(&caller("north", "b")).unwrap();
        assert!(limits.take(&caller("north", "b")).is_err(), "the tenant has no more");
        limits.take(&caller("south", "c")).unwrap();
    }

    #[test]
    fn a_tenant_has_its_number_of_streams_and_no_other_has_less_for_it() {
        let limits = Limits::new(LimitSettings { max_streams: 2, ..LimitSettings::default() });
        let [north, south] = ["north", "south"].map(|name| name.parse::<Tenant>().unwrap());
        let (one, two) = (limits.stream(&north).unwrap(), limits.stream(&north).unwrap());
        let refused = limits.stream(&north).unwrap_err();
        assert_eq!(refused.fault(), Fault::QuotaExceeded);
        let other = limits.stream(&south).unwrap();
        drop(one);
        let again = limits.stream(&north).unwrap();
        drop((two, other, again));
        assert!(limits.streams.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn without_a_limit_nobody_is_counted_or_told() {
        let limits = Limits::new(LimitSettings::default());
        for _ in 0..1000 {
            assert!(limits.take(&caller("north", "a")).unwrap().is_empty());
        }
        assert!(limits.buckets.lock().unwrap().is_empty());
    }
}
