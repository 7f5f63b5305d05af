//! The VLANs: hosts side by side, each VNI a lane across them, and where a host takes part in a VNI, the VLAN it knows it
//! by. Another host may have another VLAN for the same VNI.

use std::collections::{BTreeMap, BTreeSet};

use super::fold::{Limits, amount, tip};
use super::font::Style;
use super::frame::{Frame, Links, MOST_ROWS, NARROWEST, nothing};
use super::model::{Host, Member, Model, Overlay};
use super::palette::{Tone, tone};
use super::scene::{Anchor, GREY, Layer, PALE, Paint, Rect, Scene};
use super::words::{empty, group, host_id, overlay_id, remarks, subject, vlan, what};
use crate::words::count;

const LANE: i32 = 46;
const CHIP: i32 = 36;
const GAP: i32 = 12;
const PAD: i32 = 8;
/// Between bands.
const BANDS: i32 = 30;
/// A host's address breaks into lines of this.
const WIDEST: i32 = 150;

pub(super) fn draw(model: &Model, limits: Limits) -> Scene {
    let hosts = &model.hosts[..model.hosts.len().min(limits.cards)];
    // Where they cross there may be a chip: as many as there may be blocks, and some room between.
    let most = limits.cards.min((limits.blocks.saturating_mul(6) / hosts.len().max(1)).max(1));
    // A lane that none of the hosts shown takes part in would be an empty one.
    let used: BTreeSet<usize> = hosts.iter().flat_map(|host| &host.members).map(|m| m.overlay).collect();
    let lanes: Vec<usize> = used.into_iter().take(most).collect();
    let mut remarks = remarks(model);
    if lanes.len() < model.overlays.len() {
        let rest = model.overlays.len() - lanes.len();
        remarks.insert(0, format!("and {}", count(rest, "more VNI", "more VNIs")));
    }
    if hosts.len() < model.hosts.len() {
        let rest = model.hosts.len() - hosts.len();
        remarks.insert(0, format!("and {}", count(rest, "more host", "more hosts")));
    }
    if model.overlays.iter().any(|o| !o.is_vrf(model) && o.members(model).any(|(_, m)| m.vlans.is_empty())) {
        remarks.push(
            "VLAN ?: the host does not tell its VLAN (the Ethernet tag of its type 3 route is 0), or has none. What its \
             evpnd show vnis --json prints tells it: evpnd graph vlans --vnis FILE."
                .to_owned(),
        );
    }
    let links = |(place, overlay): (usize, &Overlay)| {
        let mut by: BTreeMap<(&[u16], String), Vec<&Host>> = BTreeMap::new();
        for (host, member) in overlay.members(model) {
            by.entry((&member.vlans, chip(model, overlay, member).0)).or_default().push(host);
        }
        let all = (overlay.hosts.len() == model.hosts.len() && by.len() == 1).then_some("hosts");
        let groups = by.iter().map(|((_, vlan), hosts)| group(vlan, hosts.iter().copied(), all));
        Links {
            of: what(model, overlay),
            to: lanes.binary_search(&place).is_ok().then(|| overlay_id(overlay)),
            with: groups.collect(),
        }
    };
    Frame {
        title: "VLANs".to_owned(),
        about: subject(model),
        legend: Vec::new(),
        remarks,
        links_title: "VLANs in words: by which each host knows a VNI".to_owned(),
        links: model.overlays.iter().enumerate().take(MOST_ROWS).map(links).collect(),
        all_links: model.overlays.len(),
    }
    .around(body(model, hosts, &lanes))
}

/// What is on a chip: the VLAN, and how much is there.
fn chip(model: &Model, overlay: &Overlay, member: &Member) -> (String, String) {
    let known = vlan(member)
        .unwrap_or_else(|| if overlay.is_vrf(model) { "VRF".to_owned() } else { "VLAN ?".to_owned() });
    (known, amount(member.macs.len(), member.prefixes.len()))
}

/// The widths that all bands share.
struct Sizes {
    label: i32,
    column: i32,
}

