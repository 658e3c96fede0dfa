//! `audit`: who did what, as the ledger has it, in lines or as JSON. Works on the ledger itself, for whoever runs it. It changes nothing.

use clap::Args;
use longshore_sdk::api::{AuditLine, AuditList};

use super::serve::{self, LedgerFlags};
use super::{Done, jobs, tell, verify};
use crate::api::audit_view;
use crate::ledger::trail::Actor;
use crate::tenant::Tenant;

/// `longshore audit`
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    flags: LedgerFlags,
    /// Only what was done to this tenant's
    #[arg(long)]
    tenant: Option<Tenant>,
    /// At most so many lines, the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only lines older than this one
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(super) fn run(self) -> Done {
        let config = self.flags.load()?;
        serve::run_to_end(async |_| {
            let (ledger, limit) = (verify::ledger(&config)?, usize::from(self.limit));
            let found = ledger.trail(self.tenant.as_ref(), self.before, limit).await?;
            let lines: Vec<AuditLine> = found.into_iter().map(audit_view).collect();
            let next = lines.last().filter(|_| lines.len() == limit).map(|last| last.id);
            let listed = AuditList { lines, next };
            Ok(tell(&if self.json { jobs::json(&listed)? } else { text(&listed.lines) })?)
        })
    }
}

fn text(lines: &[AuditLine]) -> String {
    let line = |line: &AuditLine| {
        let place = line.address.as_deref().unwrap_or("-");
        let (request, tenant) = (line.request_id.as_deref().unwrap_or("-"), &line.tenant);
        let AuditLine { id, at, actor, deed, object, outcome, .. } = line;
        format!("{id}  {at}  {tenant}  {actor}  {deed}  {object}  {outcome}  {place}  {request}")
    };
    if lines.is_empty() {
        "nothing was noted".to_owned()
    } else {
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Who sits at this command line.
pub(super) fn here() -> Actor {
    let user = std::env::var("USER").unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Actor { name: format!("cli:{user}"), address: Some(host), request_id: None }
}
