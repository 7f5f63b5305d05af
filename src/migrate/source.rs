//! gobgpd's TOML as flat keys, each with its line.
//!
//! Its tables are those of OpenConfig, with a `config` in every one that its own samples leave out now and then; keys
//! are compared without regard to case, as gobgpd (viper) does. So `[neighbors.timers.config] hold-time` and
//! `[neighbors.timers] Hold-Time` are both `timers.hold-time` of a neighbour here.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::Error;

/// A value, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// Integers and floats: gobgpd has timers as floats.
    Number(f64),
    Flag(bool),
    List(Vec<Value>),
    Tables(Vec<Table>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(_) | Self::Tables(_) => f.write_str("[…]"),
        }
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

impl Key {
    /// A text, whatever it is written as.
    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A whole number in the range of `T`.
    pub(super) fn number<T: TryFrom<i64>>(&self) -> Option<T> {
        let Value::Number(number) = self.value else { return None };
        if number.fract() != 0.0 || number.abs() >= 9e15 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
        T::try_from(number as i64).ok()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value == Value::Flag(true)
    }
}

/// A table with everything in it, tables of tables but not arrays of tables flattened.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// Where it begins.
    pub(super) line: usize,
    pub(super) keys: Vec<Key>,
}

impl Table {
    /// Takes a key out.
    pub(super) fn take(&mut self, path: &str) -> Option<Key> {
        let at = self.keys.iter().position(|key| key.path == path)?;
        Some(self.keys.remove(at))
    }

    /// Takes a key out that is on, or not there and on by default.
    pub(super) fn take_flag(&mut self, path: &str) -> bool {
        self.take(path).is_some_and(|key| key.is_true())
    }

    /// Takes an array of tables out.
    pub(super) fn take_tables(&mut self, path: &str) -> Vec<Table> {
        match self.take(path).map(|key| key.value) {
            Some(Value::Tables(tables)) => tables,
            _ => Vec::new(),
        }
    }

    /// Looks at a key.
    pub(super) fn get(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// Takes what it does not say itself from its peer group; the AS is always the group's.
    pub(super) fn inherit(&mut self, group: &Table) {
        for key in &group.keys {
            if key.path == "peer-as" {
                self.take("peer-as");
            }
            if key.path != "peer-group-name" && self.get(&key.path).is_none() {
                self.keys.push(key.clone());
            }
        }
    }
}

/// Reads a whole document.
pub(super) fn read(name: &str, text: &str) -> Result<Table, Error> {
    let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    match DeTable::parse(text) {
        Ok(table) => Ok(flatten(table.get_ref(), 1, &line)),
        Err(error) => Err(Error::Malformed {
            name: name.to_owned(),
            line: error.span().map_or(0, |span| line(span.start)),
            what: format!("{} (gobgpd reads YAML and JSON too; this reads its TOML)", error.message()),
        }),
    }
}

fn flatten(table: &DeTable<'_>, line: usize, line_of: &dyn Fn(usize) -> usize) -> Table {
    let mut out = Table { line, keys: Vec::new() };
    flatten_into("", table, line_of, &mut out.keys);
    // Neighbours in the order of the file, whatever order the parser has them in.
    out.keys.sort_by_key(|key| key.line);
    out
}

fn flatten_into(prefix: &str, table: &DeTable<'_>, line_of: &dyn Fn(usize) -> usize, out: &mut Vec<Key>) {
    for (name, value) in table {
        let (line, key) = (line_of(name.span().start), name.get_ref().to_lowercase());
        let path = match (prefix, key.as_str()) {
            (prefix, "config") if value.get_ref().as_table().is_some() => prefix.to_owned(),
            ("", key) => key.to_owned(),
            (prefix, key) => format!("{prefix}.{key}"),
        };
        match value.get_ref() {
            DeValue::Table(inner) => flatten_into(&path, inner, line_of, out),
            other => out.push(Key { path, line, value: self::value(other, line_of) }),
        }
    }
}

fn value(node: &DeValue<'_>, line_of: &dyn Fn(usize) -> usize) -> Value {
    match node {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            #[expect(clippy::cast_precision_loss, reason = "AS numbers and seconds are far below 2^53")]
            Ok(number) => Value::Number(number as f64),
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Number)
        }
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Array(items)
            if !items.is_empty() && items.iter().all(|i| i.get_ref().as_table().is_some()) =>
        {
            let tables = items.iter().filter_map(|item| {
                Some(flatten(item.get_ref().as_table()?, line_of(item.span().start), line_of))
            });
            Value::Tables(tables.collect())
        }
        DeValue::Array(items) => Value::List(items.iter().map(|i| value(i.get_ref(), line_of)).collect()),
        DeValue::Table(table) => Value::Tables(vec![flatten(table, 0, line_of)]),
    }
}
