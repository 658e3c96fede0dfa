//! From a decoded source to rendition files, one at a time: resize, turn, convert colours, encode, write.
//! Everything after the resize works on the small image, and the source is never copied.
//! Read [`super::pixels`] and [`super::encode`] for the steps.

use std::path::PathBuf;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions};
use longshore_sdk::Cancellation;
use longshore_sdk::prelude::*;

use super::encode;
use super::picture::Decoded;
use super::pixels::{Channels, Pixels, upright_size};
use super::plan::Size;
use super::request::{Fit, Rendered, Rendition, Resized};

/// A decoded source and the tools that all its renditions share.
pub(super) struct Easel {
    source: Decoded,
    targets: Vec<Size>,
    resizer: fast_image_resize::Resizer,
    directory: PathBuf,
    cancellation: Cancellation,
}

/// A rendition on disk.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) size: Size,
}

impl Easel {
    /// `targets` are the sizes of the renditions; their files are made in `directory`.
    pub(super) fn new(source: Decoded, targets: Vec<Size>, directory: PathBuf, cancellation: Cancellation) -> Self {
        Self { source, targets, resizer: fast_image_resize::Resizer::new(), directory, cancellation }
    }

    /// Makes the rendition of this index.
    pub(super) fn render(&mut self, index: usize, wish: &Rendition) -> Result<File> {
        let small = self.resized(self.targets[index], wish.fit)?;
        self.cancellation.check()?;
        let upright = small.upright(self.source.facts.orientation);
        let seen = match &self.source.to_srgb {
            Some(to_srgb) => to_srgb.convert(&upright)?,
            None => upright,
        };
        self.cancellation.check()?;
        let path = self.directory.join(index.to_string());
        let size = seen.size;
        encode::write(seen, wish, &path)?;
        Ok(File { path, size })
    }

    /// A cut is centred, so it is the same on an image that lies on its side.
    fn resized(&mut self, target: Size, fit: Fit) -> Result<Pixels> {
        let from = &self.source.pixels;
        let target = upright_size(target, self.source.facts.orientation);
        let kind = match from.channels {
            Channels::Gray => PixelType::U8,
            Channels::GrayAlpha => PixelType::U8x2,
            Channels::Rgb => PixelType::U8x3,
            Channels::Rgba => PixelType::U8x4,
        };
        let view = ImageRef::new(from.size.width, from.size.height, &from.data, kind)?;
        let mut small = Image::new(target.width, target.height, kind);
        let whole = ResizeOptions::new();
        let options = if fit == Fit::Cover { whole.fit_into_destination(None) } else { whole };
        self.resizer.resize(&view, &mut small, &options)?;
        Ok(Pixels::new(target, from.channels, small.into_vec()))
    }

    /// What the caller is told.
    pub(super) fn describe(&self, renditions: Vec<Rendered>) -> Resized {
        let facts = self.source.facts;
        Resized {
            format: facts.format,
            width: facts.size.width,
            height: facts.size.height,
            orientation: facts.orientation,
            color_converted: self.source.to_srgb.is_some(),
            renditions,
        }
    }
}
