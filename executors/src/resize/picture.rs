//! An image file on its way to pixels: sniffed, measured against the limits, decoded once.
//! It allocates for pixels only after the header has passed. Read `render.rs` for what happens next.

use std::borrow::Cow;

use super::color::{ToSrgb, to_srgb};
use super::metadata::Metadata;
use super::pixels::{Pixels, upright_size};
use super::plan::{Size, dct_eighths};
use super::request::Format;
use super::{Checked, Limits, jpeg, metadata, png, sniff, webp};

/// A file whose header has passed.
pub(super) struct Picture<'a> {
    bytes: Cow<'a, [u8]>,
    facts: Facts,
    metadata: Metadata,
    stored: Size,
}

/// What a caller is told of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) format: Format,
    /// Upright.
    pub(super) size: Size,
    pub(super) orientation: u8,
}

/// A source in memory, as it was stored: it may lie on its side.
pub(super) struct Decoded {
    pub(super) facts: Facts,
    pub(super) pixels: Pixels,
    pub(super) to_srgb: Option<ToSrgb>,
}

impl<'a> Picture<'a> {
    /// Reads the header.
    pub(super) fn open(bytes: &'a [u8], limits: &Limits) -> Checked<Self> {
        let format = sniff::sniff(bytes)?;
        let metadata = match format {
            Format::Jpeg => metadata::of_jpeg(bytes),
            Format::Png => metadata::of_png(bytes),
            Format::Webp => metadata::of_webp(bytes),
        };
        let broken = metadata.profile_is_broken;
        let bytes = if broken { metadata::without_profile(bytes).into() } else { Cow::from(bytes) };
        let stored = match format {
            Format::Jpeg => jpeg::size(&bytes)?,
            Format::Png => png::size(&bytes)?,
            Format::Webp => webp::size(&bytes)?,
        };
        limits.refuse_source(stored)?;
        let orientation = metadata.orientation.unwrap_or(1);
        let facts = Facts { format, size: upright_size(stored, orientation), orientation };
        Ok(Self { bytes, facts, metadata, stored })
    }

    /// Its upright size.
    pub(super) fn size(&self) -> Size {
        self.facts.size
    }

    /// Decodes, as small as `targets` (upright) allow.
    pub(super) fn decode(self, targets: &[Size], limits: &Limits) -> Checked<Decoded> {
        let Metadata { profile, adobe, .. } = self.metadata;
        let (pixels, profile) = match self.facts.format {
            Format::Jpeg => {
                let stored_targets: Vec<Size> =
                    targets.iter().map(|target| upright_size(*target, self.facts.orientation)).collect();
                let eighths = dct_eighths(self.stored, &stored_targets);
                (jpeg::decode(&self.bytes, eighths, adobe, limits.max_scans)?, profile)
            }
            Format::Png => png::decode(&self.bytes)?,
            Format::Webp => (webp::decode(&self.bytes)?, profile),
        };
        let to_srgb = profile.and_then(|icc| to_srgb(&icc, pixels.channels));
        Ok(Decoded { facts: self.facts, pixels, to_srgb })
    }
}
