//! The hosts: each with its VTEP on the underlay, its VNIs and VLANs, and the MACs and prefixes in them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::card::{BETWEEN, Block, Card, Shelves};
use super::fold::{Limits, Most, all_rows, amount, level, rows, tip};
use super::font::Style;
use super::frame::{Frame, Links, MOST_ROWS, nothing};
use super::model::{Host, Member, Model};
use super::palette::{NEUTRAL, tone};
use super::scene::{Anchor, GREY, Layer, Paint, Rect, Scene};
use super::words::{empty, flood, group, host_id, legend, remarks, subject, vlan};
use crate::words::count;

/// The bar that is the underlay, and the way from it down to a host.
const BAR: i32 = 22;
const LINK: i32 = 34;
/// Between rows of hosts.
const ROWS: i32 = 30;
/// Left of the rows when there are several: the underlay's own way between them.
const TRUNK: i32 = 26;
/// So many VNIs that two hosts share are named.
const MOST_VNIS: usize = 6;

pub(super) fn draw(model: &Model, limits: Limits) -> Scene {
    let cards = cards(model, limits);
    let mut remarks = remarks(model);
    let rest = model.hosts.len() - cards.len();
    if rest > 0 {
        remarks.insert(0, format!("and {}", count(rest, "more host", "more hosts")));
    }
    Frame {
        title: "Hosts".to_owned(),
        about: subject(model),
        legend: legend(model),
        remarks,
        links_title: "Tunnels in words: which hosts share VNIs".to_owned(),
        links: links(model, cards.len()),
        all_links: model.hosts.len(),
    }
    .around(body(model, &cards))
}

fn cards(model: &Model, limits: Limits) -> Vec<Card> {
    let hosts = &model.hosts[..model.hosts.len().min(limits.cards)];
    let lengths: Vec<usize> = hosts.iter().map(|host| host.members.len()).collect();
    let blocks = level(&lengths, limits.blocks);
    let shown = |host: &Host| host.members.len().min(blocks);
    let lists = hosts.iter().flat_map(|host| &host.members[..shown(host)]);
    let lengths: Vec<usize> = lists.map(|m| m.macs.len() + m.prefixes.len()).collect();
    let most = Most { rows: level(&lengths, limits.rows), words: limits.words };
    hosts.iter().map(|host| card(model, host, shown(host), most)).collect()
}

fn card(model: &Model, host: &Host, shown: usize, most: Most) -> Card {
    let rest: usize = host.members.len() - shown;
    let mut sub: Vec<String> = host.name.iter().cloned().collect();
    sub.extend(host.asn.map(|asn| format!("AS {asn}")));
    sub.extend(host.local.then(|| "this node".to_owned()));
    let macs = host.members.iter().map(|m| m.macs.len()).sum();
    let prefixes = host.members.iter().map(|m| m.prefixes.len()).sum();
    sub.push(count(host.members.len(), "VNI", "VNIs"));
    sub.push(amount(macs, prefixes));
    Card {
        id: host_id(host),
        tip: format!("VTEP {}\n{}", host.vtep, sub.join("\n")),
        head: host.vtep.to_string(),
        sub: sub.join(" · "),
        tone: NEUTRAL,
        blocks: (host.members[..shown].iter())
            .flat_map(|member| block(model, host, member, most).parts())
            .collect(),
        note: (rest > 0).then(|| format!("… and {}", count(rest, "more VNI", "more VNIs"))),
    }
}

fn block(model: &Model, host: &Host, member: &Member, most: Most) -> Block {
    let overlay = &model.overlays[member.overlay];
    let has = amount(member.macs.len(), member.prefixes.len());
    let side = match vlan(member) {
        Some(vlan) => format!("{vlan} · {has}"),
        None if overlay.is_vrf(model) => format!("VRF · {has}"),
        None => has.clone(),
    };
    let head = format!("VNI {} at {}: {has}", overlay.vni, host.vtep);
    let told = [head, flood(model, overlay, member).to_owned()];
    Block {
        tip: tip(told.into_iter().chain(all_rows(member))),
        head: format!("VNI {}", overlay.vni),
        side,
        tone: tone(member.overlay),
        to: None,
        rows: rows(member, most),
    }
}

