//! `config.default.toml` is the documentation; these read it, so that it stays true.

use toml::Value;

use crate::config::layers::{defaults, leaves};
use crate::config::*;

#[test]
fn the_documented_defaults_are_the_defaults() {
    assert_eq!(Config::load(&Sources::default()).unwrap(), Config::default());
}

/// A setting that may be left out of the file would have its default in two places.
#[test]
fn the_documented_defaults_name_every_setting() {
    let documented: Vec<String> = leaves(&defaults()).into_iter().map(|leaf| leaf.key).collect();
    let config = Config {
        database: DatabaseConfig { url: Some("set".into()), ..Config::default().database },
        csv_import: CsvImportConfig { database_url: Some("set".into()), ..Config::default().csv_import },
        worker: WorkerConfig { listen: Some(([127, 0, 0, 1], 1).into()), ..Config::default().worker },
        ..Config::default()
    };
    let Value::Table(table) = Value::try_from(config).unwrap() else { panic!("a config is a table") };
    let mut settings: Vec<String> = leaves(&table).into_iter().map(|leaf| leaf.key).collect();
    settings.sort();
    let mut sorted = documented.clone();
    sorted.sort();
    assert_eq!(sorted, settings);
}

#[test]
fn every_setting_has_a_comment_above_it_or_above_its_group() {
    let bare = DEFAULT_TOML.split("\n\n").skip(1).filter(|block| {
        let first = block.lines().find(|line| !line.starts_with('['));
        first.is_some_and(|line| !line.starts_with('#'))
    });
    assert_eq!(bare.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn no_two_settings_share_a_variable() {
    let mut names: Vec<String> =
        leaves(&defaults()).iter().map(|leaf| crate::config::environment::variable(&leaf.key)).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}
