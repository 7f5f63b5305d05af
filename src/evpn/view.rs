//! What people and scripts are shown: the rows of `show macs` and `show vnis`, what `explain` tells, counters.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bgp::wire::Esi;
use dataplane::intent::Hop;
use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::config::EvpnConfig;
use super::endpoint::Endpoints;
use super::judge::Reject;
use super::mac::{Candidate, MacEntry};
use super::target::ImportRt;
use super::vrf::MacVrf;
use crate::control::view::{MacSource, MacView, VniView};

/// What became of a candidate for a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This is where the MAC is.
    Chosen,
    /// From the VTEP that was chosen by another of its routes.
    SameVtep,
    /// It cannot be used.
    Rejected(Reject),
    /// The MAC is ours.
    Local,
    /// The MAC is held as a duplicate.
    Frozen,
    /// A static or gateway MAC stands before it.
    LostToStatic,
    /// Another has a higher mobility sequence.
    LostBySequence,
    /// Another has a lower VTEP address.
    LostByAddress,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chosen => "chosen",
            Self::SameVtep => "of the chosen VTEP",
            Self::Rejected(reject) => return reject.fmt(f),
            Self::Local => "the MAC is on a local port",
            Self::Frozen => "the MAC is held as a duplicate",
            Self::LostToStatic => "another route has it static or as a gateway",
            Self::LostBySequence => "another route has a higher mobility sequence",
            Self::LostByAddress => "another VTEP with the same sequence has a lower address",
        })
    }
}

/// A route that is a candidate for a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateView {
    /// Its destination in the RIB.
    pub dest: u32,
    /// Its next hop.
    pub vtep: IpAddr,
    /// Its Ethernet segment.
    pub esi: Esi,
    /// The address it binds.
    pub ip: Option<IpAddr>,
    /// The VNI on the wire towards it.
    pub wire_vni: Vni,
    /// Mobility sequence.
    pub sequence: u32,
    /// Static.
    pub sticky: bool,
    /// A default gateway.
    pub gateway: bool,
    /// What became of it.
    pub standing: Standing,
}

/// Everything known of a MAC in a VNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacStory {
    /// In this VNI.
    pub vni: Vni,
    /// The MAC.
    pub mac: MacAddr,
    /// The VLAN that stands for the VNI on this host, if one does.
    pub vlan: Option<u16>,
    /// Where it was decided to be; `None`: nowhere.
    pub decided: Option<MacView>,
    /// Our routes for it are out.
    pub announced: bool,
    /// Moves between here and elsewhere in the current window of duplicate detection.
    pub recent_moves: u32,
    /// The routes that speak of it, best first.
    pub candidates: Vec<CandidateView>,
    /// The addresses for which ARP and ND are answered with this MAC.
    pub neighbours: Vec<IpAddr>,
}

/// What became of a path to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStanding {
    /// Packets go there.
    Chosen,
    /// They would, if no client here had the prefix.
    Local,
    /// Another path is better, and by what.
    Lost(&'static str),
    /// As good as the others, but they are as many as can be used.
    TooMany,
}

impl fmt::Display for PathStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chosen => "chosen",
            Self::Local => "a client of this node has the prefix",
            Self::Lost(why) => why,
            Self::TooMany => "64 other paths are as good",
        })
    }
}

/// A path to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// The destination in the RIB of the route it is from.
    pub dest: u32,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// The VNI on the wire.
    pub wire_vni: Vni,
    /// The router MAC there.
    pub router_mac: MacAddr,
    /// What became of it.
    pub standing: PathStanding,
}

