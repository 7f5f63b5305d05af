//! What stands around a picture: title, legend, and below it every link once more in words, since fifty lines that
//! cross are read by nobody.

use super::font::Style;
use super::palette::{NEUTRAL, Tone};
use super::scene::{Anchor, GREY, Layer, Paint, Rect, Scene};

pub(super) const MARGIN: i32 = 24;
/// A sheet is at least this wide, so that an address and its links fit into a line.
pub(super) const NARROWEST: i32 = 780;
/// Words run over about so much before the next column of them begins, and what is between columns.
const COLUMN: i32 = 760;
const BESIDE: i32 = 40;
/// Things, and lines of words for all of them, before the rest is only counted: where there are few, each may have more.
pub(super) const MOST_ROWS: usize = 120;
const MOST_LINES: usize = 4 * MOST_ROWS;
const MOST_ENTRIES: usize = 64;

/// All that a picture says beside its middle.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) title: String,
    /// What it is made of.
    pub(super) about: String,
    pub(super) legend: Vec<(Tone, String)>,
    /// What needs to be said of it.
    pub(super) remarks: Vec<String>,
    /// Over the links in words.
    pub(super) links_title: String,
    /// At most [`MOST_ROWS`] of them.
    pub(super) links: Vec<Links>,
    /// How many there are in all.
    pub(super) all_links: usize,
}

/// What one thing is linked with.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) of: String,
    /// Where it is drawn, if it is.
    pub(super) to: Option<String>,
    /// Groups of things, with `;` between them and commas inside.
    pub(super) with: Vec<Vec<String>>,
}

impl Frame {
    /// The whole sheet, `body` in its middle.
    pub(super) fn around(self, body: Scene) -> Scene {
        let inner = body.width.max(NARROWEST);
        let mut scene = Scene { width: inner + 2 * MARGIN, ..Scene::default() };
        let mut y = MARGIN - 8;
        y += scene.lines(MARGIN, y, inner, Style::Title, &self.title);
        y += scene.lines(MARGIN, y, inner, Style::Body, &self.about) + 18;
        let height = body.height;
        scene.put(body, MARGIN, y);
        y += height + 22;
        if !self.legend.is_empty() {
            y = legend(&self.legend, inner, y, &mut scene) + 6;
        }
        for remark in &self.remarks {
            y += scene.lines(MARGIN, y, inner, Style::Small, remark);
        }
        if !self.links.is_empty() {
            y = self.words(inner, y + 12, &mut scene);
        }
        scene.height = y + MARGIN - 6;
        scene.title = self.title;
        scene.about = self.about;
        scene
    }

    /// Tables of words beside each other; where they end.
    fn words(&self, inner: i32, mut y: i32, scene: &mut Scene) -> i32 {
        scene.line(&[(MARGIN, y), (MARGIN + inner, y)], GREY, 1, "");
        y += 8;
        y += scene.lines(MARGIN, y, inner, Style::Head, &self.links_title) + 2;
        let shown = &self.links;
        let label = shown.iter().map(|row| Style::Body.width(&row.of)).max().unwrap_or(0);
        let columns = (inner / COLUMN).max(1);
        let width = (inner - (columns - 1) * BESIDE) / columns;
        let indent = label + 16;
        let most = MOST_LINES / shown.len().max(1);
        let words: Vec<Vec<String>> = shown.iter().map(|row| flow(&row.with, width - indent, most)).collect();
        let heights = words.iter().map(|lines| lines.len() as i32 * Style::Body.line() + 2);
        let share = heights.sum::<i32>() / columns;
        let (top, mut x, mut bottom) = (y, MARGIN, y);
        for (row, lines) in shown.iter().zip(words) {
            if y - top >= share && x + width < MARGIN + inner {
                x += width + BESIDE;
                y = top;
            }
            let room = Rect::new(x, y, label, Style::Body.line());
            scene.link(room, Anchor::Start, Style::Body, row.of.clone(), row.to.clone());
            for line in lines {
                let room = Rect::new(x + indent, y, width - indent, Style::Body.line());
                scene.text(room, Anchor::Start, Style::Body, line);
                y += Style::Body.line();
            }
            y += 2;
            bottom = bottom.max(y);
        }
        let rest = self.all_links - shown.len();
        if rest > 0 {
            bottom += scene.lines(MARGIN, bottom, inner, Style::Body, &format!("and {rest} more"));
        }
        bottom
    }
}

