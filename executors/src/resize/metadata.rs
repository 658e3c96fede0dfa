//! What a file says about its picture beside the pixels: orientation, colour profile, the colour marker of a JPEG.
//! It never fails: metadata that cannot be read is as good as none, and a broken thumbnail must not cost a picture.
//! Nothing here is written back, so places, names and serial numbers end with the source. Read [`super::color`] next.

use exif::{In, Reader, Tag};

/// Larger EXIF blocks hold previews, not facts; a JPEG's are never larger.
const MAX_EXIF_BYTES: usize = 256 * 1024;

/// What the pixels need to be seen as meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The EXIF orientation, 1 to 8.
    pub(super) orientation: Option<u8>,
    /// An ICC profile. PNG's is compressed and read by its decoder.
    pub(super) profile: Option<Vec<u8>>,
    /// Whether a JPEG holds parts of a profile that are no whole: libjpeg would refuse the file for it.
    pub(super) profile_is_broken: bool,
    /// Whether a JPEG has Adobe's marker: then its CMYK is stored inverted.
    pub(super) adobe: bool,
}

/// Reads the segments of a JPEG up to its first scan.
pub(super) fn of_jpeg(bytes: &[u8]) -> Metadata {
    let mut metadata = Metadata::default();
    let mut parts = Vec::new();
    for (_, marker, body) in jpeg_segments(bytes) {
        match (marker, body) {
            (0xe1, [b'E', b'x', b'i', b'f', 0, 0, tiff @ ..]) if metadata.orientation.is_none() => {
                metadata.orientation = orientation(tiff);
            }
            (0xe2, [b'I', b'C', b'C', b'_', b'P', b'R', b'O', b'F', b'I', b'L', b'E', 0, number, count, part @ ..]) => {
                parts.push((*number, *count, part));
            }
            (0xee, [b'A', b'd', b'o', b'b', b'e', ..]) => metadata.adobe = true,
            _ => {}
        }
    }
    let some_parts = !parts.is_empty();
    metadata.profile = joined(parts);
    metadata.profile_is_broken = some_parts && metadata.profile.is_none();
    metadata
}

/// The same JPEG with its profile's segments made comments, which every decoder skips.
pub(super) fn without_profile(bytes: &[u8]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    for (place, ..) in jpeg_segments(bytes).filter(|(_, marker, _)| *marker == 0xe2) {
        clean[place + 1] = 0xfe;
    }
    clean
}

/// Reads the chunks of a PNG; its EXIF may stand behind the pixels.
pub(super) fn of_png(bytes: &[u8]) -> Metadata {
    let chunks = chunks(bytes.get(8..).unwrap_or_default(), |head| {
        let (length, name) = head.split_first_chunk::<4>()?;
        Some((name.first_chunk::<4>()?, u32::from_be_bytes(*length), 4))
    });
    let orientation = chunks.filter(|(name, _)| name == b"eXIf").find_map(|(_, tiff)| orientation(tiff));
    Metadata { orientation, ..Metadata::default() }
}

/// Reads the chunks of a WebP.
pub(super) fn of_webp(bytes: &[u8]) -> Metadata {
    let mut metadata = Metadata::default();
    let chunks = chunks(bytes.get(12..).unwrap_or_default(), |head| {
        let (name, length) = head.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length.first_chunk::<4>()?);
        // A chunk of odd length is followed by a padding byte.
        Some((name, length, length % 2))
    });
    for (name, body) in chunks {
        match &name {
            b"ICCP" => metadata.profile = Some(body.to_vec()),
            b"EXIF" => metadata.orientation = orientation(body.strip_prefix(b"Exif\0\0").unwrap_or(body)),
            _ => {}
        }
    }
    metadata
}

/// Place, marker and body of each segment before the first scan.
fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = (usize, u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        // Any number of 0xff may fill the space before a marker.
        while let [0xff, 0xff, ..] = rest {
            rest = &rest[1..];
        }
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let end = 2 + usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..end).filter(|_| marker != 0xda)?;
        let place = bytes.len() - rest.len();
        rest = &rest[end..];
        Some((place, marker, body))
    })
}

/// Name and body of each chunk; `head` reads name, body's length and the bytes that follow the body.
fn chunks(
    bytes: &[u8],
    head: impl Fn(&[u8]) -> Option<(&[u8; 4], u32, u32)>,
) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&name, length, tail) = head(rest)?;
        let end = 8usize.checked_add(usize::try_from(length).ok()?)?;
        let body = rest.get(8..end)?;
        rest = rest.get(end.checked_add(usize::try_from(tail).ok()?)?..).unwrap_or_default();
        Some((name, body))
    })
}

/// A profile over 64 KiB comes in numbered parts, in any order. A missing part is no profile.
fn joined(mut parts: Vec<(u8, u8, &[u8])>) -> Option<Vec<u8>> {
    parts.sort_unstable_by_key(|(number, ..)| *number);
    let complete = !parts.is_empty()
        && (1..)
            .zip(&parts)
            .all(|(place, (number, count, _))| place == usize::from(*number) && parts.len() == usize::from(*count));
    let joined = complete.then(|| parts.iter().flat_map(|(.., part)| *part).copied().collect::<Vec<u8>>());
    joined.filter(|profile| !profile.is_empty())
}

fn orientation(tiff: &[u8]) -> Option<u8> {
    let tiff = Some(tiff).filter(|tiff| tiff.len() <= MAX_EXIF_BYTES)?.to_vec();
    let exif = Reader::new().continue_on_error(true).read_raw(tiff);
    let exif = exif.or_else(|error| error.distill_partial_result(|_| ())).ok()?;
    let value = exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0)?;
    u8::try_from(value).ok().filter(|orientation| (1..=8).contains(orientation))
}
