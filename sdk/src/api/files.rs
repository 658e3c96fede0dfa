//! Files: sent at once, in pieces, or past the API by a link.
//! A file's bytes are in no shape here; a payload names a file by its id. Read [`crate::Source`] for that.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An uploaded input, as `POST /v1/files` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileView {
    /// What a payload names in [`crate::Source::File`].
    pub id: String,
    /// The name it was uploaded under.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Its media type.
    pub content_type: String,
}

/// An upload that comes in pieces, as `GET /v1/uploads/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadView {
    /// Its id, and its file's once it is complete.
    pub id: String,
    /// The name of the file.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its whole size.
    pub bytes: u64,
    /// How many bytes are there: where to go on.
    pub received: u64,
    /// Whether it is a file, which `GET /v1/files/{id}` shows.
    pub complete: bool,
    /// When it is removed if it stands still; a file stays.
    pub expires_at: Timestamp,
}

/// A file that is to be sent past the API: `POST /v1/files/direct`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectRequest {
    /// Its exact size; at most 5 GiB.
    #[schemars(range(min = 1))]
    pub bytes: u64,
    /// What it is called; never used as a path. Default: `upload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// Its media type. Default: `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub content_type: Option<String>,
}

/// Where to send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectView {
    /// The id that the file will have.
    pub id: String,
    /// The method of the request to `url`: `PUT`.
    pub method: String,
    /// The link; whoever has it may send. Send no API key there.
    pub url: String,
    /// The size that the body must have.
    pub bytes: u64,
    /// Until when the link is good.
    pub expires_at: Timestamp,
    /// What to POST to when it is sent.
    pub complete: String,
}

/// A link to a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkView {
    /// The link; whoever has it has the file.
    pub url: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}
