//! The settings as an operator meets them: what wins over what, and what is said about mistakes.
//! No process is started here. Read `config.default.toml` beside it.

mod defaults;
mod mistakes;

use std::io::Write;
use std::time::Duration;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::load(&Sources { environment: variables(pairs), ..Sources::default() })
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_the_file_and_the_file_over_the_default() {
    let file = file("[worker]\nslots = 3\nlease = 20\ndrain_grace = 1.5\n[database]\nconnections = 4\n");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        environment: variables(&[("LONGSHORE_WORKER_SLOTS", "5"), ("LONGSHORE_WORKER_LEASE", "30")]),
        sets: vec!["worker.lease=40".into()],
        flags: vec![Given::new("worker.slots", 7, "--slots")],
    };
    let config = Config::load(&sources).unwrap();
    let worker = &config.worker.limits;
    assert_eq!((worker.slots, worker.lease.as_secs()), (7, 40));
    assert_eq!((worker.drain_grace, config.database.connections), (Duration::from_millis(1500), 4));
    assert_eq!(worker.prefetch_extra, 2);
}

#[test]
fn variables_are_read_as_what_their_setting_is() {
    let config = environment(&[
        ("LONGSHORE_AMQP_URL", "amqp://one, amqp://two"),
        ("LONGSHORE_DATABASE_URL", "postgres://db"),
        ("LONGSHORE_STORAGE_ALLOW_HTTP", "true"),
        ("LONGSHORE_STORAGE_HTTP_PORTS", "8080,8443"),
        ("LONGSHORE_STORAGE_ALLOWED_ROOTS", "/srv/in,/srv/more"),
        ("LONGSHORE_TRANSCODE_LIMITS_MAX_MEMORY_BYTES", "0"),
        ("LONGSHORE_LISTEN", "[::1]:80"),
        ("LONGSHORE_CONFIG", "read by the command line"),
        ("PATH", "no business of ours"),
    ])
    .unwrap();
    assert_eq!(config.broker.urls, ["amqp://one", "amqp://two"]);
    assert_eq!(config.database.url.as_deref(), Some("postgres://db"));
    assert!(config.storage.allow_http);
    assert_eq!(config.storage.http_ports, [8080, 8443]);
    assert_eq!(config.storage.allowed_roots, [PathBuf::from("/srv/in"), "/srv/more".into()]);
    assert_eq!(config.transcode.limits.max_memory_bytes, None);
    assert_eq!(config.listen, "[::1]:80".parse().unwrap());
}

#[test]
fn an_empty_text_is_a_setting_that_is_not_set() {
    let config = environment(&[("LONGSHORE_DATABASE_URL", ""), ("LONGSHORE_AMQP_URL", "")]).unwrap();
    assert_eq!((config.database.url, config.broker.urls), (None, vec![]));
}

#[test]
fn storage_follows_the_data_directory_unless_it_is_set() {
    let storage = |pairs: &[(&str, &str)]| environment(pairs).unwrap().storage.location;
    assert_eq!(storage(&[("LONGSHORE_DATA_DIR", "/var/lib/longshore")]), "/var/lib/longshore/storage");
    let both = [("LONGSHORE_DATA_DIR", "/var/lib/longshore"), ("LONGSHORE_STORAGE_LOCATION", "s3://bucket/x")];
    assert_eq!(storage(&both), "s3://bucket/x");
}