/// Everything known of a prefix in a VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixStory {
    /// The VRF.
    pub vni: Vni,
    /// The prefix.
    pub prefix: IpNet,
    /// The clients that have it, and whether each is up.
    pub clients: Vec<(Arc<str>, bool)>,
    /// Our route for it is out.
    pub announced: bool,
    /// The routes that can be used, best first.
    pub paths: Vec<PathView>,
    /// Where packets go; none: they are dropped.
    pub hops: Vec<Hop>,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Moves of MACs between here and elsewhere.
    pub moves: u64,
    /// MACs found to be duplicates.
    pub duplicates: u64,
    /// Type 3 routes whose tunnel id, next hop and originator do not agree.
    pub pmsi_mismatches: u64,
    /// Routes taken by a VNI's route target that could not be used there.
    pub rejected: u64,
}

/// What is imported, in words.
pub(super) fn import_words(configured: &[ImportRt]) -> Vec<String> {
    if configured.is_empty() {
        vec![ImportRt::Auto.to_string()]
    } else {
        configured.iter().map(ToString::to_string).collect()
    }
}

impl MacVrf {
    pub(super) fn view(&self, node: &EvpnConfig) -> VniView {
        let mut flood: Vec<_> =
            self.flood.iter().filter(|(_, e)| e.installed.is_some()).map(|(&ip, _)| ip).collect();
        flood.sort_unstable();
        VniView {
            vni: self.vni().get(),
            kind: "l2".to_owned(),
            flood,
            local_macs: self.claims.len() as u64,
            remote_macs: self.remote_macs as u64,
            import_rt: import_words(&self.config.import_rt),
            export_rt: self.export.iter().map(ToString::to_string).collect(),
            rd: self.rd.to_string(),
            interfaces: self.config.interfaces.clone(),
            ready: Some(self.ready),
            prefixes_local: None,
            prefixes_remote: None,
            router_mac: None,
            vlan: self.vlan.or(self.config.vlan),
            vtep: node.vtep,
        }
    }

    fn local_view(&self, mac: MacAddr) -> Option<MacView> {
        let claim = self.claims.get(&mac)?;
        Some(MacView {
            vni: self.vni().get(),
            mac,
            ips: self.addresses(mac).collect(),
            source: MacSource::Local,
            vtep: None,
            interface: Some(claim.interface.to_string()),
            sequence: claim.sequence,
            sticky: claim.sticky,
            duplicate: self.frozen.contains_key(&mac),
        })
    }

    /// A MAC that is installed, or would be if it were no duplicate.
    fn remote_view(&self, endpoints: &Endpoints, mac: MacAddr) -> Option<MacView> {
        let candidates = &self.macs.get(&mac)?.candidates;
        let best = candidates.best(endpoints)?;
        let vtep = endpoints.ip(best.endpoint);
        let mut ips: Vec<_> = candidates
            .iter()
            .filter(|c| c.usable(endpoints) && endpoints.ip(c.endpoint) == vtep)
            .filter_map(Candidate::ip)
            .collect();
        ips.sort_unstable();
        ips.dedup();
        Some(MacView {
            vni: self.vni().get(),
            mac,
            ips,
            source: MacSource::Remote,
            vtep: Some(vtep),
            interface: None,
            sequence: best.sequence,
            sticky: best.fixed(),
            duplicate: self.frozen.contains_key(&mac),
        })
    }

    /// One MAC.
    pub(super) fn mac_view(&self, endpoints: &Endpoints, mac: MacAddr) -> Option<MacView> {
        self.local_view(mac).or_else(|| self.remote_view(endpoints, mac))
    }

    /// All MACs, in no order.
    pub(super) fn mac_views<'a>(&'a self, endpoints: &'a Endpoints) -> impl Iterator<Item = MacView> + 'a {
        let local = self.claims.keys().filter_map(|&mac| self.local_view(mac));
        let remote = self.macs.keys().filter(|mac| !self.claims.contains_key(*mac));
        local.chain(remote.filter_map(|&mac| self.remote_view(endpoints, mac)))
    }

    /// How many routes of ours for a MAC are out.
    pub(super) fn announced(&self, mac: MacAddr) -> usize {
        if self.claims.get(&mac).is_some_and(|c| c.announced) { 1 + self.addresses(mac).count() } else { 0 }
    }

