//! A signature holds for exactly what was signed: any body is verified, and none in which one bit is another.

use jiff::Timestamp;
use longshore_sdk::webhook::{self, Forged, Secret, TOLERANCE, verify};
use proptest::collection::vec;
use proptest::prelude::*;

use super::cases;

/// A message as it travels: its id, the second of its sending, its signatures and its body.
#[derive(Clone, Debug)]
struct Message {
    id: String,
    second: String,
    signatures: String,
    body: Vec<u8>,
}

fn judge(secret: &Secret, message: &Message, now: Timestamp) -> Result<(), Forged> {
    let header = |name: &str| match name {
        webhook::ID => Some(message.id.as_str()),
        webhook::TIMESTAMP => Some(message.second.as_str()),
        _ => Some(message.signatures.as_str()),
    };
    verify(std::slice::from_ref(secret), header, &message.body, now, TOLERANCE).map(drop)
}

prop_compose! {
    fn messages()(id in "[a-z0-9_-]{1,40}", second in 0_i64..4_000_000_000, body in vec(any::<u8>(), 1..600))
        -> (Secret, Message, Timestamp) {
        let (secret, at) = (Secret::fresh(), Timestamp::from_second(second).expect("a second before the year 2100"));
        let signatures = webhook::sign(std::slice::from_ref(&secret), &id, at, &body);
        (secret, Message { id, second: second.to_string(), signatures, body }, at)
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_was_signed_is_verified_and_with_one_bit_flipped_it_is_not((secret, message, at) in messages(), bit in any::<prop::sample::Index>()) {
        prop_assert_eq!(judge(&secret, &message, at), Ok(()));
        let bit = bit.index(message.body.len() * 8);
        let mut other = message.clone();
        other.body[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(judge(&secret, &other, at), Err(Forged::Signature));
    }

    #[test]
    fn another_id_another_second_or_another_secret_is_another_message((secret, message, at) in messages()) {
        let id = Message { id: format!("{}x", message.id), ..message.clone() };
        prop_assert_eq!(judge(&secret, &id, at), Err(Forged::Signature));
        let later = Message { second: (at.as_second() + 1).to_string(), ..message.clone() };
        prop_assert_eq!(judge(&secret, &later, at), Err(Forged::Signature));
        prop_assert_eq!(judge(&Secret::fresh(), &message, at), Err(Forged::Signature));
    }

    #[test]
    fn no_header_breaks_the_judge(signatures in ".{0,200}", second in ".{0,20}", body in vec(any::<u8>(), 0..50)) {
        let message = Message { id: "x".into(), second, signatures, body };
        prop_assert!(judge(&Secret::fresh(), &message, Timestamp::UNIX_EPOCH).is_err());
    }
}
