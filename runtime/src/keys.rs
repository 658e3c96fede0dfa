//! API keys: how one looks, what it may do, and what is kept of it. `lsk_<id>_<secret><checksum>`: the id finds the row, the
//! secret has 256 random bits, the checksum tells a mistyped key from a wrong one without asking anybody. Only the secret's hash is
//! kept, and a fast one is right for it: nobody guesses 256 bits. It knows no HTTP; read `api/auth.rs` for who asks.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::storage::hex;

/// What every key begins with, so that scanners for leaked secrets know it.
pub const PREFIX: &str = "lsk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Submit jobs, upload their inputs, make a dead letter ready again.
    Submit,
    /// See jobs, their events and outputs, and the kinds.
    Read,
    /// Cancel jobs.
    Cancel,
    /// All of that, and purge dead letters, and make and revoke keys.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Read, Self::Cancel, Self::Admin];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Cancel => "cancel",
            Self::Admin => "admin",
        }
    }
}

/// Some scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; there are submit, read, cancel and admin")]
pub struct NoScope(pub String);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether it is among them; who may administer may do everything.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (bit(scope) | bit(Scope::Admin)) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those there are.
    pub fn each(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & bit(*scope) != 0)
    }

    /// Those of these words that are scopes; a word of another program's is none of ours.
    pub fn known_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().filter_map(|word| Scope::ALL.into_iter().find(|scope| scope.word() == word)).collect()
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | bit(scope)))
    }
}

impl FromStr for Scopes {
    type Err = NoScope;

    /// Words separated by blanks or commas.
    fn from_str(text: &str) -> Result<Self, NoScope> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let known = |word: &str| Scope::ALL.into_iter().find(|scope| scope.word() == word);
        words.map(|word| known(word).ok_or_else(|| NoScope(word.to_owned()))).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.each().map(Scope::word).collect();
        f.write_str(&words.join(" "))
    }
}

/// A key just made. The only value that ever holds a secret, and it does not show it by accident.
pub struct Minted {
    /// Finds its row.
    pub id: String,
    /// What is kept of it.
    pub hash: [u8; 32],
    text: String,
}

impl Minted {
    /// A fresh one.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex(id), hex(secret));
        let body = format!("{PREFIX}{id}_{secret}");
        let text = format!("{body}{}", checksum(&body));
        Ok(Self { id, hash: Sha256::digest(&text).into(), text })
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that somebody shows.
pub struct Shown {
    /// Whose row to look for.
    pub id: String,
    hash: [u8; 32],
}

impl Shown {
    /// Reads a key; `None` for what was never one.
    pub fn read(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |part: &str| part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        let fits = id.len() == 2 * ID_BYTES && rest.len() == 2 * (SECRET_BYTES + CHECKSUM_BYTES);
        if !(fits && is_hex(id) && is_hex(rest)) {
            return None;
        }
        let (body, sum) = text.split_at(text.len() - 2 * CHECKSUM_BYTES);
        (checksum(body) == sum).then(|| Self { id: id.to_owned(), hash: Sha256::digest(text).into() })
    }

    /// Whether it is the key of which this was kept, in the same time either way.
    pub fn is(&self, kept: &[u8; 32]) -> bool {
        self.hash.ct_eq(kept).into()
    }
}

fn checksum(body: &str) -> String {
    hex(&Sha256::digest(body)[..CHECKSUM_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_is_itself_alone() {
        let (one, other) = (Minted::fresh().unwrap(), Minted::fresh().unwrap());
        let shown = Shown::read(one.reveal()).unwrap();
        assert_eq!(shown.id, one.id);
        assert!(shown.is(&one.hash) && !shown.is(&other.hash) && one.id != other.id);
    }

    #[test]
    fn a_mistyped_key_is_none() {
        let key = Minted::fresh().unwrap().reveal().to_owned();
        for at in [0, 5, 25, key.len() - 1] {
            let mut typo = key.clone().into_bytes();
            typo[at] = if typo[at] == b'0' { b'1' } else { b'0' };
            assert!(Shown::read(std::str::from_utf8(&typo).unwrap()).is_none(), "{at}");
        }
        for odd in ["", "lsk_", "lsk__", &key[1..], &key[..key.len() - 1], &format!("{key}0"), &key.to_uppercase()] {
            assert!(Shown::read(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret_by_accident() {
        let key = Minted::fresh().unwrap();
        assert!(!format!("{key:?}").contains(&key.reveal()[25..60]));
    }

    #[test]
    fn scopes_are_words_and_an_admin_has_all() {
        let some: Scopes = "read, submit".parse().unwrap();
        assert_eq!(some.to_string(), "submit read");
        assert!(some.allow(Scope::Read) && !some.allow(Scope::Cancel) && !some.allow(Scope::Admin));
        let admin: Scopes = "admin".parse().unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        assert_eq!("read write".parse::<Scopes>(), Err(NoScope("write".into())));
        assert_eq!(Scopes::known_of(["read", "email"]).to_string(), "read");
    }
}
