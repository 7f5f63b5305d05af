//! evpn-connector's file: the INI of oslo.config.
//!
//! `key = value` or `key: value`; lines that begin with white space go on with the value before; `#` and `;` at the
//! front of a line are comments; a value may stand in quotes. Of a key given twice, the last one counts.

use super::Error;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ini {
    pub(super) entries: Vec<Entry>,
}

impl Ini {
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Error> {
        let malformed =
            |line, what: &str| Error::Malformed { name: name.to_owned(), line, what: what.to_owned() };
        let mut entries: Vec<Entry> = Vec::new();
        let mut section = None;
        // A line that goes on belongs to the key in the line before, not to one before a comment or an empty line.
        let mut open = false;
        for (at, raw) in text.lines().enumerate() {
            let (number, line) = (at + 1, raw.trim());
            if line.is_empty() || line.starts_with(['#', ';']) {
                open = false;
            } else if raw.starts_with([' ', '\t']) && open {
                if let Some(last) = entries.last_mut() {
                    last.value.push('\n');
                    last.value.push_str(line);
                }
            } else if let Some(rest) = line.strip_prefix('[') {
                let title = rest.strip_suffix(']').map(str::trim).filter(|title| !title.is_empty());
                section = Some(title.ok_or_else(|| malformed(number, "expected [section]"))?.to_owned());
                open = false;
            } else {
                let (key, value) = line
                    .split_once(['=', ':'])
                    .map(|(key, value)| (key.trim(), value.trim()))
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or_else(|| malformed(number, "expected [section], key = value or key: value"))?;
                let section =
                    section.clone().ok_or_else(|| malformed(number, "a key outside of any [section]"))?;
                let key = key.replace('-', "_");
                entries.push(Entry { section, key, value: value.to_owned(), line: number });
                open = true;
            }
        }
        for entry in &mut entries {
            let value = entry.value.trim();
            let bare = ['"', '\''].iter().find_map(|&q| value.strip_prefix(q)?.strip_suffix(q));
            entry.value = bare.unwrap_or(value).to_owned();
        }
        Ok(Self { entries })
    }

    /// Looks at a key.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.section == section && entry.key == key)
    }

    /// Takes a key out, with whatever it had been set to before.
    pub(super) fn take(&mut self, section: &str, key: &str) -> Option<Entry> {
        let entry = self.get(section, key)?.clone();
        self.entries.retain(|other| (other.section.as_str(), other.key.as_str()) != (section, key));
        Some(entry)
    }
}

/// What oslo.config takes for true.
pub(super) fn is_true(value: &str) -> bool {
    ["true", "1", "on", "yes"].contains(&value.to_lowercase().as_str())
}
