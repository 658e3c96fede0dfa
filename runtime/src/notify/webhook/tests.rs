//! When a delivery is tried again. How it is sent is told by the stories, to real receivers.

use super::*;

fn seconds(settings: &WebhookSettings, luck: f64) -> Vec<u64> {
    let waits = 0..u32::try_from(settings.schedule.len()).unwrap();
    waits.map(|failed| settings.wait(failed, None, luck).as_secs()).collect()
}

#[test]
fn ten_tries_take_three_days() {
    let settings = WebhookSettings::default();
    assert_eq!(settings.schedule.len() + 1, 10);
    assert_eq!(seconds(&settings, 0.5), settings.schedule);
    let total: u64 = settings.schedule.iter().sum();
    assert!((72..80).contains(&(total / 3600)), "{total}");
}

#[test]
fn each_wait_is_spread_by_a_tenth_either_way() {
    let settings = WebhookSettings { schedule: vec![100, 1000], ..WebhookSettings::default() };
    assert_eq!(seconds(&settings, 0.0), [90, 900]);
    assert_eq!(seconds(&settings, 1.0), [110, 1100]);
    // Past its end the last wait goes on; an empty one has none.
    assert_eq!(settings.wait(7, None, 0.5), Duration::from_secs(1000));
    assert_eq!(WebhookSettings { schedule: vec![], ..settings }.wait(0, None, 0.5), Duration::ZERO);
}

#[tokio::test]
async fn a_delivery_is_tried_once_and_after_each_wait_of_its_schedule() {
    let home = tempfile::tempdir().unwrap();
    let ledger = Arc::new(crate::ledger::sqlite::Sqlite::open(home.path().join("ledger.db")).unwrap());
    for waits in [vec![], vec![7], vec![1, 60, 5], WebhookSettings::default().schedule] {
        let settings = WebhookSettings { schedule: waits.clone(), ..WebhookSettings::default() };
        let messenger = Messenger::new(ledger.clone(), settings.clone(), Arc::new(|| 0.5)).unwrap();
        let tries = messenger.policy().max_attempts;
        assert_eq!(usize::try_from(tries).unwrap(), waits.len() + 1);
        let last: Vec<u32> = (0..tries + 2).filter(|failed| settings.is_last(*failed)).collect();
        assert_eq!(last.first(), Some(&(tries - 1)), "and the last is known as such");
    }
}

#[test]
fn a_receiver_is_given_up_when_it_has_failed_for_as_long_as_is_borne_and_not_before() {
    let settings = WebhookSettings { disable_after: Duration::from_secs(60), ..WebhookSettings::default() };
    let at = |second| Timestamp::from_second(second).unwrap();
    let after = |seconds: i64| settings.gives_up(at(1000), at(1000 + seconds));
    assert_eq!([0, 59, 60, 100_000].map(after), [false, false, true, true]);
    assert!(!after(-5), "a clock that went back has shown no failure of its own");
    let never = WebhookSettings { disable_after: Duration::ZERO, ..settings };
    assert!(!never.gives_up(at(0), at(1_000_000_000)));
    assert_eq!(WebhookSettings::default().disable_after.as_secs(), 432_000);
}

#[test]
fn what_is_put_off_waits_longer_each_time_up_to_a_bound() {
    let settings = WebhookSettings { timeout: Duration::from_secs(10), ..WebhookSettings::default() };
    let waits = [0, 1, 2, 5, 6, u32::MAX].map(|times| settings.put_off(times, 0.5).as_secs());
    assert_eq!(waits, [10, 20, 40, 320, 320, 320]);
    assert_eq!([0.0, 1.0].map(|luck| settings.put_off(0, luck).as_millis()), [7500, 12500], "not all at one moment");
}

#[test]
fn the_wait_that_a_receiver_asks_for_wins_within_a_second_and_a_day() {
    let settings = WebhookSettings::default();
    let asked = |seconds| settings.wait(3, Some(Duration::from_secs(seconds)), 0.5).as_secs();
    assert_eq!([0, 1, 120, 86_400, 1_000_000].map(asked), [1, 1, 120, 86_400, 86_400]);
}
