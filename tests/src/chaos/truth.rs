//! What must hold after a storm, asked of everybody who could contradict: the clients' promises, the table of effects, the ledger's own
//! audit, the broker's queues, the processes. A violation is a sentence; none is repaired or excused.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::deed::Deed;
use super::ears::End;
use super::fault::Fault;
use super::load;
use super::sins::Account;
use super::watchman::Seen;
use super::world::World;
use super::{proofs, say, sins};
use crate::process::Ending;
use crate::until::poll;

/// From the last acknowledgement to empty queues.
const EMPTY: Duration = Duration::from_secs(60);
/// One announcement in so many may have gone with a broker's data.
const WIPED: usize = 20;
/// So many jobs of a violation are named.
const NAMED: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub struct Truth {
    /// Promised and not completed, or completed without an effect.
    pub lost: usize,
    /// With more than one effect.
    pub doubled: usize,
    /// Effects in all.
    pub effects: usize,
    /// Attempts that came too late with their effect, and were refused.
    pub stale: usize,
    /// Attempts that were lost with their worker.
    pub lost_attempts: usize,
    /// Events heard by a subscriber.
    pub heard: usize,
    /// Events heard again, all in the same words.
    pub repeated: usize,
    /// Jobs of which no end was heard, for it went with the broker's data.
    pub wiped: usize,
    /// Of each sort of sin, what became of it.
    pub sins: Vec<Account>,
    /// What the watchman saw.
    pub seen: Seen,
    /// Everything that must not be, in words.
    pub violations: Vec<String>,
}