impl Sizes {
    fn new(model: &Model, hosts: &[Host], lanes: &[usize]) -> Self {
        let words = |overlay: &Overlay| {
            let (name, has) = label(model, overlay);
            Style::Head.width(&name).max(Style::Small.width(&has))
        };
        let label = lanes.iter().map(|place| words(&model.overlays[*place])).max().unwrap_or(0);
        let mut column = 0;
        for host in hosts {
            let name = host_words(host);
            let named = name.iter().map(|(style, text)| style.width(text).min(WIDEST)).max();
            column = column.max(named.unwrap_or(0));
            for member in host.members.iter().filter(|m| lanes.binary_search(&m.overlay).is_ok()) {
                let (vlan, has) = chip(model, &model.overlays[member.overlay], member);
                column = column.max(Style::Head.width(&vlan).max(Style::Small.width(&has)) + 2 * PAD);
            }
        }
        Self { label: label + 26, column: column.max(84) }
    }

    fn stride(&self) -> i32 {
        self.column + 2 * PAD + GAP
    }
}

fn label(model: &Model, overlay: &Overlay) -> (String, String) {
    let vrf = if overlay.is_vrf(model) { "VRF, " } else { "" };
    let has = amount(overlay.macs, overlay.prefixes);
    let hosts = count(overlay.hosts.len(), "host", "hosts");
    (format!("VNI {}", overlay.vni), format!("{vrf}{hosts}, {has}"))
}

fn host_words(host: &Host) -> Vec<(Style, String)> {
    let mut words = vec![(Style::Head, host.vtep.to_string())];
    words.extend(host.name.clone().map(|name| (Style::Small, name)));
    words.extend(host.asn.map(|asn| (Style::Small, format!("AS {asn}"))));
    words.extend(host.local.then(|| (Style::Small, "this node".to_owned())));
    words
}

/// A band: some hosts side by side, and VNIs that any of them has.
struct Band<'m> {
    hosts: &'m [Host],
    lanes: Vec<usize>,
    head: i32,
}

impl<'m> Band<'m> {
    /// All the bands of these hosts, each with at most so many lanes.
    fn of(hosts: &'m [Host], lanes: &[usize], most: usize, sizes: &Sizes) -> Vec<Self> {
        let has = |lane: &usize| hosts.iter().any(|host| part(host, *lane).is_some());
        let lanes: Vec<usize> = lanes.iter().copied().filter(has).collect();
        let lines = |host: &Host| {
            let high =
                |(style, text): (Style, String)| style.wrap(&text, sizes.column).len() as i32 * style.line();
            host_words(host).into_iter().map(high).sum::<i32>()
        };
        let head = hosts.iter().map(lines).max().unwrap_or(0) + 2 * PAD;
        let band = |lanes: &[usize]| Self { hosts, lanes: lanes.to_vec(), head };
        // Hosts without a lane are there all the same.
        if lanes.is_empty() { vec![band(&[])] } else { lanes.chunks(most.max(1)).map(band).collect() }
    }

    fn height(&self) -> i32 {
        self.head + self.lanes.len() as i32 * LANE + PAD
    }

    /// `seen`: the ids that are given already.
    fn draw(&self, model: &Model, sizes: &Sizes, seen: &mut BTreeSet<String>) -> Scene {
        let mut own = Scene::default();
        let (scene, top) = (&mut own, 0);
        let column = |at: usize| sizes.label + at as i32 * sizes.stride();
        for (at, host) in self.hosts.iter().enumerate() {
            let x = column(at);
            let words = host_words(host);
            let told = words.iter().map(|(_, text)| text.clone());
            scene.open(first(host_id(host), seen), tip(told));
            let panel = Rect::new(x, top, sizes.column + 2 * PAD, self.height());
            scene.fill(panel, Layer::Card, Paint::framed(PALE, GREY));
            let mut y = top + PAD;
            for (style, text) in words {
                for line in style.wrap(&text, sizes.column) {
                    let room = Rect::new(x + PAD, y, sizes.column, style.line());
                    scene.text(room, Anchor::Middle, style, line);
                    y += style.line();
                }
            }
            scene.close();
        }
        for (row, &place) in (0..).zip(&self.lanes) {
            let overlay = &model.overlays[place];
            let y = top + self.head + row * LANE;
            let members: Vec<(usize, &Member)> = self
                .hosts
                .iter()
                .enumerate()
                .filter_map(|(at, host)| Some((at, part(host, place)?)))
                .collect();
            let end = members.last().map_or(0, |(at, _)| column(*at) + PAD);
            let tone = tone(place);
            scene.open(first(overlay_id(overlay), seen), what(model, overlay));
            let (name, has) = label(model, overlay);
            let room = Rect::new(0, y + 4, sizes.label - 16, 18);
            scene.text(room, Anchor::Start, Style::Head, name);
            let room = Rect::new(0, y + 22, sizes.label - 16, 16);
            scene.text(room, Anchor::Start, Style::Small, has);
            let middle = y + LANE / 2;
            scene.line(&[(sizes.label - 14, middle), (end, middle)], tone.strong, 4, tone.dash);
            scene.close();
            for (at, member) in members {
                let at = Rect::new(column(at) + PAD, y + (LANE - CHIP) / 2, sizes.column, CHIP);
                draw_chip(model, overlay, member, tone, at, scene);
            }
        }
        own
    }
}