/// Swatches with words, in columns; where they end. A swatch looks as a block does: what it explains are blocks.
fn legend(entries: &[(Tone, String)], inner: i32, mut y: i32, scene: &mut Scene) -> i32 {
    const SWATCH: i32 = 26;
    let shown = &entries[..entries.len().min(MOST_ENTRIES)];
    let widest = shown.iter().map(|(_, words)| Style::Body.width(words)).max().unwrap_or(0);
    let column = (SWATCH + 8 + widest + 20).min(inner);
    let columns = (inner / column).max(1);
    for row in shown.chunks(columns as usize) {
        for (at, (tone, words)) in (0..).zip(row) {
            let x = MARGIN + at * column;
            let swatch = Rect::new(x, y + 2, SWATCH, 12);
            scene.fill(swatch, Layer::Block, Paint { round: 2, ..Paint::framed(tone.tint, tone.strong) });
            scene.fill(Rect { w: 5, ..swatch }, Layer::Mark, Paint::flat(tone.strong));
            let room = Rect::new(x + SWATCH + 8, y, column - SWATCH - 8, Style::Body.line());
            scene.text(room, Anchor::Start, Style::Body, words.clone());
        }
        y += Style::Body.line() + 4;
    }
    let rest = entries.len() - shown.len();
    if rest > 0 {
        y += scene.lines(MARGIN, y, inner, Style::Body, &format!("and {rest} more VNIs"));
    }
    y
}

/// Groups of items in at most so many lines of at most `width`, no item broken unless it is too long by itself; the last
/// line says how many are left out.
fn flow(groups: &[Vec<String>], width: i32, most: usize) -> Vec<String> {
    let ended = groups.iter().flat_map(|group| {
        group.iter().enumerate().map(|(at, item)| (item, if at + 1 < group.len() { ',' } else { ';' }))
    });
    let items: Vec<(&String, char)> = ended.collect();
    let fits = |text: &str| Style::Body.width(text) <= width;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (at, (item, end)) in items.iter().enumerate() {
        let after = items.len() - at - 1;
        let item = if after > 0 { format!("{item}{end}") } else { (*item).clone() };
        let last = lines.len() + 1 >= most;
        let mut longer = if line.is_empty() { item.clone() } else { format!("{line} {item}") };
        if !last && !line.is_empty() && !fits(&longer) {
            lines.push(std::mem::take(&mut line));
            longer.clone_from(&item);
        }
        // On the last line, the number of those left out must still have room behind.
        let last = lines.len() + 1 >= most;
        if if last && after > 0 { fits(&format!("{longer} and {after} more")) } else { fits(&longer) } {
            line = longer;
        } else if last {
            lines.push(format!("{line} and {} more", after + 1).trim_start().to_owned());
            return lines;
        } else {
            let mut pieces = Style::Body.wrap(&item, width);
            line = pieces.pop().unwrap_or_default();
            lines.extend(pieces);
        }
    }
    lines.push(if line.is_empty() { "-".to_owned() } else { line });
    lines
}

/// A sheet without anything to draw says why.
pub(super) fn nothing(words: &str) -> Scene {
    let mut body = Scene { width: 560, height: 64, ..Scene::default() };
    let at = Rect::new(0, 0, 560, 64);
    body.fill(at, Layer::Card, Paint { dash: "4 3", ..Paint::framed(NEUTRAL.tint, GREY) });
    body.lines(16, 16, 528, Style::Body, words);
    body
}
