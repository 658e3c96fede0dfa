//! Whose a job, a file or a key is. A name that may stand in paths, headers and labels of messages as it is; everything that
//! nobody else's is belongs to `default`. It grants nothing: who may act for a tenant is the API's to say.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A tenant's name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

/// A name that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's name has 1 to 63 lower-case letters, digits, dashes and underscores, and begins with a letter or digit"
)]
pub struct NoTenant;

impl Tenant {
    /// The house's own, to whom everything belongs that names no other.
    pub const DEFAULT: &'static str = "default";
    const MAX_BYTES: usize = 63;

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the house's own.
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }

    /// The tenant with a name that this program or an earlier one stored.
    pub(crate) fn stored(name: &str) -> Self {
        if name == Self::DEFAULT { Self::default() } else { Self(name.into()) }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        static OURS: std::sync::LazyLock<Tenant> = std::sync::LazyLock::new(|| Tenant(Tenant::DEFAULT.into()));
        OURS.clone()
    }
}

impl FromStr for Tenant {
    type Err = NoTenant;

    fn from_str(name: &str) -> Result<Self, NoTenant> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
        let fits = (1..=Self::MAX_BYTES).contains(&name.len()) && name.bytes().all(plain);
        if fits && name.as_bytes()[0].is_ascii_alphanumeric() { Ok(Self::stored(name)) } else { Err(NoTenant) }
    }
}

impl TryFrom<String> for Tenant {
    type Error = NoTenant;

    fn try_from(name: String) -> Result<Self, NoTenant> {
        name.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0.as_ref().to_owned()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_path_and_in_a_header_as_it_is() {
        for name in ["default", "a", "north-7", "0_0", &"a".repeat(63)] {
            assert_eq!(name.parse::<Tenant>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "_a", "A", "a.b", "..", "a/b", "a b", "ä", "a\n", &"a".repeat(64)] {
            assert_eq!(name.parse::<Tenant>(), Err(NoTenant), "{name:?}");
        }
        assert!(Tenant::default().is_default() && !"other".parse::<Tenant>().unwrap().is_default());
    }
}
