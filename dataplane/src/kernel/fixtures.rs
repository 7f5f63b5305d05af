//! Values for the tests of both layouts.

use types::Vni;

use super::links::{Kind, Link};
use crate::intent::L2Vni;

pub(in crate::kernel) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(in crate::kernel) fn l2(n: u32, interfaces: &[&str]) -> L2Vni {
    L2Vni {
        vni: vni(n),
        vtep: [10, 0, 0, 1].into(),
        port: 4789,
        interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
        arp_suppression: true,
        vlan: None,
    }
}

pub(in crate::kernel) fn link(index: u32, name: &str, kind: Kind) -> Link {
    Link { index, name: name.into(), kind, master: None, up: true, alias: None, group: 0, port: None }
}
