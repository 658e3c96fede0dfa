//! The body of a job message on RabbitMQ: a version byte, then a bincode record. The only file that knows bincode.
//! bincode is not self-describing (reordered fields decode silently wrong), hence the version byte, the check that every
//! byte was read, the size limit before decoding, and golden vectors below. Producers in other languages send JSON instead.

use std::fmt;
use std::str::FromStr;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A message's body is at most 1 MiB; larger inputs travel by reference.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// `content_type` of a body in this format.
pub const CONTENT_TYPE: &str = "application/x-longshore";
/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

/// A job's id: a UUID of version 7, so that ids sort by time of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// A fresh id.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One hand-over. For a job in the ledger only its id and kind; a producer that writes straight to RabbitMQ adds the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// The payload as JSON text, only from a producer that bypasses the API.
    pub payload: Option<String>,
}

/// Why a body cannot be read. The message goes to `longshore.dead` with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Over [`MAX_BODY_BYTES`].
    #[error("the body has {0} bytes, more than {MAX_BODY_BYTES}; send large inputs by reference")]
    TooLarge(usize),
    /// The first byte names no version that this program knows.
    #[error("version {0:?} of the envelope is unknown here (this program reads version {VERSION})")]
    UnknownVersion(Option<u8>),
    /// The bytes after the version are not such a record.
    #[error("the envelope does not decode: {0}")]
    Malformed(String),
}

#[derive(Encode, Decode)]
struct EnvelopeV1 {
    job: [u8; 16],
    kind: String,
    payload: Option<String>,
}

type Config = Configuration<LittleEndian, Fixint, Limit<MAX_BODY_BYTES>>;

const fn config() -> Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MAX_BODY_BYTES>()
}

/// # Errors
/// [`WireError::TooLarge`].
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, WireError> {
    let record =
        EnvelopeV1 { job: *envelope.job.0.as_bytes(), kind: envelope.kind.clone(), payload: envelope.payload.clone() };
    let mut body = vec![VERSION];
    let written = bincode::encode_into_std_write(record, &mut body, config())
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if written + 1 > MAX_BODY_BYTES { Err(WireError::TooLarge(written + 1)) } else { Ok(body) }
}

/// # Errors
/// Every [`WireError`]: too large, of an unknown version, or malformed (which includes bytes left over).
pub fn decode(body: &[u8]) -> Result<Envelope, WireError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(WireError::TooLarge(body.len()));
    }
    let Some((&VERSION, record)) = body.split_first() else {
        return Err(WireError::UnknownVersion(body.first().copied()));
    };
    let (v1, read) = bincode::decode_from_slice::<EnvelopeV1, _>(record, config())
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if read != record.len() {
        return Err(WireError::Malformed(format!("{} bytes left over", record.len() - read)));
    }
    Ok(Envelope { job: JobId(Uuid::from_bytes(v1.job)), kind: v1.kind, payload: v1.payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: Option<&str>) -> Envelope {
        let job = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        Envelope { job, kind: "image.resize".into(), payload: payload.map(Into::into) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    // The golden vectors: a successor of bincode must write exactly these bytes.
    #[test]
    fn the_bytes_of_version_1_never_change() {
        let bare = "0101890a5dac96774bbcceb302099a80570c00000000000000696d6167652e726573697a6500";
        assert_eq!(hex(&encode(&sample(None)).unwrap()), bare);
        let full = format!("{}01{}", &bare[..bare.len() - 2], "07000000000000007b226e223a317d");
        assert_eq!(hex(&encode(&sample(Some(r#"{"n":1}"#))).unwrap()), full);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for envelope in [sample(None), sample(Some("{}"))] {
            assert_eq!(decode(&encode(&envelope).unwrap()).unwrap(), envelope);
        }
    }

    #[test]
    fn bytes_left_over_or_missing_are_refused() {
        let mut body = encode(&sample(None)).unwrap();
        body.push(0);
        assert!(matches!(decode(&body), Err(WireError::Malformed(_))));
        body.truncate(20);
        assert!(matches!(decode(&body), Err(WireError::Malformed(_))));
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert_eq!(decode(&[9, 1, 2]), Err(WireError::UnknownVersion(Some(9))));
        assert_eq!(decode(&[]), Err(WireError::UnknownVersion(None)));
    }

    #[test]
    fn a_body_past_the_limit_is_refused_before_decoding() {
        assert_eq!(decode(&vec![1; MAX_BODY_BYTES + 1]), Err(WireError::TooLarge(MAX_BODY_BYTES + 1)));
        let huge = sample(Some(&"x".repeat(MAX_BODY_BYTES)));
        assert!(encode(&huge).is_err());
    }

    #[test]
    fn a_hostile_length_prefix_allocates_nothing() {
        let mut body = encode(&sample(None)).unwrap();
        body[17..25].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode(&body), Err(WireError::Malformed(_))));
    }
}
