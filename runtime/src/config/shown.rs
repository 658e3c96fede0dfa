//! The settings as a process would use them, each with where it comes from, for `longshore config show` and whoever asks why.
//! It shows no secret: passwords in addresses and settings named like secrets are blotted out. Read [`super::layers`] for the laying.

use serde::Serialize;
use toml::{Table, Value};

use super::layers::{self, Mistakes, Sources};

/// What stands for a secret.
const BLOT: &str = "***";

/// Where a value comes from, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// The settings file.
    File,
    /// A variable.
    Env,
    /// The command line.
    Flag,
}

/// One setting in effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its dotted key.
    pub key: String,
    /// Its value, without secrets.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
    /// The very variable, flag or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// Every setting, in the order of `config.default.toml`'s keys.
///
/// # Errors
/// [`Mistakes`]: every one there is, as [`super::Config::load`].
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, Mistakes> {
    let laid = layers::lay(sources)?;
    let resolved = Value::try_from(laid.config.clone().resolved()).expect("a config is a table");
    let resolved = resolved.as_table().cloned().unwrap_or_default();
    let setting = |leaf: layers::Leaf| {
        // The last one given wins; what TOML has no word for is the default's empty text or 0.
        let given = laid.given.iter().rev().find(|given| given.key == leaf.key);
        let value = find(&resolved, &leaf.key).unwrap_or(leaf.default);
        let (origin, place) =
            given.map_or((Origin::Default, None), |given| (given.from, Some(given.place().to_owned())));
        Setting { value: blotted(&leaf.key, value), key: leaf.key, origin, place }
    };
    Ok(layers::leaves(&layers::defaults()).into_iter().map(setting).collect())
}

fn find(table: &Table, key: &str) -> Option<Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key).cloned(),
    }
}

/// A value that may be shown to anybody.
fn blotted(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::String(_) if is_secret(key) => Value::String(BLOT.to_owned()),
        Value::String(text) => Value::String(without_password(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| blotted(key, item)).collect()),
        other => other,
    }
}

fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    name.ends_with("_key")
        || name.ends_with("_keys")
        || ["secret", "password", "token"].iter().any(|word| name.contains(word))
}

/// An address without its password: between the user's colon and the host's `@`, or behind `password=`.
fn without_password(text: &str) -> String {
    let text = match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_userinfo(rest)),
        None => text.to_owned(),
    };
    let Some(at) = text.to_ascii_lowercase().find("password=") else { return text };
    let (before, rest) = text.split_at(at + "password=".len());
    // A value in quotes may hold blanks: all of the rest goes rather than a part of a password stays.
    let end = if rest.starts_with('\'') { rest.len() } else { rest.find(['&', ' ']).unwrap_or(rest.len()) };
    format!("{before}{BLOT}{}", &rest[end..])
}

fn without_userinfo(rest: &str) -> String {
    // The last `@` before the path: a password that was not escaped may hold one itself.
    let authority = rest.find(['/', '?']).map_or(rest, |end| &rest[..end]);
    let at = authority.rfind('@').or_else(|| rest.rfind('@'));
    let Some(at) = at else { return rest.to_owned() };
    match rest[..at].split_once(':') {
        Some((user, _)) => format!("{user}:{BLOT}{}", &rest[at..]),
        None => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn shown(sources: &Sources, key: &str) -> Setting {
        settings(sources).unwrap().into_iter().find(|setting| setting.key == key).unwrap()
    }

    #[test]
    fn each_setting_says_who_set_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[worker]\nlease = 20\nslots = 3\n").unwrap();
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![("LONGSHORE_WORKER_SLOTS".into(), "5".into())],
            sets: vec!["api.max_wait=7".into()],
            flags: vec![Given::new("listen", "127.0.0.1:1", "--listen")],
        };
        let said = |key: &str| {
            let setting = shown(&sources, key);
            (setting.origin, setting.place.unwrap_or_default())
        };
        assert_eq!(said("worker.lease"), (Origin::File, file.path().display().to_string()));
        assert_eq!(said("worker.slots"), (Origin::Env, "LONGSHORE_WORKER_SLOTS".into()));
        assert_eq!(said("api.max_wait"), (Origin::Flag, "--set api.max_wait".into()));
        assert_eq!(said("listen"), (Origin::Flag, "--listen".into()));
        assert_eq!(said("database.connections"), (Origin::Default, String::new()));
        assert_eq!(shown(&sources, "worker.slots").value, Value::Integer(5));
    }

    #[test]
    fn what_follows_from_the_machine_is_shown_as_it_is_used() {
        let sources = Sources { sets: vec!["data_dir=/srv".into()], ..Sources::default() };
        assert_eq!(shown(&sources, "storage.location").value, Value::from("/srv/storage"));
        assert!(shown(&sources, "worker.slots").value.as_integer().is_some_and(|slots| slots >= 2));
        assert_eq!(shown(&sources, "database.url").value, Value::from(""));
    }

    #[test]
    fn every_setting_is_shown_and_no_password() {
        let sets = [
            "database.url=postgres://ann:hu@sh@db/l?sslmode=off",
            "broker.urls=amqp://bob:hush@one,amqp://two",
            "csv_import.database_url=host=db user=ann password=hush",
        ];
        let sources = Sources { sets: sets.map(str::to_owned).to_vec(), ..Sources::default() };
        let all = settings(&sources).unwrap();
        assert_eq!(all.len(), layers::leaves(&layers::defaults()).len());
        assert!(!format!("{all:?}").contains("sh@") && !format!("{all:?}").contains("hush"), "{all:?}");
        assert_eq!(shown(&sources, "database.url").value, Value::from("postgres://ann:***@db/l?sslmode=off"));
    }

    #[test]
    fn a_password_is_blotted_out_wherever_it_stands() {
        let cases = [
            ("postgres://ann@db/l", "postgres://ann@db/l"),
            ("postgres://ann:a/b@db/l", "postgres://ann:***@db/l"),
            ("postgres://db/l?password=hush&a=b", "postgres://db/l?password=***&a=b"),
            ("host=db password='a b' user=x", "host=db password=***"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ];
        for (text, told) in cases {
            assert_eq!(without_password(text), told);
        }
        assert_eq!(blotted("webhooks.signing_secret", "whsec".into()), Value::from(BLOT));
        assert_eq!(blotted("webhooks.signing_secret", "".into()), Value::from(""));
    }
}
