//! Clients: hosts that a file each attaches here, rather than being found by the bridge.
//!
//! A client of a VNI has its MAC and its addresses there while its port is up: they are claimed as if they had been
//! seen on a port, and never age. A client of a VRF has prefixes there.
//!
//! What the dataplane said of a client stays true until it says something else: a client that is changed goes on being
//! up where it was, and a dataplane that cannot be reached takes nobody down.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::intent::{ClientState, Service};
use ipnet::IpNet;
use types::{MacAddr, Time, Vni};

use super::config::ClientConfig;
use super::event::EventKind;
use super::vrf::{Cx, MacVrf};
use super::{Evpn, with_vrf};

/// A client.
#[derive(Debug)]
pub(super) struct Entry {
    pub config: ClientConfig,
    /// What the dataplane last said of it.
    pub state: Option<ClientState>,
}

impl Entry {
    /// The port it is up at.
    fn interface(&self) -> Option<&Arc<str>> {
        match &self.state {
            Some(ClientState::Up { interface }) => Some(interface),
            _ => None,
        }
    }

    const fn vni(&self) -> Vni {
        match self.config.client.service {
            Service::L2 { vni, .. } => vni,
            Service::L3 { vrf, .. } => vrf,
        }
    }
}

/// A client as people see it.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    /// Its file.
    pub config: &'a ClientConfig,
    /// What the dataplane said of it last; `None`: nothing yet.
    pub state: Option<&'a ClientState>,
    /// How many routes are out for it.
    pub routes: usize,
    /// The VTEP that has its MAC now.
    pub elsewhere: Option<IpAddr>,
}

impl Evpn {
    /// Gives up what a client has and `new` does not.
    pub(super) fn leave(&mut self, name: &Arc<str>, new: Option<&ClientConfig>, now: Time) {
        let Some(entry) = self.clients.get(name) else { return };
        let client = &entry.config.client;
        match (&client.service, new.map(|new| &new.client)) {
            (Service::L2 { vni, ips }, new) => {
                let Some(&slot) = self.by_vni.get(vni).filter(|_| entry.interface().is_some()) else {
                    return;
                };
                let kept = match new.map(|new| (new.mac, &new.service)) {
                    Some((mac, Service::L2 { vni: v, ips })) if mac == client.mac && v == vni => Some(ips),
                    _ => None,
                };
                let ips_kept: BTreeSet<_> = kept.into_iter().flatten().collect();
                with_vrf!(self, slot, now, |vrf, cx| {
                    for &ip in ips.iter().filter(|ip| !ips_kept.contains(ip)) {
                        vrf.unpin(&mut cx, ip, client.mac);
                    }
                    if kept.is_none() {
                        vrf.client_gone(&mut cx, client.mac, name);
                    }
                });
            }
            (Service::L3 { vrf, prefixes }, new) => {
                let Some(at) = self.by_vrf.get(vrf) else { return };
                let Some(vrf_there) = self.ip_vrfs[*at as usize].as_deref_mut() else { return };
                let kept = match new.map(|new| &new.service) {
                    Some(Service::L3 { vrf: v, prefixes }) if v == vrf => Some(prefixes),
                    _ => None,
                };
                let kept_all: BTreeSet<_> = kept.into_iter().flatten().map(IpNet::trunc).collect();
                let gone = prefixes.iter().map(IpNet::trunc).filter(|p| !kept_all.contains(p));
                vrf_there.leave(&self.node, &mut self.out, name, gone);
                if kept.is_none() {
                    vrf_there.forget(name);
                }
            }
        }
    }

    /// Takes what a client has, as things stand.
    pub(super) fn join(&mut self, name: &Arc<str>, now: Time) {
        let Some(entry) = self.clients.get(name) else { return };
        let client = &entry.config.client;
        match &client.service {
            Service::L2 { vni, ips } => {
                let (Some(&slot), Some(interface)) = (self.by_vni.get(vni), entry.interface()) else {
                    return;
                };
                with_vrf!(self, slot, now, |vrf, cx| {
                    vrf.client_up(&mut cx, client.mac, name, interface);
                    for &ip in ips {
                        vrf.pin(&mut cx, ip, client.mac);
                    }
                });
            }
            Service::L3 { vrf, prefixes } => {
                let export = self.export_of(&entry.config.export_rt, *vrf);
                let Some(at) = self.by_vrf.get(vrf) else { return };
                if let Some(vrf) = self.ip_vrfs[*at as usize].as_deref_mut() {
                    let up = entry.state.as_ref().map(|state| matches!(state, ClientState::Up { .. }));
                    vrf.join(&self.node, &mut self.out, name, up, export, prefixes);
                }
            }
        }
    }

