//! The local half of a MAC-VRF: MACs seen on ports, their addresses, and who has a MAC that is seen here and elsewhere
//! (RFC 7432 §15: mobility, §15.1 duplicates, §15.2 static MACs; RFC 9047).
//!
//! A MAC seen here is *claimed*: announced, with a sequence one above the highest heard. A claim is given up when a
//! route beats it (static; higher sequence; the same sequence from a lower VTEP address): the host moved, or the race
//! is lost, and only being seen here again brings it back. The withdraw of a remote route never ends a claim. A static
//! (sticky) claim is never given up: the operator who made it also made the row in the kernel.
//!
//! Moves between here and elsewhere are counted, those between other VTEPs are not. A MAC with too many is a
//! duplicate: we withdraw ours, install nothing, and note only what goes on, until it is cleared or forgiven. Traffic to
//! it is flooded meanwhile, or goes to the port where the bridge sees it.

use std::net::IpAddr;

use types::{MacAddr, Time};

use super::event::{EventKind, Place};
use super::judge::is_host;
use super::mac::Candidate;
use super::vrf::{Cx, MacVrf};

/// A MAC that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub interface: Box<str>,
    /// Made by an operator; does not move.
    pub sticky: bool,
    pub sequence: u32,
    /// Its routes are out.
    pub announced: bool,
    /// People know that another VTEP has it static too.
    pub alerted: bool,
}

/// Moves of a MAC since a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moves {
    pub start: Time,
    pub count: u32,
}

/// `moves` is searched for old entries no sooner than it has this many.
const MOVES_MIN: usize = 64;

impl MacVrf {
    /// It is ours, and no duplicate.
    pub(super) fn owns(&self, mac: MacAddr) -> bool {
        self.claims.contains_key(&mac) && !self.frozen.contains_key(&mac)
    }

    /// Whether the best route takes a MAC from us; what is to be installed, and whether people know what happened.
    pub(super) fn contest(
        &mut self,
        cx: &mut Cx<'_>,
        mac: MacAddr,
        best: Option<Candidate>,
    ) -> (Option<Candidate>, bool) {
        if self.frozen.contains_key(&mac) {
            return (None, true);
        }
        let Some(claim) = self.claims.get_mut(&mac) else { return (best, false) };
        let Some(best) = best else {
            claim.alerted = false;
            return (None, false);
        };
        let vtep = cx.endpoints.ip(best.endpoint);
        let vni = self.config.vni;
        let ours = if claim.sticky {
            if best.sticky() != claim.alerted {
                claim.alerted = best.sticky();
                if claim.alerted {
                    cx.out.event(vni, EventKind::StaticTwice(mac, vtep));
                }
            }
            true
        } else if best.fixed() {
            false
        } else if claim.sequence != best.sequence {
            claim.sequence > best.sequence
        } else {
            cx.node.vtep.is_some_and(|own| own < vtep)
        };
        if ours {
            return (None, false);
        }
        if !best.fixed() && self.count_move(cx, mac) {
            self.freeze(cx, mac, vtep);
            return (None, true);
        }
        self.withdraw_mac(cx, mac);
        if let Some(claim) = self.claims.remove(&mac) {
            let from = Place::Port(claim.interface);
            cx.out.event(
                vni,
                if best.fixed() {
                    EventKind::StaticElsewhere(mac, from, vtep)
                } else {
                    EventKind::Moved(mac, from, Place::Vtep(vtep), best.sequence)
                },
            );
        }
        (Some(best), true)
    }

    /// The bridge saw a MAC on a local port.
    pub(super) fn mac_seen(&mut self, cx: &mut Cx<'_>, mac: MacAddr, interface: &str, sticky: bool) {
        if !mac.is_host() {
            return;
        }
        let vni = self.vni();
        if let Some(claim) = self.claims.get_mut(&mac) {
            if *claim.interface != *interface {
                let from = std::mem::replace(&mut claim.interface, interface.into());
                let (from, to) = (Place::Port(from), Place::Port(interface.into()));
                cx.out.event(vni, EventKind::Moved(mac, from, to, claim.sequence));
            }
            if claim.sticky != sticky {
                claim.sticky = sticky;
                // A claim that is no longer static may lose to what it stood against.
                self.choose(cx, mac, false);
                self.announce_again(cx, mac);
            }
            return;
        }
        let best = self.best(cx, mac);
        let place = Place::Port(interface.into());
        let mut claim =
            Claim { interface: interface.into(), sticky, sequence: 0, announced: false, alerted: false };
        let mut event = EventKind::Learned(mac, place.clone());
        if let Some(best) = best.filter(|_| !sticky) {
            let vtep = cx.endpoints.ip(best.endpoint);
            claim.sequence = best.sequence.saturating_add(1);
            if self.frozen.contains_key(&mac) {
                self.claims.insert(mac, claim);
                return;
            }
            if best.fixed() {
                cx.out.event(vni, EventKind::StaticElsewhere(mac, place, vtep));
                self.put_again(cx, mac);
                return;
            }
            if self.count_move(cx, mac) {
                self.claims.insert(mac, claim);
                self.freeze(cx, mac, vtep);
                self.choose(cx, mac, true);
                return;
            }
            if claim.sequence == best.sequence {
                cx.out.event(vni, EventKind::SequenceExhausted(mac));
                if cx.node.vtep.is_none_or(|own| own > vtep) {
                    self.put_again(cx, mac);
                    return;
                }
            }
            event = EventKind::Moved(mac, Place::Vtep(vtep), place, claim.sequence);
        }
        self.claims.insert(mac, claim);
        if self.frozen.contains_key(&mac) {
            return;
        }
        cx.out.event(vni, event);
        self.choose(cx, mac, true);
        self.choose_bound_neighbours(cx, mac);
        self.sync_mac(cx, mac);
    }

