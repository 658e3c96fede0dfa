//! Which paths a Rust source names: `use` trees spread out, paths in code, all made absolute.
//!
//! It resolves no names beyond one file: a name brought in by `use` was mentioned there, and that is enough for `arrows.rs`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::tokens::{Token, tokens};

/// A path as seen from outside of its crate, such as `longshore_runtime::ledger::Ledger` or `lapin::Channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Its segments, the crate first.
    pub path: Vec<String>,
    /// The line it stands on, from 1.
    pub line: usize,
}

/// Words before `::` that name no crate.
const PRIMITIVES: [&str; 18] = [
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    "f32", "f64", "slice",
];
/// Lints and the like: tools, not crates.
const TOOLS: [&str; 3] = ["clippy", "rustfmt", "rustdoc"];

/// The mentions in a source whose module is known by its absolute path.
pub fn mentions(module: &[&str], source: &str) -> Vec<Mention> {
    let tokens = tokens(source);
    let raw = Walk::over(&tokens, module);
    raw.found.iter().filter_map(|named| raw.resolve(named)).collect()
}

/// A path as written, with where it was written.
struct Named {
    path: Vec<String>,
    line: usize,
    /// The inline modules around it.
    inside: Vec<String>,
    in_use: bool,
}

struct Walk<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
    /// Inline modules we are in, each with the depth of braces outside of it.
    inside: Vec<(String, usize)>,
    depth: usize,
    found: Vec<Named>,
    imported: HashSet<String>,
    declared: HashSet<String>,
}

impl<'a> Walk<'a> {
    fn over(tokens: &'a [Token], module: &[&str]) -> Walk<'a> {
        let module = module.iter().map(|segment| (*segment).to_owned()).collect();
        let empty = (Vec::new(), HashSet::new(), HashSet::new());
        let mut walk =
            Walk { tokens, module, inside: vec![], depth: 0, found: empty.0, imported: empty.1, declared: empty.2 };
        let mut at = 0;
        while at < tokens.len() {
            at = walk.step(at);
        }
        walk
    }

    fn word(&self, at: usize) -> Option<&'a str> {
        self.tokens.get(at).filter(|token| token.is_word()).map(|token| token.text.as_str())
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(text))
    }

    /// Handles what stands at a place and returns the next place to look at.
    fn step(&mut self, at: usize) -> usize {
        match self.tokens[at].text.as_str() {
            "use" if self.is(at + 1, "::") || self.word(at + 1).is_some() || self.is(at + 1, "{") => {
                self.tree(at + 1, &[])
            }
            "mod" if self.word(at + 1).is_some() => self.declaration(at),
            "{" => self.open(at),
            "}" => self.close(at),
            _ if self.starts_path(at) => self.path(at),
            _ => at + 1,
        }
    }

    fn open(&mut self, at: usize) -> usize {
        self.depth += 1;
        at + 1
    }

    fn close(&mut self, at: usize) -> usize {
        self.depth = self.depth.saturating_sub(1);
        self.inside.pop_if(|(_, outside)| *outside == self.depth);
        at + 1
    }

    fn declaration(&mut self, at: usize) -> usize {
        let name = self.word(at + 1).unwrap_or_default().to_owned();
        if self.is(at + 2, "{") {
            self.inside.push((name.clone(), self.depth));
        }
        self.declared.insert(name);
        at + 2
    }

    /// A word with `::` behind it and no path or dot before it.
    fn starts_path(&self, at: usize) -> bool {
        let behind = |back: usize| at.checked_sub(back).map(|at| &self.tokens[at]);
        let continues = behind(1).is_some_and(|token| token.is("::"))
            && behind(2).is_some_and(|token| token.is_word() || token.is(">"));
        self.word(at).is_some() && self.is(at + 1, "::") && !continues && !behind(1).is_some_and(|token| token.is("."))
    }

    fn path(&mut self, at: usize) -> usize {
        let mut path = vec![self.tokens[at].text.clone()];
        let mut end = at + 1;
        while let (true, Some(word)) = (self.is(end, "::"), self.word(end + 1)) {
            path.push(word.to_owned());
            end += 2;
        }
        // A lone word here is a generic function with its turbofish.
        if path.len() > 1 {
            self.name(path, at, false);
        }
        end
    }

    /// One branch of a `use` tree behind its prefix; returns the place behind it.
    fn tree(&mut self, mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match self.segment(at, &mut path) {
                ControlFlow::Continue(next) => at = next,
                ControlFlow::Break(end) => return end,
            }
        }
    }

    fn segment(&mut self, at: usize, path: &mut Vec<String>) -> ControlFlow<usize, usize> {
        match self.tokens.get(at).map(|token| token.text.as_str()) {
            Some("::") => ControlFlow::Continue(at + 1),
            Some("{") => ControlFlow::Break(self.group(at + 1, path)),
            Some("*") => ControlFlow::Break(self.leaf(at, path, None)),
            Some(word) if self.word(at).is_some() && word != "as" => {
                path.push(word.to_owned());
                if self.is(at + 1, "::") {
                    ControlFlow::Continue(at + 2)
                } else {
                    ControlFlow::Break(self.leaf(at, path, Some(at)))
                }
            }
            _ => ControlFlow::Break(at + 1),
        }
    }

    fn group(&mut self, mut at: usize, prefix: &[String]) -> usize {
        while at < self.tokens.len() && !self.is(at, "}") {
            at = if self.is(at, ",") { at + 1 } else { self.tree(at, prefix) };
        }
        at + 1
    }

    /// The end of one branch: what it names, and the name it brings in.
    fn leaf(&mut self, at: usize, path: &[String], last: Option<usize>) -> usize {
        let path = if path.last().is_some_and(|word| word == "self") && path.len() > 1 {
            &path[..path.len() - 1]
        } else {
            path
        };
        let renamed = self.is(at + 1, "as");
        let name = if renamed { self.word(at + 2) } else { last.and(path.last().map(String::as_str)) };
        // `use lapin;` brings in nothing new: it is the crate's own name.
        if path.len() > 1 || renamed {
            self.imported.extend(name.map(str::to_owned));
        }
        self.name(path.to_vec(), at, true);
        if renamed { at + 3 } else { at + 1 }
    }

    fn name(&mut self, path: Vec<String>, at: usize, in_use: bool) {
        let inside = self.inside.iter().map(|(name, _)| name.clone()).collect();
        self.found.push(Named { path, line: self.tokens[at].line, inside, in_use });
    }

    fn resolve(&self, named: &Named) -> Option<Mention> {
        let head = named.path.first()?.as_str();
        let here = || [&self.module[..], &named.inside[..]].concat();
        let mut rest = &named.path[1..];
        let mut path = match head {
            "crate" => self.module[..1].to_vec(),
            "self" => here(),
            "super" => parent(here()),
            _ if self.declared.contains(head) => [here(), vec![head.to_owned()]].concat(),
            _ if !named.in_use && self.imported.contains(head) => return None,
            _ if head.starts_with(char::is_uppercase) || PRIMITIVES.contains(&head) || TOOLS.contains(&head) => {
                return None;
            }
            _ => vec![head.to_owned()],
        };
        while rest.first().is_some_and(|segment| segment == "super") {
            (path, rest) = (parent(path), &rest[1..]);
        }
        path.extend_from_slice(rest);
        Some(Mention { path, line: named.line })
    }
}

