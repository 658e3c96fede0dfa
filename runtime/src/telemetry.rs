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
    let filter = EnvFilter::try_new(directives).with_context(|| format!("{place} names no log level"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_wins_over_the_settings_unless_it_is_empty() {
        assert_eq!(directives(Some("debug".into()), "info"), ("debug".into(), "RUST_LOG"));
        assert_eq!(directives(Some(" ".into()), "info"), ("info".into(), "log.level"));
        assert_eq!(directives(None, "warn"), ("warn".into(), "log.level"));
    }
}
