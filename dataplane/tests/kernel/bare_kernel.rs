//! What can only be tried on a kernel that has loaded little yet, and with its module loader switched off for as long: the
//! first thing that `.ci/vm test` runs, alone in a machine that nobody else uses.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "made for the tests of the other roots")]
mod harness;
#[expect(dead_code, reason = "made for the tests of the other roots")]
mod layout;

use std::fs;
use std::path::Path;

use dataplane::intent::{Change, Local};

use harness::*;
use layout::*;

/// What all of them are about.
const LAYOUT: dataplane::kernel::Layout = dataplane::kernel::Layout::SingleDevice;

/// The program that loads modules for the kernel. There is one for the whole machine, whatever the namespace.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// No module is loaded by itself as long as this lives.
struct NoLoader(String);

impl NoLoader {
    fn new() -> Self {
        let options = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        assert!(options.contains("vm.mode="), "only for a machine of its own: use .ci/vm test");
        let before = fs::read_to_string(LOADER).expect("a kernel that loads modules");
        fs::write(LOADER, "/bin/false").expect("root");
        Self(before)
    }
}

impl Drop for NoLoader {
    fn drop(&mut self) {
        let _ = fs::write(LOADER, &self.0);
    }
}

/// ARP tables are 8021q devices. Without that module a VNI has none, and says what to do; all else works, and once the module is
/// there, so do they.
#[test]
fn without_8021q_there_is_all_but_arp_tables() {
    in_namespace("without_8021q_there_is_all_but_arp_tables", || {
        const M: &str = "02:00:00:00:00:01";
        // The modules for bridges and VXLAN are loaded now.
        let mut host =
            Host::new(&[Change::PutVni(l2(100, &[])), put_mac(100, M, "10.9.0.2"), Change::Settled]);
        host.assert_in_sync();
        assert!(!Path::new("/sys/module/8021q").exists(), "8021q is loaded already: this has to run first");
        let off = NoLoader::new();
        host.change(&[put_neighbour(100, "192.0.2.1", M), put_mac(100, "02:00:00:00:00:02", "10.9.0.2")]);
        let error = "create br-evpn.2 (ARP table of VNI 100): ARP suppression needs the kernel's 8021q module: modprobe \
                     8021q, or arp-suppression = false";
        assert_eq!(host.r.status().last_error.as_deref(), Some(error));
        assert!(has_row(100, &format!("{M} dst 10.9.0.2")));
        assert!(has_row(100, "02:00:00:00:00:02 dst 10.9.0.2"), "MACs have nothing to do with it");
        host.hears(&Local::VniReady(vni(100), true));
        drop(off);
        host.until("the table", |host| host.r.status().in_sync);
        assert!(neighbours(100).iter().any(|line| line.starts_with("192.0.2.1 ")), "{:?}", neighbours(100));
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
    });
}
