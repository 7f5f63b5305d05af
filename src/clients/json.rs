//! A client file as typed keys, each with its place.
//!
//! JSON as people write it: `//` and `/* */` comments and a comma after the last element are allowed, nothing else
//! is. As with evpnd.toml, each accessor returns a value of the right type or notes a problem, so that a file yields all of
//! its problems at once.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use jsonc_parser::ast::{self, ObjectProp};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::config::{Problem, hint};

/// Problems of one kind kept of one file: a list of 100,000 wrong addresses is one mistake.
pub(super) const KEPT: usize = 20;

/// Of a text in a file, so much is repeated.
const LONGEST: usize = 64;

/// The text of a file, and what was found in it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    errors: RefCell<Notes>,
    warnings: RefCell<Notes>,
}

#[derive(Default)]
struct Notes {
    kept: Vec<Problem>,
    more: usize,
}

impl Notes {
    fn push(&mut self, problem: impl FnOnce() -> Problem) {
        if self.kept.len() < KEPT {
            self.kept.push(problem());
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self, text: &str) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| (problem.line(), problem.column()));
        if self.more > 0 {
            self.kept.push(Problem::new(
                text,
                None,
                String::new(),
                format!("and {} more like these", self.more),
            ));
        }
        self.kept
    }
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, errors: RefCell::default(), warnings: RefCell::default() }
    }

    /// The object that the file must be, handed to `read`.
    pub(super) fn object<T>(&self, read: impl FnOnce(Object<'_>) -> Option<T>) -> Option<T> {
        let options = ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let parsed = match parse_to_ast(self.text, &CollectOptions::default(), &options) {
            Ok(parsed) => parsed,
            Err(error) => {
                let range = error.range();
                let mut message = error.kind().to_string();
                if let Some(first) = message.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                self.error(Some(range.start..range.end), "", format!("is no JSON: {message}"));
                return None;
            }
        };
        match parsed.value {
            Some(ast::Value::Object(object)) => {
                read(Object { document: self, span: range(&object), node: &object, known: Vec::new() })
            }
            Some(other) => {
                let found = describe(&other);
                self.error(Some(range(&other)), "", format!("expected an object in {{ }}, found {found}"));
                None
            }
            None => {
                self.error(None, "", "has nothing but comments: expected an object in { }");
                None
            }
        }
    }

    fn error(&self, span: Option<Range<usize>>, key: &str, message: impl Into<String>) {
        self.errors.borrow_mut().push(|| self.problem(span, key, message.into()));
    }

    fn warning(&self, span: Option<Range<usize>>, key: &str, message: impl FnOnce() -> String) {
        self.warnings.borrow_mut().push(|| self.problem(span, key, message()));
    }

    fn problem(&self, span: Option<Range<usize>>, key: &str, message: String) -> Problem {
        let key = key.chars().take(LONGEST).collect();
        Problem::new(self.text, span, key, message)
    }

    /// Errors and warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.errors.into_inner().finish(self.text), self.warnings.into_inner().finish(self.text))
    }
}

fn range(node: &impl Ranged) -> Range<usize> {
    let range = node.range();
    range.start..range.end
}

fn describe(value: &ast::Value<'_>) -> String {
    match value {
        ast::Value::StringLit(text) if text.value.chars().count() > LONGEST => "a long text".to_owned(),
        ast::Value::StringLit(text) => format!("\"{}\"", text.value),
        ast::Value::NumberLit(number) if number.value.len() > LONGEST => "a long number".to_owned(),
        ast::Value::NumberLit(number) => number.value.to_owned(),
        ast::Value::BooleanLit(bool) => bool.value.to_string(),
        ast::Value::Object(_) => "an object".to_owned(),
        ast::Value::Array(_) => "a list".to_owned(),
        ast::Value::NullKeyword(_) => "null".to_owned(),
    }
}

/// An object whose keys are taken one by one.
pub(super) struct Object<'a> {
    document: &'a Document<'a>,
    node: &'a ast::Object<'a>,
    span: Range<usize>,
    /// The keys asked for: those that exist, as far as anybody is concerned.
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// The value of a key, if it is there and not null. Given more than once, the last counts, as in most readers
    /// of JSON.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let mut values = self.node.properties.iter().filter(|property| property.name.as_str() == key);
        let property = values.next_back()?;
        if values.next().is_some() {
            let message = || "given more than once: this one counts".to_owned();
            self.document.warning(Some(range(&property.name)), key, message);
        }
        let value = Value { document: self.document, key, node: &property.value };
        (!matches!(value.node, ast::Value::NullKeyword(_))).then_some(value)
    }

    /// The value of a key that has to be there.
    pub(super) fn required(&mut self, key: &'static str, expected: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, expected);
        }
        value
    }

    /// A key that should be there and is not.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        // The end of the object: that is where it would be added.
        let end = self.span.end.saturating_sub(1)..self.span.end;
        self.document.error(Some(end), key, format!("is missing: expected {expected}"));
    }

    /// Warns of every key that nobody asked for.
    pub(super) fn finish(self) {
        let unknown = |property: &&ObjectProp<'_>| !self.known.contains(&property.name.as_str());
        for property in self.node.properties.iter().filter(unknown) {
            let key = property.name.as_str();
            let message = || format!("unknown key, ignored; {}", hint(&self.known, key));
            self.document.warning(Some(range(&property.name)), key, message);
        }
    }
}

/// A value and where it is.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a Document<'a>,
    key: &'a str,
    node: &'a ast::Value<'a>,
}

impl<'a> Value<'a> {
    /// Notes that it is wrong, in place of a value.
    pub(super) fn bad<T>(&self, message: impl Into<String>) -> Option<T> {
        self.document.error(Some(range(self.node)), self.key, message);
        None
    }

    /// Notes that it is not what somebody may have hoped.
    pub(super) fn warn(&self, message: impl Into<String>) {
        self.document.warning(Some(range(self.node)), self.key, || message.into());
    }

    fn unexpected<T>(&self, expected: &str) -> Option<T> {
        self.bad(format!("expected {expected}, found {}", describe(self.node)))
    }

    /// A text, without the blanks around it.
    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        match self.node {
            ast::Value::StringLit(text) => Some(text.value.trim()),
            _ => self.unexpected(expected),
        }
    }

    /// A text that means something.
    pub(super) fn parse<T>(&self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(expected)?;
        read(text).or_else(|| self.unexpected(expected))
    }

    /// A whole number in a range that T can hold; evpn-connector takes one in quotes as well.
    pub(super) fn integer<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        let digits = match self.node {
            ast::Value::NumberLit(number) => number.value,
            ast::Value::StringLit(text) => text.value.trim(),
            _ => "",
        };
        let number = digits.parse().ok().filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        number.or_else(|| self.unexpected(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node {
            ast::Value::BooleanLit(bool) => Some(bool.value),
            _ => self.unexpected("true or false"),
        }
    }

    /// The elements of a list, or the one that stands in its place.
    pub(super) fn elements(&self) -> Vec<Self> {
        match self.node {
            ast::Value::Array(array) => array.elements.iter().map(|node| Value { node, ..*self }).collect(),
            _ => vec![*self],
        }
    }

    /// The text of a key of the object that this is.
    pub(super) fn member(&self, key: &str) -> Option<&'a str> {
        let object = self.node.as_object()?;
        let property = object.properties.iter().rfind(|property| property.name.as_str() == key)?;
        property.value.as_string_lit().map(|text| text.value.as_ref())
    }
}
