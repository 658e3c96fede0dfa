//! What headers ask for, and what they are told that ask for what cannot be.

use super::*;

const MAX: u64 = 1000;

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn created(all: &[(&str, &str)]) -> Answer<Creation> {
    creation(&headers(all), MAX, 200)
}

/// The fault and the header that it is of.
fn of<T: std::fmt::Debug>(answer: Answer<T>) -> (Fault, String) {
    let refusal = answer.unwrap_err();
    let pointer = refusal.problem().errors.first().map(|error| error.pointer.clone());
    (refusal.fault(), pointer.unwrap_or_default())
}

#[test]
fn only_the_version_that_there_is_is_spoken() {
    assert!(speaks(&headers(&[("tus-resumable", "1.0.0")])).is_ok());
    for other in [&[][..], &[("tus-resumable", "0.2.2")], &[("tus-resumable", "1.0")]] {
        assert_eq!(of(speaks(&headers(other))).0, Fault::UnknownTusVersion, "{other:?}");
    }
}

#[test]
fn an_upload_has_a_length_and_perhaps_a_name_and_a_type() {
    let bare = created(&[("upload-length", "1000")]).unwrap();
    let plain = ("upload".to_owned(), "application/octet-stream".to_owned());
    assert_eq!((bare.bytes, (bare.name, bare.content_type), bare.metadata), (1000, plain, None));
    // "a b.csv" and "text/csv"; a key may stand without a value.
    let notes = "filename YSBiLmNzdg==, is_confidential,filetype dGV4dC9jc3Y=";
    let named = created(&[("upload-length", "1"), ("upload-metadata", notes)]).unwrap();
    assert_eq!((named.name.as_str(), named.content_type.as_str()), ("a b.csv", "text/csv"));
    assert_eq!(named.metadata.as_deref(), Some(notes));
}

#[test]
fn what_cannot_become_a_file_is_refused_with_the_header_at_fault() {
    let length = || (Fault::Malformed, "Upload-Length".to_owned());
    for odd in [&[][..], &[("upload-length", "0")], &[("upload-length", "-1")], &[("upload-length", "+1")]] {
        assert_eq!(of(created(odd)), length(), "{odd:?}");
    }
    assert_eq!(of(created(&[("upload-length", "99999999999999999999999")])), length());
    assert_eq!(of(created(&[("upload-length", "1001")])).0, Fault::TooLarge);
    // The name of the last is a newline.
    for odd in ["filename !", "filename YQ", &format!("filename {}", "YWFh".repeat(60)), "filename Cg=="] {
        let asked = created(&[("upload-length", "1"), ("upload-metadata", odd)]);
        assert_eq!(of(asked), (Fault::Malformed, "Upload-Metadata".to_owned()), "{odd}");
    }
    let parts = created(&[("upload-length", "1"), ("upload-concat", "partial")]);
    assert_eq!(of(parts), (Fault::Malformed, "Upload-Concat".to_owned()));
}

#[test]
fn a_chunk_says_what_it_is_where_it_belongs_and_perhaps_what_it_sums_to() {
    let typed = ("content-type", CHUNK_TYPE);
    let read = |more: &[(&str, &str)]| chunk(&headers(&[&[typed], more].concat()));
    let told = read(&[("upload-offset", "70"), ("content-length", "30")]).unwrap();
    assert_eq!(told, Chunk { at: 70, length: Some(30), checksum: None });
    // The SHA-1 of "hello world" and the SHA-256 of nothing.
    let sums = ["sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="];
    let mut world = Summing::towards(&checksum(sums[0]).unwrap());
    world.update(b"hello ");
    world.update(b"world");
    assert!(world.holds());
    assert!(Summing::towards(&checksum(sums[1]).unwrap()).holds());
    let mut other = Summing::towards(&checksum(sums[1]).unwrap());
    other.update(b"x");
    assert!(!other.holds());
    for odd in ["md5 AAAA", "sha1", "sha1 !", "sha1 AAAA", "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0="] {
        let asked = read(&[("upload-offset", "0"), ("upload-checksum", odd)]);
        assert_eq!(of(asked), (Fault::Malformed, "Upload-Checksum".to_owned()), "{odd}");
    }
    assert_eq!(of(read(&[])), (Fault::Malformed, "Upload-Offset".to_owned()));
    let plain = chunk(&headers(&[("content-type", "application/octet-stream"), ("upload-offset", "0")]));
    assert_eq!(of(plain).0, Fault::UnsupportedMediaType);
}

#[test]
fn a_chunk_fits_where_the_upload_stands_and_nowhere_else() {
    let chunk = |at, length| Chunk { at, length, checksum: None };
    for good in [chunk(70, Some(30)), chunk(70, None), chunk(70, Some(0))] {
        assert!(judge(&good, 70, 100).is_ok(), "{good:?}");
    }
    for elsewhere in [chunk(69, Some(1)), chunk(71, Some(1)), chunk(0, Some(100))] {
        assert_eq!(judge(&elsewhere, 70, 100).unwrap_err().fault(), Fault::OffsetMismatch, "{elsewhere:?}");
    }
    assert_eq!(judge(&chunk(70, Some(31)), 70, 100).unwrap_err().fault(), Fault::TooLarge);
    assert_eq!(judge(&chunk(100, Some(1)), 100, 100).unwrap_err().fault(), Fault::TooLarge);
}

#[test]
fn a_post_may_stand_for_a_method_that_a_network_lets_not_pass() {
    let asked = |word| meant(&headers(&[("x-http-method-override", word)]));
    assert_eq!((asked("PATCH").unwrap(), asked("DELETE").unwrap()), (Meant::Patch, Meant::Delete));
    for odd in ["GET", "patch", ""] {
        assert_eq!(of(asked(odd)).0, Fault::Malformed, "{odd}");
    }
    assert_eq!(of(meant(&HeaderMap::new())).1, "X-Http-Method-Override");
}
