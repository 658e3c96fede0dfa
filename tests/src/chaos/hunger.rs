//! How an executor runs out of memory: it moves into a memory cgroup of its own with room for little, takes more, and the kernel's OOM
//! killer ends the process with SIGKILL, as it would on a full machine or in a pod past its limit. Where no cgroup may be made (that takes
//! root and a writable hierarchy) it sends itself the same signal when it has taken as much: then it was not the kernel, and it says so.

use std::io::{ErrorKind, Result};
use std::path::Path;

use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

/// What a hungry process may take beyond what it has.
const ROOM_BYTES: usize = 64 << 20;
/// What it takes at once.
const BITE_BYTES: usize = 8 << 20;
/// Where cgroups may be made, and the file of their limit: of version 1, and of version 2.
const HIERARCHIES: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// Who will end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killer {
    /// The kernel: there is no more room.
    Kernel,
    /// The process itself, as if.
    Itself,
}

impl Killer {
    /// Its word in the table of the sins.
    pub const fn word(self) -> &'static str {
        match self {
            Killer::Kernel => "kernel",
            Killer::Itself => "itself",
        }
    }
}

/// Confines this process, if it may.
pub fn confine() -> Killer {
    let confined = HIERARCHIES.iter().any(|(root, limit)| enter(Path::new(root), limit).is_ok());
    if confined { Killer::Kernel } else { Killer::Itself }
}

/// Takes memory until the process is killed.
pub fn exhaust() -> ! {
    let mut hoard: Vec<Vec<u8>> = vec![];
    loop {
        // Written to, for what is only reserved is charged to nobody.
        hoard.push(vec![1; BITE_BYTES]);
        // Without a limit, or with swap beyond it, it goes no further either.
        if hoard.len() * BITE_BYTES > 2 * ROOM_BYTES {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

fn enter(root: &Path, limit: &str) -> Result<()> {
    let cgroup = root.join(format!("{}{}", prefix(getppid()), getpid()));
    // A version that is not mounted, or without a memory controller, has no such file.
    if !root.join(limit).exists() && !root.join("cgroup.subtree_control").exists() {
        return Err(ErrorKind::NotFound.into());
    }
    std::fs::create_dir(&cgroup)?;
    let entered = std::fs::write(cgroup.join(limit), ROOM_BYTES.to_string())
        .and_then(|()| std::fs::write(cgroup.join("cgroup.procs"), getpid().as_raw_nonzero().to_string()));
    entered.inspect_err(|_| drop(std::fs::remove_dir(&cgroup)))
}

/// Removes the cgroups of processes that we had started; they are empty now.
pub fn sweep() {
    let ours = prefix(Some(getpid()));
    for (root, _) in HIERARCHIES {
        for cgroup in std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if name(&cgroup).starts_with(&ours) {
                // One that cannot be removed holds no more than its name.
                let _ = std::fs::remove_dir(cgroup);
            }
        }
    }
}

/// What the cgroups are called of whoever has this parent.
fn prefix(parent: Option<Pid>) -> String {
    format!("longshore-chaos-{}-", parent.map_or(0, |pid| pid.as_raw_nonzero().get()))
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
