//! Many MACs: all of them go in, one more costs one flow, and a comparison finds nothing to do.

use dataplane::intent::{Change, RemoteMac};
use types::MacAddr;

use crate::engine::{Engine, put_vni};
use crate::harness::{Vswitch, in_namespace, vni};

const MACS: u32 = 100_000;

fn put(n: u32) -> Change {
    let [_, a, b, c] = n.to_be_bytes();
    let remote = RemoteMac { vtep: [192, 0, 2, 2 + c % 200].into(), vni: vni(10), sticky: false };
    Change::PutMac(vni(10), MacAddr([2, 0, 0, a, b, c]), remote)
}

#[test]
fn a_hundred_thousand_macs_and_one_more() {
    in_namespace("scale::a_hundred_thousand_macs_and_one_more", || {
        let ovs = Vswitch::bare();
        let mut engine = Engine::new(&[put_vni(), Change::Settled]);
        engine.in_sync();
        let changes: Vec<Change> = (0..MACS).map(put).collect();
        engine.change(&changes);
        engine.in_sync();
        assert_eq!(ovs.count_flows() as usize, engine.status().installed);

        for more in 0..3 {
            engine.change(&[put(MACS + more)]);
        }
        engine.in_sync();
        assert_eq!(engine.status().installed, engine.status().desired);

        engine.resync();
        engine.in_sync();
        assert_eq!(engine.status().repairs, 0);

        // kill -9: what stands is adopted.
        drop(engine);
        let flows = ovs.count_flows();
        let mut engine = Engine::new(&[put_vni()]);
        engine.change(&changes);
        engine.change(&(0..3).map(|n| put(MACS + n)).collect::<Vec<_>>());
        engine.change(&[Change::Settled]);
        engine.in_sync();
        assert_eq!(ovs.count_flows(), flows);
    });
}
