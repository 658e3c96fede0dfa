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

#[test]
fn the_wait_that_a_receiver_asks_for_wins_within_a_second_and_a_day() {
    let settings = WebhookSettings::default();
    let asked = |seconds| settings.wait(3, Some(Duration::from_secs(seconds)), 0.5).as_secs();
    assert_eq!([0, 1, 120, 86_400, 1_000_000].map(asked), [1, 1, 120, 86_400, 86_400]);
}
