//! Every command and flag of `longshore` that a page names is one the program's own help lists, and every target of make is in
//! the Makefile. Whether a command does what the page says is seen in `sessions.rs`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use longshore_tests::house;

use super::nothing_found;
use super::page::Page;
use crate::cli::longshore;

/// Each command with its flags.
type Help = BTreeMap<String, BTreeSet<String>>;

/// A command line ends here.
const ENDS: [&str; 6] = ["|", "||", "&", "&&", ";", "#"];

/// The commands that a help lists.
fn listed(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help")
}

async fn help_of(command: &[&str]) -> Result<String> {
    let said = longshore(&[command, &["--help"]].concat(), &[], "").await?;
    ensure!(said.code == Some(0), "{command:?} --help: {said:?}");
    Ok(said.out)
}

async fn help() -> Result<Help> {
    let mut help = Help::new();
    for name in listed(&help_of(&[]).await?) {
        let mut said = help_of(&[name]).await?;
        // One that has commands of its own has their flags, too.
        for below in listed(&said.clone()) {
            said += &help_of(&[name, below]).await?;
        }
        help.insert(name.to_owned(), flags(&said).map(str::to_owned).collect());
    }
    ensure!(help.len() > 8, "the help was not understood: {help:?}");
    Ok(help)
}

/// What is wrong with one line of code.
fn faults(code: &str, help: &Help) -> Vec<String> {
    let words: Vec<&str> = code.split([' ', '(', ')']).take_while(|word| *word != "#").collect();
    let said = words.iter().enumerate().filter(|(_, word)| **word == "longshore");
    let mut faults: Vec<String> = said.flat_map(|(at, _)| faults_of_command(&words[at + 1..], help)).collect();
    if code.starts_with("--") {
        let known = |flag: &&str| help.values().any(|flags| flags.contains(*flag));
        faults.extend(flags(code).filter(|flag| !known(flag)).map(|flag| format!("no command has {flag}")));
    }
    faults
}

fn faults_of_command(rest: &[&str], help: &Help) -> Vec<String> {
    let Some(name) = rest.first().filter(|name| !ENDS.contains(name)) else { return vec![] };
    let Some(known) = help.get(*name) else { return vec![format!("there is no `longshore {name}`")] };
    let own = rest.iter().take_while(|word| !ENDS.contains(word)).flat_map(|word| flags(word));
    own.filter(|flag| !known.contains(*flag)).map(|flag| format!("`longshore {name}` has no {flag}")).collect()
}

/// The long flags in a text.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let whole = |word: &&str| word.strip_prefix("--").is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(whole)
}

/// The targets that a page names and the Makefile has not.
fn missing_targets(page: &Page, makefile: &str) -> Vec<String> {
    let code = page.code();
    let named = code.iter().filter_map(|code| code.strip_prefix("make ")?.split(' ').next());
    let missing = named.filter(|target| !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))));
    missing.map(|target| format!("the Makefile has no {target}")).collect()
}

#[tokio::test]
async fn every_command_and_flag_on_the_pages_is_in_the_help() -> Result<()> {
    let help = help().await?;
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        nothing_found(Page::open(page)?.code().iter().flat_map(|code| faults(code, &help)).collect());
    }
    Ok(())
}

#[test]
fn every_target_on_the_pages_is_in_the_makefile() -> Result<()> {
    let makefile = std::fs::read_to_string(house::root()?.join("Makefile"))?;
    nothing_found(missing_targets(&Page::open("README.md")?, &makefile));
    let planted = missing_targets(&Page::planted("`make test` and `make coffee`"), &makefile);
    assert_eq!(planted, ["the Makefile has no coffee"]);
    Ok(())
}

#[test]
fn a_command_or_flag_that_is_none_is_found() {
    let help = Help::from([("dev".to_owned(), BTreeSet::from(["--listen".to_owned(), "--help".to_owned()]))]);
    assert_eq!(faults("longshore dve", &help), ["there is no `longshore dve`"]);
    assert_eq!(faults("sleep 1 && longshore dev --lisen=1 --help", &help), ["`longshore dev` has no --lisen"]);
    assert_eq!(faults("--no-such", &help), ["no command has --no-such"]);
    assert_eq!(faults("longshore dev --listen 1 | curl --json x # longshore is here", &help), [""; 0]);
}
