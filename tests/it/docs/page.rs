//! A page of Markdown as its readers meet it: fenced blocks, spans of code, sections, tables. It knows as much of Markdown as our pages
//! use, and judges nothing. Read `names.rs` for who does.

use std::path::Path;

use anyhow::{Context, Result};
use longshore_tests::house;

/// A page of ours, or a planted one.
pub(super) struct Page {
    pub(super) text: String,
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// What stands behind the opening fence: a language, and for commands the session they are run in.
    pub(super) info: String,
    pub(super) text: String,
}

impl Page {
    /// A page of the repository, by its path from the root.
    pub(super) fn open(path: &str) -> Result<Page> {
        let path = house::root()?.join(Path::new(path));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Page { text })
    }

    pub(super) fn planted(text: &str) -> Page {
        Page { text: text.to_owned() }
    }

    pub(super) fn blocks(&self) -> Vec<Block> {
        self.pieces().into_iter().filter_map(|(fence, text)| Some(Block { info: fence?, text })).collect()
    }

    /// Every span of code in the running text, and every line of code in the blocks; a line that ends in a backslash goes on.
    pub(super) fn code(&self) -> Vec<String> {
        let mut code = Vec::new();
        for (fence, text) in self.pieces() {
            match fence {
                Some(_) => code.extend(text.replace("\\\n", " ").lines().map(str::to_owned)),
                None => code.extend(text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "))),
            }
        }
        code
    }

    /// What stands below a heading, up to the next one of any level.
    pub(super) fn section(&self, heading: &str) -> Page {
        let lines = self.text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading).skip(1);
        let below: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
        Page { text: below.join("\n") }
    }

    /// The cells of every row of every table, headings and rules apart.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_row = |line: &str| line.starts_with('|') && !line.starts_with("| ---");
        let is_heading = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
        let rows = lines.iter().enumerate().filter(|(at, line)| is_row(line) && !is_heading(*at));
        rows.map(|(_, line)| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    }

    /// The text in pieces, each with its fence's words if it is a block.
    fn pieces(&self) -> Vec<(Option<String>, String)> {
        let (mut pieces, mut fence, mut piece) = (Vec::new(), None, String::new());
        for line in self.text.lines() {
            let Some(info) = line.strip_prefix("```") else {
                piece.push_str(line);
                piece.push('\n');
                continue;
            };
            let opened = if fence.is_none() { Some(info.trim().to_owned()) } else { None };
            pieces.push((std::mem::replace(&mut fence, opened), std::mem::take(&mut piece)));
        }
        pieces.push((fence, piece));
        pieces
    }
}

/// The words of a line of code: what stands between blanks, quotes, brackets and commas.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    let between =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | '[' | ']' | ',' | ';' | '`' | '=');
    code.split(between).filter(|word| !word.is_empty())
}

const PLANTED: &str = "# Top\nSay `one\ntwo` and `three`.\n\n```sh demo\nfirst \\\n  more\n```\n## Next\n
| head | er |\n| --- | --- |\n| `a` | b |\n";

#[test]
fn a_page_is_read_as_its_readers_read_it() {
    let page = Page::planted(PLANTED);
    assert_eq!(page.blocks(), [Block { info: "sh demo".into(), text: "first \\\n  more\n".into() }]);
    assert_eq!(page.code(), ["one two", "three", "first    more", "a"]);
    assert_eq!(page.rows(), [["`a`", "b"]]);
    assert!(page.section("Next").blocks().is_empty() && !page.section("Next").rows().is_empty());
}

#[test]
fn the_readme_is_short_enough_to_be_read() -> Result<()> {
    let lines = Page::open("README.md")?.text.lines().count();
    assert!(lines <= 250, "{lines} lines");
    Ok(())
}
