//! Brings colours from an embedded ICC profile to sRGB, which every viewer assumes of an image without one.
//! A profile that cannot be read, or is for other channels than the image's, is ignored: the image is then taken as sRGB.
//! Applied to renditions, not to the source: they are smaller. Read `render.rs` next.

use std::sync::Arc;

use moxcms::{ColorProfile, Layout, Transform8BitExecutor, TransformOptions};

use super::pixels::{Channels, Pixels};

/// From an image's own colours to sRGB.
pub(super) struct ToSrgb {
    transform: Arc<Transform8BitExecutor>,
    channels: Channels,
}

/// A way from the embedded profile `icc` to sRGB for pixels of these `channels`, if there is one.
pub(super) fn to_srgb(icc: &[u8], channels: Channels) -> Option<ToSrgb> {
    let (from, to, channels) = match channels {
        Channels::Gray => (Layout::Gray, Layout::Rgb, Channels::Rgb),
        Channels::GrayAlpha => (Layout::GrayAlpha, Layout::Rgba, Channels::Rgba),
        Channels::Rgb => (Layout::Rgb, Layout::Rgb, Channels::Rgb),
        Channels::Rgba => (Layout::Rgba, Layout::Rgba, Channels::Rgba),
    };
    let options = TransformOptions::default();
    ColorProfile::new_from_slice(icc)
        .and_then(|profile| profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, options))
        .inspect_err(|error| tracing::debug!(%error, "the embedded profile is of no use; taken as sRGB"))
        .map(|transform| ToSrgb { transform, channels })
        .ok()
}

impl ToSrgb {
    /// The same picture in sRGB, as red, green and blue.
    pub(super) fn convert(&self, pixels: &Pixels) -> std::result::Result<Pixels, moxcms::CmsError> {
        let mut seen = Pixels::blank(pixels.size, self.channels);
        self.transform.transform(&pixels.data, &mut seen.data)?;
        Ok(seen)
    }
}
