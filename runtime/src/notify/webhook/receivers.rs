//! Which receivers keep a worker waiting. One that did not answer in time would, with many deliveries to it, take all the places there
//! are, and everybody else's deliveries would wait with it. So it gets one place until it answers again, then two, four, and so on up
//! to all; what finds no place is put off, free of charge. A receiver that answers, whatever it answers, costs nobody anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use reqwest::Url;

/// The receivers that are held back are few; that many are remembered.
const MOST: usize = 10_000;

/// What this worker knows of receivers, each by scheme, host and port. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Receivers {
    places: usize,
    slow: Arc<Mutex<HashMap<String, Slow>>>,
}

#[derive(Debug)]
struct Slow {
    /// So many deliveries to it at once.
    may: usize,
    inside: usize,
}

/// A delivery on its way, or what says that it may not go now.
#[derive(Debug)]
pub(super) struct Place {
    receivers: Receivers,
    name: String,
    /// Whether it is one of the few.
    counted: bool,
}

impl Receivers {
    /// For a worker with so many places.
    pub(super) fn new(places: u32) -> Self {
        Self { places: places.try_into().unwrap_or(usize::MAX), slow: Arc::default() }
    }

    /// A place for a delivery to this address; `None`: its receiver has all that it gets.
    pub(super) fn enter(&self, url: &str) -> Option<Place> {
        let name = name(url);
        let counted = match self.slow().get_mut(&name) {
            None => false,
            Some(slow) if slow.inside < slow.may => {
                slow.inside += 1;
                true
            }
            Some(_) => return None,
        };
        Some(Place { receivers: self.clone(), name, counted })
    }

    fn slow(&self) -> MutexGuard<'_, HashMap<String, Slow>> {
        self.slow.lock().expect("nothing panics while it holds this lock")
    }
}

impl Place {
    /// The receiver did not answer in time.
    pub(super) fn was_late(&self) {
        let mut slow = self.receivers.slow();
        if slow.len() >= MOST && !slow.contains_key(&self.name) {
            slow.retain(|_, slow| slow.inside > 0);
        }
        slow.entry(self.name.clone()).or_insert(Slow { may: 1, inside: 0 }).may = 1;
    }

    /// The receiver answered.
    pub(super) fn answered(&self) {
        let mut slow = self.receivers.slow();
        let Some(receiver) = slow.get_mut(&self.name) else { return };
        receiver.may = receiver.may.saturating_mul(2);
        if receiver.may >= self.receivers.places {
            slow.remove(&self.name);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slow) = self.receivers.slow().get_mut(&self.name).filter(|_| self.counted) {
            slow.inside = slow.inside.saturating_sub(1);
        }
    }
}

/// What has no such parts is refused by whoever sends it.
fn name(url: &str) -> String {
    let origin = |url: Url| url.origin().ascii_serialization();
    Url::parse(url).map_or_else(|_| url.to_owned(), origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: &str = "https://silent.example/hook?a=1";

    fn places(receivers: &Receivers, url: &str) -> Vec<Place> {
        std::iter::from_fn(|| receivers.enter(url)).take(100).collect()
    }

    #[test]
    fn a_receiver_that_was_late_has_one_place_and_the_others_all() {
        let receivers = Receivers::new(8);
        receivers.enter(SILENT).unwrap().was_late();
        let probe =
            receivers.enter("https://silent.example:443/another").expect("somebody has to see whether it answers");
        assert!(receivers.enter(SILENT).is_none());
        assert_eq!(places(&receivers, "https://well.example/hook").len(), 100);
        drop(probe);
        assert!(receivers.enter(SILENT).is_some());
    }

    #[test]
    fn a_receiver_that_answers_again_is_given_twice_as_much_each_time() {
        let receivers = Receivers::new(8);
        receivers.enter(SILENT).unwrap().was_late();
        for many in [1, 2, 4] {
            let all = places(&receivers, SILENT);
            assert_eq!(all.len(), many);
            all[0].answered();
        }
        assert_eq!(places(&receivers, SILENT).len(), 100, "it is one like all others");
        assert!(receivers.slow().is_empty());
    }

    #[test]
    fn those_that_are_remembered_are_bounded() {
        let receivers = Receivers::new(8);
        for n in 0..MOST + 10 {
            receivers.enter(&format!("https://{n}.example")).unwrap().was_late();
        }
        assert!(receivers.slow().len() <= MOST);
    }
}
