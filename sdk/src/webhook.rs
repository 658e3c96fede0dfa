//! Signed webhooks, as [Standard Webhooks](https://www.standardwebhooks.com) has them: how Longshore signs what it sends, and how
//! a receiver knows that it was Longshore, recently, and every byte of it. It sends nothing and remembers nothing: a receiver
//! that must act once keeps the ids it has seen, for one delivery may come twice. Read [`crate::api::Event`] for the body.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

/// The header with the message's id: the same on every try, so that a receiver recognises a repeat.
pub const ID: &str = "webhook-id";
/// The header with the moment of this try, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures, each `v1,` and base64, separated by blanks.
pub const SIGNATURE: &str = "webhook-signature";

/// How far a message's time may be from the receiver's clock: 5 minutes.
pub const TOLERANCE: Duration = Duration::from_secs(300);

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
/// The bytes that a secret may have.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const FRESH_BYTES: usize = 32;

/// What sender and receiver share. It is never shown by `{:?}`, only by [`Secret::reveal`], and in JSON, which is for the two alone.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Secret(
    /// `whsec_` and the base64 of 24 to 64 random bytes.
    #[schemars(with = "String")]
    Vec<u8>,
);

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is whsec_ and the base64 of 24 to 64 random bytes")]
pub struct NoSecret;

impl Secret {
    /// A new one, from the system's random numbers.
    ///
    /// # Panics
    /// When the system has none to give, as before its first seconds are over.
    pub fn fresh() -> Self {
        let mut bytes = vec![0; FRESH_BYTES];
        getrandom::fill(&mut bytes).expect("a running system has random numbers");
        Self(bytes)
    }

    /// The text that both sides keep.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

impl FromStr for Secret {
    type Err = NoSecret;