    /// The bridge knows a MAC no longer: to a client that is up, that is nothing.
    pub(super) fn mac_aged(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        match self.client_port(mac) {
            Some(port) if self.claims.contains_key(&mac) => self.mac_seen(cx, mac, &port, false),
            Some(_) => {}
            None => self.mac_gone(cx, mac),
        }
    }

    /// A MAC is on no local port any more.
    pub(super) fn mac_gone(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        self.withdraw_mac(cx, mac);
        let Some(claim) = self.claims.remove(&mac) else { return };
        if self.frozen.contains_key(&mac) {
            return;
        }
        cx.out.event(self.vni(), EventKind::Gone(mac, Place::Port(claim.interface)));
        self.choose(cx, mac, false);
        self.choose_bound_neighbours(cx, mac);
    }

    /// A local host has an address.
    pub(super) fn neighbour_seen(&mut self, cx: &mut Cx<'_>, ip: IpAddr, mac: MacAddr) {
        if !mac.is_host() || !is_host(ip) || self.binding_of.get(&ip) == Some(&mac) {
            return;
        }
        self.forget_binding(cx, ip);
        self.binding_of.insert(ip, mac);
        self.bindings.insert((mac, ip));
        self.announce_address(cx, mac, ip);
        self.choose_neighbour(cx, ip);
    }

    /// It has it no longer.
    pub(super) fn neighbour_gone(&mut self, cx: &mut Cx<'_>, ip: IpAddr) {
        self.forget_binding(cx, ip);
        self.choose_neighbour(cx, ip);
    }

    fn forget_binding(&mut self, cx: &mut Cx<'_>, ip: IpAddr) {
        if let Some(mac) = self.binding_of.remove(&ip) {
            self.bindings.remove(&(mac, ip));
            self.withdraw_address(cx, mac, ip);
        }
    }

    /// The local addresses of a MAC.
    pub(super) fn addresses(&self, mac: MacAddr) -> impl Iterator<Item = IpAddr> {
        // 0.0.0.0 sorts before every other address.
        let from = (mac, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        self.bindings.range(from..).take_while(move |(m, _)| *m == mac).map(|&(_, ip)| ip)
    }

    /// Whether `mac` is ours changed: so may what is installed for its local addresses.
    pub(super) fn choose_bound_neighbours(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        if self.bindings.is_empty() || self.neighbours.is_empty() {
            return;
        }
        for ip in self.addresses(mac).collect::<Vec<_>>() {
            self.choose_neighbour(cx, ip);
        }
    }

    /// Counts a move between here and elsewhere; true if that makes a duplicate.
    fn count_move(&mut self, cx: &mut Cx<'_>, mac: MacAddr) -> bool {
        cx.counters.moves += 1;
        let rule = cx.duplicates;
        if rule.moves == 0 {
            return false;
        }
        if self.moves.len() >= self.moves_limit.max(MOVES_MIN) {
            self.moves.retain(|_, m| cx.now.since(m.start) <= rule.window);
            self.moves_limit = self.moves.len() * 2;
        }
        let moves = self.moves.entry(mac).or_insert(Moves { start: cx.now, count: 0 });
        if cx.now.since(moves.start) > rule.window {
            *moves = Moves { start: cx.now, count: 0 };
        }
        moves.count += 1;
        moves.count >= rule.moves
    }

    fn freeze(&mut self, cx: &mut Cx<'_>, mac: MacAddr, vtep: IpAddr) {
        cx.counters.duplicates += 1;
        self.moves.remove(&mac);
        self.withdraw_mac(cx, mac);
        self.frozen.insert(mac, cx.now);
        if let Some(after) = cx.duplicates.recover_after {
            cx.thaw.push_back((cx.now + after, self.slot, mac));
        }
        cx.out.event(self.vni(), EventKind::Duplicate(mac, Place::Vtep(vtep)));
    }

    /// A duplicate is one no more; false if it was none.
    pub(super) fn clear(&mut self, cx: &mut Cx<'_>, mac: MacAddr) -> bool {
        if self.frozen.remove(&mac).is_none() {
            return false;
        }
        self.moves.remove(&mac);
        cx.out.event(self.vni(), EventKind::Cleared(mac));
        self.choose(cx, mac, true);
        self.choose_bound_neighbours(cx, mac);
        self.sync_mac(cx, mac);
        true
    }
}
