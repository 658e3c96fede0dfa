//! The command line: what may be asked, and with which exit code it ends: 0 done, 2 wrong usage, 1 anything else.
//! Answers go to stdout, everything else to stderr; `--json` makes answers JSON. It decides nothing about a job.
//! Read [`serve`] for the servers, [`jobs`], [`list`] and [`submit`] for callers, [`fleet`] and
//! [`settings`] for operators, [`listen`] for receivers, [`demo`] for the tour.

mod audit;
mod completions;
mod demo;
mod doctor;
mod events;
mod fleet;
mod given;
mod guarded;
mod jobs;
mod keys;
mod list;
mod listen;
mod screen;
mod serve;
mod server;
mod settings;
mod show;
mod submit;
#[cfg(test)]
mod tests;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::Executors;
use crate::config::Config;

const AFTER_HELP: &str = "\
Begin with `longshore demo`, or with `longshore dev` and `longshore submit` beside it.
Exit codes: 0 done, 1 not done or a bad end, 2 asked for wrongly.";

/// Accepts long work now and finishes it later.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process: API, worker, an embedded broker and SQLite
    Dev(serve::Dev),
    /// API and worker in one process, on PostgreSQL and RabbitMQ
    All(serve::All),
    /// The HTTP API, on PostgreSQL and RabbitMQ
    Api(serve::Api),
    /// A worker, on PostgreSQL and RabbitMQ
    Worker(serve::Worker),
    /// Bring the ledger's schema in PostgreSQL up to date
    Migrate(serve::Migrate),
    /// Submit a job
    Submit(submit::Submit),
    /// Upload a file for jobs to work on
    Upload(jobs::Upload),
    /// Show where a job stands
    Status(jobs::Status),
    /// Follow a job to its end; exit code 1 when it fails or is canceled
    Watch(jobs::Watch),
    /// Follow what happens to all jobs, from now on, until it is stopped
    Events(events::Events),
    /// Cancel a job
    Cancel(jobs::Cancel),
    /// List jobs, the newest first
    List(list::List),
    /// Dead letters: list, show, replay, purge
    Dlq(list::Dlq),
    /// List the kinds of jobs there are
    Kinds(jobs::Kinds),
    /// Show each kind's queue: what waits, runs, and failed
    Queues(fleet::Queues),
    /// List the workers with a live lease
    Workers(fleet::Workers),
    /// API keys: create, list, rotate, revoke; works on the ledger itself, so the first one is made here
    Keys(keys::Keys),
    /// Receive webhooks on this machine, verify them, and say what came
    Listen(listen::Listen),
    /// Settings: show those in effect
    Config(settings::Config),
    /// Say what is wrong with this machine, broker and database, and what to change
    Doctor(doctor::Doctor),
    /// Who did what to keys, webhooks and jobs, and who was refused; works on the ledger itself
    Audit(audit::Audit),
    /// Look for what must never be in the ledger of a live system; changes nothing
    Verify(verify::Verify),
    /// Write a script that completes commands in a shell
    Completions(completions::Completions),
    /// A tour in a minute: real inputs, a worker killed in mid-job, every output checked
    Demo(demo::Demo),
}

/// Why a command did not end well.
#[derive(Debug)]
enum Ending {
    /// It was asked for wrongly; says how to ask.
    Usage(String),
    /// It could not be done.
    Failure(anyhow::Error),
    /// It was done, and its answer, already shown, is a bad one.
    Bad,
    /// It ends as the process did that it stood for.
    Code(u8),
}

type Done = Result<(), Ending>;

impl<E: Into<anyhow::Error>> From<E> for Ending {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl Ending {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failure(_) | Self::Bad => 1,
            Self::Code(code) => *code,
        }
    }
}

/// Runs the command line with these executors and answers the exit code: the whole of a binary's `main`.
pub fn main_with(executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(told) => return explain(&told),
    };
    match run(command, executors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ending) => {
            match &ending {
                Ending::Usage(message) => eprintln!("error: {message}"),
                Ending::Failure(error) => eprintln!("error: {error:#}"),
                Ending::Bad | Ending::Code(_) => {}
            }
            ExitCode::from(ending.code())
        }
    }
}

/// Help and version are no mistake: they go to stdout, with code 0.
fn explain(told: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal is gone.
    let _ = told.print();
    ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2))
}

fn run(command: Command, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
    match command {
        Command::Dev(dev) => dev.run(executors),
        Command::All(all) => all.run(executors),
        Command::Api(api) => api.run(executors),
        Command::Worker(worker) => worker.run(executors),
        Command::Migrate(migrate) => migrate.run(),
        Command::Submit(submit) => server::block_on(submit.run()),
        Command::Upload(upload) => server::block_on(upload.run()),
        Command::Status(status) => server::block_on(status.run()),
        Command::Watch(watch) => server::block_on(watch.run()),
        Command::Events(events) => server::block_on(events.run()),
        Command::Cancel(cancel) => server::block_on(cancel.run()),
        Command::List(list) => server::block_on(list.run()),
        Command::Dlq(dlq) => server::block_on(dlq.run()),
        Command::Kinds(kinds) => server::block_on(kinds.run()),
        Command::Queues(queues) => server::block_on(queues.run()),
        Command::Workers(workers) => server::block_on(workers.run()),
        Command::Doctor(doctor) => doctor.run(executors),
        Command::Audit(audit) => audit.run(),
        Command::Verify(verify) => verify.run(),
        Command::Keys(keys) => keys.run(),
        Command::Listen(listen) => server::block_on(listen.run()),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        Command::Demo(demo) => server::block_on(demo.run()),
    }
}

/// Writes an answer. A reader that has gone, such as `head`, is no error.
fn tell(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", screen::harmless(text)).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
