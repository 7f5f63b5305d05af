//! The same three views in the language of Graphviz (<https://graphviz.org/doc/info/lang.html>), for those who want to lay
//! them out themselves: `dot -Tsvg`, or a viewer such as `xdot`.

use std::fmt::Write as _;

use super::View;
use super::fold::{Limits, Most, amount, level, rows};
use super::model::{Host, Member, Model, Overlay};
use super::palette::tone;
use super::words::{empty, flood, subject, vlan, what};

/// The view as text.
pub(super) fn dot(model: &Model, view: View, limits: Limits) -> String {
    let mut graph = Graph::new(model, view);
    if model.hosts.is_empty() {
        graph.node("", "nothing", &quoted(&empty(model)), ", style=\"dashed\"");
    }
    match view {
        View::Hosts => hosts(model, limits, &mut graph),
        View::Vlans => vlans(model, limits, &mut graph),
        View::Overlays => overlays(model, limits, &mut graph),
    }
    graph.out.push_str("}\n");
    graph.out
}

struct Graph {
    out: String,
}

impl Graph {
    fn new(model: &Model, view: View) -> Self {
        let title = format!("{}: {}", view.title(), subject(model));
        let mut graph = Self { out: format!("graph {} {{\n", quoted(&format!("evpnd-{}", view.name()))) };
        let label = quoted(&title);
        let _ = writeln!(
            graph.out,
            "  graph [label={label}, labelloc=\"t\", fontname=\"sans-serif\", rankdir=\"LR\", ranksep=\"0.7\"]"
        );
        graph.out.push_str(
            "  node [shape=\"box\", style=\"filled\", fillcolor=\"#ffffff\", fontname=\"sans-serif\", fontsize=\"11\"]\n",
        );
        graph.out.push_str("  edge [fontname=\"sans-serif\", fontsize=\"10\"]\n");
        graph
    }

    fn node(&mut self, indent: &str, id: &str, label: &str, more: &str) {
        let _ = writeln!(self.out, "{indent}  {} [label={label}{more}]", quoted(id));
    }

    fn edge(&mut self, from: &str, to: &str, label: &str, more: &str) {
        let label = quoted(label);
        let _ = writeln!(self.out, "  {} -- {} [label={label}{more}]", quoted(from), quoted(to));
    }

    /// A box with a frame around what `inside` writes.
    fn cluster(&mut self, id: &str, label: &str, inside: impl FnOnce(&mut Self)) {
        let (id, label) = (quoted(&format!("cluster-{id}")), quoted(label));
        let _ = writeln!(self.out, "  subgraph {id} {{\n    label={label}");
        inside(self);
        self.out.push_str("  }\n");
    }
}

fn hosts(model: &Model, limits: Limits, graph: &mut Graph) {
    if model.hosts.is_empty() {
        return;
    }
    graph.node("", "underlay", &quoted("Underlay"), ", shape=\"ellipse\", fillcolor=\"#dde1e6\"");
    let most = longest(model, limits);
    let blocks = level(&lengths(model.hosts.iter().map(|h| h.members.len())), limits.blocks);
    for host in model.hosts.iter().take(limits.cards) {
        let vtep = host.vtep.to_string();
        graph.cluster(&vtep, &caption(host), |graph| {
            graph.node("  ", &vtep, &quoted(&format!("VTEP {vtep}")), ", fillcolor=\"#f2f4f6\"");
            for member in host.members.iter().take(blocks) {
                let overlay = &model.overlays[member.overlay];
                let id = format!("{vtep}/{}", overlay.vni);
                let known = vlan(member).unwrap_or_default();
                graph.node(
                    "  ",
                    &id,
                    &lines(&[format!("VNI {}", overlay.vni), known], 'n'),
                    &colours(member.overlay),
                );
                graph.edge(&vtep, &id, flood(model, overlay, member), &ink(member.overlay));
                list(graph, &id, member, most);
            }
            left_out(graph, &vtep, host.members.len(), blocks, "VNIs");
        });
        graph.edge("underlay", &vtep, "VXLAN", "");
    }
    left_out(graph, "underlay", model.hosts.len(), limits.cards, "hosts");
}

