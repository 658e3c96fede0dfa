//! The process's own clock, for timestamps that people read. Nothing is decided by it: leases and due times go by the
//! ledger's clock.

use jiff::Timestamp;

/// Now, by this machine.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
