//! Configuration mistakes: what they carry and how they read.
//!
//! Owns positions (byte offset to line and column) and the list of what was found. Never decides
//! what is a mistake.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
};

/// Everything that is wrong with one configuration file, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// A file that could not be read at all.
    pub(super) fn unreadable(
        file: &Path,
        position: Option<Position>,
        why: impl fmt::Display,
    ) -> Self {
        Self(vec![ConfigError {
            file: file.to_owned(),
            position,
            subject: "configuration".to_owned(),
            problem: why.to_string(),
            allowed: None,
        }])
    }

    /// The mistakes, one by one.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl std::error::Error for ConfigErrors {}

/// One mistake per line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// Where in it; `None` when the file could not be read.
    pub position: Option<Position>,
    /// What it is about: `listener "web": persistence.timeout = "2h"`.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub allowed: Option<String>,
}

/// `file:line:column: subject: problem; allowed: ...`, always a single line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {}", self.subject, self.problem)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        Ok(())
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

/// A text's line starts: positions are found without reading the text again.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    /// Byte offsets, the first one 0.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let newlines = text.iter().enumerate().filter(|&(_, &byte)| byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect() }
    }

    /// The place of byte `at`; the end of the text if that is beyond it.
    pub(super) fn position(&self, at: usize) -> Position {
        let at = at.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= at);
        let before = &self.text[self.starts[line - 1]..at];
        let begins_char = |&&byte: &&u8| byte & 0xc0 != 0x80;
        Position { line, column: 1 + before.iter().filter(begins_char).count() }
    }
}

/// Proof that a mistake was written down: only [`Report::refuse`] makes one, so whatever could
/// not be read for want of a value has an error that says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported(());

/// A value, or the proof that its absence was reported.
pub(super) type Read<T> = Result<T, Reported>;

/// Gathers mistakes while a text is read and checked.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    lines: Lines<'a>,
    found: RefCell<Vec<(usize, ConfigError)>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, lines: Lines::of(text.as_bytes()), found: RefCell::default() }
    }

    /// Writes a mistake down; `at` is a byte offset.
    pub(super) fn refuse(
        &self,
        at: usize,
        subject: impl Into<String>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Reported {
        let allowed = Some(allowed.into()).filter(|text| !text.is_empty());
        let error = ConfigError {
            file: self.file.to_owned(),
            position: Some(self.lines.position(at)),
            subject: subject.into(),
            problem: problem.into(),
            allowed,
        };
        self.found.borrow_mut().push((at, error));
        Reported(())
    }

    /// The line of byte `at`, for messages that point at a second place.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.position(at).line
    }

    /// The text of a span, fit for one line of a message.
    pub(super) fn shown(&self, span: std::ops::Range<usize>) -> String {
        const LONGEST: usize = 60;
        let text = self.text.get(span).unwrap_or_default();
        let mut shown = String::new();
        for c in text.chars().take(LONGEST) {
            match c {
                '"' | '\'' | '\\' => shown.push(c),
                // Whatever a terminal would act on.
                _ => shown.extend(c.escape_debug()),
            }
        }
        if text.chars().nth(LONGEST).is_some() {
            shown.push('…');
        }
        shown
    }

    /// `value`, if nothing was found wrong.
    pub(super) fn conclude<T>(self, value: Read<T>) -> Result<T, ConfigErrors> {
        let mut found = self.found.into_inner();
        match value {
            Ok(value) if found.is_empty() => Ok(value),
            Ok(_) | Err(Reported(())) => {
                found.sort_by_key(|&(at, _)| at);
                Err(ConfigErrors(found.into_iter().map(|(_, error)| error).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Position};

    #[test]
    fn positions_count_characters_and_clamp() {
        let text = "a\n\u{e9}b\r\n\nz";
        for (at, line, column) in [
            (0, 1, 1),
            (1, 1, 2),
            (2, 2, 1),
            (4, 2, 2),
            (7, 3, 1),
            (8, 4, 1),
            (9, 4, 2),
            (99, 4, 2),
        ] {
            let found = Lines::of(text.as_bytes()).position(at);
            assert_eq!(found, Position { line, column }, "byte {at}");
        }
    }
}
