//! What a child may use: memory, processor time, file sizes, its place in the queue for the processor.
//! They are resource limits of one process each, not of its group; a cgroup is the operator's to give. Read
//! [`super::Child`] for who applies them.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// Open files: ffmpeg needs about ten, and 256 leaves room for any program we start.
const OPEN_FILES: u64 = 256;

/// Limits of one child. `None` leaves what the worker itself has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space. Threads reserve much more than they touch: 8 MB of stack and up to 64 MB of heap each.
    pub memory_bytes: Option<u64>,
    /// Processor time; past it the kernel sends SIGXCPU, a second later SIGKILL.
    pub cpu_seconds: Option<u64>,
    /// The size of any file it writes; past it the kernel sends SIGXFSZ.
    pub file_bytes: Option<u64>,
    /// Added to its niceness, so that a busy child does not starve the worker's own threads.
    pub nice: i32,
}

impl Limits {
    /// Async-signal-safe: called between fork and exec.
    pub(super) fn apply(self) -> rustix::io::Result<()> {
        set(Resource::Core, Some(0), 0)?;
        set(Resource::Nofile, Some(OPEN_FILES), 0)?;
        set(Resource::As, self.memory_bytes, 0)?;
        set(Resource::Cpu, self.cpu_seconds, 1)?;
        set(Resource::Fsize, self.file_bytes, 0)?;
        if self.nice != 0 {
            nice(self.nice)?;
        }
        Ok(())
    }
}

fn set(resource: Resource, limit: Option<u64>, above: u64) -> rustix::io::Result<()> {
    match limit {
        Some(limit) => setrlimit(resource, within(getrlimit(resource), limit, above)),
        None => Ok(()),
    }
}

/// The limit asked for, never above the one we live under ourselves: raising that one is refused by the kernel.
fn within(own: Rlimit, limit: u64, above: u64) -> Rlimit {
    let ceiling = own.maximum.unwrap_or(u64::MAX);
    Rlimit { current: Some(limit.min(ceiling)), maximum: Some(limit.saturating_add(above).min(ceiling)) }
}

/// The processor time that an attempt can use at most: its wall clock on every thread, and one thread for the rest.
pub fn cpu_seconds(wall_clock: Duration, threads: u32) -> u64 {
    wall_clock.as_secs().saturating_add(1).saturating_mul(u64::from(threads).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_above_our_own() {
        let own = Rlimit { current: Some(5), maximum: Some(10) };
        assert_eq!(within(own, 7, 1), Rlimit { current: Some(7), maximum: Some(8) });
        assert_eq!(within(own, 70, 1), Rlimit { current: Some(10), maximum: Some(10) });
        let open = Rlimit { current: None, maximum: None };
        assert_eq!(within(open, u64::MAX, 1), Rlimit { current: Some(u64::MAX), maximum: Some(u64::MAX) });
    }

    #[test]
    fn processor_time_covers_the_wall_clock_on_every_thread() {
        assert_eq!(cpu_seconds(Duration::from_secs(3600), 2), 3601 * 3);
        assert_eq!(cpu_seconds(Duration::MAX, u32::MAX), u64::MAX);
    }
}