    fn from_str(text: &str) -> Result<Self, NoSecret> {
        let bytes = text.strip_prefix(PREFIX).and_then(|key| BASE64.decode(key).ok());
        bytes.filter(|bytes| BYTES.contains(&bytes.len())).map(Self).ok_or(NoSecret)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.reveal().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The value of the `webhook-signature` header: a signature by each secret, so that a receiver may change from one to the other at
/// any moment while both sign. `id` must hold no full stop, for that separates the signed parts.
pub fn sign(secrets: &[Secret], id: &str, at: Timestamp, body: &[u8]) -> String {
    let timestamp = at.as_second().to_string();
    let one = |secret: &Secret| {
        let tag = secret.mac(id, &timestamp, body).finalize().into_bytes();
        format!("{VERSION}{}", BASE64.encode(tag))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A message that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its id: remember it, and a repeat is recognised.
    pub id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
}

/// Why a message is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// A header is missing or cannot be read.
    #[error("the header {0} is missing or cannot be read")]
    Header(&'static str),
    /// It was sent too long ago, or by a clock that is ahead: perhaps a replay of an old message.
    #[error("it was sent at {sent_at}, too far from now")]
    NotNow {
        /// When, by its own word.
        sent_at: Timestamp,
    },
    /// No signature is by any of the secrets: another sender, or another body.
    #[error("none of its signatures is by a secret of ours")]
    Signature,
}

/// Whether one of `secrets` signed exactly this body, at most `tolerance` from `now`. `header` looks a header up by its lower-case
/// name; `body` is what came, byte for byte, before any parser had it.
///
/// ```
/// # use longshore_sdk::webhook::{self, Secret, TOLERANCE};
/// # let (secret, now, body) = (Secret::fresh(), jiff::Timestamp::now(), br#"{"id": "x"}"#);
/// # let signature = webhook::sign(&[secret.clone()], "msg_1", now, body);
/// # let stamp = now.as_second().to_string();
/// # let headers = std::collections::HashMap::from([
/// #     (webhook::ID, "msg_1"), (webhook::TIMESTAMP, stamp.as_str()), (webhook::SIGNATURE, signature.as_str()),
/// # ]);
/// let header = |name: &str| headers.get(name).copied();
/// let message = webhook::verify(&[secret], header, body, now, TOLERANCE)?;
/// assert_eq!(message.id, "msg_1");
/// # Ok::<(), webhook::Forged>(())
/// ```
///
/// # Errors
/// [`Forged`]: answer with a 4xx and do nothing.
pub fn verify<'h>(
    secrets: &[Secret],
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<Verified, Forged> {
    let get = |name| header(name).ok_or(Forged::Header(name));
    let (id, timestamp, signatures) = (get(ID)?, get(TIMESTAMP)?, get(SIGNATURE)?);
    let sent_at = timestamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let sent_at = sent_at.ok_or(Forged::Header(TIMESTAMP))?;
    if now.duration_since(sent_at).unsigned_abs() > tolerance {
        return Err(Forged::NotNow { sent_at });
    }
    let tags = signatures.split(' ').filter_map(|one| BASE64.decode(one.strip_prefix(VERSION)?).ok());
    // `verify_slice` takes the same time wherever the first difference lies.
    let ours = |tag: &Vec<u8>| secrets.iter().any(|secret| secret.mac(id, timestamp, body).verify_slice(tag).is_ok());
    let signed = tags.take(MAX_SIGNATURES).any(|tag| ours(&tag));
    if signed { Ok(Verified { id: id.to_owned(), sent_at }) } else { Err(Forged::Signature) }
}

/// More are not looked at: each costs a hash of the whole body.
const MAX_SIGNATURES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sent() -> Timestamp {
        at(1_614_265_330)
    }

    fn judge(secrets: &[&str], signature: &str, body: &[u8], now: Timestamp) -> Result<Verified, Forged> {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| secret.parse().unwrap()).collect();
        let header = |name: &str| match name {
            ID => Some(MESSAGE),
            TIMESTAMP => Some("1614265330"),
            SIGNATURE => Some(signature),
            _ => None,
        };
        verify(&secrets, header, body, now, TOLERANCE)
    }

    #[test]
    fn the_vector_of_the_reference_libraries_is_ours() {
        assert_eq!(sign(&[SECRET.parse().unwrap()], MESSAGE, sent(), BODY), SIGNED);
        let verified = judge(&[SECRET], SIGNED, BODY, sent()).unwrap();
        assert_eq!(verified, Verified { id: MESSAGE.into(), sent_at: sent() });
    }

    #[test]
    fn while_a_secret_is_changed_both_sign_and_either_verifies() {
        let (old, new) = (SECRET.to_owned(), Secret::fresh().reveal());
        let both = sign(&[new.parse().unwrap(), old.parse().unwrap()], MESSAGE, sent(), BODY);
        assert_eq!(both.split(' ').count(), 2);
        for receiver in [&old, &new] {
            assert!(judge(&[receiver], &both, BODY, sent()).is_ok());
        }
        assert!(judge(&[&new, &old], SIGNED, BODY, sent()).is_ok());
        assert_eq!(judge(&[&new], SIGNED, BODY, sent()), Err(Forged::Signature));
    }

    #[test]
    fn a_message_is_believed_for_five_minutes_and_not_a_second_more() {
        for (now, believed) in [(300, true), (301, false), (-300, true), (-301, false)] {
            let answer = judge(&[SECRET], SIGNED, BODY, at(sent().as_second() + now));
            assert_eq!(answer.is_ok(), believed, "{now}: {answer:?}");
        }
    }

    #[test]
    fn signatures_that_we_do_not_know_are_passed_over() {
        let among = format!("v1a,AAAA {SIGNED} v2,x v1,! v1");
        assert!(judge(&[SECRET], &among, BODY, sent()).is_ok());
        for none in ["", "v1,", "v1", "g0hM9SsE", &SIGNED[..20], &SIGNED.replace("v1,", "v2,")] {
            assert_eq!(judge(&[SECRET], none, BODY, sent()), Err(Forged::Signature), "{none}");
        }
    }

    #[test]
    fn a_header_that_is_missing_or_no_time_is_named() {
        let secrets = [SECRET.parse().unwrap()];
        for missing in [ID, TIMESTAMP, SIGNATURE] {
            let header = |name: &str| (name != missing).then_some("1");
            let answer = verify(&secrets, header, BODY, sent(), TOLERANCE);
            assert_eq!(answer, Err(Forged::Header(missing)));
        }
        let answer = verify(&secrets, |_| Some("soon"), BODY, sent(), TOLERANCE);
        assert_eq!(answer, Err(Forged::Header(TIMESTAMP)));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_shows_none_of_them() {
        let of = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![7; bytes])).parse::<Secret>();
        assert!([24, 64].map(of).iter().all(Result::is_ok));
        assert!([0, 23, 65].map(of).iter().all(Result::is_err));
        for no_secret in ["", "whsec_", "hush", "whsec_*", &SECRET[6..]] {
            assert_eq!(no_secret.parse::<Secret>(), Err(NoSecret), "{no_secret}");
        }
        let fresh = Secret::fresh();
        assert_eq!(fresh.reveal().parse(), Ok(fresh.clone()));
        assert_ne!(fresh, Secret::fresh());
        assert_eq!(format!("{fresh:?}"), "Secret(..)");
    }
}
