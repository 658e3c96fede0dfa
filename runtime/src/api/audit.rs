//! `/v1/audit`: who did what to the caller's tenant's keys, webhooks and jobs, and who was not let in. It shows lines and changes none.
//! Read [`crate::ledger::trail`] for when one is written.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use longshore_sdk::api::{AuditLine, AuditList};

use super::auth::Caller;
use super::params::Params;
use super::problem::{Answer, Fault, Refusal};
use super::{Api, json};
use crate::ledger::trail::{Actor, Deed, Line, NewLine, REFUSED};
use crate::tenant::Tenant;

const DEFAULT_PAGE: usize = 50;

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Answer<Response> {
    let (params, most) = (Params::read(&uri, &["limit", "before"])?, api.settings.max_page);
    let wanted = format!("a whole number from 1 to {most}");
    let limit = params.get("limit", &wanted)?.unwrap_or(DEFAULT_PAGE.min(most));
    if !(1..=most).contains(&limit) {
        return Err(Refusal::of_field(Fault::Malformed, "limit", format!("must be {wanted}")));
    }
    let before = params.get("before", "a line's id")?;
    let lines = api.ask(api.ledger.trail(Some(&caller.tenant), before, limit)).await?;
    let next = lines.last().filter(|_| lines.len() == limit).map(|last| last.id);
    json(StatusCode::OK, &AuditList { lines: lines.into_iter().map(view).collect(), next })
}

/// A line as it is shown.
pub(crate) fn view(line: Line) -> AuditLine {
    let Line { id, at, tenant, actor, address, request_id, deed, object, outcome } = line;
    AuditLine { id, at, tenant: tenant.to_string(), actor, address, request_id, deed, object, outcome }
}

/// Refusals are noted up to a number a minute: whoever is refused a million times fills no table.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Option<(Instant, u32)>>);

impl Refusals {
    fn may_be_noted(&self, most: u32) -> bool {
        let mut noted = self.0.lock().expect("no panic while held");
        let (since, count) =
            noted.filter(|(since, _)| since.elapsed() < Duration::from_secs(60)).unwrap_or((Instant::now(), 0));
        *noted = Some((since, count.saturating_add(1)));
        count < most
    }
}

impl Api {
    /// Somebody was not let in, or not to this call.
    pub(super) fn note_refusal(&self, by: Actor, tenant: Tenant, call: String) {
        if !self.auth.refusals.may_be_noted(self.auth.settings.noted_refusals) {
            return;
        }
        let line = NewLine { by, tenant, deed: Deed::AccessRefused, object: call, outcome: REFUSED };
        let ledger = Arc::clone(&self.ledger);
        self.stop.spawn_quiet(async move {
            if let Err(error) = ledger.note(&line).await {
                tracing::debug!(%error, "a refusal is not noted");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refusals_are_noted_in_a_minute_and_no_more() {
        let refusals = Refusals::default();
        assert_eq!((0..10).filter(|_| refusals.may_be_noted(3)).count(), 3);
        assert!(!Refusals::default().may_be_noted(0));
    }
}
