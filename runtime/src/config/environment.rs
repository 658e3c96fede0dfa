//! `LONGSHORE_*` as settings: `LONGSHORE_WORKER_SLOTS` is `worker.slots`. A variable nobody knows is refused with a guess,
//! for a limit that was mistyped would silently stay at its default. Read [`super::layers`] for what lies above and below.

use toml::{Table, Value};

use super::guess::guess;
use super::layers::{Given, Leaf};
use super::otel;

const PREFIX: &str = "LONGSHORE_";

/// Variables with a short name of their own.
const SHORT: [(&str, &str); 1] = [("LONGSHORE_AMQP_URL", "broker.urls")];

/// Variables that are no settings: read by the command line, and by the tests to find the binary.
const OTHERS: [&str; 4] = ["LONGSHORE_CONFIG", "LONGSHORE_SERVER", "LONGSHORE_API_KEY", "LONGSHORE_BIN"];

/// The settings among the variables, and the mistakes.
pub(super) fn given(variables: &[(String, String)], leaves: &[Leaf]) -> (Vec<Given>, Vec<String>) {
    // Below ours, which say the same in this program's own words.
    let (mut given, mut mistakes) = (otel::given(variables), Vec::new());
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match leaf(name, leaves) {
            Some(leaf) => given.push(Given::by_variable(&leaf.key, read(value, &leaf.default), name)),
            None if OTHERS.contains(&name.as_str()) || is_service_link(name, value) => {}
            None => mistakes.push(unknown(name, leaves)),
        }
    }
    (given, mistakes)
}

/// A text as a value of the kind that the default has. One that cannot be read stays a text, and is refused as such.
pub(super) fn read(text: &str, default: &Value) -> Value {
    let number = || text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float));
    match default {
        Value::Integer(_) | Value::Float(_) => number().unwrap_or_else(|_| text.into()),
        Value::Boolean(_) => text.parse().map(Value::Boolean).unwrap_or_else(|_| text.into()),
        Value::Array(items) => {
            let item = items.first().cloned().unwrap_or_else(|| Value::String(String::new()));
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| read(part, &item)).collect())
        }
        _ => text.into(),
    }
}

/// The variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn leaf<'a>(name: &str, leaves: &'a [Leaf]) -> Option<&'a Leaf> {
    let short = SHORT.iter().find(|(short, _)| *short == name).map(|(_, key)| *key);
    leaves.iter().find(|leaf| Some(leaf.key.as_str()) == short || variable(&leaf.key) == name)
}

fn unknown(name: &str, leaves: &[Leaf]) -> String {
    // The prefix they share would make any two names look alike.
    let short = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let settings = leaves.iter().map(|leaf| short(&variable(&leaf.key)));
    let known: Vec<String> = settings.chain(SHORT.map(|(name, _)| short(name))).chain(OTHERS.map(short)).collect();
    match guess(&short(name), known.iter().map(String::as_str)) {
        Some(meant) => format!("{name}: no such setting; did you mean {PREFIX}{meant}?"),
        None => format!("{name}: no such setting; unset it, or see config.default.toml for those there are"),
    }
}

/// Kubernetes puts `LONGSHORE_API_SERVICE_HOST` and its like into every pod beside a service named `longshore-api`.
fn is_service_link(name: &str, value: &str) -> bool {
    let port = |value: &str| ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let of_port = |part: &str| name.contains(part) && name.contains("_PORT_");
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && port(value))
        || ["_TCP", "_UDP", "_SCTP"].into_iter().any(of_port)
}

/// The default of a key, if there is such a key.
pub(super) fn default_of<'a>(defaults: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = defaults.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table()?.get(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_adds_for_a_service_is_no_setting_of_ours() {
        let links = [
            ("LONGSHORE_API_SERVICE_HOST", "10.0.0.7"),
            ("LONGSHORE_API_SERVICE_PORT_HTTP", "80"),
            ("LONGSHORE_PORT", "tcp://10.0.0.7:80"),
            ("LONGSHORE_PORT_80_TCP_ADDR", "10.0.0.7"),
        ];
        assert!(links.iter().all(|(name, value)| is_service_link(name, value)));
        assert!(!is_service_link("LONGSHORE_PORT", "7070"), "somebody means a setting");
        assert!(!is_service_link("LONGSHORE_STORAGE_HTTP_PORTS", "80"));
    }
}
