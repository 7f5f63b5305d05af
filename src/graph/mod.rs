//! The topology as a picture: what the RIB of a node says of hosts, VNIs, VLANs, MACs and prefixes.
//!
//! A row of `show routes` goes down one street: [`model`] (what there is) → `hosts`, `vlans`, `overlays` (where it is
//! drawn: a `scene`) → `svg` (text), or from the model straight to `dot`. All of it is pure and in order: the same routes
//! make the same octets.
//!
//! `card` and `fold` lay out and cut lists, `font` measures words, `palette` has the colours, `frame` adds title,
//! legend and the links in words. [`read`] gets the rows: from a daemon, or from a file.

#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "pixels: counts of things that were in memory, times a line's height; far from 2^31, and never negative"
)]

mod card;
mod dot;
mod fold;
mod font;
mod frame;
mod hosts;
pub mod model;
mod overlays;
mod palette;
pub mod read;
mod scene;
mod svg;
mod vlans;
mod words;

#[cfg(test)]
mod tests;

pub use fold::Limits;
pub use model::{Facts, Model};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Each host: its VNIs and VLANs, and the MACs in them.
    Hosts,
    /// Each VNI, and the VLAN that each host knows it by.
    Vlans,
    /// Each VNI: its hosts, and the MACs and prefixes behind them.
    Overlays,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hosts, Self::Vlans, Self::Overlays];

    /// As it is asked for, and the start of a file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Vlans => "vlans",
            Self::Overlays => "overlays",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Hosts => "Hosts",
            Self::Vlans => "VLANs",
            Self::Overlays => "Overlays",
        }
    }
}

/// The picture as SVG.
pub fn svg(model: &Model, view: View, limits: Limits) -> String {
    svg::svg(&scene(model, view, limits))
}

/// The picture in the language of Graphviz.
pub fn dot(model: &Model, view: View, limits: Limits) -> String {
    dot::dot(model, view, limits)
}

fn scene(model: &Model, view: View, limits: Limits) -> scene::Scene {
    match view {
        View::Hosts => hosts::draw(model, limits),
        View::Vlans => vlans::draw(model, limits),
        View::Overlays => overlays::draw(model, limits),
    }
}
