//! Every command of the built binary has a story of its form for people and one of its JSON form: a command without is a failure.
//! What a story proves is its own affair; that it is there and asks for this command is looked up in its source.

use anyhow::{Context as _, Result, bail, ensure};
use longshore_tests::house::root;

use super::longshore;

/// Where a form is told.
#[derive(Clone, Copy)]
enum Form {
    /// In this story of this file beside us.
    Told(&'static str, &'static str),
    /// There is no such form, for this reason.
    None(&'static str),
}
use Form::{None, Told};

/// A command, its form for people, and its JSON form.
const STORIES: [(&str, Form, Form); 32] = [
    ("dev", Told("servers", DEV), Told("servers", DEV)),
    ("all", Told("servers", SERVERS), Told("servers", SERVERS)),
    ("api", Told("servers", SERVERS), Told("servers", SERVERS)),
    ("worker", Told("servers", SERVERS), Told("servers", SERVERS)),
    ("migrate", Told("servers", MIGRATE), Told("servers", MIGRATE)),
    ("submit", Told("jobs", "a_payload_comes_from_a_file_or_stdin_and_names_an_upload"), Told("jobs", WHOLE)),
    ("upload", Told("jobs", UPLOAD), Told("jobs", UPLOAD)),
    ("status", Told("jobs", WHOLE), Told("jobs", WHOLE)),
    ("watch", Told("jobs", WHOLE), Told("jobs", WHOLE)),
    ("events", Told("events", EVENTS), Told("events", EVENTS)),
    ("cancel", Told("jobs", CANCEL), Told("jobs", CANCEL)),
    ("list", Told("dead_letters", LIST), Told("dead_letters", LIST)),
    ("dlq list", Told("dead_letters", DEAD), Told("dead_letters", DEAD)),
    ("dlq show", Told("dead_letters", DEAD), Told("dead_letters", DEAD)),
    ("dlq replay", Told("dead_letters", REPLAY), Told("dead_letters", REPLAY)),
    ("dlq purge", Told("dead_letters", PURGE), Told("dead_letters", PURGE)),
    ("kinds", Told("jobs", "the_kinds_are_listed"), Told("jobs", "the_kinds_are_listed")),
    ("queues", Told("fleet", QUEUES), Told("fleet", QUEUES)),
    ("workers", Told("fleet", WORKERS), Told("fleet", WORKERS)),
    ("keys create", Told("keys", KEYS), Told("keys", KEYS_IN_JSON)),
    ("keys list", Told("keys", KEYS), Told("keys", KEYS_IN_JSON)),
    ("keys rotate", Told("keys", KEYS), Told("keys", KEYS_IN_JSON)),
    ("keys revoke", Told("keys", KEYS), Told("keys", KEYS_IN_JSON)),
    ("audit", Told("keys", AUDIT), Told("keys", AUDIT)),
    ("listen", Told("listen", LISTEN), Told("listen", LISTEN_JSON)),
    ("config show", Told("fleet", SETTINGS), Told("fleet", SETTINGS)),
    ("doctor", Told("doctor", "without_servers_it_looks_at_the_machine_alone"), Told("doctor", DOCTOR)),
    ("verify", Told("verify", VERIFY), Told("verify", VERIFY)),
    ("completions", Told("fleet", "a_shell_is_given_every_command"), None("its answer is a script, for a shell")),
    ("demo", Told("demo", "the_tour_is_told_in_words_and_ends_well"), Told("demo", DEMO)),
    ("help", Told("usage", "help_and_version_are_answers"), None("clap's own, for people")),
    ("version", Told("usage", "help_and_version_are_answers"), None("a flag: one line of two words")),
];

const AUDIT: &str = "the_log_says_who_made_and_ended_a_key";
const DEV: &str = "dev_says_where_it_is_in_words_or_in_json";
const SERVERS: &str = "each_server_says_where_it_is_in_words_or_in_json";
const MIGRATE: &str = "one_process_serves_and_works_on_real_servers_and_drains";
const WHOLE: &str = "a_job_is_submitted_with_its_file_awaited_and_shown";
const UPLOAD: &str = "an_upload_says_what_to_write_into_a_payload";
const EVENTS: &str = "all_jobs_are_followed_through_a_restart_of_the_server";
const CANCEL: &str = "a_canceled_job_is_a_bad_end_for_whoever_watches_it";
const LIST: &str = "jobs_are_listed_by_state_kind_and_page";
const DEAD: &str = "dead_letters_are_listed_and_shown";
const REPLAY: &str = "dead_letters_are_replayed_by_id_and_by_kind";
const PURGE: &str = "dead_letters_are_purged_by_id_and_by_kind";
const QUEUES: &str = "queues_show_what_waits_and_who_is_there";
const WORKERS: &str = "workers_show_their_slots_and_kinds";
const LISTEN: &str = "what_came_and_whether_to_believe_it_is_told_in_words";
const LISTEN_JSON: &str = "what_came_is_told_as_json_line_by_line";
const SETTINGS: &str = "the_settings_in_effect_are_shown_with_their_givers_and_without_secrets";
const KEYS: &str = "a_key_is_made_listed_rotated_and_revoked_in_words";
const KEYS_IN_JSON: &str = "a_key_is_made_listed_rotated_and_revoked_in_json";
const DOCTOR: &str = "without_servers_it_looks_at_the_machine_alone";
const VERIFY: &str = "the_ledger_of_a_running_dev_is_verified_beside_it";
const DEMO: &str = "the_tour_is_told_in_json_from_its_first_line";

/// Every command that the binary has, by its own helps: `dlq list` and its like, not `dlq`.
async fn commands(of: &str) -> Result<Vec<String>> {
    let args: Vec<&str> = of.split_whitespace().chain(["--help"]).collect();
    let help = longshore(&args, &[], "").await?;
    ensure!(help.code == Some(0), "{help:?}");
    let mut found = vec![];
    for name in listed(&help.out) {
        let command = format!("{of} {name}").trim().to_owned();
        let below = Box::pin(commands(&command)).await?;
        found.extend(if below.is_empty() { vec![command] } else { below });
    }
    Ok(found)
}

/// The names below `Commands:`; a line that goes on is indented deeper.
fn listed(help: &str) -> Vec<&str> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = below.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// What is wrong with a story that is said to tell this form.
fn fault(command: &str, json: bool, file: &str, name: &str) -> Result<Option<String>> {
    let source = std::fs::read_to_string(root()?.join(format!("tests/it/cli/{file}.rs")))?;
    let Some(body) = body(&source, name) else { return Ok(Some(format!("{command}: no test {name} in {file}.rs"))) };
    let last = command.split_whitespace().last().context("a command has a name")?;
    let asks = [format!("\"{last}\""), format!("--{last}"), format!("Longshore::{last}(")];
    let asked = asks.iter().any(|ask| body.contains(ask.as_str()));
    let in_json = !json || body.contains("json");
    Ok((!asked || !in_json)
        .then(|| format!("{command}: {name} does not ask for it{}", if json { " in JSON" } else { "" })))
}

/// From a test's head to the brace that ends it.
fn body<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let start = source.find(&format!("fn {name}("))?;
    source[..start].trim_end().ends_with("async").then_some(())?;
    let attribute = source[..start].lines().rev().nth(1)?;
    attribute.starts_with("#[tokio::test").then_some(())?;
    source[start..].split("\n}\n").next()
}

