//! The text that comes out, and the remarks in it.

use std::fmt::{Display, Write as _};

/// Remarks are wrapped at this column.
const WIDTH: usize = 118;

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    pub(super) lost: Vec<String>,
    pub(super) needless: usize,
    /// Everything is a comment now.
    muted: bool,
}

impl Page {
    /// A line as it stands.
    pub(super) fn line(&mut self, line: impl Display) {
        let mute = if self.muted { "# " } else { "" };
        let _ = writeln!(self.text, "{mute}{line}");
    }

    /// The header of a table, after an empty line.
    pub(super) fn header(&mut self, header: impl Display) {
        self.empty();
        self.line(header);
    }

    /// An empty line.
    pub(super) fn empty(&mut self) {
        self.text.push('\n');
    }

    /// Until it is told otherwise, lines come out as comments.
    pub(super) const fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// A key with a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", quoted(value)));
    }

    /// A remark, wrapped.
    pub(super) fn comment(&mut self, remark: &str) {
        let mut line = String::from("#");
        for word in remark.split_whitespace() {
            if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(self.text, "{line}");
                line = String::from("#  ");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(self.text, "{line}");
    }

    /// Something that worked before and will not.
    pub(super) fn lost(&mut self, place: impl Display, remark: &str) {
        let remark = format!("{place}: {remark}");
        self.comment(&remark);
        self.lost.push(remark);
    }

    /// Something that has no counterpart and needs none.
    pub(super) fn needless(&mut self, place: impl Display, remark: &str) {
        self.comment(&format!("{place}: {remark}"));
        self.needless += 1;
    }
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
