//! Rows as bytes: what is written, and what is read back of it, alone and among others' in shared tables.

use super::super::wire::{HEADER, Messages};
use super::*;

const BRIDGE: u32 = 10;
const VXLAN: u32 = 11;
const ALONE: Place = Place { bridge: BRIDGE, vxlan: VXLAN, table: Some(BRIDGE), vlan: None };
const SHARED: Place = Place { bridge: BRIDGE, vxlan: VXLAN, table: Some(20), vlan: Some(7) };

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn remote(wire: u32, sticky: bool) -> Row {
    let to = RemoteMac { vtep: [10, 0, 0, 2].into(), vni: vni(wire), sticky };
    Row::Mac(vni(100), mac(1), Some(to))
}

fn neighbour() -> Row {
    Row::Neighbour(vni(100), [192, 0, 2, 1].into(), Neighbour { mac: mac(1), router: false })
}

fn messages(write: impl FnOnce(&mut Batch)) -> Vec<(u16, Neigh)> {
    let mut batch = Batch::default();
    write(&mut batch);
    let bytes = batch.sealed(1).to_vec();
    Messages(&bytes).map(|m| (m.kind, Neigh::parse(m.body).unwrap())).collect()
}

fn written(op: &Op, at: Place) -> Vec<(u16, Neigh)> {
    messages(|batch| encode(op, at, batch))
}

#[test]
fn rows_of_a_bridge_of_its_own_bear_neither_vlan_nor_vni() {
    for row in [remote(100, true), Row::Flood(vni(100), [10, 0, 0, 2].into(), Flood { vni: vni(100) })] {
        for op in [Op::Put(row.clone()), Op::Del(row)] {
            for (_, n) in written(&op, ALONE) {
                assert_eq!((n.vlan, n.src_vni, n.vni), (None, None, None), "{op}");
            }
        }
    }
}

#[test]
fn rows_in_shared_tables_say_whose_they_are() {
    let put = written(&Op::Put(remote(100, true)), SHARED);
    assert_eq!(put.len(), 2, "the row, and its sticky mark");
    let (row, mark) = (put[0].1, put[1].1);
    assert_eq!((row.vlan, row.src_vni, row.vni), (Some(7), Some(vni(100)), None), "sent with its own VNI");
    assert_eq!((mark.vlan, mark.src_vni), (Some(7), None), "only the bridge knows that mark");
    let (_, other) = written(&Op::Put(remote(200, false)), SHARED)[0];
    assert_eq!((other.src_vni, other.vni), (Some(vni(100)), Some(vni(200))), "downstream-assigned");

    let (kind, gone) = written(&Op::Del(remote(100, false)), SHARED)[0];
    assert_eq!((kind, gone.vlan, gone.src_vni), (RTM_DELNEIGH, Some(7), Some(vni(100))));
    let half = messages(|batch| encode_del_self(vni(100), mac(1), SHARED, batch))[0].1;
    assert_eq!((half.vlan, half.src_vni), (None, Some(vni(100))));

    let flood = Row::Flood(vni(100), [10, 0, 0, 2].into(), Flood { vni: vni(100) });
    for op in [Op::Put(flood.clone()), Op::Del(flood)] {
        let (_, n) = written(&op, SHARED)[0];
        assert_eq!((n.vlan, n.src_vni, n.vni), (None, Some(vni(100)), None), "{op}");
    }
    let asked = messages(|batch| encode_get(&Key::Mac(vni(100), mac(1)), SHARED, batch));
    assert_eq!((asked[0].1.vlan, asked[0].1.master), (Some(7), Some(BRIDGE)));
    assert_eq!((asked[1].1.src_vni, asked[1].1.vni), (None, Some(vni(100))), "asked for by NDA_VNI");
}

#[test]
fn neighbours_go_into_the_table_of_the_vni_or_nowhere() {
    let key = neighbour().key();
    let nowhere = Place { table: None, ..SHARED };
    for (at, table) in [(ALONE, Some(BRIDGE)), (SHARED, Some(20)), (nowhere, None)] {
        let mut all = written(&Op::Put(neighbour()), at);
        all.extend(written(&Op::Del(neighbour()), at));
        all.extend(messages(|batch| encode_get(&key, at, batch)));
        assert_eq!(all.len(), if table.is_some() { 3 } else { 0 });
        assert!(all.iter().all(|(_, n)| Some(n.index) == table));
    }
}

