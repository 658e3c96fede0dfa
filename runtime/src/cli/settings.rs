//! `config show`: every setting in effect and who set it, as text that reads like a settings file, or as JSON.
//! It takes the flags of the servers, so that what is shown is what they would use. It opens nothing and shows no secret.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::serve::ServerFlags;
use super::{Done, Ending, jobs, tell};
use crate::config::{self, Origin, Setting};

/// `longshore config`
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every setting in effect, and who set it: default, file, env or flag
    Show(Show),
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    flags: ServerFlags,
    /// Only what is not the default
    #[arg(long)]
    changed: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Settings {
    settings: Vec<Setting>,
}

impl Config {
    pub(super) fn run(self) -> Done {
        let ConfigCommand::Show(show) = self.command;
        let settings = config::settings(&show.flags.sources());
        let mut settings = settings.map_err(|mistakes| Ending::Usage(mistakes.to_string()))?;
        settings.retain(|setting| !show.changed || setting.origin != Origin::Default);
        Ok(tell(&if show.json { jobs::json(&Settings { settings })? } else { text(&settings) })?)
    }
}

/// One setting a line, with its giver behind it.
fn text(settings: &[Setting]) -> String {
    let left: Vec<String> = settings.iter().map(|setting| format!("{} = {}", setting.key, setting.value)).collect();
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(WIDEST);
    let lines = left.iter().zip(settings).map(|(line, setting)| format!("{line:width$}  # {}", giver(setting)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A longer value pushes its own giver to the right, not everybody's.
const WIDEST: usize = 60;

fn giver(setting: &Setting) -> String {
    let layer = match setting.origin {
        Origin::Default => "default",
        Origin::File => "file",
        Origin::Env => "env",
        Origin::Flag => "flag",
    };
    setting.place.as_ref().map_or_else(|| layer.to_owned(), |place| format!("{layer} {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_reads_like_the_file_with_its_giver_behind() {
        let setting = |key: &str, value: toml::Value, origin, place: Option<&str>| Setting {
            key: key.into(),
            value,
            origin,
            place: place.map(str::to_owned),
        };
        let all = [
            setting("listen", "127.0.0.1:1".into(), Origin::Flag, Some("--listen")),
            setting("worker.slots", 4.into(), Origin::Default, None),
        ];
        assert_eq!(text(&all), "listen = \"127.0.0.1:1\"  # flag --listen\nworker.slots = 4        # default");
    }
}