#[tokio::test]
async fn every_command_has_a_story_of_its_form_for_people_and_of_its_json() -> Result<()> {
    let mut known: Vec<&str> = STORIES.iter().map(|(command, ..)| *command).collect();
    known.retain(|command| !matches!(*command, "help" | "version"));
    let mut there = commands("").await?;
    known.sort_unstable();
    there.sort();
    assert_eq!(there, known, "left: what the binary has; right: what has stories");
    let mut faults = vec![];
    for (command, words, json) in STORIES {
        for (form, json) in [(words, false), (json, true)] {
            match form {
                Told(file, name) => faults.extend(fault(command, json, file, name)?),
                None("") => bail!("{command}: why not?"),
                None(_) => {}
            }
        }
    }
    crate::docs::nothing_found(faults);
    Ok(())
}

#[test]
fn a_command_without_a_story_is_found() -> Result<()> {
    let told = |command, json, name| fault(command, json, "fleet", name);
    assert_eq!(told("queues", true, QUEUES)?, Option::None);
    assert!(told("queues", false, "nobody_wrote_this")?.is_some_and(|fault| fault.contains("no test")));
    assert!(told("dlq purge", false, QUEUES)?.is_some_and(|fault| fault.contains("does not ask")));
    assert!(told("completions", true, "a_shell_is_given_every_command")?.is_some_and(|fault| fault.contains("JSON")));
    let help = "Usage: x\n\nCommands:\n  dev   Everything\n        more of it\n  help  Print\n\nOptions:\n  -h";
    assert_eq!(listed(help), ["dev"]);
    Ok(())
}
