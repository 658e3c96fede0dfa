//! JPEG in and out, through libjpeg-turbo; the only file that knows it.
//! A decode that libjpeg merely warns about is refused: it fills what is missing with grey and calls that success.
//! Read [`super::picture`] next.

use longshore_sdk::prelude::*;
use turbojpeg::{Colorspace, Compressor, Decompressor, Image, OwnedBuf, PixelFormat, ScalingFactor, Subsamp};

use super::Checked;
use super::pixels::{Channels, Pixels};
use super::plan::Size;

/// The size that the header tells.
pub(super) fn size(bytes: &[u8]) -> Checked<Size> {
    let header = Decompressor::new().and_then(|mut turbo| turbo.read_header(bytes)).map_err(refusal)?;
    Ok(Size::new(side(header.width)?, side(header.height)?))
}

fn side(pixels: usize) -> Checked<u32> {
    u32::try_from(pixels).or_fatal("damaged_image")
}

/// Decodes at `eighths` of the size. `adobe`: CMYK is stored inverted.
pub(super) fn decode(bytes: &[u8], eighths: u8, adobe: bool, max_scans: u32) -> Checked<Pixels> {
    let mut turbo = Decompressor::new().map_err(refusal)?;
    turbo.set_scan_limit(max_scans).map_err(refusal)?;
    let header = turbo.read_header(bytes).map_err(refusal)?;
    // The lossless process has no DCT to scale in.
    let scale = if header.is_lossless { ScalingFactor::ONE } else { ScalingFactor::new(eighths.into(), 8) };
    turbo.set_scaling_factor(scale).map_err(refusal)?;
    let size = Size::new(side(scale.scale(header.width))?, side(scale.scale(header.height))?);
    match header.colorspace {
        Colorspace::Gray => {
            decompress(&mut turbo, bytes, size, PixelFormat::GRAY).map(|data| Pixels::new(size, Channels::Gray, data))
        }
        Colorspace::CMYK | Colorspace::YCCK => {
            let inks = decompress(&mut turbo, bytes, size, PixelFormat::CMYK)?;
            Ok(Pixels::new(size, Channels::Rgb, from_cmyk(&inks, adobe)))
        }
        _ => decompress(&mut turbo, bytes, size, PixelFormat::RGB).map(|data| Pixels::new(size, Channels::Rgb, data)),
    }
}

fn decompress(turbo: &mut Decompressor, bytes: &[u8], size: Size, format: PixelFormat) -> Checked<Vec<u8>> {
    let (width, height) = (size.width as usize, size.height as usize);
    let pitch = width * format.size();
    let mut pixels = vec![0; pitch * height];
    turbo.decompress(bytes, Image { pixels: &mut pixels[..], width, pitch, height, format }).map_err(refusal)?;
    Ok(pixels)
}

/// The plain formula. A press profile would be truer; it is ignored.
fn from_cmyk(inks: &[u8], inverted: bool) -> Vec<u8> {
    let light = |ink: u8| u32::from(if inverted { ink } else { 255 - ink });
    let (pixels, _) = inks.as_chunks::<4>();
    let shade = |ink: u8, black: u8| {
        u8::try_from((light(ink) * light(black) + 127) / 255).expect("a product of two fractions of 255")
    };
    pixels.iter().flat_map(|&[c, m, y, k]| [shade(c, k), shade(m, k), shade(y, k)]).collect()
}

/// Encodes opaque pixels, colour at half resolution as cameras do.
pub(super) fn encode(pixels: &Pixels, quality: u8) -> std::result::Result<OwnedBuf, turbojpeg::Error> {
    let gray = pixels.channels == Channels::Gray;
    let format = if gray { PixelFormat::GRAY } else { PixelFormat::RGB };
    let (width, height) = (pixels.size.width as usize, pixels.size.height as usize);
    let mut turbo = Compressor::new()?;
    turbo.set_quality(quality.into())?;
    turbo.set_subsamp(if gray { Subsamp::Gray } else { Subsamp::Sub2x2 })?;
    let image = Image { pixels: &pixels.data[..], width, pitch: width * format.size(), height, format };
    turbo.compress_to_owned(image)
}

/// libjpeg speaks in sentences only; these are those of the cases that a caller can tell apart.
fn refusal(error: turbojpeg::Error) -> Fatal {
    let text = error.to_string();
    let code = match &text {
        text if text.contains("Premature end") || text.contains("premature end") => "truncated_image",
        text if text.contains("contains no image") => "truncated_image",
        text if text.contains("scans") => "too_many_scans",
        text if text.contains("Unsupported") || text.contains("not supported") => "unsupported_format",
        _ => "damaged_image",
    };
    Fatal::new(code, format!("the JPEG cannot be decoded whole: {text}")).at("/source")
}
