//! The core as people and scripts look at it: the rows of `evpnd show`.

use std::net::IpAddr;

use bgp::rib::{DestId, PathView, PeerId, Source};
use bgp::session::State;
use bgp::wire::{AsSegment, Pmsi, RouteKey};
use types::{MacAddr, Time, Vni};

use super::Core;
use super::neighbour::Neighbour;
use crate::control::view::{MacView, NeighborView, RouteView, SessionState, VniView};
use crate::control::{MAX_PAGE, MacsQuery, Page, RoutesQuery};
use crate::evpn;

/// Destinations looked at for one page of routes: a filter that matches little must not hold the core up.
const LOOK_AT: usize = 16 * 1024;

impl Core {
    /// `show neighbors`, in order of address.
    pub fn neighbour_views(&self, now: Time) -> Vec<NeighborView> {
        let mut rows: Vec<_> = self.neighbours.values().map(|n| self.neighbour_view(n, now)).collect();
        rows.sort_by_key(|row| row.address);
        rows
    }

    fn neighbour_view(&self, n: &Neighbour, now: Time) -> NeighborView {
        let routes = n.up.as_ref().and_then(|up| self.rib.peer_counters(up.peer)).unwrap_or_default();
        let counters = n.session.counters();
        let configured = match n.config.session.remote_asn {
            bgp::session::RemoteAsn::Number(asn) => Some(asn),
            bgp::session::RemoteAsn::Internal => Some(self.config.asn),
            bgp::session::RemoteAsn::External => None,
        };
        NeighborView {
            address: n.config.address,
            remote_asn: n.up.as_ref().map(|up| up.negotiated.remote_asn).or(configured),
            state: state(n.session.state()),
            routes_received: u64::from(routes.routes_received),
            routes_sent: u64::from(routes.routes_sent),
            uptime_seconds: n.up.as_ref().map(|up| now.since(up.since).as_secs()),
            last_error: n.session.last_error().map(|e| e.reason.to_string()),
            router_id: n.up.as_ref().map(|up| up.negotiated.remote_id),
            hold_time: n.up.as_ref().map(|up| up.negotiated.hold_time),
            dynamic: n.dynamic.is_some(),
            description: n.config.description.clone(),
            sessions: counters.established,
            messages_received: counters.received.total(),
            messages_sent: counters.sent.total(),
            backlog_bytes: n.session.backlog() as u64,
        }
    }

    /// `show vnis`; `devices`: there is a dataplane to be ready.
    pub fn vni_views(&self, devices: bool) -> Vec<VniView> {
        let mut vnis = self.evpn.vnis();
        if !devices {
            for vni in &mut vnis {
                vni.ready = None;
            }
        }
        vnis
    }

    /// A page of `show macs`, in order of VNI and MAC.
    pub fn mac_views(&self, query: &MacsQuery) -> Page<MacView, (Vni, MacAddr)> {
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let wanted = |m: &(Vni, MacAddr)| {
            query.after.is_none_or(|after| *m > after) && query.mac.is_none_or(|mac| m.1 == mac)
        };
        let mut keys: Vec<_> = self.evpn.mac_keys(query.vni).filter(wanted).collect();
        let more = keys.len() > limit;
        if more {
            // Only the page has to be in order, not the table.
            keys.select_nth_unstable(limit);
            keys.truncate(limit);
        }
        keys.sort_unstable();
        let rows = keys.iter().filter_map(|&(vni, mac)| self.evpn.mac(vni, mac)).collect();
        Page { rows, next: if more { keys.last().copied() } else { None } }
    }

    /// The RIB in numbers.
    pub fn rib_counters(&self) -> bgp::rib::Counters {
        self.rib.counters()
    }

