//! Where a job's input comes from. Only a name: what is allowed, and how it is fetched, is the worker's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A job's input, by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file uploaded with `POST /v1/files`, by its id.
    File(String),
    /// A path on the worker's machine, under one of the operator's allowed roots.
    Path(String),
    /// An `http(s)://` address (off unless the operator allows it) or an object store's, e.g. `s3://bucket/key`.
    Url(String),
}

impl Source {
    /// A file uploaded with `POST /v1/files`.
    pub fn file(id: impl Into<String>) -> Self {
        Self::File(id.into())
    }

    /// A path on the worker's machine.
    pub fn path(path: impl Into<String>) -> Self {
        Self::Path(path.into())
    }
}
