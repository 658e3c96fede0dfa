//! Logs: text on stderr for people, one JSON object a line for machines. stdout is for answers and stays free of logs.
//! It opens no network connection and writes no file. Read `config.default.toml`, section `log`, for its settings.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Starts logging as `log` says, where `RUST_LOG` does not say otherwise. Once per process.
///
/// # Errors
/// Directives that cannot be read, or a program that logs already.
pub fn init(log: &LogConfig) -> anyhow::Result<()> {
    let (directives, place) = directives(std::env::var("RUST_LOG").ok(), &log.level);
    let filter =
        EnvFilter::try_new(without_secrets(&directives)).with_context(|| format!("{place} names no log level"))?;
    let to_stderr = builder(filter);
    let started = match log.format {
        LogFormat::Text => to_stderr.finish().try_init(),
        LogFormat::Json => to_stderr.json().flatten_event(true).finish().try_init(),
    };
    started.context("logging has already been started")?;
    std::panic::set_hook(Box::new(told));
    Ok(())
}

/// A panic as a line of the log: within the span it happened in, which says of which job, and as JSON where all lines are.
fn told(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload_as_str().unwrap_or("with no text");
    let thread = std::thread::current();
    tracing::error!(thread = thread.name(), place, panic = text, "a panic");
}

type Builder = SubscriberBuilder<DefaultFields, Format, EnvFilter, fn() -> std::io::Stderr>;

fn builder(filter: EnvFilter) -> Builder {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let writer: fn() -> std::io::Stderr = stderr;
    // A log that nobody reads any more must not end the server: told about it on the same stderr, a panic would panic again.
    let quiet = tracing_subscriber::fmt().log_internal_errors(false);
    quiet.with_env_filter(filter).with_ansi(colours).with_writer(writer)
}

/// What to log, and who says so.
fn directives(rust_log: Option<String>, level: &str) -> (String, &'static str) {
    match rust_log.filter(|directives| !directives.trim().is_empty()) {
        Some(directives) => (directives, "RUST_LOG"),
        None => (level.to_owned(), "log.level"),
    }
}

/// Libraries that write what they carry into the log once it is asked for everything: parameters of statements (secrets of webhooks,
/// payloads), frames of AMQP, handshakes.
const TALKATIVE: [&str; 4] = ["tokio_postgres", "lapin", "amq_protocol", "rustls"];

/// The directives, by which a library that tells secrets is heard below `info` only if it is called by its name: of two that
/// name the same the later wins.
fn without_secrets(directives: &str) -> String {
    let all = |directive: &str| ["debug", "trace"].iter().any(|level| directive.trim().eq_ignore_ascii_case(level));
    if !directives.split(',').any(all) {
        return directives.to_owned();
    }
    let quiet: Vec<String> = TALKATIVE.iter().map(|library| format!("{library}=info")).collect();
    format!("{},{directives}", quiet.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_tell_secrets_are_heard_below_info_only_by_name() {
        for plain in ["info", "warn,longshore_runtime=trace", "tokio_postgres=debug"] {
            assert_eq!(without_secrets(plain), plain);
        }
        assert_eq!(without_secrets("TRACE"), "tokio_postgres=info,lapin=info,amq_protocol=info,rustls=info,TRACE");
        let named = without_secrets("lapin=trace, debug");
        assert!(named.ends_with("lapin=trace, debug") && EnvFilter::try_new(&named).is_ok(), "{named}");
    }

    #[test]
    fn rust_log_wins_over_the_settings_unless_it_is_empty() {
        assert_eq!(directives(Some("debug".into()), "info"), ("debug".into(), "RUST_LOG"));
        assert_eq!(directives(Some(" ".into()), "info"), ("info".into(), "log.level"));
        assert_eq!(directives(None, "warn"), ("warn".into(), "log.level"));
    }
}