    /// The VTEP that a MAC is installed behind.
    pub(super) fn remote_place(&self, endpoints: &Endpoints, mac: MacAddr) -> Option<IpAddr> {
        let at = self.macs.get(&mac)?.installed;
        at.is_some().then(|| endpoints.ip(at.endpoint))
    }

    /// Their keys.
    pub(super) fn mac_keys(&self) -> impl Iterator<Item = MacAddr> + '_ {
        // A duplicate is not installed, and shall be seen all the same.
        let shown = |mac, e: &MacEntry| e.installed.is_some() || self.frozen.contains_key(mac);
        let remote =
            self.macs.iter().filter(move |(mac, e)| shown(mac, e) && !self.claims.contains_key(*mac));
        self.claims.keys().copied().chain(remote.map(|(&mac, _)| mac))
    }

    fn standing(&self, endpoints: &Endpoints, mac: MacAddr, candidate: &Candidate) -> Standing {
        if let Some(reject) = candidate.reject(endpoints) {
            return Standing::Rejected(reject);
        }
        if self.frozen.contains_key(&mac) {
            return Standing::Frozen;
        }
        if self.claims.contains_key(&mac) {
            return Standing::Local;
        }
        let best = self.macs.get(&mac).and_then(|e| e.candidates.best(endpoints));
        match best {
            Some(best) if best.dest == candidate.dest => Standing::Chosen,
            Some(best) if endpoints.ip(best.endpoint) == endpoints.ip(candidate.endpoint) => {
                Standing::SameVtep
            }
            Some(best) if best.fixed() && !candidate.fixed() => Standing::LostToStatic,
            Some(best) if best.sequence > candidate.sequence => Standing::LostBySequence,
            _ => Standing::LostByAddress,
        }
    }

    pub(super) fn story(&self, endpoints: &Endpoints, mac: MacAddr) -> MacStory {
        let entry = self.macs.get(&mac);
        let mut candidates: Vec<_> = entry.into_iter().flat_map(|e| e.candidates.iter()).copied().collect();
        candidates
            .sort_unstable_by(|a, b| b.rank(endpoints).cmp(&a.rank(endpoints)).then(a.dest.cmp(&b.dest)));
        let mut neighbours: Vec<_> = candidates
            .iter()
            .filter_map(Candidate::ip)
            .filter(|ip| self.neighbours.get(ip).and_then(|n| n.installed).is_some_and(|n| n.mac == mac))
            .collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        let view = |c: &Candidate| CandidateView {
            dest: c.dest,
            vtep: endpoints.ip(c.endpoint),
            esi: endpoints.esi(c.endpoint),
            ip: c.ip(),
            wire_vni: c.wire(),
            sequence: c.sequence,
            sticky: c.sticky(),
            gateway: c.gateway(),
            standing: self.standing(endpoints, mac, c),
        };
        MacStory {
            vni: self.vni(),
            mac,
            vlan: self.vlan,
            decided: self.mac_view(endpoints, mac),
            announced: self.claims.get(&mac).is_some_and(|c| c.announced),
            recent_moves: self.moves.get(&mac).map_or(0, |m| m.count),
            candidates: candidates.iter().map(view).collect(),
            neighbours,
        }
    }

    /// The MACs that have an address here, ascending.
    pub(super) fn macs_of(&self, endpoints: &Endpoints, ip: IpAddr) -> Vec<MacAddr> {
        let mut macs: Vec<_> = self.binding_of.get(&ip).copied().into_iter().collect();
        if let Some(neighbour) = self.neighbours.get(&ip) {
            macs.extend(neighbour.macs());
        }
        macs.sort_unstable();
        macs.dedup();
        macs.retain(|&mac| self.mac_view(endpoints, mac).is_some() || self.macs.contains_key(&mac));
        macs
    }
}
