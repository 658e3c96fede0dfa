//! The kind `image.resize`: one image in, up to sixteen renditions out, decoded once for all of them.
//! It refuses what it cannot read honestly: a damaged file is a fatal error, never a picture with a grey half; and it
//! allocates nothing for an image whose header already breaks a limit.
//! Read `request.rs` for what a caller may ask, `plan.rs` for the arithmetic, `render.rs` for the work on pixels.

mod color;
mod encode;
mod jpeg;
mod limits;
mod metadata;
mod picture;
mod pixels;
mod plan;
mod png;
mod render;
mod request;
mod sniff;
#[cfg(test)]
mod tests;
mod webp;

pub use limits::Limits;
pub use plan::{Size, dct_eighths, target};
pub use request::{Fit, Format, Rendered, Rendition, Resize, Resized};

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use longshore_sdk::prelude::*;

use self::picture::Picture;
use self::render::{Easel, File as RenditionFile};

/// What only the image or the request can make fail: such failures are final.
type Checked<T> = std::result::Result<T, Fatal>;

/// Runs `image.resize`.
#[derive(Debug, Clone, Default)]
pub struct Resizer {
    limits: Limits,
}

impl Resizer {
    /// An executor that works within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl Executor for Resizer {
    type Payload = Resize;

    fn policy(&self) -> Policy {
        Policy { timeout: Duration::from_secs(120), cost: 1, ..Policy::default() }
    }

    async fn run(&self, job: Resize, context: &Context) -> Result<Resized> {
        job.check(&self.limits)?;
        let mut easel = self.decode(&job, context).await?;
        let mut renditions = Vec::with_capacity(job.renditions.len());
        for (index, wish) in job.renditions.iter().enumerate() {
            let (back, file) = render(easel, index, wish.clone(), context).await?;
            easel = back;
            renditions.push(publish(file, wish, context).await?);
            context.progress(Progress::of(index as u64 + 1, job.renditions.len() as u64, &wish.name));
        }
        Ok(easel.describe(renditions))
    }
}

impl Resizer {
    async fn decode(&self, job: &Resize, context: &Context) -> Result<Easel> {
        let input = context.fetch(&job.source).await?;
        self.limits.refuse_input(input.bytes)?;
        let directory = context.scratch()?.join("renditions");
        let (limits, renditions) = (self.limits.clone(), job.renditions.clone());
        let cancellation = context.cancellation().clone();
        let work = move || {
            let bytes = read(&input.path, &limits)?;
            cancellation.check()?;
            let picture = Picture::open(&bytes, &limits)?;
            let targets = limits.targets(&renditions, picture.size())?;
            cancellation.check()?;
            let decoded = picture.decode(&targets, &limits)?;
            std::fs::create_dir_all(&directory)?;
            Ok(Easel::new(decoded, targets, directory, cancellation))
        };
        context.blocking(work).await
    }
}

/// The easel travels into the blocking thread and back: one set of buffers, no lock.
async fn render(easel: Easel, index: usize, wish: Rendition, context: &Context) -> Result<(Easel, RenditionFile)> {
    context.check()?;
    context
        .blocking(move || {
            let mut easel = easel;
            let file = easel.render(index, &wish)?;
            Ok((easel, file))
        })
        .await
}

async fn publish(file: RenditionFile, wish: &Rendition, context: &Context) -> Result<Rendered> {
    context.check()?;
    let artifact = context.publish(&wish.artifact_name(), wish.format.media_type(), &file.path).await?;
    Ok(Rendered {
        name: wish.name.clone(),
        artifact: artifact.name,
        format: wish.format,
        width: file.size.width,
        height: file.size.height,
        bytes: artifact.bytes,
    })
}

/// Reads one byte past the limit at most: the file may have grown since it was fetched.
fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(limits.max_input_bytes))? + 1);
    file.take(limits.max_input_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    limits.refuse_input(bytes.len() as u64)?;
    Ok(bytes)
}
