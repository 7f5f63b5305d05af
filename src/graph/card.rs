//! A card: a head, and blocks that hang on it like leaves on a branch, in as many columns as are needed. Hosts are
//! drawn as cards with their VNIs as blocks, VNIs as cards with their hosts as blocks.

use super::font::Style;
use super::frame;
use super::palette::Tone;
use super::scene::{Anchor, GREY, Layer, PAPER, Paint, Rect, Scene};

/// A list's rows are at most so wide, and so is everything else in a block.
const WIDEST: i32 = 366;
/// Characters of a row that fit into that.
pub(super) const ROW: usize = 50;
const NARROWEST: i32 = 170;
const PAD: i32 = 10;
/// Left of each column of blocks: the branch.
const SPINE: i32 = 18;
/// Between blocks, and between columns of them.
const GAP: i32 = 8;
/// From the head down to the blocks.
const DROP: i32 = 16;
/// From a block's edge to its words.
const INSET: i32 = 7;
/// The mark of colour at the left.
const MARK: i32 = 5;
/// Rows of a list that stay together, and about as many as each part of a longer one has.
const LONGEST: usize = 60;
const PART: usize = 40;
/// Between cards.
pub(super) const BETWEEN: i32 = 26;

/// A part of a card.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) tip: String,
    pub(super) head: String,
    /// What is said of the link between the card and this.
    pub(super) side: String,
    pub(super) tone: Tone,
    /// The head leads there.
    pub(super) to: Option<String>,
    pub(super) rows: Vec<String>,
}

/// A host, or a VNI.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) id: String,
    pub(super) tip: String,
    pub(super) head: String,
    pub(super) sub: String,
    pub(super) tone: Tone,
    pub(super) blocks: Vec<Block>,
    /// What did not fit.
    pub(super) note: Option<String>,
}

impl Block {
    /// The same in several, if its list is a long one: only between blocks can a column end.
    pub(super) fn parts(mut self) -> Vec<Self> {
        if self.rows.len() <= LONGEST {
            return vec![self];
        }
        let all = std::mem::take(&mut self.rows);
        let each = all.len().div_ceil(all.len().div_ceil(PART));
        let mut parts = vec![self];
        for row in all {
            let full = |part: &Self| part.rows.len() >= each && !row.starts_with(' ');
            // A row that is indented tells more of the one before it.
            if let Some(next) = parts.last().filter(|part| full(part)).map(Self::continued) {
                parts.push(next);
            }
            if let Some(part) = parts.last_mut() {
                part.rows.push(row);
            }
        }
        parts
    }

    fn continued(&self) -> Self {
        Self { side: "continued".to_owned(), rows: Vec::new(), ..self.clone() }
    }

    fn side_beside(&self, inner: i32) -> bool {
        Style::Head.width(&self.head) + 12 + Style::Small.width(&self.side) <= inner
    }

    /// The width that its words need.
    fn natural(&self) -> i32 {
        let (head, side) = (Style::Head.width(&self.head), Style::Small.width(&self.side));
        let top = if self.side_beside(WIDEST) { head + 12 + side } else { head.max(side) };
        self.rows.iter().map(|row| Style::Mono.width(row)).fold(top, i32::max)
    }

    fn height(&self, width: i32) -> i32 {
        let inner = width - MARK - 2 * INSET;
        let side = if self.side_beside(inner) { 0 } else { Style::Small.line() };
        let rows = self.rows.len() as i32 * Style::Mono.line();
        22 + side + rows + if rows > 0 { 5 } else { 0 }
    }

    fn draw(&self, at: Rect, scene: &mut Scene) {
        scene.open(None, self.tip.clone());
        scene.fill(at, Layer::Block, Paint::framed(self.tone.tint, self.tone.strong));
        scene.fill(Rect::new(at.x, at.y, MARK, at.h), Layer::Mark, Paint::flat(self.tone.strong));
        let inner = Rect::new(at.x + MARK + INSET, at.y + 2, at.w - MARK - 2 * INSET, 18);
        scene.link(inner, Anchor::Start, Style::Head, self.head.clone(), self.to.clone());
        let mut y = at.y + 20;
        if self.side_beside(inner.w) {
            scene.text(inner, Anchor::End, Style::Small, self.side.clone());
        } else {
            y += scene.lines(inner.x, y, inner.w, Style::Small, &self.side);
        }
        for row in &self.rows {
            let room = Rect::new(inner.x, y, inner.w, Style::Mono.line());
            scene.text(room, Anchor::Start, Style::Mono, row.clone());
            y += Style::Mono.line();
        }
        scene.close();
    }
}

