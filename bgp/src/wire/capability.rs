//! Capabilities of OPEN: RFC 5492, and what each code carries: multiprotocol (RFC 4760 §8), route refresh (RFC 2918,
//! 7313), extended next hop (RFC 8950 §4), extended messages (RFC 8654), graceful restart (RFC 4724 §3, 8538 §2),
//! long-lived (RFC 9494 §3), four-octet AS (RFC 6793 §3), ADD-PATH (RFC 7911 §4), FQDN (draft-walton-bgp-hostname).
//!
//! A capability whose value has the wrong length is as good as absent: it is skipped, the OPEN stands.

use bytes::{BufMut, Bytes};

use super::read::{exact, take, take_slice, take_u8, take_u16};
use super::{AFI_L2VPN, SAFI_EVPN};

mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const AS4: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED: u8 = 71;
    pub(super) const FQDN: u8 = 73;
    pub(super) const ROUTE_REFRESH_CISCO: u8 = 128;
}

/// What a speaker says it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Address families, each once.
    pub multiprotocol: Vec<(u16, u8)>,
    /// Route refresh, code 2.
    pub route_refresh: bool,
    /// Route refresh, code 128, from before the RFC.
    pub route_refresh_cisco: bool,
    /// Extended next hop: family and the address family of the next hop.
    pub extended_next_hop: Vec<ExtendedNextHop>,
    /// Messages past 4096 octets.
    pub extended_message: bool,
    /// Graceful restart.
    pub graceful_restart: Option<GracefulRestart>,
    /// The AS number, in four octets.
    pub as4: Option<u32>,
    /// ADD-PATH.
    pub add_path: Vec<AddPath>,
    /// Enhanced route refresh.
    pub enhanced_refresh: bool,
    /// Long-lived graceful restart.
    pub long_lived: Vec<LongLived>,
    /// Host and domain name.
    pub fqdn: Option<Fqdn>,
    /// The rest: code and value, as they came.
    pub unknown: Vec<(u8, Bytes)>,
}

/// One entry of the extended-next-hop capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedNextHop {
    /// Address family of the routes.
    pub afi: u16,
    /// Subsequent address family of the routes (two octets here).
    pub safi: u16,
    /// Address family their next hop may have.
    pub next_hop_afi: u16,
}

/// The graceful-restart capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the speaker has just restarted.
    pub restarting: bool,
    /// N: NOTIFICATION and hold timer end a session gracefully too (RFC 8538).
    pub notification: bool,
    /// Seconds to wait for the session to come back, 12 bits.
    pub time: u16,
    /// AFI, SAFI, and whether forwarding state was preserved.
    pub families: Vec<(u16, u8, bool)>,
}

/// One entry of the ADD-PATH capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPath {
    /// Address family.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// 1 receive, 2 send, 3 both.
    pub mode: u8,
}

/// One entry of the long-lived-graceful-restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    /// Address family.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// Forwarding state was preserved.
    pub forwarding: bool,
    /// Seconds, 24 bits.
    pub stale_time: u32,
}

/// The FQDN capability, as octets: nothing says they are text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fqdn {
    /// Host name.
    pub host: Bytes,
    /// Domain name.
    pub domain: Bytes,
}

impl Capabilities {
    /// The peer speaks EVPN.
    pub fn evpn(&self) -> bool {
        self.multiprotocol.contains(&(AFI_L2VPN, SAFI_EVPN))
    }

    /// Adds the capabilities of one optional parameter; `None` if they cannot be walked.
    pub(super) fn decode(&mut self, value: &Bytes) -> Option<()> {
        let mut rest = &value[..];
        while !rest.is_empty() {
            let [code, len] = take(&mut rest)?;
            let inner = take_slice(&mut rest, usize::from(len))?;
            self.add(code, &value.slice_ref(inner));
        }
        Some(())
    }

