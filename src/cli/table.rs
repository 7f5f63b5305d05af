//! Aligned tables. Numbers to the right, everything else to the left; nothing is cut unless the terminal says it is
//! narrower.

use std::io::{self, IsTerminal, Write};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table printed page by page: columns keep the width of the widest value so far.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    widths: Vec<usize>,
    limit: Option<usize>,
    header_printed: bool,
}

impl Table {
    /// A table as wide as it takes, or as `limit`.
    pub(super) fn new(columns: &[(&'static str, Align)], limit: Option<usize>) -> Self {
        let widths = columns.iter().map(|(name, _)| name.chars().count()).collect();
        Self { columns: columns.to_vec(), widths, limit, header_printed: false }
    }

    /// Prints a page of rows, the header before the first.
    pub(super) fn print(&mut self, rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.header_printed {
            self.header_printed = true;
            let header: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            self.line(&header, out)?;
        }
        rows.iter().try_for_each(|row| self.line(row, out))
    }

    fn line(&self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(&self.widths).zip(&self.columns) {
            // What came from a peer must not move the cursor.
            let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (first, second) = if *align == Align::Right { (padding, cell) } else { (cell, padding) };
            line += &[first.as_str(), second.as_str(), "  "].concat();
        }
        let line = line.trim_end();
        match self.limit {
            Some(limit) if line.chars().count() > limit => {
                let cut: String = line.chars().take(limit.saturating_sub(1)).collect();
                writeln!(out, "{cut}…")
            }
            _ => writeln!(out, "{line}"),
        }
    }
}

/// The width of the terminal, if there is one and it says so ($COLUMNS).
pub(super) fn terminal_width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok()?.parse().ok()?;
    (columns >= 20 && io::stdout().is_terminal()).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::Align::{Left, Right};
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|c| (*c).to_owned()).collect()
    }

    #[test]
    fn columns_align_over_pages() {
        let mut out = Vec::new();
        let mut table = Table::new(&[("NAME", Left), ("N", Right), ("WHAT", Left)], None);
        table.print(&[row(&["ä", "1", "-"]), row(&["bb", "1000", "x"])], &mut out).unwrap();
        table.print(&[row(&["longer than before", "2", "y\x1b[2J"])], &mut out).unwrap();
        let expected =
            "NAME     N  WHAT\nä        1  -\nbb    1000  x\nlonger than before     2  y\u{fffd}[2J\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn cut_only_where_the_terminal_is_narrower() {
        let mut out = Vec::new();
        let mut table = Table::new(&[("A", Left), ("B", Left)], Some(10));
        table.print(&[row(&["12345", "678"]), row(&["12345", "6789"])], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A      B\n12345  678\n12345  67…\n");
    }
}