/// What is drawn again in another band is not what is referred to.
fn first(id: String, seen: &mut BTreeSet<String>) -> Option<String> {
    seen.insert(id.clone()).then_some(id)
}

/// A host's part in the VNI at this place.
fn part(host: &Host, place: usize) -> Option<&Member> {
    let at = host.members.binary_search_by_key(&place, |m| m.overlay).ok()?;
    host.members.get(at)
}

fn draw_chip(model: &Model, overlay: &Overlay, member: &Member, tone: Tone, at: Rect, scene: &mut Scene) {
    let (name, has) = chip(model, overlay, member);
    scene.open(None, format!("VNI {}: {name}, {has}", overlay.vni));
    let unknown = member.vlans.is_empty() && !overlay.is_vrf(model);
    let dash = if unknown { "3 2" } else { "" };
    scene.fill(at, Layer::Block, Paint { width: 2, dash, ..Paint::framed(tone.tint, tone.strong) });
    let room = Rect::new(at.x + PAD, at.y + 2, at.w - 2 * PAD, 17);
    scene.text(room, Anchor::Middle, Style::Head, name);
    let room = Rect::new(at.x + PAD, at.y + 18, at.w - 2 * PAD, 15);
    scene.text(room, Anchor::Middle, Style::Small, has);
    scene.close();
}

fn body(model: &Model, hosts: &[Host], lanes: &[usize]) -> Scene {
    if hosts.is_empty() {
        return nothing(&empty(model));
    }
    let sizes = Sizes::new(model, hosts, lanes);
    let mut best: Option<((i32, usize, i32), Bands<'_>)> = None;
    // Hosts in several bands below each other; or, if all fit beside each other, VNIs in several bands beside each other.
    let mut in_a_band: Vec<usize> =
        (1..=hosts.len()).map(|n| hosts.len().div_ceil(hosts.len().div_ceil(n))).collect();
    // Thousands of hosts fall into few shapes.
    in_a_band.dedup();
    let below = in_a_band.into_iter().map(|each| (each, lanes.len()));
    let beside = (2..=8).map(|n| (hosts.len(), lanes.len().div_ceil(n)));
    for (hosts_each, lanes_each) in below.chain(beside) {
        let bands = hosts.chunks(hosts_each).map(|hosts| Band::of(hosts, lanes, lanes_each, &sizes));
        let bands =
            Bands { each: sizes.label + hosts_each as i32 * sizes.stride() - GAP, rows: bands.collect() };
        let (width, height) = bands.size();
        // What is narrower than the sheet makes it no smaller.
        let width = width.max(NARROWEST);
        let fit = (width * 9 / 16).max(height);
        let count: usize = bands.rows.iter().map(Vec::len).sum();
        // A lane in one piece is easiest to follow: breaking it has to save much.
        let fit = if count > 1 { fit + fit / 2 } else { fit };
        let cost = (fit, count, width + height);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, bands));
        }
    }
    let Some((_, bands)) = best else { return nothing(&empty(model)) };
    let (width, height) = bands.size();
    let mut scene = Scene { width, height, ..Scene::default() };
    let mut seen = BTreeSet::new();
    let mut y = 0;
    for row in &bands.rows {
        for (x, band) in (0..).step_by((bands.each + BANDS) as usize).zip(row) {
            scene.put(band.draw(model, &sizes, &mut seen), x, y);
        }
        y += Bands::height(row) + BANDS;
    }
    scene
}

/// Rows of bands, each band of one width.
struct Bands<'m> {
    each: i32,
    rows: Vec<Vec<Band<'m>>>,
}

impl Bands<'_> {
    fn height(row: &[Band<'_>]) -> i32 {
        row.iter().map(Band::height).max().unwrap_or(0)
    }

    fn size(&self) -> (i32, i32) {
        let most = self.rows.iter().map(Vec::len).max().unwrap_or(0) as i32;
        let height: i32 = self.rows.iter().map(|row| Self::height(row) + BANDS).sum();
        (most * (self.each + BANDS) - BANDS, height - BANDS)
    }
}
