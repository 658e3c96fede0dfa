//! What each call needs: exactly one scope, or nothing. A call without a line here fails the tests, and answers nobody.

use crate::keys::Scope;

/// What a caller must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Need {
    /// Open to everybody: it shows nobody's work.
    Nothing,
    /// Open as well, unless `auth.open_metrics` closes it: then it takes what the queues take.
    Figures,
    /// This scope, and then it acts for the caller's own tenant.
    Scope(Scope),
    /// This scope and the tenant `default`: it shows what all tenants share.
    House(Scope),
}

use Need::{Figures, House, Nothing, Scope as Of};
use Scope::{Admin, Cancel, Read, Submit};

/// Every call.
pub(in crate::api) const NEEDS: &[(&str, &str, Need)] = &[
    ("POST", "/v1/jobs", Of(Submit)),
    ("GET", "/v1/jobs", Of(Read)),
    ("POST", "/v1/jobs/batch", Of(Submit)),
    ("GET", "/v1/dead-letters", Of(Read)),
    ("POST", "/v1/dead-letters/replay", Of(Submit)),
    ("POST", "/v1/dead-letters/purge", Of(Admin)),
    ("GET", "/v1/jobs/{id}", Of(Read)),
    ("GET", "/v1/jobs/{id}/events", Of(Read)),
    ("GET", "/v1/jobs/{id}/deliveries", Of(Read)),
    ("GET", "/v1/events", Of(Read)),
    ("POST", "/v1/jobs/{id}/cancel", Of(Cancel)),
    ("POST", "/v1/jobs/{id}/replay", Of(Submit)),
    ("GET", "/v1/jobs/{id}/artifacts/{name}", Of(Read)),
    ("POST", "/v1/files", Of(Submit)),
    ("GET", "/v1/files/{id}", Of(Read)),
    ("POST", "/v1/files/direct", Of(Submit)),
    ("POST", "/v1/files/{id}/complete", Of(Submit)),
    ("GET", "/v1/files/{id}/content", Of(Read)),
    ("POST", "/v1/uploads", Of(Submit)),
    ("OPTIONS", "/v1/uploads", Of(Submit)),
    // Whoever sends an upload must learn where to go on.
    ("GET", "/v1/uploads/{id}", Of(Submit)),
    ("PATCH", "/v1/uploads/{id}", Of(Submit)),
    ("POST", "/v1/uploads/{id}", Of(Submit)),
    ("DELETE", "/v1/uploads/{id}", Of(Submit)),
    ("GET", "/v1/kinds", Of(Read)),
    ("GET", "/v1/queues", House(Read)),
    ("GET", "/v1/workers", House(Read)),
    ("POST", "/v1/webhooks", Of(Admin)),
    ("GET", "/v1/webhooks", Of(Admin)),
    ("GET", "/v1/webhooks/{id}", Of(Admin)),
    ("DELETE", "/v1/webhooks/{id}", Of(Admin)),
    ("POST", "/v1/webhooks/{id}/rotate", Of(Admin)),
    ("POST", "/v1/webhooks/{id}/test", Of(Admin)),
    ("POST", "/v1/webhooks/{id}/enable", Of(Admin)),
    ("POST", "/v1/webhooks/{id}/disable", Of(Admin)),
    ("GET", "/v1/webhooks/{id}/deliveries", Of(Admin)),
    ("POST", "/v1/webhooks/deliveries/{id}/replay", Of(Admin)),
    ("POST", "/v1/keys", Of(Admin)),
    ("GET", "/v1/keys", Of(Admin)),
    ("POST", "/v1/keys/{id}/rotate", Of(Admin)),
    ("DELETE", "/v1/keys/{id}", Of(Admin)),
    ("GET", "/v1/audit", Of(Admin)),
    ("GET", "/openapi.json", Nothing),
    ("GET", "/asyncapi.json", Nothing),
    ("GET", "/docs", Nothing),
    ("GET", "/healthz", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/metrics", Figures),
];

/// What a call needs; `None` for one that there is not.
pub(in crate::api) fn of(method: &str, template: &str) -> Option<Need> {
    NEEDS.iter().find(|(m, path, _)| *m == method && *path == template).map(|(.., need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::{CALLS, OTHER};

    #[test]
    fn every_call_needs_one_thing_and_no_call_is_named_twice() {
        let mut named: Vec<_> = NEEDS.iter().map(|(method, path, _)| (*method, *path)).collect();
        let mut calls: Vec<_> = CALLS.iter().filter(|(_, path)| *path != OTHER).copied().collect();
        named.sort_unstable();
        calls.sort_unstable();
        assert_eq!(named, calls, "say in NEEDS what the call needs");
    }

    #[test]
    fn only_probes_and_descriptions_are_open() {
        let open = NEEDS.iter().filter(|(.., need)| matches!(need, Nothing | Figures)).map(|(_, path, _)| *path);
        assert!(open.clone().count() == 6 && open.clone().all(|path| !path.starts_with("/v1/")));
    }
}
