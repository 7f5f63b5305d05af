//! Whose a device is: the mark of those made here, which is their interface alias; and the address of a bridge.
//!
//! A device made for one VNI bears `evpnd vni N`, one made for all of them `evpnd overlay`. Only a device with a mark of
//! ours is ever deleted; the mark is set in the same datagram as the device is made in, so that nothing falls between the
//! two.

use std::net::{IpAddr, Ipv4Addr};

use types::{MacAddr, Vni};

use super::links::Link;
use crate::intent::L2Vni;

/// The mark of a device made here for all VNIs.
pub(super) const OVERLAY: &str = "evpnd overlay";

/// The mark of a device made here for a VNI.
pub(super) fn alias(vni: Vni) -> String {
    format!("evpnd vni {vni}")
}

/// The VNI a device was made for, if it was made here.
pub(super) fn owned(link: &Link) -> Option<Vni> {
    link.alias.as_deref()?.strip_prefix("evpnd vni ")?.parse().ok()
}

/// A VNI about which nothing is known but its number, since an earlier run made it: enough to take it away.
pub(super) const fn unknown(vni: Vni) -> L2Vni {
    L2Vni {
        vni,
        vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port: 0,
        interfaces: Vec::new(),
        arp_suppression: true,
        vlan: None,
    }
}

/// Was it made here?
pub(super) fn is_ours(link: &Link) -> bool {
    link.alias.as_deref() == Some(OVERLAY) || owned(link).is_some()
}

/// A bridge's address: the same after each restart, another one on each host and for each VNI, and never that of a
/// port (two devices that share an address swallow each other's frames).
pub(super) fn bridge_address(vni: Vni, vtep: IpAddr) -> MacAddr {
    // FNV-1a
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    match vtep {
        IpAddr::V4(ip) => eat(&ip.octets()),
        IpAddr::V6(ip) => eat(&ip.octets()),
    }
    eat(&vni.get().to_be_bytes());
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
