//! A file system of its own that can be filled up to the last byte without harm to the machine's. It needs the right to mount: root has
//! it, and whoever may use sudo without a password; a container needs SYS_ADMIN.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What is written at once.
static BLOCK: [u8; 64 * 1024] = [1; 64 * 1024];

/// A mounted directory; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Makes the directory and mounts a file system of so many bytes there, which everybody may write to.
    ///
    /// # Errors
    /// When it may not be mounted.
    pub fn mount(dir: &Path, bytes: u64) -> Result<SmallDisk> {
        std::fs::create_dir_all(dir)?;
        let (size, place) = (format!("size={bytes},mode=0777"), dir.as_os_str());
        as_root(&[
            "mount".as_ref(),
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "-o".as_ref(),
            size.as_ref(),
            "longshore-test".as_ref(),
            place,
        ])?;
        Ok(SmallDisk { dir: dir.to_owned() })
    }

    /// Fills it. A byte that somebody frees meanwhile is free.
    ///
    /// # Errors
    /// When it did not become full.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let full = loop {
            if let Err(error) = ballast.write_all(&BLOCK) {
                break error;
            }
        };
        ensure!(full.kind() == std::io::ErrorKind::StorageFull, "it did not become full: {full}");
        Ok(())
    }

    /// There is room again.
    ///
    /// # Errors
    /// When what filled it is not there.
    pub fn relieve(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("it was not full")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever is still in there does not hold it up. If it fails there is nothing left to do.
        let _ = as_root(&["umount".as_ref(), "-l".as_ref(), self.dir.as_os_str()]);
    }
}

fn as_root(command: &[&std::ffi::OsStr]) -> Result<()> {
    let mut run = if rustix::process::geteuid().is_root() {
        Command::new(command[0])
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("-n").arg(command[0]);
        sudo
    };
    let said = run.args(&command[1..]).output().context("neither root nor sudo")?;
    let why = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success(),
        "{command:?} is not allowed here ({}): a full disk needs one of its own",
        why.trim()
    );
    Ok(())
}
