//! What is known of the terminal, and lines laid out for it.
//!
//! Pages are made of [`Line`]s by functions that do not know where they go; only printing decides
//! about colours.

use std::io::{self, IsTerminal, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns where nobody says how many there are.
const WIDTH: usize = 80;

/// Columns of the terminal on stdout.
pub(crate) fn width() -> usize {
    size().map_or(WIDTH, |(width, _)| width)
}

/// Columns and lines of the terminal on stdout, if there is one.
pub(crate) fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size()?;
    // A terminal that does not know says 0.
    (width.0 > 0 && height.0 > 0).then(|| (usize::from(width.0), usize::from(height.0)))
}

/// Whether a person looks at stdout on a terminal that understands escape codes.
pub(crate) fn is_capable() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether what goes to `stream` may have colours: it is a terminal, and nobody said `NO_COLOR`.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !unwanted && !dumb
}

/// How a part of a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// What is the same every time.
    Dim,
    Bold,
    Good,
    Warning,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[1;33m",
            Self::Bad => "\x1b[1;31m",
        }
    }
}

/// One line, of parts that each have a style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With more text at its end.
    pub(crate) fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// Filled up to `width` columns.
    pub(crate) fn padded(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.with(Style::Plain, " ".repeat(missing))
    }

    /// This, and behind it `other`.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// Cut to `width` columns.
    pub(crate) fn fitted(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut fitted = Self::new();
        for (style, text) in self.0 {
            let fits = fitting(&text, left);
            let whole = fits.len() == text.len();
            left -= fits.width();
            fitted = fitted.with(style, fits);
            if !whole {
                break;
            }
        }
        fitted.with(Style::Plain, if width == 0 { "" } else { "…" })
    }

    /// As it is printed.
    pub(crate) fn render(&self, colours: bool) -> String {
        let mut text = String::new();
        for (style, part) in &self.0 {
            if colours && *style != Style::Plain && !part.is_empty() {
                text.push_str(style.code());
                text.push_str(part);
                text.push_str("\x1b[0m");
            } else {
                text.push_str(part);
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }
}

/// As much of the beginning of `text` as takes at most `width` columns.
fn fitting(text: &str, width: usize) -> &str {
    let mut taken = 0;
    for (at, one) in text.char_indices() {
        taken += one.width().unwrap_or(0);
        if taken > width {
            return &text[..at];
        }
    }
    text
}

/// Words that stand on the line of the number before them.
const UNITS: [&str; 10] = ["B", "KiB", "MiB", "GiB", "TiB", "µs", "ms", "s", "min", "%"];

/// Text in lines of at most `width` columns, broken between words, and within those that are longer. A
/// number and its unit are one word.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', ';', ':', '.', ')']));
        match words.last_mut() {
            Some(number) if is_unit => number.extend([" ", word]),
            _ => words.push(word.to_owned()),
        }
    }
    let mut lines = vec![String::new()];
    for word in &words {
        let mut word = word.as_str();
        let line = lines.last_mut().expect("there is always one");
        let gap = usize::from(!line.is_empty());
        if line.width() + gap + word.width() <= width {
            line.push_str(&" "[..gap]);
            line.push_str(word);
            continue;
        }
        if gap > 0 {
            lines.push(String::new());
        }
        while word.width() > width {
            // A character may be wider than the line; it stands there all the same.
            let first = word.chars().next().map_or(0, char::len_utf8);
            let cut = fitting(word, width).len().max(first);
            lines
                .last_mut()
                .expect("there is always one")
                .push_str(&word[..cut]);
            lines.push(String::new());
            word = &word[cut..];
        }
        lines
            .last_mut()
            .expect("there is always one")
            .push_str(word);
    }
    lines
}

/// Prints lines, each for itself.
pub(crate) fn print(out: &mut impl Write, lines: &[Line], colours: bool) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{}", line.render(colours))?;
    }
    out.flush()
}

/// A screen of its own that is drawn over and over. What was on the terminal comes back when it goes.
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal, and hides its cursor.
    pub(crate) fn open() -> io::Result<Self> {
        let mut out = io::stdout().lock();
        out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        Ok(Self(()))
    }

    /// Draws what fits of the lines over what was there, in one write: nothing flickers.
    pub(crate) fn draw(&self, lines: &[Line], colours: bool) -> io::Result<()> {
        let (width, height) = size().unwrap_or((WIDTH, usize::MAX));
        let mut drawn = "\x1b[H".to_owned();
        for (at, line) in lines.iter().take(height).enumerate() {
            if at > 0 {
                drawn.push_str("\r\n");
            }
            drawn.push_str(&line.clone().fitted(width).render(colours));
            drawn.push_str("\x1b[K");
        }
        drawn.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(drawn.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // Who closed the terminal needs it no more.
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_wrapped_to_columns() {
        let line = Line::new()
            .with(Style::Bold, "état ")
            .with(Style::Plain, "漢字漢字");
        assert_eq!(line.width(), 13);
        assert_eq!(line.clone().fitted(13).render(false), "état 漢字漢字");
        // A wide character does not fit into what is left of 9 - 1 columns.
        assert_eq!(line.clone().fitted(9).render(false), "état 漢…");
        assert_eq!(line.clone().fitted(0).render(false), "");
        assert_eq!(line.fitted(9).render(true), "\x1b[1métat \x1b[0m漢…");
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh x", 3), ["abc", "def", "gh", "x"]);
        assert_eq!(
            wrap("it took 40 ms, it did", 10),
            ["it took", "40 ms, it", "did"]
        );
        assert_eq!(wrap("", 3), [""]);
        assert!(wrap("漢字漢字", 1).iter().all(|line| line.width() <= 2));
    }
}
