//! Decoded pixels, 8 bits a channel, rows without gaps, and what is done to them when they are few: turn, flatten, widen.
//! Alpha is never premultiplied here; the resizer does and undoes that itself. Read `render.rs` for the order of steps.

use super::plan::Size;

/// The channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Gray = 1,
    GrayAlpha = 2,
    Rgb = 3,
    Rgba = 4,
}

impl Channels {
    pub(super) fn count(self) -> usize {
        self as usize
    }

    pub(super) fn has_alpha(self) -> bool {
        matches!(self, Self::GrayAlpha | Self::Rgba)
    }
}

/// An image in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) size: Size,
    pub(super) channels: Channels,
    pub(super) data: Vec<u8>,
}

impl Pixels {
    pub(super) fn new(size: Size, channels: Channels, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), size.area() * channels.count(), "rows without gaps");
        Self { size, channels, data }
    }

    pub(super) fn blank(size: Size, channels: Channels) -> Self {
        Self { size, channels, data: vec![0; size.area() * channels.count()] }
    }

    /// Turned and mirrored as the EXIF orientation says.
    pub(super) fn upright(self, orientation: u8) -> Self {
        match (orientation, self.channels) {
            (1, _) => self,
            (_, Channels::Gray) => self.turned::<1>(orientation),
            (_, Channels::GrayAlpha) => self.turned::<2>(orientation),
            (_, Channels::Rgb) => self.turned::<3>(orientation),
            (_, Channels::Rgba) => self.turned::<4>(orientation),
        }
    }

    fn turned<const N: usize>(self, orientation: u8) -> Self {
        let size = upright_size(self.size, orientation);
        let (pixels, _) = self.data.as_chunks::<N>();
        let mut data = Vec::with_capacity(self.data.len());
        for y in 0..size.height as usize {
            let row = (0..size.width as usize).map(|x| stored_index(self.size, orientation, x, y));
            row.for_each(|index| data.extend_from_slice(&pixels[index]));
        }
        Self::new(size, self.channels, data)
    }

    /// Laid on an opaque background; its alpha is gone.
    pub(super) fn flattened(self, background: [u8; 3]) -> Self {
        match self.channels {
            Channels::Gray | Channels::Rgb => self,
            Channels::GrayAlpha => self.colored().flattened(background),
            Channels::Rgba => {
                let (pixels, _) = self.data.as_chunks::<4>();
                let laid = |[r, g, b, a]: &[u8; 4]| {
                    let [below_r, below_g, below_b] = background;
                    [over(*r, below_r, *a), over(*g, below_g, *a), over(*b, below_b, *a)]
                };
                Self::new(self.size, Channels::Rgb, pixels.iter().flat_map(laid).collect())
            }
        }
    }

    /// Gray as red, green and blue; alpha stays.
    pub(super) fn colored(self) -> Self {
        match self.channels {
            Channels::Rgb | Channels::Rgba => self,
            Channels::Gray => {
                let data = self.data.iter().flat_map(|&gray| [gray; 3]).collect();
                Self::new(self.size, Channels::Rgb, data)
            }
            Channels::GrayAlpha => {
                let (pixels, _) = self.data.as_chunks::<2>();
                let data = pixels.iter().flat_map(|&[gray, alpha]| [gray, gray, gray, alpha]).collect();
                Self::new(self.size, Channels::Rgba, data)
            }
        }
    }
}

fn over(above: u8, below: u8, alpha: u8) -> u8 {
    let (above, below, alpha) = (u32::from(above), u32::from(below), u32::from(alpha));
    u8::try_from((above * alpha + below * (255 - alpha) + 127) / 255).expect("a mean of two bytes is a byte")
}

/// An image's size once it is upright: orientations 5 to 8 lie on their side.
pub(super) fn upright_size(stored: Size, orientation: u8) -> Size {
    if orientation >= 5 { stored.turned() } else { stored }
}

/// Where in the `stored` image the upright image's pixel at `x`, `y` lies.
fn stored_index(stored: Size, orientation: u8, x: usize, y: usize) -> usize {
    let (width, height) = (stored.width as usize, stored.height as usize);
    let (right, bottom) = (width - 1, height - 1);
    let (column, row) = match orientation {
        2 => (right - x, y),
        3 => (right - x, bottom - y),
        4 => (x, bottom - y),
        5 => (y, x),
        6 => (y, bottom - x),
        7 => (right - y, bottom - x),
        8 => (right - y, x),
        _ => (x, y),
    };
    row * width + column
}