    /// A page of `show routes`: every path of every destination, the best first.
    pub fn route_views(&self, query: &RoutesQuery) -> Page<RouteView, u64> {
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let after = query.after.and_then(|n| u32::try_from(n).ok()).map(DestId::from_index);
        let mut rows = Vec::new();
        let mut next = None;
        for (looked_at, dest) in self.rib.routes(after).enumerate() {
            if rows.len() >= limit || looked_at >= LOOK_AT {
                return Page { rows, next };
            }
            next = Some(u64::from(dest.id.index()));
            if query.route_type.is_some_and(|t| t != dest.key.route_type()) {
                continue;
            }
            if query
                .mac
                .is_some_and(|wanted| !matches!(dest.key, RouteKey::MacIp { mac, .. } if *mac == wanted))
            {
                continue;
            }
            for path in &dest.paths {
                let row = self.route_view(dest.key, path);
                let vni_fits =
                    query.vni.is_none_or(|v| row.vni == Some(v.get()) || row.imported_by.contains(&v.get()));
                let neighbour_fits = query.neighbor.is_none_or(|n| self.address_of(path.source) == Some(n));
                if vni_fits && neighbour_fits {
                    rows.push(row);
                }
            }
        }
        Page { rows, next: None }
    }

    fn route_view(&self, key: &RouteKey, path: &PathView<'_>) -> RouteView {
        let a = path.attributes;
        let imported_by = if path.best { self.imported_by(key, path) } else { Vec::new() };
        let (mut mac, mut ip, mut prefix) = (None, None, None);
        let mut vni = Some(path.body.label);
        match key {
            RouteKey::MacIp { mac: m, ip: i, .. } => (mac, ip) = (Some(*m), *i),
            RouteKey::Imet { originator, .. } => {
                ip = Some(*originator);
                vni = a.pmsi.as_ref().map(|Pmsi { vni, .. }| *vni);
            }
            RouteKey::EthernetSegment { originator, .. } => (ip, vni) = (Some(*originator), None),
            RouteKey::Prefix { prefix: p, .. } => prefix = Some(*p),
            RouteKey::EthernetAd { .. } => {}
            RouteKey::Opaque { .. } => vni = None,
        }
        let mobility = mac.map(|_| a.mac_mobility());
        RouteView {
            route_type: key.route_type(),
            rd: key.rd().map(|rd| rd.to_string()).unwrap_or_default(),
            nlri: key.to_string(),
            mac,
            ip,
            prefix,
            vni: vni.map(Vni::get),
            next_hop: Some(a.next_hop),
            as_path: a.as_path.0.iter().flat_map(AsSegment::asns).copied().collect(),
            route_targets: a.route_targets().map(|rt| rt.to_string()).collect(),
            from: self.address_of(path.source).map_or_else(|| "local".to_owned(), |a| a.to_string()),
            best: path.best,
            imported_by,
            sequence: mobility.map(|(sequence, _)| sequence),
            sticky: mobility.map(|(_, sticky)| sticky),
            esi: (!path.body.esi.is_zero()).then(|| path.body.esi.to_string()),
            local_pref: a.local_pref,
            med: a.med,
        }
    }

    /// The VNIs and VRFs that use a path.
    fn imported_by(&self, key: &RouteKey, path: &PathView<'_>) -> Vec<u32> {
        let route = evpn::Route {
            attributes: path.attributes,
            attr_id: 0,
            body: &path.body,
            local: path.source == Source::Local,
        };
        let verdicts = self.evpn.verdicts(key, &route).into_iter();
        let mut vnis: Vec<_> = verdicts.filter(|v| v.reject.is_none()).map(|v| v.vni.get()).collect();
        // A VNI and a VRF may have the same number.
        vnis.sort_unstable();
        vnis.dedup();
        vnis
    }

    /// The neighbour a path came from; `None` for our own.
    pub(super) fn address_of(&self, source: Source) -> Option<IpAddr> {
        match source {
            Source::Local => None,
            Source::Peer(peer) => self.peer_address(peer),
        }
    }

    fn peer_address(&self, peer: PeerId) -> Option<IpAddr> {
        Some(self.neighbours.get(self.peers.get(&peer)?)?.config.address)
    }
}

const fn state(state: State) -> SessionState {
    match state {
        State::Idle => SessionState::Idle,
        State::Connect => SessionState::Connect,
        State::Active => SessionState::Active,
        State::OpenSent => SessionState::OpenSent,
        State::OpenConfirm => SessionState::OpenConfirm,
        State::Established => SessionState::Established,
    }
}