    /// One capability. `None` means it was ill-formed and left out.
    fn add(&mut self, code: u8, value: &Bytes) -> Option<()> {
        let mut b = &value[..];
        match code {
            code::MULTIPROTOCOL => {
                let [a, c, _, safi] = exact(b)?;
                let family = (u16::from_be_bytes([a, c]), safi);
                if !self.multiprotocol.contains(&family) {
                    self.multiprotocol.push(family);
                }
            }
            code::ROUTE_REFRESH => self.route_refresh |= b.is_empty(),
            code::ROUTE_REFRESH_CISCO => self.route_refresh_cisco |= b.is_empty(),
            code::EXTENDED_MESSAGE => self.extended_message |= b.is_empty(),
            code::ENHANCED_REFRESH => self.enhanced_refresh |= b.is_empty(),
            code::EXTENDED_NEXT_HOP => {
                for &[a, c, d, e, f, g] in chunks(b)? {
                    self.extended_next_hop.push(ExtendedNextHop {
                        afi: u16::from_be_bytes([a, c]),
                        safi: u16::from_be_bytes([d, e]),
                        next_hop_afi: u16::from_be_bytes([f, g]),
                    });
                }
            }
            code::GRACEFUL_RESTART => {
                let head = take_u16(&mut b)?;
                let families = chunks(b)?
                    .iter()
                    .map(|&[a, c, safi, flags]| (u16::from_be_bytes([a, c]), safi, flags & 0x80 != 0))
                    .collect();
                // RFC 4724 §3: of several the last counts.
                self.graceful_restart = Some(GracefulRestart {
                    restarting: head & 0x8000 != 0,
                    notification: head & 0x4000 != 0,
                    time: head & 0x0fff,
                    families,
                });
            }
            code::AS4 => self.as4 = Some(u32::from_be_bytes(exact(b)?)),
            code::ADD_PATH => {
                for &[a, c, safi, mode] in chunks(b)? {
                    // RFC 7911 §4: another value and the entry is ignored.
                    if (1..=3).contains(&mode) {
                        self.add_path.push(AddPath { afi: u16::from_be_bytes([a, c]), safi, mode });
                    }
                }
            }
            code::LONG_LIVED => {
                for &[a, c, safi, flags, x, y, z] in chunks(b)? {
                    self.long_lived.push(LongLived {
                        afi: u16::from_be_bytes([a, c]),
                        safi,
                        forwarding: flags & 0x80 != 0,
                        stale_time: u32::from_be_bytes([0, x, y, z]),
                    });
                }
            }
            code::FQDN => {
                let len = take_u8(&mut b)?;
                let host = take_slice(&mut b, usize::from(len))?;
                let len = take_u8(&mut b)?;
                let domain = take_slice(&mut b, usize::from(len))?;
                if b.is_empty() {
                    self.fqdn = Some(Fqdn { host: value.slice_ref(host), domain: value.slice_ref(domain) });
                }
            }
            _ => self.unknown.push((code, value.clone())),
        }
        Some(())
    }

    /// All of them, one after the other. An entry list that does not fit one capability continues in another.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for &(afi, safi) in &self.multiprotocol {
            let [a, b] = afi.to_be_bytes();
            put(out, code::MULTIPROTOCOL, &[a, b, 0, safi]);
        }
        for (present, code) in [
            (self.route_refresh, code::ROUTE_REFRESH),
            (self.route_refresh_cisco, code::ROUTE_REFRESH_CISCO),
            (self.extended_message, code::EXTENDED_MESSAGE),
            (self.enhanced_refresh, code::ENHANCED_REFRESH),
        ] {
            if present {
                put(out, code, &[]);
            }
        }
        if let Some(asn) = self.as4 {
            put(out, code::AS4, &asn.to_be_bytes());
        }
        for entries in self.extended_next_hop.chunks(255 / 6) {
            let mut value = Vec::new();
            for e in entries {
                value.put_u16(e.afi);
                value.put_u16(e.safi);
                value.put_u16(e.next_hop_afi);
            }
            put(out, code::EXTENDED_NEXT_HOP, &value);
        }
        if let Some(gr) = &self.graceful_restart {
            let mut value = Vec::new();
            value.put_u16(
                u16::from(gr.restarting) << 15 | u16::from(gr.notification) << 14 | gr.time & 0x0fff,
            );
            // Of several capabilities only the last would count, so what does not fit one is not said.
            for &(afi, safi, forwarding) in gr.families.iter().take(253 / 4) {
                value.put_u16(afi);
                value.put_slice(&[safi, u8::from(forwarding) << 7]);
            }
            put(out, code::GRACEFUL_RESTART, &value);
        }
        for entries in self.add_path.chunks(255 / 4) {
            let mut value = Vec::new();
            for e in entries {
                value.put_u16(e.afi);
                value.put_slice(&[e.safi, e.mode]);
            }
            put(out, code::ADD_PATH, &value);
        }
        for entries in self.long_lived.chunks(255 / 7) {
            let mut value = Vec::new();
            for e in entries {
                value.put_u16(e.afi);
                value.put_slice(&[e.safi, u8::from(e.forwarding) << 7]);
                value.put_slice(&e.stale_time.to_be_bytes()[1..]);
            }
            put(out, code::LONG_LIVED, &value);
        }
        if let Some(fqdn) = &self.fqdn {
            // Two lengths and two names in 255 octets; the host name goes first.
            let host = &fqdn.host[..fqdn.host.len().min(253)];
            let domain = &fqdn.domain[..fqdn.domain.len().min(253 - host.len())];
            let mut value = vec![host.len() as u8];
            value.put_slice(host);
            value.put_u8(domain.len() as u8);
            value.put_slice(domain);
            put(out, code::FQDN, &value);
        }
        for (code, value) in &self.unknown {
            put(out, *code, value);
        }
    }
}

/// `b` as whole entries of `N` octets.
fn chunks<const N: usize>(b: &[u8]) -> Option<&[[u8; N]]> {
    let (entries, rest) = b.as_chunks();
    rest.is_empty().then_some(entries)
}

fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    let value = &value[..value.len().min(255)];
    out.put_slice(&[code, value.len() as u8]);
    out.put_slice(value);
}
