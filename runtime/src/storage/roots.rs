//! The rule for paths: a job may name a regular file under one of the operator's roots and nothing else, whatever dots or
//! symlinks it uses. Paths outside the roots are refused before the disk is asked, so that nobody can probe what exists.
//! The roots must not be writable for the jobs' authors: a file swapped after the check would be read as it is then.

use std::path::{Component, Path, PathBuf};

use super::StorageError;

/// The allowed directories.
#[derive(Debug)]
pub(super) struct Roots {
    /// As written, and with symlinks resolved. A path may begin with either, but must end under a resolved one.
    allowed: Vec<(PathBuf, PathBuf)>,
    /// Our own directory holds other callers' files, also when it lies under a root.
    own: Option<PathBuf>,
}

/// What the rule says of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// This file, and so many bytes.
    Allowed(PathBuf, u64),
    /// Not under a root, or no regular file.
    Forbidden,
    /// It would be allowed, but is not there.
    Missing,
}

impl Roots {
    pub(super) fn new(roots: &[PathBuf], own: Option<&Path>) -> Result<Self, StorageError> {
        let allowed = roots.iter().map(|root| resolve(root)).collect::<Result<_, _>>()?;
        Ok(Self { allowed, own: own.map(Path::to_owned) })
    }

    /// Judges `path`. Asks the disk, so it belongs on a blocking thread.
    pub(super) fn judge(&self, path: &str) -> Ruling {
        if !self.reads_as_inside(Path::new(path)) {
            return Ruling::Forbidden;
        }
        let Ok(real) = Path::new(path).canonicalize() else { return Ruling::Missing };
        if !self.holds(&real) {
            return Ruling::Forbidden;
        }
        match real.metadata() {
            Ok(facts) if facts.is_file() => Ruling::Allowed(real, facts.len()),
            Ok(_) => Ruling::Forbidden,
            Err(_) => Ruling::Missing,
        }
    }

    /// Whether a resolved path lies under a root and not in our own directory. Compares whole components: `/allowed-evil`
    /// is not under `/allowed`.
    pub(super) fn holds(&self, real: &Path) -> bool {
        let ours = self.own.as_ref().is_some_and(|own| real.starts_with(own));
        !ours && self.allowed.iter().any(|(_, root)| real.starts_with(root))
    }

    fn reads_as_inside(&self, path: &Path) -> bool {
        let climbs = path.components().any(|part| part == Component::ParentDir);
        !climbs && self.allowed.iter().any(|(written, real)| path.starts_with(written) || path.starts_with(real))
    }
}

fn resolve(root: &Path) -> Result<(PathBuf, PathBuf), StorageError> {
    let refused =
        |why: &dyn std::fmt::Display| StorageError::Settings(format!("`allowed_roots` has {}: {why}", root.display()));
    if !root.is_absolute() {
        return Err(refused(&"a root is an absolute path"));
    }
    Ok((root.to_owned(), root.canonicalize().map_err(|error| refused(&error))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _directory: tempfile::TempDir,
        base: PathBuf,
        roots: Roots,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        for (folder, file) in [("allowed", "in.txt"), ("allowed-evil", "x.txt"), ("allowed/own", "upload")] {
            std::fs::create_dir_all(base.join(folder)).unwrap();
            std::fs::write(base.join(folder).join(file), "12345").unwrap();
        }
        let roots = Roots::new(&[base.join("allowed")], Some(&base.join("allowed/own"))).unwrap();
        Place { _directory: directory, base, roots }
    }

    fn judge(place: &Place, path: &str) -> Ruling {
        place.roots.judge(place.base.join(path).to_str().unwrap())
    }

    #[test]
    fn a_file_under_a_root_is_allowed() {
        let place = place();
        assert_eq!(judge(&place, "allowed/in.txt"), Ruling::Allowed(place.base.join("allowed/in.txt"), 5));
        assert_eq!(judge(&place, "allowed/./in.txt"), Ruling::Allowed(place.base.join("allowed/in.txt"), 5));
        assert_eq!(judge(&place, "allowed/none.txt"), Ruling::Missing);
    }

    #[test]
    fn no_spelling_leads_out_of_a_root() {
        let place = place();
        for out in ["allowed/../allowed-evil/x.txt", "allowed-evil/x.txt", "allowed/../allowed/in.txt", "none.txt"] {
            assert_eq!(judge(&place, out), Ruling::Forbidden, "{out}");
        }
        for odd in ["", "allowed/in.txt", "../in.txt", "/etc/passwd", "file:///etc/passwd", "\0"] {
            assert_eq!(place.roots.judge(odd), Ruling::Forbidden, "{odd:?}");
        }
    }

    #[test]
    fn encoded_dots_are_letters_of_a_file_name() {
        let place = place();
        for encoded in ["allowed/%2e%2e/allowed-evil/x.txt", "allowed/..%2fallowed-evil%2fx.txt", "allowed/\0"] {
            assert_eq!(judge(&place, encoded), Ruling::Missing, "{encoded:?}");
        }
    }

    #[test]
    fn a_symlink_may_move_within_a_root_but_not_out_of_it() {
        let place = place();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(place.base.join(to), place.base.join("allowed").join(name)).unwrap();
        };
        link("allowed-evil/x.txt", "out");
        link("allowed-evil", "outdir");
        link("allowed/in.txt", "inside");
        assert_eq!(judge(&place, "allowed/out"), Ruling::Forbidden);
        assert_eq!(judge(&place, "allowed/outdir/x.txt"), Ruling::Forbidden);
        assert_eq!(judge(&place, "allowed/inside"), Ruling::Allowed(place.base.join("allowed/in.txt"), 5));
    }

    #[test]
    fn directories_and_other_callers_uploads_are_no_inputs() {
        let place = place();
        assert_eq!(judge(&place, "allowed"), Ruling::Forbidden);
        assert_eq!(judge(&place, "allowed/own/upload"), Ruling::Forbidden);
    }

    #[test]
    fn by_default_no_path_is_allowed_and_a_root_must_be_an_absolute_directory_that_exists() {
        let none = Roots::new(&[], None).unwrap();
        assert_eq!(none.judge("/etc/passwd"), Ruling::Forbidden);
        assert!(Roots::new(&["relative".into()], None).unwrap_err().to_string().contains("absolute"));
        assert!(Roots::new(&["/no/such/root".into()], None).unwrap_err().to_string().contains("/no/such/root"));
    }
}
