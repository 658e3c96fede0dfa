//! Lines that change in place on a terminal, and a plain line now and then where there is none (a file, CI).
//! A repaint moves up over what it drew before, so no line may wrap: each is cut to the terminal's width.
//! It knows nothing of jobs; read [`super::show`] for the lines.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// Without a terminal's word for it.
const COLUMNS: usize = 80;

/// Where something is on its way.
pub(super) struct Screen<W: Write> {
    out: W,
    /// The terminal's width; `None` where there is none.
    columns: Option<usize>,
    /// How many lines are to be drawn over.
    drawn: usize,
    last: Vec<String>,
    told: Option<Instant>,
    line_every: Duration,
}

impl Screen<Stderr> {
    /// On stderr; where that is no terminal, changed lines are printed so often.
    pub(super) fn of_stderr(line_every: Duration) -> Self {
        let out = std::io::stderr();
        let columns = out.is_terminal().then(|| columns(&out));
        Self::new(out, columns, line_every)
    }
}

impl<W: Write> Screen<W> {
    fn new(out: W, columns: Option<usize>, line_every: Duration) -> Self {
        Self { out, columns, drawn: 0, last: Vec::new(), told: None, line_every }
    }

    /// Shows these lines in place of those before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        match self.columns {
            Some(columns) => self.repaint(lines, columns),
            None if self.told.is_none_or(|told| told.elapsed() >= self.line_every) => self.print_changed(lines),
            None => {}
        }
    }

    /// Leaves what was drawn where it is; what is drawn next begins below.
    pub(super) fn end(&mut self) {
        (self.drawn, self.told) = (0, None);
        self.last.clear();
    }

    fn repaint(&mut self, lines: &[String], columns: usize) {
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let painted: String = lines.iter().map(|line| format!("\x1b[2K{}\n", cut(line, columns))).collect();
        self.put(&format!("{up}\x1b[J{painted}"));
        self.drawn = lines.len();
    }

    fn print_changed(&mut self, lines: &[String]) {
        let changed = lines.iter().enumerate().filter(|(at, line)| self.last.get(*at) != Some(line));
        let text: String = changed.map(|(_, line)| format!("{line}\n")).collect();
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

fn columns(terminal: &Stderr) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).ok().map(|size| usize::from(size.ws_col));
    size.filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(columns: Option<usize>, line_every: Duration, frames: &[&[&str]]) -> String {
        let mut screen = Screen::new(Vec::new(), columns, line_every);
        for frame in frames {
            screen.draw(&frame.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        }
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn on_a_terminal_lines_are_drawn_over_and_cut() {
        let text = drawn(Some(4), Duration::ZERO, &[&["one", "twoooo"], &["1", "2"]]);
        assert_eq!(text, "\x1b[J\x1b[2Kone\n\x1b[2Ktwoo\n\x1b[2A\x1b[J\x1b[2K1\n\x1b[2K2\n");
    }

    #[test]
    fn elsewhere_only_what_changed_is_printed() {
        let frames: &[&[&str]] = &[&["a", "b"], &["a", "b"], &["a", "c"]];
        assert_eq!(drawn(None, Duration::ZERO, frames), "a\nb\nc\n");
        assert_eq!(drawn(None, Duration::from_secs(3600), frames), "a\nb\n", "and not too often");
    }
}
