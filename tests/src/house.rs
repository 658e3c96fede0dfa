//! The house rules that a machine can read: file lengths, banned words, paths of the machine that built it.
//!
//! It judges text, and finds the files by walking the tree, so that a tarball without git is judged too.
//! Read `arrows.rs` for who may name whom.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::arrows::Source;
use crate::tokens::{Token, tokens};

/// Past this a file needs a reason.
pub const LONGEST: usize = 400;
/// How the reason begins, in the file's header comment.
pub const REASON: &str = "Longer than 400 lines because";

/// What the code may not hold, as tokens.
const BANNED: [&[&str]; 4] =
    [&["todo", "!", "("], &["unimplemented", "!", "("], &["#", "[", "ignore"], &["#", "[", "allow", "("]];

/// Directories that hold nothing we wrote.
const NOT_OURS: [&str; 5] = ["target", ".git", ".longshore", "node_modules", "__pycache__"];

/// Where people write code; anything else is data, prose or generated.
const CODE: [&str; 7] = ["rs", "sql", "sh", "py", "js", "css", "tpl"];

/// The root of the repository these tests were built from.
pub fn root() -> Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(tests.parent().context("the crate lies in the repository")?.to_owned())
}

/// Every text file of the repository, by its path from the root.
pub fn files(root: &Path) -> Result<Vec<Source>> {
    let (mut dirs, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let ours = !NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref());
            match entry.file_type()? {
                kind if kind.is_dir() && ours => dirs.push(entry.path()),
                kind if kind.is_file() && ours => found.extend(text(root, &entry.path())?),
                _ => {}
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn text(root: &Path, path: &Path) -> Result<Option<Source>> {
    let text = String::from_utf8(fs::read(path)?).ok();
    let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
    Ok(text.map(|text| Source { path, text }))
}

/// A file of code past the limit that gives no reason.
pub fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let code = Path::new(&source.path).extension().is_some_and(|extension| CODE.iter().any(|code| extension == *code));
    let header = source.text.lines().take_while(|line| is_comment(line));
    let excused = header.into_iter().any(|line| line.contains(REASON));
    (code && lines > LONGEST && !excused)
        .then(|| format!("{}: {lines} lines and no `{REASON}` in its header", source.path))
}

fn is_comment(line: &str) -> bool {
    ["//", "#", "--", "/*", "*"].iter().any(|mark| line.trim_start().starts_with(mark))
}

/// Words in a Rust source that stand for work undone or a rule set aside.
pub fn banned(source: &Source) -> Vec<String> {
    if !source.path.ends_with(".rs") {
        return vec![];
    }
    // `#![` is the same attribute one level up.
    let tokens: Vec<Token> = tokens(&source.text);
    let tokens: Vec<&Token> = tokens
        .iter()
        .enumerate()
        .filter(|(at, token)| !(token.is("!") && *at > 0 && tokens[at - 1].is("#")))
        .map(|(_, token)| token)
        .collect();
    let matches = |at: usize, words: &[&str]| {
        tokens.get(at..at + words.len()).is_some_and(|here| here.iter().zip(words).all(|(token, word)| token.is(word)))
    };
    let found = (0..tokens.len())
        .flat_map(|at| BANNED.iter().filter(move |words| matches(at, words)).map(move |words| (at, words)));
    found.map(|(at, words)| format!("{}:{}: `{}`", source.path, tokens[at].line, words.concat())).collect()
}

/// Lines of the log about a job that cannot be followed: they name it, and not its attempt or the request it came from. A caller's own
/// log is his: a handle knows no more of its job than the id.
pub fn unfollowed(source: &Source) -> Vec<String> {
    if !source.path.contains("/src/") || source.path.starts_with("sdk/src/client") || source.path.starts_with("tests/")
    {
        return vec![];
    }
    let tokens = tokens(&source.text);
    let calls = (1..tokens.len().saturating_sub(1)).filter(|at| {
        let level = ["trace", "debug", "info", "warn", "error"].iter().any(|level| tokens[at - 1].is(level));
        level && tokens[*at].is("!") && tokens[at + 1].is("(")
    });
    let said = calls.map(|at| (tokens[at].line, arguments(&tokens[at + 1..])));
    let about_a_job = said
        .filter(|(_, said)| said.windows(3).any(|three| three[0].is("job") && three[1].is(".") && three[2].is("id")));
    about_a_job
        .flat_map(|(line, said)| {
            let missing =
                ["attempt", "correlation_id"].into_iter().filter(|field| !said.iter().any(|token| token.is(field)));
            missing
                .map(move |field| format!("{}:{line}: a line about a job without {field}", source.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// From an opening parenthesis to its own closing one.
fn arguments(tokens: &[Token]) -> &[Token] {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        depth == 0
    });
    &tokens[..end.unwrap_or(tokens.len())]
}

/// Absolute paths that exist on the machine of whoever wrote the line and nowhere else.
pub fn machine_paths(source: &Source) -> Vec<String> {
    // In pieces, so that this file doesn't hold what it looks for.
    let needles = [concat!("/wo", "rk/"), concat!("/ro", "ot/.")];
    let lines = source.text.lines().enumerate();
    let found = lines.filter(|(_, line)| needles.iter().any(|needle| holds_path(line, needle)));
    found.map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim())).collect()
}

/// Only a path's beginning counts: one below a variable or in a URL is fine.
fn holds_path(line: &str, needle: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/' | '*');
    line.match_indices(needle).any(|(at, _)| !line[..at].ends_with(inside))
}
