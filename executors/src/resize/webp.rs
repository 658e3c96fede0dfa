//! WebP in and out, through libwebp; the only file that knows it. Animations are refused.
//! Read [`super::picture`] next.

use longshore_sdk::prelude::*;
use webp::{BitstreamFeatures, Decoder, Encoder, PixelLayout, WebPEncodingError, WebPMemory};

use super::Checked;
use super::pixels::{Channels, Pixels};
use super::plan::Size;

/// The size that the header tells.
pub(super) fn size(bytes: &[u8]) -> Checked<Size> {
    let features = BitstreamFeatures::new(bytes).ok_or_else(|| damaged(bytes))?;
    if features.has_animation() {
        let message = "the WebP is an animation; send one of its frames";
        return Err(Fatal::new("unsupported_format", message).at("/source"));
    }
    Ok(Size::new(features.width(), features.height()))
}

/// The pixels; libwebp decodes a whole file or nothing.
pub(super) fn decode(bytes: &[u8]) -> Checked<Pixels> {
    let image = Decoder::new(bytes).decode().ok_or_else(|| damaged(bytes))?;
    let channels = if image.is_alpha() { Channels::Rgba } else { Channels::Rgb };
    Ok(Pixels::new(Size::new(image.width(), image.height()), channels, image.to_vec()))
}

/// Encodes pixels that are already red, green and blue.
pub(super) fn encode(pixels: &Pixels, quality: u8) -> std::result::Result<WebPMemory, WebPEncodingError> {
    let layout = if pixels.channels.has_alpha() { PixelLayout::Rgba } else { PixelLayout::Rgb };
    Encoder::new(&pixels.data, layout, pixels.size.width, pixels.size.height).encode_simple(false, quality.into())
}

/// libwebp gives no reasons; the container says how long it should be.
fn damaged(bytes: &[u8]) -> Fatal {
    let announced = bytes.get(4..8).and_then(|length| length.first_chunk()).map(|length| u32::from_le_bytes(*length));
    let whole = announced.is_some_and(|length| bytes.len() as u64 >= 8 + u64::from(length));
    let (code, why) = if whole { ("damaged_image", "damaged") } else { ("truncated_image", "cut off") };
    Fatal::new(code, format!("the WebP cannot be decoded whole: the file is {why}")).at("/source")
}
