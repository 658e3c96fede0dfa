//! Which executor runs which kind here. Filled once at start; it chooses nothing at run time.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_sdk::{AnyExecutor, Policy};

use crate::job::retry::Backoff;
use crate::ledger::Kind;

/// The executors of this process, by kind.
#[derive(Clone, Default)]
pub struct Registry {
    executors: BTreeMap<String, Entry>,
}

/// An executor with its policy, read once.
#[derive(Clone)]
pub struct Entry {
    /// The executor.
    pub executor: Arc<dyn AnyExecutor>,
    /// Its policy.
    pub policy: Policy,
}

/// Why a registry cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegistryError {
    /// Two executors for one kind.
    #[error("two executors are registered for the kind {0}; leave one out")]
    Twice(String),
    /// A name that no queue can carry.
    #[error("{0:?} cannot be a kind: lower-case words joined by '.', '_' or '-', at most 64 bytes")]
    BadName(String),
    /// Nobody runs this kind.
    #[error("no executor is registered for the kind {asked}; there are: {known}")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
}

impl Registry {
    /// # Errors
    /// [`RegistryError::Twice`], [`RegistryError::BadName`].
    pub fn new(executors: impl IntoIterator<Item = Arc<dyn AnyExecutor>>) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for executor in executors {
            let kind = executor.kind().to_owned();
            if !longshore_sdk::executor::kind_is_valid(&kind) {
                return Err(RegistryError::BadName(kind));
            }
            let entry = Entry { policy: executor.policy(), executor };
            if registry.executors.insert(kind.clone(), entry).is_some() {
                return Err(RegistryError::Twice(kind));
            }
        }
        Ok(registry)
    }

    /// Only these kinds; all of them when none is named.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn only(&self, kinds: &[String]) -> Result<Self, RegistryError> {
        if kinds.is_empty() {
            return Ok(self.clone());
        }
        let mut chosen = Self::default();
        for kind in kinds {
            let known = || self.kinds().collect::<Vec<_>>().join(", ");
            let entry = self
                .executors
                .get(kind)
                .ok_or_else(|| RegistryError::Unknown { asked: kind.clone(), known: known() })?;
            chosen.executors.insert(kind.clone(), entry.clone());
        }
        Ok(chosen)
    }

    /// Who runs `kind`.
    pub fn get(&self, kind: &str) -> Option<&Entry> {
        self.executors.get(kind)
    }

    /// The kinds, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.executors.keys().map(String::as_str)
    }

    /// Kinds and policies, sorted.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.executors.iter().map(|(kind, entry)| (kind.as_str(), entry))
    }

    /// What the ledger should know of them.
    pub fn cards(&self) -> Vec<Kind> {
        let card = |(kind, entry): (&str, &Entry)| Kind {
            kind: kind.to_owned(),
            payload_schema: entry.executor.payload_schema(),
            output_schema: entry.executor.output_schema(),
            policy: entry.policy.clone(),
        };
        self.entries().map(card).collect()
    }
}

/// The policy's backoff as the pure rules want it.
pub fn backoff(policy: &Policy) -> Backoff {
    let backoff = &policy.backoff;
    Backoff { initial: backoff.initial, factor: backoff.factor, max: backoff.max }
}