/// The width that the blocks of all these cards share.
pub(super) fn block_width(cards: &[Card]) -> i32 {
    let widest = cards.iter().flat_map(|card| &card.blocks).map(Block::natural).max().unwrap_or(0);
    widest.clamp(NARROWEST, WIDEST) + MARK + 2 * INSET
}

/// A card whose blocks have their places, with its own corner at 0, 0.
#[derive(Clone, Debug)]
pub(super) struct Placed<'c> {
    card: &'c Card,
    pub(super) size: Rect,
    head: i32,
    /// Where the blocks are, column by column.
    columns: Vec<Vec<Rect>>,
}

impl<'c> Placed<'c> {
    /// Lays a card out: blocks are `block` wide, and columns of them about `tall` high.
    pub(super) fn new(card: &'c Card, block: i32, tall: i32) -> Self {
        let heights: Vec<i32> = card.blocks.iter().map(|b| b.height(block)).collect();
        let total: i32 = heights.iter().map(|h| h + GAP).sum();
        let most = (total / tall.max(1) + 1).min(card.blocks.len().max(1) as i32);
        let mut goal = share(&heights, most);
        let mut columns = broken(&heights, goal);
        // A column more that makes it hardly less high is left out.
        let limit = goal + goal / 5;
        while columns > 1 {
            let higher = share(&heights, columns - 1);
            if higher > limit {
                break;
            }
            goal = higher;
            columns = broken(&heights, goal);
        }
        let stride = SPINE + block + GAP;
        let width = 2 * PAD + stride * columns - GAP;
        let lines =
            |style: Style, text: &str| style.wrap(text, width - 2 * PAD - MARK).len() as i32 * style.line();
        let head = 10 + lines(Style::Head, &card.head) + lines(Style::Small, &card.sub);
        let mut placed: Vec<Vec<Rect>> = vec![Vec::new()];
        let (top, mut y) = (head + DROP, head + DROP);
        for height in heights {
            if y > top && y + height > top + goal {
                placed.push(Vec::new());
                y = top;
            }
            let x = PAD + SPINE + stride * (placed.len() as i32 - 1);
            if let Some(column) = placed.last_mut() {
                column.push(Rect::new(x, y, block, height));
            }
            y += height + GAP;
        }
        let bottom = placed.iter().flatten().map(|r| r.bottom()).max().unwrap_or(head);
        let note = card.note.as_ref().map_or(0, |note| 4 + lines(Style::Small, note));
        Self { card, size: Rect::new(0, 0, width, bottom + PAD + note), head, columns: placed }
    }

    /// Draws it at a place.
    pub(super) fn draw(&self, x: i32, y: i32, scene: &mut Scene) {
        let card = self.card;
        let mut own = Scene::default();
        own.open(Some(card.id.clone()), card.tip.clone());
        own.fill(self.size, Layer::Card, Paint::framed(PAPER, card.tone.strong));
        let band = Rect::new(0, 0, self.size.w, self.head);
        own.fill(band, Layer::Block, Paint::framed(card.tone.tint, card.tone.strong));
        own.fill(Rect::new(0, 0, MARK, self.head), Layer::Mark, Paint::flat(card.tone.strong));
        let inner = self.size.w - 2 * PAD - MARK;
        let under = 5 + own.lines(PAD + MARK, 5, inner, Style::Head, &card.head);
        own.lines(PAD + MARK, under, inner, Style::Small, &card.sub);
        self.branches(&mut own);
        let places = self.columns.iter().flatten();
        card.blocks.iter().zip(places).for_each(|(block, at)| block.draw(*at, &mut own));
        if let Some(note) = &card.note {
            let y = places_end(&self.columns, self.head) + PAD - 2;
            own.lines(PAD, y, self.size.w - 2 * PAD, Style::Small, note);
        }
        own.close();
        scene.put(own, x, y);
    }

