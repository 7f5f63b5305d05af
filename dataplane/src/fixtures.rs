//! Values for the tests of several modules.

use types::Vni;

use crate::intent::L2Vni;

pub(crate) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(crate) fn l2(n: u32, interfaces: &[&str]) -> L2Vni {
    L2Vni {
        vni: vni(n),
        vtep: [10, 0, 0, 1].into(),
        port: 4789,
        interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
        arp_suppression: true,
        vlan: None,
    }
}
