//! Pixels into a rendition's file: brought to the channels that the format can hold, encoded, written.
//! No metadata is written in any format: viewers take such a file as upright and sRGB, which it is.
//! Read [`super::jpeg`], [`super::png`] and [`super::webp`] for the codecs.

use std::path::Path;

use longshore_sdk::prelude::*;

use super::pixels::Pixels;
use super::request::{Format, Rendition};
use super::{jpeg, png, webp};

/// Encodes `pixels` as `wish` says into the file at `path`.
pub(super) fn write(pixels: Pixels, wish: &Rendition, path: &Path) -> Result<()> {
    match wish.format {
        Format::Jpeg => {
            let background = wish.background_rgb().expect("checked before the fetch");
            std::fs::write(path, jpeg::encode(&pixels.flattened(background), wish.quality)?)?;
        }
        Format::Png => std::fs::write(path, png::encode(&pixels)?)?,
        Format::Webp => {
            let encoded = webp::encode(&pixels.colored(), wish.quality);
            let file = encoded.map_err(|error| Failure::retry("encode_failed", format!("libwebp: {error:?}")))?;
            std::fs::write(path, &*file)?;
        }
    }
    Ok(())
}