fn parent(mut path: Vec<String>) -> Vec<String> {
    if path.len() > 1 {
        path.pop();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(module: &[&str], source: &str) -> Vec<String> {
        mentions(module, source).into_iter().map(|mention| mention.path.join("::")).collect()
    }

    #[test]
    fn a_use_tree_is_spread_out() {
        let found = paths(&["us"], "pub(crate) use a::{b::{self, C}, d as e, f::*};\nuse ::g; use {h, i::j};");
        assert_eq!(found, ["a::b", "a::b::C", "a::d", "a::f", "g", "h", "i::j"]);
    }

    #[test]
    fn paths_in_code_attributes_and_macros_count() {
        let found = paths(&["us"], "#[tokio::main] fn f(x: &lapin::Channel) { tracing::info!(\"{}\", y.z::<u8>()) }");
        assert_eq!(found, ["tokio::main", "lapin::Channel", "tracing::info"]);
    }

    #[test]
    fn our_own_paths_are_made_absolute() {
        let source =
            "use crate::a::B; use super::c; use self::d::E; mod d; fn f() { d::E::new(); super::super::g::h() }";
        let found = paths(&["us", "x", "y"], source);
        assert_eq!(found, ["us::a::B", "us::x::c", "us::x::y::d::E", "us::x::y::d::E::new", "us::g::h"]);
    }

    #[test]
    fn an_inline_module_has_the_file_around_it() {
        let source = "mod tests { use super::*; fn f() { super::g::h() } } fn k() { self::l::m() }";
        assert_eq!(paths(&["us", "x"], source), ["us::x", "us::x::g::h", "us::x::l::m"]);
    }

    #[test]
    fn types_primitives_and_imported_names_are_not_taken_for_crates() {
        let source =
            "use std::time::{self as clock, Duration}; fn f() { Duration::ZERO; u8::MAX; clock::now(); parse::<u8>() }";
        assert_eq!(paths(&["us"], source), ["std::time", "std::time::Duration"]);
    }
}
