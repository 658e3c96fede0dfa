//! `list` and `dlq`: many jobs at a time, and what an operator does with those that failed.
//! One call each: a page or a round that leaves more says so and how to go on. Read [`super::jobs`] for a single job.

use clap::{Args, Subcommand};
use longshore_sdk::JobId;
use longshore_sdk::api::{DeadLetterChoice, JobList, JobState};
use longshore_sdk::client::ListOptions;

use super::server::Server;
use super::{Done, Ending, given, jobs, show, tell};

/// `longshore list`
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    server: Server,
    /// Only in this state: pending, running, completed, failed or canceled
    #[arg(long, value_parser = given::state)]
    state: Option<JobState>,
    #[command(flatten)]
    page: Page,
}

/// One page of a listing.
#[derive(Debug, Args)]
struct Page {
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// At most so many [default: 50]
    #[arg(long, value_name = "N", value_parser = given::count::<usize>)]
    limit: Option<usize>,
    /// Only those older than this job: the next page
    #[arg(long, value_name = "ID", value_parser = given::job)]
    before: Option<JobId>,
}

/// `longshore dlq`
#[derive(Debug, Args)]
pub(super) struct Dlq {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters, the newest first
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        page: Page,
    },
    /// Show a dead letter with its evidence
    Show {
        #[command(flatten)]
        server: Server,
        /// The job
        #[arg(value_parser = given::job)]
        id: JobId,
    },
    /// Make dead letters ready again
    Replay(Choice),
    /// Remove dead letters for good
    Purge(Choice),
}

/// Which dead letters: some by their ids, or those of a kind.
#[derive(Debug, Args)]
struct Choice {
    #[command(flatten)]
    server: Server,
    /// These jobs
    #[arg(value_name = "ID", value_parser = given::job, required_unless_present = "kind", conflicts_with = "kind")]
    ids: Vec<JobId>,
    /// Those of this kind, the oldest first
    #[arg(long)]
    kind: Option<String>,
    /// At most so many of the kind
    #[arg(long, value_name = "N", value_parser = given::count::<usize>, requires = "kind")]
    limit: Option<usize>,
}

impl List {
    pub(super) async fn run(self) -> Done {
        let options = ListOptions { state: self.state, ..self.page.options() };
        let page = self.server.client()?.list(&options).await.map_err(|error| self.server.explain(error))?;
        told(&self.server, &page)
    }
}

impl Dlq {
    pub(super) async fn run(self) -> Done {
        match self.command {
            DlqCommand::List { server, page } => {
                let page = server.client()?.dead_letters(&page.options()).await;
                told(&server, &page.map_err(|error| server.explain(error))?)
            }
            DlqCommand::Show { server, id } => show_one(&server, id).await,
            DlqCommand::Replay(choice) => choice.replay().await,
            DlqCommand::Purge(choice) => choice.purge().await,
        }
    }
}

async fn show_one(server: &Server, id: JobId) -> Done {
    let view = server.client()?.job(id).await.map_err(|error| server.explain(error))?;
    if view.dead_letter {
        return jobs::answer(server, &view);
    }
    let state = view.state.word();
    Err(Ending::Failure(anyhow::anyhow!("{id} is {state} and no dead letter; `longshore status {id}` shows it")))
}

impl Choice {
    async fn replay(self) -> Done {
        let answer = self.server.client()?.replay_many(&self.choice()).await;
        let answer = answer.map_err(|error| self.server.explain(error))?;
        let text = show::counts("replayed", answer.replayed, answer.skipped, answer.more);
        Ok(tell(&if self.server.json { jobs::json(&answer)? } else { text })?)
    }

    async fn purge(self) -> Done {
        let answer = self.server.client()?.purge(&self.choice()).await;
        let answer = answer.map_err(|error| self.server.explain(error))?;
        let text = show::counts("purged", answer.purged, answer.skipped, answer.more);
        Ok(tell(&if self.server.json { jobs::json(&answer)? } else { text })?)
    }

    fn choice(&self) -> DeadLetterChoice {
        let ids = self.kind.is_none().then(|| self.ids.clone());
        DeadLetterChoice { ids, kind: self.kind.clone(), limit: self.limit }
    }
}

impl Page {
    fn options(&self) -> ListOptions {
        ListOptions { state: None, kind: self.kind.clone(), before: self.before, limit: self.limit }
    }
}

fn told(server: &Server, page: &JobList) -> Done {
    Ok(tell(&if server.json { jobs::json(page)? } else { show::page(page) })?)
}
