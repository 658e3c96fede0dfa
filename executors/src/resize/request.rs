//! What a caller asks of `image.resize` and what it is answered; the JSON Schemas of both are made from these types.
//! It looks at the request alone, never at the image: whatever can be refused before the fetch is refused here, with
//! the field's pointer. Read [`super::plan`] next for what the sizes mean.

use longshore_sdk::context::artifact_name_is_valid;
use longshore_sdk::prelude::*;

use super::{Checked, Limits};

/// Most renditions of one job.
pub(super) const MAX_RENDITIONS: usize = 16;
/// Longest side that can be asked for; [`Limits::max_side`] may lower it.
pub(super) const MAX_SIDE: u32 = 16_384;
/// libwebp's own bound, one short of ours.
pub(super) const MAX_WEBP_SIDE: u32 = 16_383;
/// Leaves room for the ending within the 128 bytes of an artifact's name.
const MAX_NAME_BYTES: usize = 100;

/// The payload of `image.resize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The image: JPEG, PNG or WebP, told by its first bytes whatever its name.
    pub source: Source,
    /// The images to make of it, all from one decode.
    #[schemars(length(min = 1, max = 16))]
    pub renditions: Vec<Rendition>,
}

impl Payload for Resize {
    const KIND: &'static str = "image.resize";
    type Output = Resized;
}

/// One image to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["width"]}, {"required": ["height"]}]))]
pub struct Rendition {
    /// Its name within the job; the artifact is called `<name>.<format's ending>`.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    pub name: String,
    /// The frame's width in pixels. Without it the width follows from the height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_384))]
    pub width: Option<u32>,
    /// The frame's height in pixels. Without it the height follows from the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_384))]
    pub height: Option<u32>,
    /// How the image is brought into the frame.
    #[serde(default)]
    pub fit: Fit,
    /// Lets `inside` make the image larger than it is. `cover` and `fill` always give the size asked for.
    #[serde(default)]
    pub enlarge: bool,
    /// The file format.
    #[serde(default)]
    pub format: Format,
    /// From 1, smallest, to 100, best; PNG is lossless and ignores it. Default 85.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
    /// What shows through a transparent image in a JPEG, as `#rrggbb`. Default white.
    #[serde(default = "default_background")]
    #[schemars(regex(pattern = "^#[0-9A-Fa-f]{6}$"))]
    pub background: String,
}

fn default_quality() -> u8 {
    85
}

fn default_background() -> String {
    "#ffffff".to_owned()
}

/// How an image is brought into a frame. With only one side given, every fit keeps the aspect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Whole and undistorted, as large as the frame allows, never larger than it was unless `enlarge`.
    #[default]
    Inside,
    /// Fills the frame; what stands over is cut off evenly on both sides.
    Cover,
    /// Stretched to the frame.
    Fill,
}

/// An image's file format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JPEG: photographs, no transparency.
    #[default]
    Jpeg,
    /// PNG: lossless.
    Png,
    /// WebP, lossy, with transparency.
    Webp,
}

impl Format {
    /// `image/jpeg` and so on.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// The ending of a file's name, without the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }
}

/// What a completed `image.resize` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resized {
    /// The source's format.
    pub format: Format,
    /// The source's width as people see it, with its orientation applied.
    pub width: u32,
    /// The source's height as people see it.
    pub height: u32,
    /// The EXIF orientation that was applied, 1 (upright) to 8.
    pub orientation: u8,
    /// Whether the colours were converted to sRGB from an embedded profile.
    pub color_converted: bool,
    /// The images made, in the order asked for.
    pub renditions: Vec<Rendered>,
}

/// One image made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rendered {
    /// The name asked for.
    pub name: String,
    /// The artifact's name.
    pub artifact: String,
    /// Its format.
    pub format: Format,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The file's size.
    pub bytes: u64,
}

impl Resize {
    /// Everything that can be refused without the image.
    pub(super) fn check(&self, limits: &Limits) -> Checked<()> {
        if !(1..=MAX_RENDITIONS).contains(&self.renditions.len()) {
            let message = format!("{} renditions; ask for 1 to {MAX_RENDITIONS}", self.renditions.len());
            return Err(Fatal::new("invalid_payload", message).at("/renditions"));
        }
        for (index, rendition) in self.renditions.iter().enumerate() {
            let taken = self.renditions[..index].iter().any(|earlier| earlier.name == rendition.name);
            let fault = rendition.fault(taken, limits);
            if let Some((field, message)) = fault {
                return Err(Fatal::new("invalid_payload", message).at(format!("/renditions/{index}/{field}")));
            }
        }
        Ok(())
    }
}

impl Rendition {
    pub(super) fn artifact_name(&self) -> String {
        format!("{}.{}", self.name, self.format.ending())
    }

    /// The background's red, green and blue; `None` when it is no `#rrggbb`.
    pub(super) fn background_rgb(&self) -> Option<[u8; 3]> {
        let digits = self.background.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok().filter(|_| all)?.to_be_bytes();
        Some([red, green, blue])
    }

    /// The longest side this format and these limits allow.
    pub(super) fn max_side(&self, limits: &Limits) -> u32 {
        let format = if self.format == Format::Webp { MAX_WEBP_SIDE } else { MAX_SIDE };
        format.min(limits.max_side)
    }

    /// The first field at fault and what is wrong with it.
    fn fault(&self, name_taken: bool, limits: &Limits) -> Option<(&'static str, String)> {
        let name = self.name_fault(name_taken).map(|fault| ("name", fault));
        name.or_else(|| self.size_fault(limits)).or_else(|| self.look_fault())
    }

    fn name_fault(&self, taken: bool) -> Option<String> {
        if self.name.len() > MAX_NAME_BYTES || !artifact_name_is_valid(&self.name) {
            return Some(format!("{:?} is no file name of 1 to {MAX_NAME_BYTES} plain characters", self.name));
        }
        taken.then(|| format!("{:?} names an earlier rendition too; choose another", self.name))
    }

    fn size_fault(&self, limits: &Limits) -> Option<(&'static str, String)> {
        if self.width.is_none() && self.height.is_none() {
            return Some(("width", "give a width, a height or both".to_owned()));
        }
        let max = self.max_side(limits);
        let sides = [("width", self.width), ("height", self.height)];
        let bad = sides
            .into_iter()
            .find_map(|(field, side)| Some((field, side?)).filter(|(_, side)| !(1..=max).contains(side)));
        bad.map(|(field, side)| (field, format!("{side} pixels; a side has 1 to {max} here")))
    }

    fn look_fault(&self) -> Option<(&'static str, String)> {
        if !(1..=100).contains(&self.quality) {
            return Some(("quality", format!("{}; quality goes from 1 to 100", self.quality)));
        }
        let color = self.background_rgb();
        color.is_none().then(|| ("background", format!("{:?} is no colour; write it as #rrggbb", self.background)))
    }
}
