//! `make chaos`: a storm over a system of its own, and the table of it. `--plan` says how large (short, short-cluster, calm, medium, single, cluster, full, mistakes), `--seed` which one; the
//! same seed makes the same plan, though not the same interleaving.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use longshore_tests::chaos::mistake::Mistake;
use longshore_tests::chaos::plan::Plan;
use longshore_tests::chaos::storm;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool> {
    let mut good = true;
    for plan in plans(std::env::args().skip(1))? {
        let report = storm(&plan).await?;
        println!("{report}");
        good &= match plan.mistake {
            None => report.truth.violations.is_empty(),
            Some(mistake) => noticed(mistake, &report.truth.violations),
        };
    }
    Ok(good)
}

fn noticed(mistake: Mistake, violations: &[String]) -> bool {
    let found = violations.iter().find(|violation| violation.contains(mistake.violation()));
    match found {
        Some(violation) => println!("{}: noticed, for {violation}", mistake.word()),
        None => println!("{}: NOT NOTICED", mistake.word()),
    }
    found.is_some()
}

fn plans(mut args: impl Iterator<Item = String>) -> Result<Vec<Plan>> {
    let (mut seed, mut name) = (1, "short".to_owned());
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--seed" => seed = value.parse().context("--seed takes a number")?,
            "--plan" => name = value,
            _ => bail!("unknown flag {flag}; there are --seed N and --plan NAME"),
        }
    }
    Plan::named(&name, seed).with_context(|| {
        format!("no plan {name:?}; there are short, short-cluster, calm, medium, single, cluster, full and mistakes")
    })
}
