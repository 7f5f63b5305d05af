//! What a peer is told of a route: RFC 4271 §5.1 and §9.2, RFC 4456 (reflection), RFC 1997 (well-known communities),
//! RFC 5065 (confederations).
//!
//! The next hop is the VTEP and leaves as it came, also towards external peers (RFC 8365 §5.1.3 needs the tunnel's end;
//! RFC 4760 §3 lets a speaker keep it).

use std::borrow::Cow;

use crate::wire::{Attributes, EncodeContext};

use super::{PeerInfo, PeerKind, RibConfig};

const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// All that the bytes sent to a peer depend on. Peers that agree in it can share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub kind: PeerKind,
    pub as4: bool,
    pub max_message: usize,
}

impl Export {
    pub(super) const fn of(peer: &PeerInfo) -> Self {
        Self { kind: peer.kind, as4: peer.as4, max_message: peer.max_message }
    }

    /// How attributes are written for these peers.
    pub(super) const fn context(&self) -> EncodeContext {
        EncodeContext { ebgp: matches!(self.kind, PeerKind::Ebgp), as4: self.as4 }
    }
}

/// The attributes with which a route from `source` (`None`: our own) goes to peers of `kind`, or `None` if it does not.
pub(super) fn outgoing<'a>(
    config: &RibConfig,
    attributes: &'a Attributes,
    source: Option<&PeerInfo>,
    kind: PeerKind,
) -> Option<Cow<'a, Attributes>> {
    let external = kind == PeerKind::Ebgp;
    for &community in &attributes.communities {
        match community {
            NO_ADVERTISE => return None,
            NO_EXPORT | NO_EXPORT_SUBCONFED if external => return None,
            _ => {}
        }
    }
    // What stays inside the AS (LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST, communities that are not transitive) and what
    // must be there (a default LOCAL_PREF) is up to the encoder, which is told the kind of peer.
    match source {
        _ if external => {
            let mut out = attributes.clone();
            // evpnd is in no confederation, but an internal peer may be: outside such a path is malformed (RFC 5065 §5).
            out.as_path.leave_confederation();
            out.as_path.prepend(config.asn);
            if source.is_some() {
                // MED is for us, who got it from the neighbouring AS, alone (RFC 4271 §5.1.4).
                out.med = None;
            }
            Some(Cow::Owned(out))
        }
        Some(source) if source.kind != PeerKind::Ebgp => {
            // RFC 4456 §6: from a non-client only to clients, from a client to all.
            if source.kind == PeerKind::Ibgp && kind == PeerKind::Ibgp {
                return None;
            }
            let mut out = attributes.clone();
            out.originator_id.get_or_insert(source.router_id);
            out.cluster_list.insert(0, config.cluster_id);
            Some(Cow::Owned(out))
        }
        _ => Some(Cow::Borrowed(attributes)),
    }
}
