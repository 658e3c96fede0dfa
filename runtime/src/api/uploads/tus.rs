//! tus 1.0.0, as far as it is decisions: what a request's headers ask for, and what an upload that stands so answers to it. Pure: no body,
//! no ledger, no storage. The protocol is at <https://tus.io/protocols/resumable-upload>; spoken are its core and the extensions
//! creation, checksum, termination and expiration.

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::api::files::{name_is_valid, type_is_valid};
use crate::api::problem::{Answer, Fault, Refusal};

/// The one version there is.
const VERSION: &str = "1.0.0";
pub(super) const EXTENSIONS: &str = "creation,checksum,termination,expiration";
pub(super) const ALGORITHMS: &str = "sha1,sha256";
const CHUNK_TYPE: &str = "application/offset+octet-stream";

pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// What every answer says.
pub(super) const SPOKEN: HeaderValue = HeaderValue::from_static(VERSION);

/// Whether the caller speaks our version.
pub(super) fn speaks(headers: &HeaderMap) -> Answer<()> {
    if text(headers, &RESUMABLE) == Some(VERSION) {
        return Ok(());
    }
    let detail = format!("Tus-Resumable must be {VERSION}; {TUS_VERSION} lists what is spoken here");
    Err(Refusal::new(Fault::UnknownTusVersion, detail).with_headers(HeaderMap::from_iter([(TUS_VERSION, SPOKEN)])))
}

/// An upload that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Creation {
    pub(super) bytes: u64,
    pub(super) name: String,
    pub(super) content_type: String,
    /// As it came: HEAD gives it back.
    pub(super) metadata: Option<String>,
}

/// What `POST /v1/uploads` asks for.
pub(super) fn creation(headers: &HeaderMap, max_bytes: u64, max_metadata: usize) -> Answer<Creation> {
    if headers.contains_key(UPLOAD_CONCAT) {
        return Err(wrong(&UPLOAD_CONCAT, "is not spoken here; send the file as one upload"));
    }
    let bytes = length(headers, max_bytes)?;
    let metadata = metadata(headers, max_metadata)?;
    let notes = notes(metadata.as_deref().unwrap_or_default())?;
    let find =
        |keys: &[&str]| notes.iter().find(|(key, _)| keys.contains(&key.as_str())).map(|(_, value)| value.clone());
    let name = find(&["filename", "name"]).unwrap_or_else(|| "upload".to_owned());
    if !name_is_valid(&name) {
        return Err(wrong(&UPLOAD_METADATA, "has a filename that is not of 1 to 255 bytes without control characters"));
    }
    let content_type = find(&["filetype", "type", "content_type"]).filter(|text| type_is_valid(text));
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    Ok(Creation { bytes, name, content_type, metadata })
}

fn length(headers: &HeaderMap, most: u64) -> Answer<u64> {
    match number(headers, &UPLOAD_LENGTH)? {
        None => Err(wrong(&UPLOAD_LENGTH, "is missing: the whole size of the file, in bytes")),
        Some(0) => Err(wrong(&UPLOAD_LENGTH, "must be at least 1: no file is empty")),
        Some(bytes) if bytes > most => {
            Err(Refusal::new(Fault::TooLarge, format!("at most {most} bytes are taken (Tus-Max-Size)")))
        }
        Some(bytes) => Ok(bytes),
    }
}

fn metadata(headers: &HeaderMap, most: usize) -> Answer<Option<String>> {
    let Some(value) = headers.get(&UPLOAD_METADATA) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= most => Ok(Some(text.to_owned())),
        Ok(_) => Err(wrong(&UPLOAD_METADATA, &format!("has more than {most} bytes"))),
        Err(_) => Err(wrong(&UPLOAD_METADATA, "is no text of visible ASCII characters")),
    }
}

/// Pairs of a key and a value in base64, with commas between them.
fn notes(text: &str) -> Answer<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let bytes = STANDARD.decode(value.trim()).ok()?;
        Some((key.to_owned(), String::from_utf8_lossy(&bytes).into_owned()))
    };
    let read: Option<Vec<_>> = pairs.map(read).collect();
    read.ok_or_else(|| {
        wrong(&UPLOAD_METADATA, "must be keys, each with a space and its value in base64, and commas between")
    })
}

/// A checksum that bytes must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// Bytes on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Behind which bytes they belong.
    pub(super) at: u64,
    /// How many they are, if that is told.
    pub(super) length: Option<u64>,
    pub(super) checksum: Option<Checksum>,
}

