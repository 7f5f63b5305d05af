//! Problems in a configuration file, and how they are shown: one line each that says file, line, key and what to do,
//! then the line itself with a caret under the place.

use std::fmt;
use std::io;
use std::ops::Range;

/// The longest line that is kept to be shown.
const LONGEST: usize = 400;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Option<Place>,
    key: String,
    message: String,
}

/// Where in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    offset: usize,
    line: usize,
    column: usize,
    width: usize,
    /// The text of the line; not kept where it may hold a secret.
    source: Option<String>,
}

impl Problem {
    /// A problem with `text[span]`, or with the file as a whole.
    pub(crate) fn new(text: &str, span: Option<Range<usize>>, key: String, message: String) -> Self {
        Self { place: span.map(|span| Place::new(text, &span)), key, message }
    }

    /// The line in the file, from 1, if it is about one.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|p| p.line)
    }

    /// The column in the line, in characters from 1, if it is about one.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|p| p.column)
    }

    /// The key with its tables: `bgp.neighbor.address`; empty for the file itself.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For sorting into the order of the file; what has no place comes last.
    pub(super) fn offset(&self) -> usize {
        self.place.as_ref().map_or(usize::MAX, |p| p.offset)
    }
}

impl Place {
    fn new(text: &str, span: &Range<usize>) -> Self {
        let mut offset = span.start.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        // The parser reports what is missing at the end of a line at the line break or after the last one.
        if offset == text.len() && text.ends_with('\n') {
            offset = offset.saturating_sub(1);
        }
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        let source = text[start..end].trim_end_matches('\r');
        let stop = span.end.clamp(offset, end);
        Self {
            offset,
            line: text[..offset].matches('\n').count() + 1,
            column: text[start..offset].chars().count() + 1,
            width: text.get(offset..stop).map_or(1, |s| s.chars().count()).max(1),
            // A password on the screen is one too many; and nobody finds a place in a line that has no end.
            source: (!source.contains("password") && source.len() <= LONGEST)
                .then(|| source.replace('\t', " ")),
        }
    }
}

/// All problems of a configuration file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(crate) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::offset);
        Self { file: file.to_owned(), problems }
    }

    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let message = format!("cannot be read: {}", io_text(error));
        Self::new(file, vec![Problem { place: None, key: String::new(), message }])
    }

    /// The problems; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One line a problem, for logs: `evpnd.toml:12: l3vni: not in this version yet; remove it`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(|problem| self.line(problem))
    }

    fn line(&self, problem: &Problem) -> String {
        let mut line = self.file.clone();
        if let Some(number) = problem.line() {
            line += ":";
            line += &number.to_string();
        }
        for part in [problem.key(), problem.message()] {
            if !part.is_empty() {
                line += ": ";
                line += part;
            }
        }
        line
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.line(problem))?;
            let Some(Place { line, column, width, source: Some(source), .. }) = &problem.place else {
                continue;
            };
            let (indent, mark) = (column - 1, "^".repeat(*width));
            write!(f, "\n{line:>5} | {source}\n      | {:indent$}{mark}", "")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What the operating system says, without Rust's "(os error 2)".
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}
