//! Which VNIs have ARP and ND answered here, and how far the kernel follows.
//!
//! From Linux 6.4 on each VLAN of a port says whether it suppresses. Before, the port does for all VLANs: it is not given
//! gratuitous ARP, ARP probes and unsolicited advertisements of any of them, whether somebody is known there or not. A VNI
//! whose hosts take addresses over from one another has to hear those. So there, the port suppresses only if all VNIs want it.

use std::collections::BTreeSet;

use types::Vni;

use super::super::links::Port;
use crate::intent::L2Vni;

/// VNIs named, of those that are to be told of.
const NAMED: usize = 5;

/// What the VNIs want that were put.
#[derive(Debug, Default)]
pub(super) struct Suppression {
    on: BTreeSet<Vni>,
    off: BTreeSet<Vni>,
}

/// What the port of the VXLAN device is to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No VNI wants it.
    Nowhere,
    /// Some do, and some do not.
    Somewhere,
    /// All want it.
    Everywhere,
}

impl Suppression {
    /// A VNI says what it wants.
    pub(super) fn hear(&mut self, l2: &L2Vni) {
        self.forget(l2.vni);
        let set = if l2.arp_suppression { &mut self.on } else { &mut self.off };
        set.insert(l2.vni);
    }

    pub(super) fn forget(&mut self, vni: Vni) {
        self.on.remove(&vni);
        self.off.remove(&vni);
    }

    pub(super) fn wanted(&self) -> Wanted {
        match (self.on.is_empty(), self.off.is_empty()) {
            (true, _) => Wanted::Nowhere,
            (false, true) => Wanted::Everywhere,
            (false, false) => Wanted::Somewhere,
        }
    }

    /// What cannot be had of it with this port: what that means, and what to do.
    pub(super) fn limit(&self, vxlan: &str, port: Port) -> Option<String> {
        if self.wanted() != Wanted::Somewhere || port.vlan_suppress.is_some() {
            return None;
        }
        let named: Vec<String> = self.off.iter().take(NAMED).map(Vni::to_string).collect();
        let more = match self.off.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (vnis, say) = if self.off.len() == 1 { ("VNI", "says") } else { ("VNIs", "say") };
        Some(format!(
            "ARP and ND are flooded in all VNIs: before Linux 6.4, {vxlan} suppresses them for all VNIs or for none, and \
             {vnis} {}{more} {say} arp-suppression = false; say the same in all VNIs, or use a newer kernel or layout = \
             \"device-per-vni\"",
            named.join(", ")
        ))
    }
}

impl Wanted {
    /// How the port is to be set that is found like this, if it is there.
    pub(super) fn port(self, found: Option<Port>) -> Port {
        let vlan_suppress = match found.map(|port| port.vlan_suppress) {
            // Once it goes by VLANs, somebody else may have VLANs that rely on that.
            Some(Some(on)) => Some(on || self != Self::Nowhere),
            Some(None) => None,
            None => (self != Self::Nowhere).then_some(true),
        };
        let suppress = self == Self::Everywhere;
        Port { learning: false, suppress, vlan_suppress, flood: true, vlan_tunnel: true }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{l2, vni};
    use super::*;

    const PORT: Port =
        Port { learning: false, suppress: false, vlan_suppress: None, flood: true, vlan_tunnel: true };

    #[test]
    fn an_old_kernel_suppresses_for_all_or_for_none_and_that_is_said() {
        let mut wants = Suppression::default();
        assert_eq!(wants.wanted(), Wanted::Nowhere);
        wants.hear(&l2(100, &[]));
        assert_eq!((wants.wanted(), wants.limit("vxlan1", PORT)), (Wanted::Everywhere, None));
        assert!(wants.wanted().port(Some(PORT)).suppress);
        wants.hear(&L2Vni { arp_suppression: false, ..l2(200, &[]) });
        assert_eq!(
            wants.limit("vxlan1", PORT).as_deref(),
            Some(
                "ARP and ND are flooded in all VNIs: before Linux 6.4, vxlan1 suppresses them for all VNIs or for none, \
                 and VNI 200 says arp-suppression = false; say the same in all VNIs, or use a newer kernel or layout = \
                 \"device-per-vni\""
            )
        );
        assert_eq!(wants.wanted().port(Some(PORT)), PORT);
        for n in 201..=207 {
            wants.hear(&L2Vni { arp_suppression: false, ..l2(n, &[]) });
        }
        let limit = wants.limit("vxlan1", PORT).unwrap();
        assert!(limit.contains("VNIs 200, 201, 202, 203, 204 and 3 more say arp-suppression"), "{limit}");
        wants.forget(vni(100));
        assert_eq!((wants.wanted(), wants.limit("vxlan1", PORT)), (Wanted::Nowhere, None));
    }

    #[test]
    fn a_newer_kernel_goes_by_vlans() {
        let found = |on| Some(Port { vlan_suppress: Some(on), ..PORT });
        assert_eq!(Wanted::Somewhere.port(found(false)).vlan_suppress, Some(true));
        assert_eq!(Wanted::Everywhere.port(found(false)).vlan_suppress, Some(true));
        assert_eq!(Wanted::Nowhere.port(found(false)).vlan_suppress, Some(false));
        assert_eq!(Wanted::Nowhere.port(found(true)).vlan_suppress, Some(true), "others may use it");
        // Not known yet: said, and read back.
        assert_eq!(Wanted::Somewhere.port(None).vlan_suppress, Some(true));
        let mut wants = Suppression::default();
        wants.hear(&l2(100, &[]));
        wants.hear(&L2Vni { arp_suppression: false, ..l2(200, &[]) });
        assert_eq!(wants.limit("vxlan1", Port { vlan_suppress: Some(true), ..PORT }), None);
    }
}