impl Truth {
    /// Waits for the last job to be settled, for as long as the plan is patient, then asks everybody.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn of(world: &World) -> Result<Truth> {
        let mut truth = Truth::default();
        let watched = world.watched().await;
        truth.must("what was measured", watched);
        truth.wait_for_the_end(world).await;
        truth.ask_the_ledger(world).await?;
        let artifacts = truth.ask_the_artifacts(world).await;
        truth.must("the artifacts", artifacts);
        let events = truth.ask_the_ears(world).await;
        truth.must("the events", events);
        truth.ask_the_audit(world).await;
        truth.ask_the_queues(world).await;
        let processes = truth.ask_the_processes(world).await;
        truth.must("the processes", processes);
        let sins = truth.ask_the_sins(world).await;
        truth.must("the sins", sins);
        truth.ask_the_watchman(world);
        truth.violations.extend(proofs::missing(world));
        truth.violations.extend(world.history.broken());
        Ok(truth)
    }

    /// Who cannot be asked has not told that all is well.
    fn must(&mut self, whom: &str, asked: Result<()>) {
        if let Err(error) = asked {
            self.violations.push(format!("{whom}: {error:#}"));
        }
    }

    /// A fault that could not be injected or healed.
    pub fn botched(&mut self, lanes: Vec<String>) {
        self.violations.extend(lanes);
    }

    async fn wait_for_the_end(&mut self, world: &World) {
        self.wait_until_settled(world).await;
        let called = load::last_call(world).await;
        self.must("the last jobs are not taken", called);
        self.wait_until_settled(world).await;
    }

    async fn wait_until_settled(&mut self, world: &World) {
        let open = "select count(*) from jobs where state in (0, 1)";
        let settled = || async { world.eye.count(open, &[]).await.is_ok_and(|open| open == 0).then_some(()) };
        if let Err(error) = poll("all jobs to be settled", world.plan.patience, settled).await {
            let left = world.eye.count(open, &[]).await;
            self.violations.push(format!("{error}: {left:?} are open"));
        }
    }

    async fn ask_the_ledger(&mut self, world: &World) -> Result<()> {
        let jobs = world.eye.ask("select id, state::int from jobs", &[]).await?;
        let states: HashMap<JobId, i32> = jobs.iter().map(|row| (id(row, "id"), row.get("state"))).collect();
        let promised: HashSet<JobId> = world.history.ids().into_iter().collect();
        let effects = world.eye.ask("select job, count(*) from chaos.effects group by job", &[]).await?;
        let effects: HashMap<JobId, i64> = effects.iter().map(|row| (id(row, "job"), row.get("count"))).collect();
        let twice = "select count(*) from (select from chaos.starts group by job, attempt having count(*) > 1) twice";
        let twice = world.eye.count(twice, &[]).await?;
        let completed = |job: &JobId| states.get(job) == Some(&2);
        let lost: Vec<_> = promised.iter().filter(|job| !completed(job) || !effects.contains_key(job)).collect();
        let doubled: Vec<_> = effects.iter().filter(|(_, count)| **count > 1).map(|(job, _)| job).collect();
        let unasked: Vec<_> = states.keys().chain(effects.keys()).filter(|job| !promised.contains(job)).collect();
        self.lost = self.found("promised jobs are not completed with an effect", &lost);
        self.doubled = self.found("jobs have more than one effect", &doubled);
        self.found("jobs or effects were never promised to anybody", &unasked);
        if twice > 0 {
            self.violations.push(format!("{twice} attempts were started twice under one number"));
        }
        self.effects = effects.len();
        self.stale = number(world.eye.count("select count(*) from chaos.stale", &[]).await?);
        let lost = "select count(*) from attempts where ended = 'lost'";
        self.lost_attempts = number(world.eye.count(lost, &[]).await?);
        Ok(())
    }

    /// Published by the completing attempt, and only by it.
    async fn ask_the_artifacts(&mut self, world: &World) -> Result<()> {
        let sql = "select id, attempt from jobs where state = 2 and artifacts is not null order by id desc limit 100";
        for row in world.eye.ask(sql, &[]).await? {
            let (job, attempt): (JobId, i32) = (id(&row, "id"), row.get("attempt"));
            let answer = world.crew.door(0).get(&format!("/v1/jobs/{job}/artifacts/{}", Deed::FILE)).await?;
            if answer.status != 200 || answer.text != format!("{job} {attempt}") {
                self.violations.push(format!("the artifact of {job}, attempt {attempt}, is {answer:?}"));
            }
        }
        Ok(())
    }

    /// Every end was heard; and the history of every job that had more than one attempt, and of some of the others, has no hole and no
    /// event that was told in two ways.
    async fn ask_the_ears(&mut self, world: &World) -> Result<()> {
        self.ask_for_ends(world).await?;
        self.violations.extend(world.ears.contradictions());
        (self.heard, self.repeated) = world.ears.counts();
        if self.heard == 0 {
            self.violations.push("not one event was heard".to_owned());
        }
        let sql = "select id from jobs where state = 2 order by attempt desc, id limit 1000";
        for row in world.eye.ask(sql, &[]).await? {
            let job = id(&row, "id");
            if let Err(error) = world.ears.compare(&world.crew.door(0), job).await {
                self.violations.push(format!("the events of {job}: {error:#}"));
            }
        }
        Ok(())
    }

    /// What ended was announced, and what was announced was heard, unless it went with the broker's data; that is seldom.
    async fn ask_for_ends(&mut self, world: &World) -> Result<()> {
        let sql = "select id, extract(epoch from now() - finished_at)::float8 as ago from jobs where state > 1";
        let unheard = || async {
            let rows = world.eye.ask(sql, &[]).await?;
            let ends: Vec<End> = rows.iter().map(|row| (id(row, "id"), seconds(row.get("ago")))).collect();
            anyhow::Ok((world.ears.unheard(&ends), ends.len()))
        };
        let all = || async { unheard().await.is_ok_and(|(unheard, _)| unheard.missing.is_empty()).then_some(()) };
        // Whether it did is asked once more below.
        let _ = poll("every end to be heard", EMPTY, all).await;
        let (unheard, ends) = unheard().await?;
        self.wiped = unheard.wiped;
        self.found("jobs have ended and nobody was told", &unheard.missing.iter().collect::<Vec<_>>());
        if self.wiped * WIPED > ends {
            self.violations.push(format!("of {} ends of {ends} the announcement was wiped", self.wiped));
        }
        Ok(())
    }

    async fn ask_the_audit(&mut self, world: &World) {
        if let Err(error) = world.site.command(&["verify"], &world.database.url()).await {
            self.violations.push(format!("`longshore verify`: {error:#}"));
        }
    }

    async fn ask_the_queues(&mut self, world: &World) {
        let full = || async {
            let listed = world.brokers[0].ctl(&["list_queues", "name", "messages", "--no-table-headers"]).await.ok()?;
            let full: Vec<&str> = listed.lines().filter(|line| !line.ends_with("\t0")).collect();
            full.is_empty().then_some(())
        };
        if let Err(error) = poll("empty queues", EMPTY, full).await {
            let listed = world.brokers[0].ctl(&["list_queues", "name", "messages"]).await;
            self.violations.push(format!("{error}: {listed:?}"));
        }
    }

    async fn ask_the_processes(&mut self, world: &World) -> Result<()> {
        world.dismiss_supervisor();
        self.violations.extend(world.crew.leave().await?);
        for deserter in world.crew.deserters() {
            say(&world.plan, &format!("a process ended by itself: {:?}", deserter.ending));
            // One that was killed by a signal is an executor's crash, and is judged by its job.
            if let Ending::Exit(code) = deserter.ending {
                self.violations.push(format!("a process ended by itself with {code}; {}", deserter.words));
            }
        }
        let workers = world.eye.count("select count(*) from workers", &[]).await?;
        if workers > 0 {
            self.violations.push(format!("{workers} leases are left of workers that have drained"));
        }
        Ok(())
    }

    /// The executors' own faults came, and ended as they should.
    async fn ask_the_sins(&mut self, world: &World) -> Result<()> {
        self.sins = sins::accounts(&world.eye, world.plan.jobs, &world.crew.deserters()).await?;
        self.violations.extend(self.sins.iter().filter_map(Account::violation));
        let pauses = world.plan.planned(Fault::WorkerPause);
        if self.stale < pauses {
            self.violations
                .push(format!("{pauses} pauses past a lease, and only {} attempts came too late", self.stale));
        }
        Ok(())
    }

    /// No job ran without a lease for too long, and that was asked often enough, also while some did.
    fn ask_the_watchman(&mut self, world: &World) {
        self.seen = world.watchman.seen();
        let Seen { asked, bare, violations, .. } = &self.seen;
        self.violations.extend(violations.iter().take(NAMED).map(|one| format!("running without a lease: {one}")));
        if *asked < world.watchman.least() {
            self.violations.push(format!(
                "the ledger was asked for leases {asked} times, {} are the least",
                world.watchman.least()
            ));
        }
        if *bare == 0 && world.plan.planned(Fault::WorkerKill) > 0 {
            self.violations.push("workers were killed, and no job was ever seen without a lease".to_owned());
        }
    }

    fn found(&mut self, what: &str, jobs: &[&JobId]) -> usize {
        if !jobs.is_empty() {
            let named: Vec<String> = jobs.iter().take(NAMED).map(ToString::to_string).collect();
            self.violations.push(format!("{} {what}: {}", jobs.len(), named.join(", ")));
        }
        jobs.len()
    }

    /// Passes when there is nothing that must not be.
    ///
    /// # Errors
    /// Every violation.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.violations.is_empty(), "\n{}", self.violations.join("\n"));
        Ok(())
    }
}

fn id(row: &Row, column: &str) -> JobId {
    JobId(row.get::<_, Uuid>(column))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}