fn vlans(model: &Model, limits: Limits, graph: &mut Graph) {
    let overlays = &model.overlays[..model.overlays.len().min(limits.cards)];
    for (place, overlay) in overlays.iter().enumerate() {
        let id = format!("vni/{}", overlay.vni);
        graph.node("", &id, &quoted(&what(model, overlay)), &(colours(place) + ", penwidth=\"2\""));
    }
    for host in model.hosts.iter().take(limits.cards) {
        let vtep = host.vtep.to_string();
        graph.cluster(&vtep, &caption(host), |graph| {
            for member in host.members.iter().filter(|m| m.overlay < overlays.len()) {
                let overlay = &overlays[member.overlay];
                let (vlan, has) = (vlan_or(model, overlay, member), has(member));
                graph.node(
                    "  ",
                    &format!("{vtep}/{}", overlay.vni),
                    &lines(&[vlan, has], 'n'),
                    &colours(member.overlay),
                );
            }
        });
        for member in host.members.iter().filter(|m| m.overlay < overlays.len()) {
            let vni = overlays[member.overlay].vni;
            let label = format!("VNI {vni}");
            graph.edge(&format!("{vtep}/{vni}"), &format!("vni/{vni}"), &label, &ink(member.overlay));
        }
    }
}

fn overlays(model: &Model, limits: Limits, graph: &mut Graph) {
    let most = longest(model, limits);
    let blocks = level(&lengths(model.overlays.iter().map(|o| o.hosts.len())), limits.blocks);
    for (place, overlay) in model.overlays.iter().enumerate().take(limits.cards) {
        let vni = format!("vni/{}", overlay.vni);
        graph.node("", &vni, &quoted(&what(model, overlay)), &(colours(place) + ", penwidth=\"2\""));
        for (host, member) in overlay.members(model).take(blocks) {
            let id = format!("{}/{}", host.vtep, overlay.vni);
            let known = vlan(member).unwrap_or_default();
            graph.node("", &id, &lines(&[host.vtep.to_string(), known], 'n'), ", fillcolor=\"#f2f4f6\"");
            graph.edge(&vni, &id, flood(model, overlay, member), &ink(place));
            list(graph, &id, member, most);
        }
        left_out(graph, &vni, overlay.hosts.len(), blocks, "hosts");
    }
}

/// A member's MACs and prefixes as one node.
fn list(graph: &mut Graph, of: &str, member: &Member, most: Most) {
    let rows = rows(member, most);
    if rows.is_empty() {
        return;
    }
    let id = format!("{of}/list");
    graph.node("  ", &id, &lines(&rows, 'l'), ", fontname=\"monospace\", shape=\"note\"");
    graph.edge(of, &id, &has(member), &ink(member.overlay));
}

/// What was cut off.
fn left_out(graph: &mut Graph, of: &str, all: usize, shown: usize, what: &str) {
    if all > shown {
        let id = format!("{of}/more");
        graph.node("  ", &id, &quoted(&format!("and {} more {what}", all - shown)), ", style=\"dashed\"");
        graph.edge(of, &id, "", ", style=\"dashed\"");
    }
}

fn longest(model: &Model, limits: Limits) -> Most {
    let members = model.hosts.iter().flat_map(|host| &host.members);
    let rows = level(&lengths(members.map(|m| m.macs.len() + m.prefixes.len())), limits.rows);
    Most { rows, words: limits.words }
}

fn lengths(all: impl Iterator<Item = usize>) -> Vec<usize> {
    all.collect()
}

fn has(member: &Member) -> String {
    amount(member.macs.len(), member.prefixes.len())
}

fn vlan_or(model: &Model, overlay: &Overlay, member: &Member) -> String {
    let unknown = if overlay.is_vrf(model) { "VRF" } else { "VLAN ?" };
    vlan(member).unwrap_or_else(|| unknown.to_owned())
}

fn caption(host: &Host) -> String {
    let mut words = vec![host.vtep.to_string()];
    words.extend(host.name.clone());
    words.extend(host.asn.map(|asn| format!("AS {asn}")));
    words.join(", ")
}

fn colours(place: usize) -> String {
    let tone = tone(place);
    format!(", fillcolor=\"{}\", color=\"{}\"", tone.tint, tone.strong)
}

fn ink(place: usize) -> String {
    format!(", color=\"{}\"", tone(place).strong)
}

/// Several lines as one label; `end`: `n` centred, `l` to the left.
fn lines(all: &[String], end: char) -> String {
    let kept: Vec<String> = all.iter().filter(|line| !line.is_empty()).map(|line| escaped(line)).collect();
    let mut label = kept.join(&format!("\\{end}"));
    if end == 'l' {
        label.push_str("\\l");
    }
    format!("\"{label}\"")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// In a quoted label, backslashes lead escapes, and `&` leads an entity of HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
