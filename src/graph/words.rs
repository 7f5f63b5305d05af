//! What the pictures have in common to say.

use super::fold::amount;
use super::model::{Host, Member, Model, Overlay};
use super::palette::{Tone, tone};
use crate::words::count;

/// Said in place of a picture.
pub(super) fn empty(model: &Model) -> String {
    match model.only {
        Some(vni) => format!(
            "No route of type 2, 3 or 5 has VNI {vni}. Which VNIs there are: evpnd graph overlays without --vni, or \
             evpnd show routes."
        ),
        None => "No route of type 2, 3 or 5: nothing is known of any host. Are the sessions up (evpnd show \
                 neighbors), and are there routes (evpnd show routes)?"
            .to_owned(),
    }
}

/// Where a host is drawn.
pub(super) fn host_id(host: &Host) -> String {
    format!("host-{}", host.vtep)
}

/// Where a VNI is drawn.
pub(super) fn overlay_id(overlay: &Overlay) -> String {
    format!("vni-{}", overlay.vni)
}

/// What all is made of, in one sentence.
pub(super) fn subject(model: &Model) -> String {
    let mut words = vec![
        count(model.hosts.len(), "host", "hosts"),
        count(model.overlays.len(), "VNI", "VNIs"),
        count(model.macs(), "MAC", "MACs"),
    ];
    if model.prefixes() > 0 {
        words.push(count(model.prefixes(), "prefix", "prefixes"));
    }
    let routes = count(model.routes as usize, "route", "routes");
    let routes = model.only.map_or_else(|| routes.clone(), |vni| format!("{routes} of VNI {vni}"));
    let whose = model.observer.map_or_else(
        || format!("from {routes}"),
        |o| format!("from the {routes} in the RIB of {} (AS {})", o.router_id, o.asn),
    );
    format!("{}, {whose}", words.join(", "))
}

/// A VNI in words: `VNI 22001: 3 hosts, 9 MACs`.
pub(super) fn what(model: &Model, overlay: &Overlay) -> String {
    let vrf = if overlay.is_vrf(model) { " (VRF)" } else { "" };
    let hosts = count(overlay.hosts.len(), "host", "hosts");
    format!("VNI {}{vrf}: {hosts}, {}", overlay.vni, amount(overlay.macs, overlay.prefixes))
}

/// Each VNI and its colour.
pub(super) fn legend(model: &Model) -> Vec<(Tone, String)> {
    model.overlays.iter().enumerate().map(|(place, o)| (tone(place), what(model, o))).collect()
}

/// Hosts that have one thing in common, as items of a list. `all`: what they are called if nobody lacks it.
pub(super) fn group<'h>(
    what: &str,
    hosts: impl ExactSizeIterator<Item = &'h Host>,
    all: Option<&str>,
) -> Vec<String> {
    const MOST: usize = 6;
    let count = hosts.len();
    if let Some(all) = all.filter(|_| count > MOST) {
        return vec![format!("{what}: all {count} {all}")];
    }
    let vteps = hosts.map(|host| host.vtep.to_string()).enumerate();
    vteps.map(|(at, vtep)| if at == 0 { format!("{what}: {vtep}") } else { vtep }).collect()
}

/// A host's own VLAN for a VNI: `VLAN 10`.
pub(super) fn vlan(member: &Member) -> Option<String> {
    let vlans: Vec<String> = member.vlans.iter().take(3).map(ToString::to_string).collect();
    let more = if member.vlans.len() > 3 { "+…" } else { "" };
    (!vlans.is_empty()).then(|| format!("VLAN {}{more}", vlans.join("+")))
}

/// What a host wants of what is flooded.
pub(super) fn flood(model: &Model, overlay: &Overlay, member: &Member) -> &'static str {
    match member.flood {
        true => "flooded to",
        false if overlay.is_vrf(model) => "routed",
        false => "not flooded to",
    }
}

/// What no picture shows.
pub(super) fn remarks(model: &Model) -> Vec<String> {
    let kinds: Vec<String> = model.undrawn.iter().map(|(kind, n)| format!("{n} of type {kind}")).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    vec![format!("Not drawn: {} (no VNI on a host is told by them).", kinds.join(", "))]
}
