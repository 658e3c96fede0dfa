//! What `/proc` says about processes: who lives, and who descends from whom.
//!
//! A zombie counts as dead here: it holds a number and nothing else, and in a container nobody may ever collect it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Whether a process with this number runs.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The children, grandchildren and so on of a process, itself not included.
pub fn descendants(of: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for stat in everyone() {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut found = children.remove(&of).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The processes that live and were started with this in their environment; a child has it from its parent, unless that took it away.
pub fn marked(name: &str, value: &str) -> Vec<u32> {
    let mark = format!("{name}={value}").into_bytes();
    let has = |pid: u32| {
        // Of a stranger it may not be read, and he has none of our marks.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == mark)
    };
    everyone().map(|stat| stat.pid).filter(|pid| alive(*pid) && has(*pid)).collect()
}

/// The processes that live and are at work in this directory.
pub fn at_work_in(directory: &Path) -> Vec<u32> {
    // Of a stranger it may not be read, and he is in none of our directories.
    let is_there = |pid: u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place == directory);
    everyone().map(|stat| stat.pid).filter(|pid| alive(*pid) && is_there(*pid)).collect()
}

/// The most memory that a process ever had.
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

struct Stat {
    pid: u32,
    state: char,
    parent: u32,
}

fn everyone() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
}

/// The fields after the name; the name stands in brackets and may itself hold blanks and brackets.
fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { pid, state, parent })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_by_the_mark_that_its_parent_gave_it() {
        let mark = format!("{:?}", std::thread::current().id());
        let mut parent = Command::new("sh");
        // The shell itself is gone when the child is looked for, and so is its family.
        parent.args(["-c", "setsid sleep 600 &"]).env("PROCFS_MARK", &mark).stdout(Stdio::null()).stderr(Stdio::null());
        parent.status().unwrap();
        let marked = marked("PROCFS_MARK", &mark);
        assert_eq!(marked.len(), 1, "{marked:?}");
        assert!(super::marked("PROCFS_MARK", "another").is_empty());
        Command::new("kill").arg(marked[0].to_string()).status().unwrap();
        while alive(marked[0]) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_orphan_is_known_by_the_directory_it_works_in() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let mut parent = Command::new("sh");
        parent.args(["-c", "setsid sleep 600 &"]).current_dir(&place).stdout(Stdio::null()).stderr(Stdio::null());
        parent.status().unwrap();
        let there = at_work_in(&place);
        assert_eq!(there.len(), 1, "{there:?}");
        Command::new("kill").arg(there[0].to_string()).status().unwrap();
        while alive(there[0]) {
            std::thread::yield_now();
        }
        assert!(at_work_in(&place).is_empty());
    }

    #[test]
    fn a_process_that_runs_is_alive_and_a_zombie_is_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        assert!(alive(child.id()));
        assert!(descendants(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        // Not waited for yet, so it is a zombie as soon as the signal has reached it.
        while alive(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
