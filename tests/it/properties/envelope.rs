//! The envelope under any bytes: what was written is read, and whatever else comes is refused with a reason. That a length in hostile
//! bytes allocates nothing is seen by what is read never being longer than what came.

use longshore_sdk::JobId;
use longshore_sdk::wire::{Envelope, MAX_BODY_BYTES, VERSION, decode, encode};
use proptest::prelude::*;
use proptest::sample::Index;

use super::cases;

prop_compose! {
    fn envelopes()(id in any::<u128>(), kind in ".{0,80}", payload in prop::option::of(".{0,400}")) -> Envelope {
        Envelope { job: JobId(uuid::Uuid::from_u128(id)), kind, payload }
    }
}

/// Refused, or read without making more of the bytes than there are.
fn is_sane(body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(read) = decode(body) {
        prop_assert!(read.kind.len() + read.payload.as_ref().map_or(0, String::len) <= body.len());
        prop_assert_eq!(encode(&read).unwrap(), body, "each envelope has one form");
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_written_is_read(envelope in envelopes()) {
        prop_assert_eq!(decode(&encode(&envelope).unwrap()), Ok(envelope));
    }

    #[test]
    fn an_envelope_cut_short_or_too_long_is_refused(envelope in envelopes(), cut in any::<Index>(), more in any::<u8>()) {
        let mut body = encode(&envelope).unwrap();
        prop_assert!(decode(&body[..cut.index(body.len())]).is_err());
        body.push(more);
        prop_assert!(decode(&body).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused_or_read_as_what_it_says(envelope in envelopes(), at in any::<Index>(), bit in 0..8) {
        let mut body = encode(&envelope).unwrap();
        let at = at.index(body.len());
        body[at] ^= 1_u8 << bit;
        is_sane(&body)?;
        prop_assert_ne!(decode(&body), Ok(envelope));
    }

    #[test]
    fn any_bytes_are_refused_or_read(mut body in prop::collection::vec(any::<u8>(), 0..200), known in any::<bool>()) {
        if let (true, Some(first)) = (known, body.first_mut()) {
            *first = VERSION;
        }
        is_sane(&body)?;
    }

    #[test]
    fn a_length_is_believed_only_as_far_as_there_are_bytes(envelope in envelopes(), length in any::<u64>()) {
        let mut body = encode(&envelope).unwrap();
        body[17..25].copy_from_slice(&length.to_le_bytes());
        is_sane(&body)?;
    }
}

#[test]
fn a_body_at_the_limit_is_read_and_one_above_is_not() {
    let of = |bytes: usize| Envelope { job: JobId::fresh(), kind: "a.b".into(), payload: Some("x".repeat(bytes)) };
    let frame = encode(&of(0)).unwrap().len();
    let largest = of(MAX_BODY_BYTES - frame);
    match encode(&largest) {
        Ok(body) => assert!(body.len() == MAX_BODY_BYTES && decode(&body) == Ok(largest)),
        Err(error) => panic!("{error}"),
    }
    assert!(encode(&of(MAX_BODY_BYTES - frame + 1)).is_err());
}
