//! A picture before it is text: boxes, lines and words at whole pixels, and where each word must stay. Tests look at
//! this, not at SVG.

use super::font::Style;

/// The ink of what is no VNI.
pub(super) const INK: &str = "#1a1f26";
/// Frames and connectors.
pub(super) const GREY: &str = "#8a93a0";
/// The ground of a card.
pub(super) const PAPER: &str = "#ffffff";
/// The ground of what lies below cards, and of heads.
pub(super) const PALE: &str = "#f2f4f6";

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) w: i32,
    pub(super) h: i32,
}

impl Rect {
    pub(super) const fn new(x: i32, y: i32, w: i32, h: i32) -> Self {
        Self { x, y, w, h }
    }

    pub(super) const fn right(self) -> i32 {
        self.x + self.w
    }

    pub(super) const fn bottom(self) -> i32 {
        self.y + self.h
    }

    /// Its middle, from left to right.
    pub(super) const fn middle(self) -> i32 {
        self.x + self.w / 2
    }
}

/// How a box is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) fill: &'static str,
    pub(super) stroke: &'static str,
    pub(super) width: i32,
    /// An SVG dash array; empty: solid.
    pub(super) dash: &'static str,
    pub(super) round: i32,
}

impl Paint {
    /// Filled, without a frame.
    pub(super) const fn flat(fill: &'static str) -> Self {
        Self { fill, stroke: "none", width: 0, dash: "", round: 0 }
    }

    /// Filled, with a thin frame and round corners.
    pub(super) const fn framed(fill: &'static str, stroke: &'static str) -> Self {
        Self { fill, stroke, width: 1, dash: "", round: 4 }
    }
}

/// Boxes of one layer do not touch each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// A host or a VNI.
    Card,
    /// A part of a card.
    Block,
    /// A mark of colour.
    Mark,
}

/// Where a text stands at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One thing in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// What follows up to its end belongs together: an id to refer to, and what is told of it when pointed at.
    Open { id: Option<String>, tip: String },
    /// The end of an [`Item::Open`].
    Close,
    /// A box.
    Box { at: Rect, layer: Layer, paint: Paint },
    /// A line of words; `y` is that of the baseline. `room` is the box it has to fit into. `to`: the id it leads to.
    Text { x: i32, y: i32, anchor: Anchor, style: Style, words: String, room: Rect, to: Option<String> },
    /// A line through points.
    Line { points: Vec<(i32, i32)>, stroke: &'static str, width: i32, dash: &'static str },
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) items: Vec<Item>,
}

impl Scene {
    pub(super) fn open(&mut self, id: Option<String>, tip: String) {
        self.items.push(Item::Open { id, tip });
    }

    pub(super) fn close(&mut self) {
        self.items.push(Item::Close);
    }

    pub(super) fn fill(&mut self, at: Rect, layer: Layer, paint: Paint) {
        self.items.push(Item::Box { at, layer, paint });
    }

    /// One line of words at the start, middle or end of `room`, in the middle of its height.
    pub(super) fn text(&mut self, room: Rect, anchor: Anchor, style: Style, words: impl Into<String>) {
        self.link(room, anchor, style, words, None);
    }

    /// The same, leading to the thing with that id.
    pub(super) fn link(
        &mut self,
        room: Rect,
        anchor: Anchor,
        style: Style,
        words: impl Into<String>,
        to: Option<String>,
    ) {
        let x = match anchor {
            Anchor::Start => room.x,
            Anchor::Middle => room.middle(),
            Anchor::End => room.right(),
        };
        // Capitals and digits are about 0.73 of the size high: this centres them.
        let y = room.y + room.h / 2 + (style.size() * 37 + 50) / 100;
        self.items.push(Item::Text { x, y, anchor, style, words: words.into(), room, to });
    }

    /// Words in lines of their style's height from the top left; how high they are.
    pub(super) fn lines(&mut self, x: i32, y: i32, w: i32, style: Style, text: &str) -> i32 {
        let mut at = y;
        for line in style.wrap(text, w) {
            self.text(Rect::new(x, at, w, style.line()), Anchor::Start, style, line);
            at += style.line();
        }
        at - y
    }

    pub(super) fn line(
        &mut self,
        points: &[(i32, i32)],
        stroke: &'static str,
        width: i32,
        dash: &'static str,
    ) {
        self.items.push(Item::Line { points: points.to_vec(), stroke, width, dash });
    }

    /// Puts another picture into this one.
    pub(super) fn put(&mut self, other: Self, dx: i32, dy: i32) {
        for mut item in other.items {
            match &mut item {
                Item::Open { .. } | Item::Close => {}
                Item::Box { at, .. } => (at.x, at.y) = (at.x + dx, at.y + dy),
                Item::Text { x, y, room, .. } => {
                    (*x, *y) = (*x + dx, *y + dy);
                    (room.x, room.y) = (room.x + dx, room.y + dy);
                }
                Item::Line { points, .. } => points.iter_mut().for_each(|p| *p = (p.0 + dx, p.1 + dy)),
            }
            self.items.push(item);
        }
    }
}
