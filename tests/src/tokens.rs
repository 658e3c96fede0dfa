//! The words and marks of a Rust source, without comments, strings, numbers and lifetimes.
//!
//! It is no parser: it knows just enough that a word in a comment or a string is never taken for code.
//! Read `mentions.rs` for what is made of it.

/// A word (identifier or keyword) or a mark. A mark is one character, but for `::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The word or mark itself.
    pub text: String,
    /// The line it stands on, from 1.
    pub line: usize,
}

impl Token {
    /// Whether it is an identifier or keyword.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
    }

    /// Whether it is this word or mark.
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Reads a whole source.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1, found: Vec::new() };
    while !reader.rest.is_empty() {
        reader.step();
    }
    reader.found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Token>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let first = rest.chars().next().expect("only called while something is left");
        if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(length) = string(rest) {
            self.skip(length);
        } else if first == '\'' {
            self.skip(quote(rest));
        } else if first.is_alphanumeric() || first == '_' {
            let raw = if rest.starts_with("r#") { "r#".len() } else { 0 };
            let length = raw + rest[raw..].find(|c| !is_word_part(c)).unwrap_or(rest.len() - raw);
            self.keep_if(is_word_start(first), raw, length);
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            self.keep_if(!first.is_whitespace(), 0, length);
        }
    }

    fn keep_if(&mut self, keep: bool, from: usize, to: usize) {
        if keep {
            self.found.push(Token { text: self.rest[from..to].to_owned(), line: self.line });
        }
        self.skip(to);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let tail = &rest[at..];
        match tail.find(['/', '*']).map(|found| &tail[found..]) {
            None => return rest.len(),
            Some(found) => {
                let opens = found.starts_with("/*");
                let closes = found.starts_with("*/");
                depth += usize::from(opens);
                depth -= usize::from(closes);
                at = rest.len() - found.len() + if opens || closes { 2 } else { 1 };
                if depth == 0 {
                    return at;
                }
            }
        }
    }
}

/// The length of a string literal of any sort at the start, if there is one.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let raw = rest[..prefix].ends_with('r');
    let hashes = rest[prefix..].find(|c| c != '#')?;
    let opened = rest[prefix + hashes..].starts_with('"') && prefix <= 2 && (raw || hashes == 0);
    if !opened {
        return None;
    }
    let start = prefix + hashes + 1;
    let length = if raw { raw_end(&rest[start..], hashes) } else { plain_end(&rest[start..]) };
    Some(start + length)
}

fn raw_end(body: &str, hashes: usize) -> usize {
    let close = format!("\"{}", "#".repeat(hashes));
    body.find(&close).map_or(body.len(), |at| at + close.len())
}

fn plain_end(body: &str) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    body.len()
}

/// A character literal whole; of a lifetime only the quote and the name.
fn quote(rest: &str) -> usize {
    let body = &rest[1..];
    let mut chars = body.char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            1 + body[from..].find('\'').map_or(body.len(), |close| from + close + 1)
        }
        (Some(_), Some((at, '\''))) => 1 + at + 1,
        _ => 1 + body.find(|c| !is_word_part(c)).unwrap_or(body.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        tokens(source).iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_strings_numbers_and_lifetimes_are_left_out() {
        assert_eq!(words("a // lapin\nb /* c /* d */ e */ f"), "a b f");
        assert_eq!(words(r####"f("x \" lapin", r#"y " lapin"#, b"z", br##"q"## , c"n")"####), "f ( , , , , )");
        assert_eq!(words(r"'x' '\'' '\n' '\u{1F600}' 'ü' fn<'a>(&'a str) 12_u8 0x1f"), "fn < > ( & str )");
    }

    #[test]
    fn words_and_paths_stay_with_their_lines() {
        let found = tokens("use a::b;\n\"two\nlines\" r#type");
        assert_eq!(words("use a::b;"), "use a :: b ;");
        assert_eq!(found.last(), Some(&Token { text: "type".to_owned(), line: 3 }));
    }
}
