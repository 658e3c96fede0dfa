//! What a file is, by its first bytes alone: names and declared types lie.
//! It opens nothing: formats that could reach for other files or run code (SVG, PostScript, PDF) are known by sight only
//! to say so. Read [`super::picture`] next.

use longshore_sdk::prelude::*;

use super::Checked;
use super::request::Format;

/// # Errors
/// `unsupported_format` for a file of another known format, `not_an_image` for anything else.
pub(super) fn sniff(bytes: &[u8]) -> Checked<Format> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Format::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::Webp),
        _ => Err(refusal(bytes)),
    }
}

fn refusal(bytes: &[u8]) -> Fatal {
    let fatal = match other(bytes) {
        Some(name) => Fatal::new("unsupported_format", format!("the source is {name}; send JPEG, PNG or WebP")),
        None if bytes.is_empty() => Fatal::new("not_an_image", "the source is empty"),
        None => Fatal::new("not_an_image", "the source begins like no image; send JPEG, PNG or WebP"),
    };
    fatal.at("/source")
}

fn other(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "a BMP",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a HEIF, AVIF or video file",
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "a JPEG XL",
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => "a JPEG 2000",
        [0, 0, 1 | 2, 0, ..] => "an icon",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop file",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [b'%', b'!', b'P', b'S', ..] => "PostScript",
        [b'<', b's', b'v', b'g', ..] | [b'<', b'?', b'x', b'm', b'l', ..] => "SVG or other XML",
        _ => return None,
    })
}
