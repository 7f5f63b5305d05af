//! What the core knows of one address: heard from whom, best or not and why, imported by whom, decided how.

use bgp::rib::{DestView, PathView, Source};
use bgp::wire::RouteKey;
use dataplane::intent::Hop;
use dataplane::rows::Key;
use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::Core;
use crate::control::view::{ExplainStep, MacSource};
use crate::control::{ExplainQuery, Target};
use crate::evpn::{self, PrefixStory};
use crate::words::count;

/// Routes told of; more say little more.
const MAX_ROUTES: usize = 32;

/// A story, but for its last step.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Step by step.
    pub steps: Vec<ExplainStep>,
    /// What should be in the dataplane.
    pub wanted: Vec<Key>,
    /// Whether the address can be reached as far as the core can tell, and the end of the story.
    pub verdict: (Option<bool>, String),
}

impl Told {
    fn step(&mut self, stage: &str, vni: Option<Vni>, ok: Option<bool>, text: String) {
        self.steps.push(ExplainStep { stage: stage.to_owned(), vni: vni.map(Vni::get), ok, text });
    }
}

impl Core {
    /// Tells the story of an address.
    pub fn explain(&self, query: &ExplainQuery) -> Told {
        let mut told = Told::default();
        let mut heard = 0_usize;
        let mut ours = 0_usize;
        for dest in self.rib.search(None, |key| concerns(key, query.target)) {
            heard += 1;
            ours += usize::from(dest.paths.iter().any(|path| path.best && path.source == Source::Local));
            if heard <= MAX_ROUTES {
                self.tell_route(&dest, query.vni, &mut told);
            }
        }
        if heard > MAX_ROUTES {
            told.step("received", None, None, format!("and {} more routes", heard - MAX_ROUTES));
        }
        if heard == 0 {
            told.step(
                "received",
                None,
                Some(false),
                "no neighbour has announced it, and neither have we".to_owned(),
            );
        }
        let vni_fits = |vni: Vni| query.vni.is_none_or(|v| v == vni);
        let macs: Vec<(Vni, MacAddr)> = match query.target {
            Target::Mac(mac) => self.evpn.l2vnis().into_iter().map(|vni| (vni, mac)).collect(),
            Target::Ip(ip) => self.evpn.macs_of(ip),
            Target::Prefix(_) => Vec::new(),
        };
        if let Some(vni) = query.vni.filter(|vni| !self.evpn.has(*vni)) {
            let why = self.lack(vni).unwrap_or_else(|| format!("VNI {vni} is not configured here"));
            told.step("imported", Some(vni), Some(false), why);
        }
        for (vni, mac) in macs.into_iter().filter(|m| vni_fits(m.0)) {
            self.tell_mac(vni, mac, &mut told);
        }
        let prefix = match query.target {
            Target::Mac(_) => None,
            Target::Ip(ip) => Some(IpNet::from(ip)),
            Target::Prefix(prefix) => Some(prefix),
        };
        let stories = prefix.map(|prefix| self.evpn.explain_prefix(prefix)).unwrap_or_default();
        for story in stories.iter().filter(|story| vni_fits(story.vni)) {
            tell_prefix(story, &mut told);
        }
        if told.verdict.1.is_empty() {
            let flooding: Vec<_> = match query.target {
                Target::Ip(ip) => self.evpn.flooding(ip).into_iter().filter(|v| vni_fits(*v)).collect(),
                _ => Vec::new(),
            };
            let flooding: Vec<_> = flooding.iter().map(ToString::to_string).collect();
            told.verdict = match (heard, query.target) {
                (0, _) => (None, "nothing is known of it".to_owned()),
                _ if !flooding.is_empty() => {
                    (Some(true), format!("a VTEP; what is flooded in VNI {} goes to it", flooding.join(", ")))
                }
                _ if ours == heard => (None, "announced by this node".to_owned()),
                (_, Target::Prefix(_)) => {
                    (Some(false), "announced, but no VRF of this node uses it".to_owned())
                }
                _ => (Some(false), "announced, but no VNI of this node uses it".to_owned()),
            };
        }
        told
    }

    fn tell_route(&self, dest: &DestView<'_>, only: Option<Vni>, told: &mut Told) {
        for path in &dest.paths {
            let from = self.address_of(path.source).map_or_else(|| "ourselves".to_owned(), |a| a.to_string());
            let a = path.attributes;
            let text = format!("{} from {from}, next hop {}, AS path [{}]", dest.key, a.next_hop, a.as_path);
            told.step("received", None, None, text);
            let (ok, text) = match (path.best, path.ineligible, path.lost) {
                (true, ..) => (true, format!("the best of {}", count(dest.paths.len(), "path", "paths"))),
                (_, Some(why), _) => (false, format!("not eligible: {}", why.describe())),
                (_, _, Some(why)) => (false, format!("not the best: {}", why.describe())),
                (false, None, None) => (false, "not the best".to_owned()),
            };
            told.step("best", None, Some(ok), text);
            if path.best && path.source != Source::Local {
                self.tell_import(dest.key, path, only, told);
            }
        }
    }

