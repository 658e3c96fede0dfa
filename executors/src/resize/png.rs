//! PNG in and out; the only file that knows the `png` crate. Of an animation the still image is read.
//! Text chunks are skipped, so that a compressed one cannot unfold into memory. Read [`super::picture`] next.

use std::io::{Cursor, ErrorKind};

use longshore_sdk::prelude::*;
use png::{BitDepth, ColorType, Compression, Decoder, DecodingError, Encoder, EncodingError, Limits, Transformations};

use super::Checked;
use super::pixels::{Channels, Pixels};
use super::plan::Size;

/// For what the decoder holds beside our pixels: rows, tables and an unpacked colour profile.
const DECODER_BYTES: usize = 16 * 1024 * 1024;

fn decoder(bytes: &[u8]) -> Decoder<Cursor<&[u8]>> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder
}

/// The size that the header tells.
pub(super) fn size(bytes: &[u8]) -> Checked<Size> {
    let mut decoder = decoder(bytes);
    let info = decoder.read_header_info().map_err(refusal)?;
    Ok(Size::new(info.width, info.height))
}

/// The pixels and the colour profile. Reads to the file's end: a file without one is cut off.
pub(super) fn decode(bytes: &[u8]) -> Checked<(Pixels, Option<Vec<u8>>)> {
    let mut reader = decoder(bytes).read_info().map_err(refusal)?;
    let channels = match reader.output_color_type() {
        (ColorType::Grayscale, _) => Channels::Gray,
        (ColorType::GrayscaleAlpha, _) => Channels::GrayAlpha,
        (ColorType::Rgb, _) => Channels::Rgb,
        (ColorType::Rgba, _) => Channels::Rgba,
        (ColorType::Indexed, _) => return Err(Fatal::new("damaged_image", "the PNG has no palette").at("/source")),
    };
    let mut pixels = Pixels::blank(Size::new(reader.info().width, reader.info().height), channels);
    reader.next_frame(&mut pixels.data).map_err(refusal)?;
    let profile = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
    reader.finish().map_err(refusal)?;
    Ok((pixels, profile))
}

/// Encodes, losslessly.
pub(super) fn encode(pixels: &Pixels) -> std::result::Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, pixels.size.width, pixels.size.height);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    encoder.set_color(match pixels.channels {
        Channels::Gray => ColorType::Grayscale,
        Channels::GrayAlpha => ColorType::GrayscaleAlpha,
        Channels::Rgb => ColorType::Rgb,
        Channels::Rgba => ColorType::Rgba,
    });
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels.data)?;
    writer.finish()?;
    Ok(file)
}

fn refusal(error: DecodingError) -> Fatal {
    let code = match &error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => "truncated_image",
        DecodingError::LimitsExceeded => "too_much_memory",
        _ => "damaged_image",
    };
    Fatal::new(code, format!("the PNG cannot be decoded whole: {error}")).at("/source")
}
