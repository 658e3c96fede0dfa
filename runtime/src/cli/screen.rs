//! Lines that change in place on a terminal, and a plain line now and then where there is none (a file, CI).
//! A repaint moves up over what it drew before, so no line may wrap: each is cut to the terminal's width.
//! It knows nothing of jobs; read [`super::show`] for the lines.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// Without a terminal's word for it.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// What fits on a terminal.
#[derive(Debug, Clone, Copy)]
struct Size {
    columns: usize,
    rows: usize,
}

/// Where something is on its way.
pub(super) struct Screen<W: Write> {
    out: W,
    /// The terminal's size, asked at each repaint because people resize; `None` where there is no terminal.
    size: fn() -> Option<Size>,
    /// How many lines are to be drawn over.
    drawn: usize,
    last: Vec<String>,
    told: Option<Instant>,
    line_every: Duration,
}

impl Screen<Stderr> {
    /// On stderr; where that is no terminal, changed lines are printed so often.
    pub(super) fn of_stderr(line_every: Duration) -> Self {
        Self::new(std::io::stderr(), size_of_stderr, line_every)
    }
}

impl<W: Write> Screen<W> {
    fn new(out: W, size: fn() -> Option<Size>, line_every: Duration) -> Self {
        Self { out, size, drawn: 0, last: Vec::new(), told: None, line_every }
    }

    /// Shows these lines in place of those before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        match (self.size)() {
            Some(size) => self.repaint(lines, size),
            None if self.told.is_none_or(|told| told.elapsed() >= self.line_every) => self.print_changed(lines),
            None => {}
        }
    }

    /// Leaves what was drawn where it is; what is drawn next begins below.
    pub(super) fn end(&mut self) {
        (self.drawn, self.told) = (0, None);
        self.last.clear();
    }

    fn repaint(&mut self, lines: &[String], size: Size) {
        // The cursor cannot move up past the first row, and stands below the last line.
        let lines = &lines[..lines.len().min(size.rows.saturating_sub(1))];
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let painted: String = lines.iter().map(|line| format!("\x1b[2K{}\n", cut(line, size.columns))).collect();
        self.put(&format!("{up}\x1b[J{painted}"));
        self.drawn = lines.len();
    }

    fn print_changed(&mut self, lines: &[String]) {
        let changed = lines.iter().enumerate().filter(|(at, line)| self.last.get(*at) != Some(line));
        let text: String = changed.map(|(_, line)| format!("{}\n", harmless(line))).collect();
        if !text.is_empty() {
            self.put(&text);
            self.told = Some(Instant::now());
            self.last = lines.to_vec();
        }
    }

    fn put(&mut self, text: &str) {
        // Nobody watches any more; the job matters more than its bar.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

fn size_of_stderr() -> Option<Size> {
    let terminal = std::io::stderr();
    terminal.is_terminal().then(|| {
        let told = rustix::termios::tcgetwinsize(&terminal).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        told.map_or(USUAL, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
    })
}

fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of others, which may hold what a terminal would obey: all of that but line ends and tabs becomes visible.
pub(super) fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(size: fn() -> Option<Size>, line_every: Duration, frames: &[&[&str]]) -> String {
        let mut screen = Screen::new(Vec::new(), size, line_every);
        for frame in frames {
            screen.draw(&frame.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        }
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn on_a_terminal_lines_are_drawn_over_and_cut() {
        let small = || Some(Size { columns: 4, rows: 9 });
        let text = drawn(small, Duration::ZERO, &[&["one", "twoooo"], &["1", "2"]]);
        assert_eq!(text, "\x1b[J\x1b[2Kone\n\x1b[2Ktwoo\n\x1b[2A\x1b[J\x1b[2K1\n\x1b[2K2\n");
    }

    #[test]
    fn a_terminal_with_fewer_rows_than_lines_shows_the_first() {
        let low = || Some(Size { columns: 9, rows: 3 });
        let text = drawn(low, Duration::ZERO, &[&["a", "b", "c"], &["d", "e", "f"]]);
        assert_eq!(text, "\x1b[J\x1b[2Ka\n\x1b[2Kb\n\x1b[2A\x1b[J\x1b[2Kd\n\x1b[2Ke\n");
    }

    #[test]
    fn no_text_of_others_moves_the_cursor() {
        let wide = || Some(Size { columns: 80, rows: 24 });
        assert_eq!(drawn(wide, Duration::ZERO, &[&["a\nb\x1b[2Jc"]]), "\x1b[J\x1b[2Ka b [2Jc\n");
        assert_eq!(harmless("a\tb\n\x1b[31m\u{9b}c"), "a\tb\n\u{fffd}[31m\u{fffd}c");
    }

    #[test]
    fn elsewhere_only_what_changed_is_printed() {
        let frames: &[&[&str]] = &[&["a", "b"], &["a", "b"], &["a", "c"]];
        assert_eq!(drawn(|| None, Duration::ZERO, frames), "a\nb\nc\n");
        assert_eq!(drawn(|| None, Duration::from_secs(3600), frames), "a\nb\n", "and not too often");
    }
}
