//! The command line as it is parsed: the fixed contract, and what is refused. No server is asked here.

use std::sync::Arc;

use clap::CommandFactory;
use clap::error::ErrorKind;
use longshore_sdk::executor::BoxedRun;
use longshore_sdk::{AnyExecutor, Context, Policy};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_contract_parses() {
    let lines = [
        "longshore dev --listen 127.0.0.1:8080 --data-dir data",
        "longshore api --listen 0.0.0.0:80 --database-url postgres://db --amqp-url amqp://one,amqp://two",
        "longshore worker --kinds image.resize,csv.import --slots 4 --database-url postgres://db --amqp-url amqp://one",
        "longshore worker --listen 127.0.0.1:0 --log json --set worker.lease=30 --set worker.drain_grace=5",
        "longshore migrate --database-url postgres://db",
        "longshore submit image.resize {} --file source=photo.jpg --wait --delay 10s --priority high --json",
        "longshore submit a.b @payload.json --max-attempts 2 --timeout 90s --metadata {\"a\":1} --idempotency-key k",
        "longshore submit a.b - --run-at 2030-01-31T08:00:00Z --server http://host:1",
        "longshore upload photo.jpg --json",
        "longshore status 01890a5d-ac96-774b-bcce-b302099a8057",
        "longshore watch 01890a5d-ac96-774b-bcce-b302099a8057 --json",
        "longshore cancel 01890a5d-ac96-774b-bcce-b302099a8057",
        "longshore list --state failed --kind image.resize --limit 10 --json",
        "longshore dlq list --before 01890a5d-ac96-774b-bcce-b302099a8057",
        "longshore dlq show 01890a5d-ac96-774b-bcce-b302099a8057",
        "longshore dlq replay --kind image.resize --limit 5",
        "longshore dlq purge 01890a5d-ac96-774b-bcce-b302099a8057 01890a5d-ac96-774b-bcce-b302099a8058 --json",
        "longshore kinds",
        "longshore queues --json",
        "longshore workers --server http://host:1",
        "longshore all --listen 127.0.0.1:0 --database-url postgres://db --amqp-url amqp://one --slots 2 --kinds a.b",
        "longshore config show --changed --set worker.lease=30 --json",
        "longshore completions zsh",
        "longshore doctor --database-url postgres://db --amqp-url amqp://one --kinds a.b --json",
        "longshore migrate --json",
        "longshore demo --data-dir data --keep",
        "longshore listen --port 0 --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --json",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_is_refused_naming_the_argument() {
    let cases = [
        ("longshore submit", "<KIND>"),
        ("longshore submit a.b --delay soon", "--delay"),
        ("longshore submit a.b --delay 1s --run-at 2030-01-31T08:00:00Z", "--run-at"),
        ("longshore submit a.b --priority urgent", "--priority"),
        ("longshore submit a.b --file photo.jpg", "FIELD=PATH"),
        ("longshore submit a.b --metadata [1]", "--metadata"),
        ("longshore status 17", "<ID>"),
        ("longshore worker --slots many", "--slots"),
        ("longshore dev --log xml", "--log"),
        ("longshore dev --databse-url postgres://db", "--databse-url"),
        ("longshore sbumit a.b", "submit"),
        ("longshore completions tcsh", "zsh"),
        ("longshore config", "show"),
        ("longshore listen --secret hush", "--secret"),
    ];
    for (line, named) in cases {
        let refused = parse(line).err().unwrap_or_else(|| panic!("{line} is wrong"));
        assert!(refused.to_string().contains(named), "{line}: {refused}");
        assert_eq!(refused.exit_code(), 2, "{line}");
    }
}

#[test]
fn help_is_no_mistake() {
    let told = parse("longshore --help").unwrap_err();
    assert_eq!((told.kind(), told.exit_code()), (ErrorKind::DisplayHelp, 0));
}

#[test]
fn each_ending_has_its_code() {
    let failure = Ending::Failure(anyhow::Error::msg("no"));
    assert_eq!([Ending::Usage(String::new()).code(), failure.code(), Ending::Bad.code()], [2, 1, 1]);
}

struct Named(&'static str);

impl AnyExecutor for Named {
    fn kind(&self) -> &str {
        self.0
    }

    fn policy(&self) -> Policy {
        Policy::default()
    }

    fn payload_schema(&self) -> Value {
        Value::Bool(true)
    }

    fn output_schema(&self) -> Value {
        Value::Bool(true)
    }

    fn run_json<'a>(&'a self, _: &'a RawValue, _: &'a Context) -> BoxedRun<'a> {
        unreachable!("nothing is run here")
    }
}

#[test]
fn a_kind_that_this_binary_does_not_run_is_refused_with_a_guess() {
    let all: Executors = vec![Arc::new(Named("demo.greet")), Arc::new(Named("demo.wave"))];
    let refused = |kinds: &[&str]| {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        serve::refuse_unknown(&kinds, &all).err()
    };
    assert!(refused(&[]).is_none() && refused(&["demo.wave", "demo.greet"]).is_none());
    let Some(Ending::Usage(told)) = refused(&["demo.wave", "demo.great"]) else { panic!("there is no such kind") };
    assert!(told.contains("did you mean demo.greet?") && told.contains("demo.greet, demo.wave"), "{told}");
}