    fn tell_import(&self, key: &RouteKey, path: &PathView<'_>, only: Option<Vni>, told: &mut Told) {
        let route = evpn::Route { attributes: path.attributes, attr_id: 0, body: &path.body, local: false };
        let verdicts = self.evpn.verdicts(key, &route);
        let targets: Vec<_> = path.attributes.route_targets().map(|rt| rt.to_string()).collect();
        let targets = if targets.is_empty() { "no route target".to_owned() } else { targets.join(" ") };
        if verdicts.is_empty() {
            let why = match key {
                RouteKey::MacIp { .. } | RouteKey::Imet { .. } => format!("no VNI imports {targets}"),
                RouteKey::Prefix { .. } => format!("no VRF imports {targets}"),
                _ => "only routes of types 2, 3 and 5 are imported".to_owned(),
            };
            told.step("imported", None, Some(false), why);
        }
        for verdict in verdicts.iter().filter(|v| only.is_none_or(|vni| vni == v.vni)) {
            let into = if verdict.routed { "VRF: " } else { "" };
            let (ok, text) = match &verdict.reject {
                None => (true, format!("{into}imported by {targets}")),
                Some(reject) => (false, format!("{into}matches {targets}, but cannot be used: {reject}")),
            };
            told.step("imported", Some(verdict.vni), Some(ok), text);
        }
    }

    fn tell_mac(&self, vni: Vni, mac: MacAddr, told: &mut Told) {
        let Some(story) = self.evpn.explain(vni, mac) else { return };
        if story.candidates.is_empty() && story.decided.is_none() {
            return;
        }
        for c in &story.candidates {
            let chosen = matches!(c.standing, evpn::Standing::Chosen | evpn::Standing::SameVtep);
            let text = format!("{mac} at {} with sequence {}: {}", c.vtep, c.sequence, c.standing);
            told.step("selected", Some(vni), Some(chosen), text);
        }
        let (reachable, text) = match &story.decided {
            None => (false, format!("{mac} in VNI {vni} has been announced, but no route to it can be used")),
            Some(view) => match view.source {
                MacSource::Local => {
                    let port = view.interface.as_deref().unwrap_or("a local port");
                    let announced = if story.announced { "announced" } else { "not announced" };
                    let vlan = story.vlan.map(|vlan| format!(" in VLAN {vlan}")).unwrap_or_default();
                    (true, format!("{mac} in VNI {vni} is local, on {port}{vlan}, {announced}"))
                }
                MacSource::Remote => {
                    told.wanted.push(Key::Mac(vni, mac));
                    let vtep = view.vtep.map(|v| v.to_string()).unwrap_or_default();
                    (true, format!("{mac} in VNI {vni} is behind VTEP {vtep}"))
                }
            },
        };
        told.step("wanted", Some(vni), Some(reachable), text.clone());
        if told.verdict.0 != Some(true) {
            told.verdict = (Some(reachable), text);
        }
    }
}

fn tell_prefix(story: &PrefixStory, told: &mut Told) {
    let (vni, prefix) = (story.vni, story.prefix);
    for (name, up) in &story.clients {
        let state = if *up { "up" } else { "down" };
        told.step(
            "selected",
            Some(vni),
            Some(*up),
            format!("{prefix} is behind client {name}, which is {state}"),
        );
    }
    for path in story.paths.iter().take(MAX_ROUTES) {
        let ok = path.standing == evpn::PathStanding::Chosen;
        let text = format!(
            "{prefix} at {}, VNI {}, router MAC {}: {}",
            path.vtep, path.wire_vni, path.router_mac, path.standing
        );
        told.step("selected", Some(vni), Some(ok), text);
    }
    let name = |hop: &Hop| match hop {
        Hop::Client(name) => name.to_string(),
        Hop::Remote { vtep, .. } => vtep.to_string(),
    };
    let names = story.hops.iter().map(name).collect::<Vec<_>>().join(", ");
    let (reachable, text) = match story.hops.first() {
        None => (
            false,
            format!("{prefix} in VRF {vni} is dropped: none of its clients is up, and no other node has it"),
        ),
        Some(Hop::Client(_)) => {
            let announced = if story.announced { "announced" } else { "not announced" };
            (true, format!("{prefix} in VRF {vni} is local, behind client {names}, {announced}"))
        }
        Some(Hop::Remote { .. }) => (true, format!("{prefix} in VRF {vni} is behind VTEP {names}")),
    };
    told.wanted.push(Key::Prefix(vni, prefix));
    told.step("wanted", Some(vni), Some(reachable), text.clone());
    if told.verdict.0 != Some(true) {
        told.verdict = (Some(reachable), text);
    }
}

/// Whether a route says something of the address.
fn concerns(key: &RouteKey, target: Target) -> bool {
    match (key, target) {
        (RouteKey::MacIp { mac, .. }, Target::Mac(wanted)) => *mac == wanted,
        (RouteKey::MacIp { ip, .. }, Target::Ip(wanted)) => *ip == Some(wanted),
        (RouteKey::Imet { originator, .. }, Target::Ip(wanted)) => *originator == wanted,
        (RouteKey::Prefix { prefix, .. }, Target::Ip(wanted)) => prefix.contains(&wanted),
        (RouteKey::Prefix { prefix, .. }, Target::Prefix(wanted)) => prefix.contains(&wanted),
        (RouteKey::MacIp { ip: Some(ip), .. }, Target::Prefix(wanted)) => IpNet::from(*ip) == wanted,
        _ => false,
    }
}