    /// From the head to each block: a trunk below the head, a branch down each column, a twig to each block.
    fn branches(&self, scene: &mut Scene) {
        let trunk = self.head + DROP / 2;
        let branch = |column: &[Rect]| column.first().map(|first| first.x - SPINE + 6);
        let first = self.columns.first().and_then(|c| branch(c));
        let last = self.columns.last().and_then(|c| branch(c));
        let (Some(first), Some(last)) = (first, last) else { return };
        scene.line(&[(first, self.head), (first, trunk)], GREY, 1, "");
        if last > first {
            scene.line(&[(first, trunk), (last, trunk)], GREY, 1, "");
        }
        for column in &self.columns {
            let Some((x, end)) = branch(column).zip(column.last()) else { continue };
            scene.line(&[(x, trunk), (x, end.y + 11)], GREY, 1, "");
            for block in column {
                scene.line(&[(x, block.y + 11), (block.x, block.y + 11)], GREY, 1, "");
            }
        }
    }
}

/// How many columns there are when none is higher than `goal`.
fn broken(heights: &[i32], goal: i32) -> i32 {
    let (mut columns, mut y) = (1, 0);
    for height in heights {
        if y > 0 && y + height > goal {
            columns += 1;
            y = 0;
        }
        y += height + GAP;
    }
    columns
}

/// The least height at which all fit into so many columns.
fn share(heights: &[i32], columns: i32) -> i32 {
    let (mut low, mut high) = (0, heights.iter().map(|h| h + GAP).sum());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if broken(heights, middle) <= columns { high = middle } else { low = middle }
    }
    high
}

fn places_end(columns: &[Vec<Rect>], head: i32) -> i32 {
    columns.iter().flatten().map(|r| r.bottom()).max().unwrap_or(head)
}

/// Cards in rows, in their order: where each row begins, and each card's place from left to right in it.
#[derive(Debug)]
pub(super) struct Shelves<'c> {
    pub(super) rows: Vec<Vec<(Placed<'c>, i32)>>,
    pub(super) width: i32,
}

impl<'c> Shelves<'c> {
    /// Rows of at most `wide`.
    fn new(cards: &[Placed<'c>], wide: i32) -> Self {
        let mut rows: Vec<Vec<(Placed<'c>, i32)>> = Vec::new();
        let (mut x, mut width) = (0, 0);
        for card in cards {
            let w = card.size.w;
            if rows.is_empty() || x + w > wide {
                rows.push(Vec::new());
                x = 0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((card.clone(), x));
            }
            width = width.max(x + w);
            x += w + BETWEEN;
        }
        Self { rows, width }
    }

    /// The height of a row.
    pub(super) fn row_height(row: &[(Placed<'c>, i32)]) -> i32 {
        row.iter().map(|(card, _)| card.size.h).max().unwrap_or(0)
    }

    /// The arrangement that fills a wide screen best, when `extra` is added to each row's height.
    pub(super) fn best(cards: &'c [Card], extra: i32) -> Self {
        let block = block_width(cards);
        let unit = block + SPINE + 2 * PAD + BETWEEN;
        let mut best: Option<((i64, i32), Self)> = None;
        for tall in [260, 420, 640, 900, 1400, 2100, 3200, i32::MAX] {
            let placed: Vec<Placed<'c>> = cards.iter().map(|card| Placed::new(card, block, tall)).collect();
            for count in 1..=24 {
                let shelves = Self::new(&placed, unit * count);
                let height: i32 = shelves.rows.iter().map(|row| Self::row_height(row) + extra).sum();
                // Of two that need the same sheet, the one that leaves more of it white.
                // What is narrower than the sheet makes it no smaller.
                let width = shelves.width.max(frame::NARROWEST);
                let fit = i64::from((width / 16 * 9).max(height));
                // Cards of one column are easiest to read, and to compare: others have to save much.
                let broken = shelves.rows.iter().flatten().filter(|(card, _)| card.columns.len() > 1).count();
                let fit = fit + fit * 2 / 3 * broken as i64 / cards.len().max(1) as i64;
                let cost = (fit, width + height);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, shelves));
                }
            }
        }
        best.map_or(Self { rows: Vec::new(), width: 0 }, |(_, shelves)| shelves)
    }
}