    /// The dataplane says how a client is.
    pub(super) fn client_is(&mut self, name: &Arc<str>, state: ClientState, now: Time) {
        let Some(entry) = self.clients.get(name) else { return };
        let news = entry.state.as_ref() != Some(&state);
        let down = matches!(state, ClientState::Down { .. });
        if news {
            let kind = match &state {
                ClientState::Up { interface } => EventKind::ClientUp(name.clone(), interface.clone()),
                ClientState::Down { reason } => EventKind::ClientDown(name.clone(), reason.as_str().into()),
            };
            self.out.event(entry.vni(), kind);
        }
        // Of a VRF it stays a member: its prefixes are then dropped rather than sent elsewhere.
        if down && matches!(entry.config.client.service, Service::L2 { .. }) {
            self.leave(name, None, now);
        }
        if let Some(entry) = self.clients.get_mut(name) {
            entry.state = Some(state);
        }
        self.join(name, now);
    }

    /// The clients, in order of name.
    pub fn clients(&self) -> impl Iterator<Item = ClientView<'_>> {
        self.clients.iter().map(|(name, entry)| {
            let mac = entry.config.client.mac;
            let (routes, elsewhere) = match &entry.config.client.service {
                Service::L2 { vni, .. } => {
                    let vrf = self.vrf(*vni);
                    let up = entry.interface().is_some();
                    let at = vrf.filter(|_| up).and_then(|vrf| vrf.remote_place(&self.endpoints, mac));
                    (vrf.map_or(0, |vrf| if up { vrf.announced(mac) } else { 0 }), at)
                }
                Service::L3 { vrf, prefixes } => {
                    (self.ip_vrf(*vrf).map_or(0, |vrf| vrf.announced(name, prefixes)), None)
                }
            };
            ClientView { config: &entry.config, state: entry.state.as_ref(), routes, elsewhere }
        })
    }
}

/// Clients that are up in a MAC-VRF, by MAC: name and port of each. There is one, unless a file is wrong.
pub(super) type Ports = Vec<(Arc<str>, Arc<str>)>;

impl MacVrf {
    /// The port of the client that has this MAC.
    pub(super) fn client_port(&self, mac: MacAddr) -> Option<Arc<str>> {
        self.clients.get(&mac)?.first().map(|(_, interface)| interface.clone())
    }

    /// A client is up, or is so still.
    fn client_up(&mut self, cx: &mut Cx<'_>, mac: MacAddr, name: &Arc<str>, interface: &Arc<str>) {
        if !mac.is_host() {
            return;
        }
        let ports = self.clients.entry(mac).or_default();
        let before = ports.iter_mut().find(|(client, _)| client == name);
        let known = before.is_some();
        match before {
            Some((_, port)) => port.clone_from(interface),
            None => ports.push((name.clone(), interface.clone())),
        }
        // Said again, it is no sign of life: where the host has gone elsewhere meanwhile, it stays.
        if known && !self.claims.contains_key(&mac) && self.best(cx, mac).is_some() {
            return;
        }
        self.mac_seen(cx, mac, interface, false);
    }

    /// A client is up no longer.
    fn client_gone(&mut self, cx: &mut Cx<'_>, mac: MacAddr, name: &Arc<str>) {
        let Some(ports) = self.clients.get_mut(&mac) else { return };
        ports.retain(|(client, _)| client != name);
        match ports.first().map(|(_, port)| port.clone()) {
            Some(port) if self.claims.contains_key(&mac) => self.mac_seen(cx, mac, &port, false),
            Some(_) => {}
            None => {
                self.clients.remove(&mac);
                self.mac_gone(cx, mac);
            }
        }
    }

    /// A route for a MAC went: where it was the last, a client that has the MAC has it again.
    pub(super) fn reclaim(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        if self.clients.is_empty() || self.claims.contains_key(&mac) || self.best(cx, mac).is_some() {
            return;
        }
        if let Some(port) = self.client_port(mac) {
            self.mac_seen(cx, mac, &port, false);
        }
    }

    /// A client that is up has an address.
    fn pin(&mut self, cx: &mut Cx<'_>, ip: IpAddr, mac: MacAddr) {
        self.pinned.entry(ip).or_default().insert(mac);
        self.bind_pinned(cx, ip);
    }

    /// It has it no longer.
    fn unpin(&mut self, cx: &mut Cx<'_>, ip: IpAddr, mac: MacAddr) {
        let Some(macs) = self.pinned.get_mut(&ip) else { return };
        macs.remove(mac);
        if macs.is_empty() {
            self.pinned.remove(&ip);
            self.neighbour_gone(cx, ip);
        } else {
            self.bind_pinned(cx, ip);
        }
    }

    fn bind_pinned(&mut self, cx: &mut Cx<'_>, ip: IpAddr) {
        if let Some(mac) = self.pinned.get(&ip).and_then(super::few::Few::first) {
            self.neighbour_seen(cx, ip, mac);
        }
    }
}