/// What `PATCH /v1/uploads/{id}` asks for.
pub(super) fn chunk(headers: &HeaderMap) -> Answer<Chunk> {
    if text(headers, &CONTENT_TYPE) != Some(CHUNK_TYPE) {
        return Err(Refusal::new(Fault::UnsupportedMediaType, format!("send bytes as Content-Type: {CHUNK_TYPE}")));
    }
    let at = number(headers, &UPLOAD_OFFSET)?
        .ok_or_else(|| wrong(&UPLOAD_OFFSET, "is missing: HEAD tells where the upload stands"))?;
    let length = number(headers, &CONTENT_LENGTH)?;
    let checksum =
        headers.get(&UPLOAD_CHECKSUM).map(|value| checksum(value.to_str().unwrap_or_default())).transpose()?;
    Ok(Chunk { at, length, checksum })
}

fn checksum(text: &str) -> Answer<Checksum> {
    let wrong =
        || wrong(&UPLOAD_CHECKSUM, &format!("must be one of {ALGORITHMS}, a space, and the checksum in base64"));
    let (algorithm, value) = text.split_once(' ').ok_or_else(wrong)?;
    let bytes = STANDARD.decode(value.trim()).map_err(|_| wrong())?;
    let read = match algorithm {
        "sha1" => bytes.try_into().ok().map(Checksum::Sha1),
        "sha256" => bytes.try_into().ok().map(Checksum::Sha256),
        _ => None,
    };
    read.ok_or_else(wrong)
}

/// Bytes being summed, as their checksum wants it.
pub(super) enum Summing {
    Sha1(sha1_smol::Sha1, [u8; 20]),
    Sha256(Sha256, [u8; 32]),
}

impl Summing {
    pub(super) fn towards(checksum: &Checksum) -> Self {
        match checksum {
            Checksum::Sha1(wanted) => Self::Sha1(sha1_smol::Sha1::new(), *wanted),
            Checksum::Sha256(wanted) => Self::Sha256(Sha256::new(), *wanted),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(sum, _) => sum.update(bytes),
            Self::Sha256(sum, _) => sum.update(bytes),
        }
    }

    /// Whether the bytes are those that were meant.
    pub(super) fn holds(self) -> bool {
        match self {
            Self::Sha1(sum, wanted) => sum.digest().bytes() == wanted,
            Self::Sha256(sum, wanted) => sum.finalize()[..] == wanted,
        }
    }
}

/// What an upload of `bytes` that stands at `received` answers to a chunk, before a byte of it is read.
pub(super) fn judge(chunk: &Chunk, received: u64, bytes: u64) -> Answer<()> {
    if chunk.at != received {
        return Err(elsewhere(chunk.at, received));
    }
    match chunk.length {
        Some(length) if length > bytes - received => Err(too_many(bytes)),
        _ => Ok(()),
    }
}

/// The upload stands elsewhere than the caller thinks.
pub(super) fn elsewhere(at: u64, received: u64) -> Refusal {
    let detail = format!("the upload stands at {received} and not at {at}; go on from there");
    let headers = HeaderMap::from_iter([(UPLOAD_OFFSET, HeaderValue::from(received))]);
    Refusal::new(Fault::OffsetMismatch, detail).with_headers(headers)
}

/// More bytes than the upload was to have.
pub(super) fn too_many(bytes: u64) -> Refusal {
    Refusal::new(
        Fault::TooLarge,
        format!("the upload has {bytes} bytes in all (Upload-Length), and these would be more"),
    )
}

/// The method that a POST stands for, where a caller's network lets no PATCH or DELETE pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    Patch,
    Delete,
}

/// What `POST /v1/uploads/{id}` stands for.
pub(super) fn meant(headers: &HeaderMap) -> Answer<Meant> {
    match text(headers, &METHOD_OVERRIDE) {
        Some("PATCH") => Ok(Meant::Patch),
        Some("DELETE") => Ok(Meant::Delete),
        _ => Err(wrong(&METHOD_OVERRIDE, "must be PATCH or DELETE: a POST to an upload stands for one of them")),
    }
}

/// Digits alone: the standard parser would take a sign.
fn number(headers: &HeaderMap, name: &HeaderName) -> Answer<Option<u64>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok()).ok_or_else(|| wrong(name, "must be a number of bytes"))?;
    Ok(Some(number))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn wrong(name: &HeaderName, message: &str) -> Refusal {
    Refusal::of_field(Fault::Malformed, title(name), message)
}

/// As people write it: `Upload-Length`.
fn title(name: &HeaderName) -> String {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests;