/// What the kernel shows of the halves of a row.
fn halves(vlan: Option<u16>, src_vni: Option<Vni>) -> (Neigh, Neigh) {
    let bridge = Neigh {
        family: AF_BRIDGE,
        index: VXLAN,
        flags: NTF_EXT_LEARNED,
        mac: Some(mac(1)),
        master: Some(BRIDGE),
        vlan,
        ..Neigh::default()
    };
    let dst = Some([10, 0, 0, 2].into());
    let vxlan = Neigh { flags: NTF_EXT_LEARNED | NTF_SELF, dst, src_vni, vlan: None, ..bridge };
    (bridge, vxlan)
}

#[test]
fn in_shared_tables_rows_of_other_vnis_are_others() {
    let own = Some(vni(100));
    let to = Some(([10, 0, 0, 2].into(), vni(100)));
    let of = |n: &Neigh, at| Fdb::of(n, vni(100), at);
    let (bridge, vxlan) = halves(Some(7), own);
    assert_eq!(of(&bridge, SHARED), Fdb::Bridge { mac: mac(1), sticky: false });
    assert_eq!(of(&vxlan, SHARED), Fdb::Vxlan { mac: mac(1), to });
    assert_eq!((of(&bridge, ALONE), of(&vxlan, ALONE)), (Fdb::Nothing, Fdb::Nothing));
    for (bridge, vxlan) in [halves(Some(8), Some(vni(101))), halves(None, None)] {
        assert_eq!((of(&bridge, SHARED), of(&vxlan, SHARED)), (Fdb::Nothing, Fdb::Nothing));
    }
    let (bridge, vxlan) = halves(None, None);
    assert_eq!(of(&bridge, ALONE), Fdb::Bridge { mac: mac(1), sticky: false });
    assert_eq!(of(&vxlan, ALONE), Fdb::Vxlan { mac: mac(1), to });

    let (port, _) = halves(Some(7), None);
    let port = Neigh { index: 5, flags: 0, state: NUD_REACHABLE, ..port };
    assert_eq!(of(&port, SHARED), Fdb::Local { mac: mac(1), port: 5, sticky: false });
    assert_eq!(of(&Neigh { vlan: Some(8), ..port }, SHARED), Fdb::Nothing);

    let flood = Neigh { mac: Some(MacAddr::ZERO), ..vxlan };
    assert_eq!(of(&Neigh { src_vni: Some(vni(101)), ..flood }, SHARED), Fdb::Nothing);
    let (vtep, flood_to) = ([10, 0, 0, 2].into(), Flood { vni: vni(100) });
    let expected = Fdb::Flood { vtep, flood: flood_to, own: true };
    assert_eq!(of(&Neigh { src_vni: own, ..flood }, SHARED), expected);
}

/// After each write to a device the kernel also tells of it in general terms, without a destination or our mark.
#[test]
fn the_kernels_own_note_about_a_write_is_no_row_of_somebody_else() {
    let (_, vxlan) = halves(None, None);
    let note = Neigh { flags: NTF_SELF, state: NUD_PERMANENT, dst: None, ..vxlan };
    assert_eq!(Fdb::of(&note, vni(100), ALONE), Fdb::Nothing);
    let theirs = Neigh { dst: vxlan.dst, ..note };
    assert_eq!(Fdb::of(&theirs, vni(100), ALONE), Fdb::Foreign { mac: mac(1) });
    let group = Neigh { nexthop: true, ..note };
    assert_eq!(Fdb::of(&group, vni(100), ALONE), Fdb::Foreign { mac: mac(1) });
}

#[test]
fn a_bridge_telling_of_its_port_is_not_read() {
    // AF_BRIDGE, and attributes that end somewhere else than they say.
    let mut body = vec![AF_BRIDGE; HEADER];
    body.extend([0xff; 64]);
    assert_eq!(super::super::links::Link::parse(&body), None);
}
