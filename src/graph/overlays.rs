//! The overlays: each VNI with the hosts in it, and behind each the MACs, or the prefixes of a VRF.

use super::card::{Block, Card, Shelves};
use super::fold::{Limits, Most, all_rows, amount, level, rows, tip};
use super::frame::{Frame, Links, MOST_ROWS, nothing};
use super::model::{Host, Member, Model, Overlay};
use super::palette::{NEUTRAL, tone};
use super::scene::Scene;
use super::words::{empty, flood, legend, overlay_id, remarks, subject, vlan, what};
use crate::words::count;

/// Between rows of VNIs.
const ROWS: i32 = 26;

pub(super) fn draw(model: &Model, limits: Limits) -> Scene {
    let cards = cards(model, limits);
    let mut remarks = remarks(model);
    let rest = model.overlays.len() - cards.len();
    if rest > 0 {
        remarks.insert(0, format!("and {}", count(rest, "more VNI", "more VNIs")));
    }
    let links = |(place, overlay): (usize, &Overlay)| Links {
        of: format!("VNI {}", overlay.vni),
        to: (place < cards.len()).then(|| overlay_id(overlay)),
        with: vec![
            overlay
                .members(model)
                .map(|(host, m)| format!("{} ({})", host.vtep, amount(m.macs.len(), m.prefixes.len())))
                .collect(),
        ],
    };
    Frame {
        title: "Overlays".to_owned(),
        about: subject(model),
        legend: legend(model),
        remarks,
        links_title: "Overlays in words: the hosts in each, and what they have there".to_owned(),
        links: model.overlays.iter().enumerate().take(MOST_ROWS).map(links).collect(),
        all_links: model.overlays.len(),
    }
    .around(body(model, &cards))
}

fn cards(model: &Model, limits: Limits) -> Vec<Card> {
    let overlays = &model.overlays[..model.overlays.len().min(limits.cards)];
    let lengths: Vec<usize> = overlays.iter().map(|o| o.hosts.len()).collect();
    let blocks = level(&lengths, limits.blocks);
    let lists = overlays.iter().flat_map(|o| o.members(model).take(blocks));
    let lengths: Vec<usize> = lists.map(|(_, m)| m.macs.len() + m.prefixes.len()).collect();
    let most = Most { rows: level(&lengths, limits.rows), words: limits.words };
    let places = overlays.iter().enumerate();
    places.map(|(place, overlay)| card(model, place, overlay, blocks, most)).collect()
}

fn card(model: &Model, place: usize, overlay: &Overlay, shown: usize, most: Most) -> Card {
    let rest = overlay.hosts.len().saturating_sub(shown);
    let hosts = count(overlay.hosts.len(), "host", "hosts");
    let vrf = if overlay.is_vrf(model) { "VRF · " } else { "" };
    let members = overlay.members(model).take(shown);
    Card {
        id: overlay_id(overlay),
        tip: what(model, overlay),
        head: format!("VNI {}", overlay.vni),
        sub: format!("{vrf}{hosts} · {}", amount(overlay.macs, overlay.prefixes)),
        tone: tone(place),
        blocks: members
            .flat_map(|(host, member)| block(model, overlay, host, member, most).parts())
            .collect(),
        note: (rest > 0).then(|| format!("… and {}", count(rest, "more host", "more hosts"))),
    }
}

fn block(model: &Model, overlay: &Overlay, host: &Host, member: &Member, most: Most) -> Block {
    let how = flood(model, overlay, member);
    let side = vlan(member).map_or_else(|| how.to_owned(), |vlan| format!("{vlan} · {how}"));
    let mut told = vec![format!("{} in VNI {}: {side}", host.vtep, overlay.vni)];
    told.extend(host.name.clone());
    told.extend(host.asn.map(|asn| format!("AS {asn}")));
    Block {
        tip: tip(told.into_iter().chain(all_rows(member))),
        head: host.vtep.to_string(),
        side,
        tone: NEUTRAL,
        to: None,
        rows: rows(member, most),
    }
}

fn body(model: &Model, cards: &[Card]) -> Scene {
    if cards.is_empty() {
        return nothing(&empty(model));
    }
    let shelves = Shelves::best(cards, ROWS);
    let mut scene = Scene { width: shelves.width, ..Scene::default() };
    let mut y = 0;
    for row in &shelves.rows {
        for (card, x) in row {
            card.draw(*x, y, &mut scene);
        }
        y += Shelves::row_height(row) + ROWS;
    }
    scene.height = y - ROWS;
    scene
}
