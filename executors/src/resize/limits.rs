//! How much of the machine one image may take, checked before anything is allocated for it.
//! No limit here is off by default and none has a special value for "unlimited".
//! Read [`super::picture`] next: it asks these questions in order.

use longshore_sdk::prelude::*;

use super::Checked;
use super::plan::{Size, target};
use super::request::{MAX_SIDE, Rendition};

/// The bounds an executor works within. The memory of one attempt is about `max_input_bytes` + 8 bytes for each of
/// `max_pixels` (a decoded image with alpha, and its premultiplied copy) + one rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most pixels of the source, by its header, and of a rendition. Default 50 million.
    pub max_pixels: u64,
    /// Largest file read. Default 64 MiB.
    pub max_input_bytes: u64,
    /// Longest side of a rendition. Default 16,384, which is also the highest.
    pub max_side: u32,
    /// Most scans of a progressive JPEG; each costs a pass over the image, and a few bytes make one. Default 100.
    pub max_scans: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 50_000_000, max_input_bytes: 64 * 1024 * 1024, max_side: MAX_SIDE, max_scans: 100 }
    }
}

impl Limits {
    pub(super) fn refuse_input(&self, bytes: u64) -> Checked<()> {
        if bytes <= self.max_input_bytes {
            return Ok(());
        }
        let message = format!("the source is larger than {} bytes; send a smaller file", self.max_input_bytes);
        Err(Fatal::new("input_too_large", message).at("/source"))
    }

    pub(super) fn refuse_source(&self, size: Size) -> Checked<()> {
        if size.pixels() <= self.max_pixels {
            return Ok(());
        }
        let message = format!("the source has {size} pixels, more than {} in all", self.max_pixels);
        Err(Fatal::new("too_many_pixels", message).at("/source"))
    }

    /// The size of every rendition of a source of this size.
    ///
    /// A side left open can come out longer than any that may be asked for: 1 x 9000 pixels made 100 wide.
    pub(super) fn targets(&self, renditions: &[Rendition], source: Size) -> Checked<Vec<Size>> {
        let checked = |(index, rendition): (usize, &Rendition)| {
            let size = target(rendition, source);
            let max = rendition.max_side(self);
            let fault = if size.width.max(size.height) > max {
                format!("comes out at {size} pixels, with a side over {max}; give both sides")
            } else if size.pixels() > self.max_pixels {
                format!("comes out at {size} pixels, more than {} in all; ask for less", self.max_pixels)
            } else {
                return Ok(size);
            };
            Err(Fatal::new("rendition_too_large", fault).at(format!("/renditions/{index}")))
        };
        renditions.iter().enumerate().map(checked).collect()
    }
}
