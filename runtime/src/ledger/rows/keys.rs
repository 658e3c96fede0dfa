//! API keys as the ledger keeps them. Shapes only; how a key looks and what it may do is in [`crate::keys`].

use std::time::Duration;

use jiff::Timestamp;

use crate::keys::Scopes;
use crate::tenant::Tenant;

/// A key to keep.
#[derive(Clone)]
pub struct NewKey {
    /// Finds it.
    pub id: String,
    /// For whom it acts.
    pub tenant: Tenant,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// How long it is good, by the ledger's clock; `None`: until it is revoked.
    pub lives: Option<Duration>,
}

/// A key that is kept.
#[derive(Clone)]
pub struct ApiKey {
    /// Finds it.
    pub id: String,
    /// For whom it acts.
    pub tenant: Tenant,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good no more.
    pub expires_at: Option<Timestamp>,
    /// Whether that moment is past, by the ledger's clock.
    pub expired: bool,
    /// Since when it is good no more, because somebody said so.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it opens the door.
    pub fn is_good(&self) -> bool {
        !self.expired && self.revoked_at.is_none()
    }

    /// Its successor: of the same tenant and scopes, and good for as long as this one was made for, counted anew.
    pub fn successor(self, id: String, hash: [u8; 32]) -> NewKey {
        let lives =
            self.expires_at.map(|end| Duration::try_from(end.duration_since(self.created_at)).unwrap_or_default());
        NewKey { id, tenant: self.tenant, name: self.name, scopes: self.scopes, hash, lives }
    }
}