fn body(model: &Model, cards: &[Card]) -> Scene {
    if cards.is_empty() {
        return nothing(&empty(model));
    }
    let shelves = Shelves::best(cards, BAR + LINK + ROWS);
    let left = if shelves.rows.len() > 1 { TRUNK } else { 0 };
    let mut scene = Scene { width: left + shelves.width, ..Scene::default() };
    let mut y = 0;
    let bar = Paint { round: 0, ..Paint::framed("#dde1e6", GREY) };
    if left > 0 {
        let heights = shelves.rows.iter().map(|row| Shelves::row_height(row) + BAR + LINK + ROWS);
        let all: i32 = heights.sum();
        let last = shelves.rows.last().map_or(0, |row| Shelves::row_height(row) + LINK + ROWS);
        scene.fill(Rect::new(0, 0, 12, all - last), Layer::Card, bar);
    }
    for (at, row) in shelves.rows.iter().enumerate() {
        let end = row.last().map_or(0, |(card, x)| x + card.size.w);
        let from = if left > 0 { 12 } else { 0 };
        let rail = Rect::new(from, y, left + end - from, BAR);
        scene.open(None, "The IP network between the VTEPs".to_owned());
        scene.fill(rail, Layer::Card, bar);
        if at == 0 {
            let room = Rect::new(left + 10, y, end - 10, BAR);
            scene.text(room, Anchor::Start, Style::Small, "Underlay: IP between the VTEPs");
        }
        scene.close();
        for (card, x) in row {
            let middle = left + x + card.size.middle();
            scene.line(&[(middle, y + BAR), (middle, y + BAR + LINK)], GREY, 3, "");
            let room = Rect::new(middle + 8, y + BAR + 4, card.size.w / 2 + BETWEEN / 2 - 8, LINK - 8);
            scene.text(room, Anchor::Start, Style::Small, "VXLAN");
            card.draw(left + x, y + BAR + LINK, &mut scene);
        }
        y += BAR + LINK + Shelves::row_height(row) + ROWS;
    }
    scene.height = y - ROWS;
    scene
}

/// For each host, those it shares VNIs with, by the VNIs that they share.
fn links(model: &Model, drawn: usize) -> Vec<Links> {
    let links = |(at, host): (usize, &Host)| {
        let mut peers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for member in &host.members {
            for peer in model.overlays[member.overlay].hosts.iter().filter(|peer| **peer != at) {
                peers.entry(*peer).or_default().push(member.overlay);
            }
        }
        // Most in common first; more VNIs than can be read are counted.
        let mut groups: BTreeMap<(Reverse<usize>, Vec<usize>), Vec<usize>> = BTreeMap::new();
        for (peer, shared) in peers {
            let count = shared.len();
            let named = if count > MOST_VNIS { Vec::new() } else { shared };
            groups.entry((Reverse(count), named)).or_default().push(peer);
        }
        let mut with: Vec<Vec<String>> = groups
            .iter()
            .map(|((Reverse(count), named), peers)| {
                let vnis: Vec<String> = named.iter().map(|o| model.overlays[*o].vni.to_string()).collect();
                let by =
                    if vnis.is_empty() { format!("{count} VNIs") } else { format!("VNI {}", vnis.join("+")) };
                let all = peers.len() + 1 == model.hosts.len();
                group(&by, peers.iter().map(|peer| &model.hosts[*peer]), all.then_some("other hosts"))
            })
            .collect();
        if with.is_empty() {
            with.push(vec!["no other host".to_owned()]);
        }
        Links { of: host.vtep.to_string(), to: (at < drawn).then(|| host_id(host)), with }
    };
    model.hosts.iter().enumerate().take(MOST_ROWS).map(links).collect()
}
