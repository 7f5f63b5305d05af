//! A TOML document as sections of typed keys, each with its place.
//!
//! serde stops at the first problem; a person who edits a file wants all of them. So the document is walked by hand:
//! each accessor either returns a value of the right type or notes a problem and returns `None`, and a section that is
//! done complains about the keys nobody asked for.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::error::Problem;

/// The text of a document and the problems found in it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    /// Where each line starts.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, problems: RefCell::default() }
    }

    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// Notes a problem with what is at `span`.
    pub(super) fn problem(&self, span: Option<Range<usize>>, key: &str, message: impl Into<String>) {
        let problem = Problem::new(self.text, span, key.to_owned(), message.into());
        self.problems.borrow_mut().push(problem);
    }

    /// All that was found; nothing if all is well.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// A table whose keys are taken one by one.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    /// Its name in full; empty for the document.
    path: String,
    /// Its header; `None` for the document and for a table that is not there.
    span: Option<Range<usize>>,
    table: Option<&'a DeTable<'a>>,
    /// The keys asked for: those that exist, as far as anybody is concerned.
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn root(document: &'a Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self { document, path: String::new(), span: None, table: Some(table), known: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A number that is read (and complained about) later; for what depends on keys elsewhere.
    pub(super) fn peek(&self, key: &str) -> Option<u64> {
        let integer = self.table?.get(key)?.get_ref().as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let (_, value) = self.table?.get_key_value(key)?;
        Some(Value {
            document: self.document,
            key: self.path_of(key),
            span: value.span(),
            node: value.get_ref(),
        })
    }

    /// A table inside; one that is absent is as if it were empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let value = self.get(key);
        let mut section = Section {
            document: self.document,
            path: self.path_of(key),
            span: None,
            table: None,
            known: Vec::new(),
        };
        if let Some(value) = value {
            section.span = Some(value.span.clone());
            section.table = value.table();
        }
        section
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.node.as_table().is_some() {
            value.problem(format!("may be given more than once: write [[{}]]", value.key));
            return Vec::new();
        }
        let tables = value.list().unwrap_or_default().into_iter();
        tables
            .filter_map(|item| {
                let table = item.table()?;
                let (document, path, span) = (self.document, item.key, Some(item.span));
                Some(Section { document, path, span, table: Some(table), known: Vec::new() })
            })
            .collect()
    }

    /// A key whose part of evpnd does not exist yet.
    pub(super) fn not_yet(&mut self, key: &'static str) {
        self.known.push(key);
        if let Some((name, _)) = self.table.and_then(|table| table.get_key_value(key)) {
            let message = "not in this version yet; remove it";
            self.document.problem(Some(name.span()), &self.path_of(key), message);
        }
    }

    /// A problem with the section as a whole.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.document.problem(self.span.clone(), &self.path, message);
    }

    /// A problem with a key, if it is there: for what depends on keys elsewhere.
    pub(super) fn problem_with(&self, key: &str, message: &str) {
        if let Some((name, _)) = self.table.and_then(|table| table.get_key_value(key)) {
            self.document.problem(Some(name.span()), &self.path_of(key), message);
        }
    }

    /// Is it there, if only empty?
    pub(super) const fn exists(&self) -> bool {
        self.span.is_some()
    }

    /// The value of a key that has to be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        message: &str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, message);
        }
        read(&value?)
    }

    /// A key that should be there and is not.
    pub(super) fn missing(&self, key: &str, message: &str) {
        self.document.problem(self.span.clone(), &self.path_of(key), message);
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        for name in self.table.into_iter().flat_map(DeTable::keys) {
            let key = name.get_ref().as_ref();
            if self.known.contains(&key) {
                continue;
            }
            let message = format!("unknown key; {}", hint(&self.known, key));
            self.document.problem(Some(name.span()), &self.path_of(key), message);
        }
    }
}

/// A value and where it is.
pub(super) struct Value<'a> {
    document: &'a Document<'a>,
    pub(super) key: String,
    pub(super) span: Range<usize>,
    node: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Notes a problem with it.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.document.problem(Some(self.span.clone()), &self.key, message);
    }

    /// Notes a problem with it, in place of a value.
    pub(super) fn bad<T>(&self, message: impl Into<String>) -> Option<T> {
        self.problem(message);
        None
    }

    /// The line it is in.
    pub(super) fn line(&self) -> usize {
        self.document.line(self.span.start)
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        self.bad(format!("expected {expected}, found {}", self.node.type_str()))
    }

    fn table(&self) -> Option<&'a DeTable<'a>> {
        self.node.as_table().or_else(|| self.wrong_type("a table"))
    }

    /// The text, if it is one: no complaint otherwise.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.node.as_str()
    }

    /// Is it a whole number?
    pub(super) fn is_integer(&self) -> bool {
        self.node.is_integer()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.node.as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// A text.
    pub(super) fn string(&self) -> Option<&'a str> {
        self.node.as_str().or_else(|| self.wrong_type("a text in quotes"))
    }

    /// A whole number in a range that T can hold.
    pub(super) fn integer<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a number from {least} to {most}");
        let Some(integer) = self.node.as_integer() else { return self.wrong_type(&expected) };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        number.or_else(|| self.bad(format!("expected {expected}, found {integer}")))
    }

    /// A text that means something.
    pub(super) fn parse<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.string()?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.bad(error.to_string()),
        }
    }

    /// A text that means something, where the error of its type says little.
    pub(super) fn parse_as<T: FromStr>(&self, expected: &str) -> Option<T> {
        let text = self.string()?;
        text.parse().ok().or_else(|| self.bad(format!("expected {expected}, found \"{text}\"")))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        chosen.or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.bad(format!("expected {}, found \"{text}\"", words.join(" or ")))
        })
    }

    /// A list; each of its values has the key of the list.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.node.as_array() else { return self.wrong_type("a list in [ ]") };
        let values = array.iter().map(|item| Value {
            document: self.document,
            key: self.key.clone(),
            span: item.span(),
            node: item.get_ref(),
        });
        Some(values.collect())
    }
}

/// What may have been meant by a key that is none: the one that is nearly the same, or else any.
pub(crate) fn hint(known: &[&str], key: &str) -> String {
    match known.iter().min_by_key(|known| distance(known, key)) {
        Some(near) if distance(near, key) <= 1 + near.len() / 3 => format!("did you mean {near}?"),
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// The edit distance of two keys: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}
