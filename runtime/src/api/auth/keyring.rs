//! The keys that were asked for lately, good and bad, so that a busy caller costs the ledger a look every few seconds. What it
//! remembers is forgotten after that, so a revoke takes effect everywhere without telling anybody. It judges no key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::clock;
use crate::keys::Scopes;
use crate::ledger::{self, ApiKey, Ledger};
use crate::tenant::Tenant;

/// More ids than this are guesses: then it forgets those that are no key, and asks again.
const MOST: usize = 10_000;
/// A key's last use is noted to the minute.
const NOTED: Duration = Duration::from_secs(60);

/// What the ledger answered, and when it was asked.
type Remembered = (Instant, Option<Arc<Known>>);

/// Keys, as the ledger had them a moment ago.
pub(in crate::api) struct Keyring {
    ledger: Arc<dyn Ledger>,
    fresh: Duration,
    known: Mutex<HashMap<String, Remembered>>,
}

/// What is remembered of a key.
pub(in crate::api) struct Known {
    pub(in crate::api) id: String,
    pub(in crate::api) tenant: Tenant,
    pub(in crate::api) scopes: Scopes,
    pub(in crate::api) hash: [u8; 32],
    good: bool,
    used: Mutex<Option<Timestamp>>,
}

impl Known {
    fn of(key: ApiKey) -> Self {
        let good = key.is_good();
        let ApiKey { id, tenant, scopes, hash, last_used_at, .. } = key;
        Self { id, tenant, scopes, hash, good, used: Mutex::new(last_used_at) }
    }

    pub(in crate::api) fn is_good(&self) -> bool {
        self.good
    }

    /// Whether its use is to be noted; says so once a minute.
    pub(in crate::api) fn is_due(&self) -> bool {
        let (mut used, now) = (self.used.lock().expect("no panic while held"), clock::now());
        let due = used.is_none_or(|used| Duration::try_from(now.duration_since(used)).is_ok_and(|ago| ago >= NOTED));
        if due {
            *used = Some(now);
        }
        due
    }
}

impl Keyring {
    pub(in crate::api) fn new(ledger: Arc<dyn Ledger>, fresh: Duration) -> Self {
        Self { ledger, fresh, known: Mutex::default() }
    }

    /// The key with this id.
    pub(in crate::api) async fn find(&self, id: &str) -> ledger::Answer<Option<Arc<Known>>> {
        self.find_within(id, self.fresh).await
    }

    /// The same for somebody who looks every `pause`: what he finds is never older than others' when he looks again.
    pub(in crate::api) async fn find_every(&self, id: &str, pause: Duration) -> ledger::Answer<Option<Arc<Known>>> {
        self.find_within(id, self.fresh.saturating_sub(pause)).await
    }

    async fn find_within(&self, id: &str, fresh: Duration) -> ledger::Answer<Option<Arc<Known>>> {
        let asked = Instant::now();
        if let Some(found) = self.remembered(id, fresh) {
            return Ok(found);
        }
        let found = self.ledger.key(id).await?.map(|key| Arc::new(Known::of(key)));
        let mut known = self.known.lock().expect("no panic while held");
        if known.len() >= MOST {
            known.retain(|_, (asked, found)| found.is_some() && asked.elapsed() < self.fresh);
        }
        if known.len() >= MOST {
            known.clear();
        }
        // From before the question: what was revoked while it was answered is not remembered longer for that.
        known.insert(id.to_owned(), (asked, found.clone()));
        Ok(found)
    }

    #[expect(clippy::option_option, reason = "not remembered, or remembered as a key that there is not")]
    fn remembered(&self, id: &str, fresh: Duration) -> Option<Option<Arc<Known>>> {
        let known = self.known.lock().expect("no panic while held");
        known.get(id).filter(|(asked, _)| asked.elapsed() < fresh).map(|(_, found)| found.clone())
    }

    /// This process need not wait for what it did itself.
    pub(in crate::api) fn forget(&self, id: &str) {
        self.known.lock().expect("no panic while held").remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Scope;
    use crate::ledger::NewKey;
    use crate::ledger::sqlite::Sqlite;

    #[tokio::test]
    async fn ten_thousand_guesses_drive_no_good_key_out_and_are_themselves_forgotten() {
        let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::simulated(Arc::new(clock::now)).unwrap());
        ledger.migrate().await.unwrap();
        let key = NewKey {
            id: "good".into(),
            tenant: Tenant::default(),
            name: "first".into(),
            scopes: [Scope::Read].into_iter().collect(),
            hash: [7; 32],
            lives: None,
        };
        ledger.add_key(&key).await.unwrap();
        let fresh = Duration::from_secs(3600);
        let ring = Keyring::new(ledger, fresh);
        assert!(ring.find("good").await.unwrap().is_some_and(|key| key.is_good()));
        for guess in 0..2 * MOST {
            assert!(ring.find(&format!("guess-{guess}")).await.unwrap().is_none());
        }
        assert!(ring.remembered("good", fresh).flatten().is_some(), "it would have to be asked for again");
        assert!(ring.known.lock().unwrap().len() <= MOST);
    }
}
