//! Intent in, flows out, word for word; and what has to hold whatever comes in which order.
//!
//! That `ovs-ofctl` says it in the same words, and what the flows do to packets, is for `tests/ovs` to show.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::intent::{ClientState, Flood, L2Vni, Neighbour, Port, RemoteMac};
use crate::ovs::Datapath;
use crate::ovs::flow::FlowId;

const TUNNEL: u16 = 100;

fn config() -> OvsConfig {
    OvsConfig { datapath: Datapath::Netdev, ..OvsConfig::new("br-evpn", ip("192.0.2.1")) }
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn l2vni(n: u32) -> L2Vni {
    L2Vni {
        vni: vni(n),
        vtep: ip("192.0.2.1"),
        port: 4789,
        interfaces: Vec::new(),
        arp_suppression: true,
        vlan: None,
    }
}

fn client(name: &str, port: u16, vlan: Option<u16>, service: Service) -> Client {
    let mac = mac("02:00:00:00:00:01");
    Client { name: name.into(), port: Port::Number(port), vlan, mac, anti_spoof: true, service }
}

fn l2(n: u32, ips: &[&str]) -> Service {
    Service::L2 { vni: vni(n), ips: ips.iter().map(|a| ip(a)).collect() }
}

fn l3(n: u32, prefixes: &[&str]) -> Service {
    Service::L3 { vrf: vni(n), prefixes: prefixes.iter().map(|p| net(p)).collect() }
}

fn remote(n: u8) -> Hop {
    Hop::Remote { vtep: [192, 0, 2, n].into(), vni: vni(5000), router_mac: MacAddr([2, 0, 0, 0, 2, n]) }
}

/// A pipeline, and everything it ever touched and told.
struct Bench {
    pipeline: Pipeline,
    touched: HashSet<Unit>,
    told: Vec<Local>,
}

impl Bench {
    /// With ports 5, 6, 7 and a tunnel.
    fn new(changes: &[Change]) -> Self {
        let mut bench =
            Self { pipeline: Pipeline::new(&config()), touched: HashSet::new(), told: Vec::new() };
        bench.ports(&[5, 6, 7], Some(TUNNEL));
        bench.change(changes);
        bench
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.pipeline.change(change, &mut self.touched, &mut self.told);
        }
    }

    fn ports(&mut self, ports: &[u16], tunnel: Option<u16>) {
        let names: Vec<(u16, String)> = ports.iter().map(|n| (*n, format!("port{n}"))).collect();
        let all = names.iter().map(|(n, name)| (*n, name.as_str())).chain(tunnel.map(|n| (n, "vxlan-evpn")));
        self.pipeline.set_ports(all, tunnel, &mut self.touched, &mut self.told);
    }

    fn flows(&self, unit: &Unit) -> Vec<Flow> {
        let mut flows = Vec::new();
        self.pipeline.render(unit, &mut flows);
        flows
    }

    fn told(&mut self) -> Vec<Local> {
        std::mem::take(&mut self.told)
    }

    /// The flows of a unit without what is not of interest, one a line.
    fn shown(&self, unit: &Unit) -> String {
        let line = |f: &Flow| format!("{} {} {} => {}\n", f.table, f.priority, f.matches, f.actions);
        self.flows(unit).iter().map(line).collect()
    }

    #[track_caller]
    fn shows(&self, unit: &Unit, expected: &str) {
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
        };
        assert_eq!(lines(&self.shown(unit)), lines(expected));
    }
}

fn up(name: &str, interface: &str) -> Local {
    Local::Client { name: name.into(), state: ClientState::Up { interface: interface.into() } }
}

fn down(name: &str, reason: &str) -> Local {
    Local::Client { name: name.into(), state: ClientState::Down { reason: reason.to_owned() } }
}

#[test]
fn a_flat_client_with_addresses() {
    let a = client("a", 5, None, l2(10, &["10.0.0.1", "2001:db8::1"]));
    let bench = Bench::new(&[Change::PutVni(l2vni(10)), Change::PutClient(a)]);
    bench.shows(&Unit::Client("a".into()), "
            0 200 in_port=5,vlan_tci=0x0000/0x1fff => set_field:0x50000->reg5,set_field:0xa->reg0,set_field:0->in_port,goto_table:10
            10 20 udp,reg5=0x50000,dl_src=02:00:00:00:00:01,nw_src=0.0.0.0,tp_src=68,tp_dst=67 => goto_table:20
            10 20 ip,reg5=0x50000,dl_src=02:00:00:00:00:01,nw_src=10.0.0.1 => goto_table:20
            10 20 arp,reg5=0x50000,dl_src=02:00:00:00:00:01,arp_spa=10.0.0.1,arp_sha=02:00:00:00:00:01 => goto_table:20
            10 20 arp,reg5=0x50000,dl_src=02:00:00:00:00:01,arp_spa=0.0.0.0,arp_tpa=10.0.0.1,arp_op=1,arp_sha=02:00:00:00:00:01 => goto_table:20
            10 20 ipv6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=2001:db8::1 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=2001:db8::1,nd_tll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=2001:db8::1,nd_tll=00:00:00:00:00:00 => goto_table:20
            10 20 icmp6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=::,icmp_type=135,icmp_code=0,nd_target=2001:db8::1 => goto_table:11
            10 20 ipv6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=fe80::/10 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=fe80::/10,nd_tll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=fe80::/10,nd_tll=00:00:00:00:00:00 => goto_table:20
            10 20 icmp6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=::,icmp_type=135,icmp_code=0,nd_target=fe80::/10 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=135,icmp_code=0,nd_sll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=135,icmp_code=0,nd_sll=00:00:00:00:00:00 => goto_table:20
            60 20 reg5=0x50000,reg6=0x50000 => drop
            60 10 reg6=0x50000 => output:5
        ");
    bench.shows(
        &Unit::Mac(vni(10), mac("02:00:00:00:00:01")),
        "
            30 100 reg0=0xa,dl_dst=02:00:00:00:00:01 => set_field:0x50000->reg6,goto_table:60
        ",
    );
    bench.shows(&Unit::Neighbour(vni(10), ip("10.0.0.1")), "
            22 100 arp,reg0=0xa,dl_dst=ff:ff:ff:ff:ff:ff,arp_tpa=10.0.0.1,arp_op=1 => move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:00:00:00:00:01->eth_src,goto_table:25
        ");
    bench.shows(
        &Unit::Locals(vni(10), 0),
        "
            31 100 reg0=0xa,reg7=0 => set_field:0x50000->reg6,resubmit(,60)
        ",
    );
    assert!(bench.flows(&Unit::Client("a".into())).iter().all(|flow| flow.cookie == 0x6576_7064_0000_000a));
}

#[test]
fn a_vlan_client_of_which_the_mac_is_known() {
    let a = client("a", 5, Some(100), l2(10, &[]));
    let bench = Bench::new(&[Change::PutVni(l2vni(10)), Change::PutClient(a)]);
    bench.shows(&Unit::Client("a".into()), "
            0 200 in_port=5,dl_vlan=100 => pop_vlan,set_field:0x50064->reg5,set_field:0xa->reg0,set_field:0->in_port,goto_table:10
            10 20 arp,reg5=0x50064,dl_src=02:00:00:00:00:01,arp_sha=02:00:00:00:00:01 => goto_table:20
            10 20 ipv6,reg5=0x50064,dl_src=02:00:00:00:00:01 => goto_table:11
            10 15 arp,reg5=0x50064 => drop
            10 10 reg5=0x50064,dl_src=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=135,icmp_code=0,nd_sll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=135,icmp_code=0,nd_sll=00:00:00:00:00:00 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=136,icmp_code=0,nd_tll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=136,icmp_code=0,nd_tll=00:00:00:00:00:00 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=134 => goto_table:20
            11 20 icmp6,reg5=0x50064,icmp_type=137 => goto_table:20
            60 20 reg5=0x50064,reg6=0x50064 => drop
            60 10 reg6=0x50064 => push_vlan:0x8100,set_field:4196->vlan_vid,output:5,pop_vlan
        ");
}

#[test]
fn a_client_that_is_trusted() {
    let a = Client { anti_spoof: false, ..client("a", 5, None, l2(10, &["10.0.0.1"])) };
    let bench = Bench::new(&[Change::PutVni(l2vni(10)), Change::PutClient(a)]);
    bench.shows(&Unit::Client("a".into()), "
            0 200 in_port=5,vlan_tci=0x0000/0x1fff => set_field:0x50000->reg5,set_field:0xa->reg0,set_field:0->in_port,goto_table:20
            60 20 reg5=0x50000,reg6=0x50000 => drop
            60 10 reg6=0x50000 => output:5
        ");
}

#[test]
fn a_routed_client() {
    let a = client("a", 5, None, l3(10, &["10.1.0.1/32", "2001:db8:1::/64"]));
    let vrf = Vrf { vni: vni(10), router_mac: mac("02:e5:c0:00:02:01") };
    let hop = vec![Hop::Client("a".into())];
    let bench = Bench::new(&[
        Change::PutVrf(vrf),
        Change::PutClient(a),
        Change::PutPrefix(vni(10), net("10.1.0.1/32"), hop),
    ]);
    bench.shows(&Unit::Client("a".into()), "
            0 200 in_port=5,vlan_tci=0x0000/0x1fff => set_field:0x50000->reg5,set_field:0xa->reg2,set_field:0->in_port,goto_table:10
            10 20 ip,reg5=0x50000,dl_src=02:00:00:00:00:01,nw_src=10.1.0.1 => goto_table:20
            10 20 arp,reg5=0x50000,dl_src=02:00:00:00:00:01,arp_spa=10.1.0.1,arp_sha=02:00:00:00:00:01 => goto_table:20
            10 20 ipv6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=2001:db8:1::/64 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=2001:db8:1::/64,nd_tll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=2001:db8:1::/64,nd_tll=00:00:00:00:00:00 => goto_table:20
            10 20 icmp6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=::,icmp_type=135,icmp_code=0,nd_target=2001:db8:1::/64 => goto_table:11
            10 20 ipv6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=fe80::/10 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=fe80::/10,nd_tll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=136,icmp_code=0,nd_target=fe80::/10,nd_tll=00:00:00:00:00:00 => goto_table:20
            10 20 icmp6,reg5=0x50000,dl_src=02:00:00:00:00:01,ipv6_src=::,icmp_type=135,icmp_code=0,nd_target=fe80::/10 => goto_table:11
            11 20 icmp6,reg5=0x50000,icmp_type=135,icmp_code=0,nd_sll=02:00:00:00:00:01 => goto_table:20
            11 20 icmp6,reg5=0x50000,icmp_type=135,icmp_code=0,nd_sll=00:00:00:00:00:00 => goto_table:20
            60 20 reg5=0x50000,reg6=0x50000 => drop
            60 10 reg6=0x50000 => output:5
        ");
    bench.shows(&Unit::Vrf(vni(10)), "
            0 300 tun_id=0xa,in_port=100,vlan_tci=0x0000/0x1fff,dl_dst=02:e5:c0:00:02:01 => set_field:0xa->reg2,set_field:0x1->reg1,goto_table:40
            22 100 arp,reg2=0xa,arp_op=1 => move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:00:00:5e:00:01:01->eth_src,goto_table:25
            22 100 icmp6,reg2=0xa,icmp_type=135,icmp_code=0 => move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:00:00:5e:00:01:01->eth_src,set_field:0xe0000000->reg7,goto_table:25
        ");
    bench.shows(&Unit::Prefix(vni(10), net("10.1.0.1/32")), "
            40 132 ip,reg2=0xa,nw_dst=10.1.0.1 => dec_ttl,set_field:00:00:5e:00:01:01->eth_src,set_field:02:00:00:00:00:01->eth_dst,set_field:0x50000->reg6,goto_table:60
        ");
}

#[test]
fn a_remote_mac_and_the_vni_its_vtep_wants() {
    let m = mac("02:00:00:00:00:09");
    let put = RemoteMac { vtep: ip("192.0.2.2"), vni: vni(11), sticky: false };
    let bench = Bench::new(&[Change::PutVni(l2vni(10)), Change::PutMac(vni(10), m, put)]);
    bench.shows(&Unit::Mac(vni(10), m), "
            30 100 reg0=0xa,dl_dst=02:00:00:00:00:09 => set_field:0xb->tun_id,set_field:192.0.2.2->tun_dst,goto_table:50
        ");

    let mut v6 = config();
    v6.vtep = ip("2001:db8::1");
    let mut bench = Bench { pipeline: Pipeline::new(&v6), touched: HashSet::new(), told: Vec::new() };
    let six = RemoteMac { vtep: ip("2001:db8::2"), ..put };
    bench.change(&[Change::PutVni(l2vni(10)), Change::PutMac(vni(10), m, six)]);
    bench.shows(&Unit::Mac(vni(10), m), "
            30 100 reg0=0xa,dl_dst=02:00:00:00:00:09 => set_field:0xb->tun_id,set_field:2001:db8::2->tun_ipv6_dst,goto_table:50
        ");
    // From a tunnel with an IPv6 source, an IPv4 VTEP cannot be reached: that is not flooded instead.
    bench.change(&[Change::PutMac(vni(10), m, put)]);
    bench.shows(
        &Unit::Mac(vni(10), m),
        "
            30 100 reg0=0xa,dl_dst=02:00:00:00:00:09 => drop
        ",
    );
}

#[test]
fn a_neighbour_is_answered_for_unless_suppression_is_off() {
    let n = |router| Neighbour { mac: mac("02:00:00:00:00:09"), router };
    let mut bench = Bench::new(&[
        Change::PutVni(l2vni(10)),
        Change::PutNeighbour(vni(10), ip("10.0.0.9"), n(false)),
        Change::PutNeighbour(vni(10), ip("2001:db8::9"), n(true)),
    ]);
    bench.shows(&Unit::Neighbour(vni(10), ip("10.0.0.9")), "
            22 100 arp,reg0=0xa,dl_dst=ff:ff:ff:ff:ff:ff,arp_tpa=10.0.0.9,arp_op=1 => move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:00:00:00:00:09->eth_src,goto_table:25
        ");
    bench.shows(&Unit::Neighbour(vni(10), ip("2001:db8::9")), "
            22 100 icmp6,reg0=0xa,dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00,icmp_type=135,icmp_code=0,nd_target=2001:db8::9 => move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:00:00:00:00:09->eth_src,set_field:0xe0000000->reg7,goto_table:25
        ");
    bench.touched.clear();
    bench.change(&[Change::PutVni(L2Vni { arp_suppression: false, ..l2vni(10) })]);
    assert!(bench.touched.contains(&Unit::Neighbour(vni(10), ip("10.0.0.9"))));
    bench.shows(&Unit::Neighbour(vni(10), ip("10.0.0.9")), "");
}

#[test]
fn a_flood_list() {
    let flood = |n, wire| Change::PutFlood(vni(10), IpAddr::from([192, 0, 2, n]), Flood { vni: vni(wire) });
    let mut bench = Bench::new(&[
        Change::PutVni(l2vni(10)),
        flood(2, 11),
        flood(3, 10),
        flood(4, 10),
        Change::PutClient(client("a", 5, None, l2(10, &[]))),
        Change::PutClient(client("b", 5, Some(7), l2(10, &[]))),
    ]);
    bench.shows(&Unit::Vni(vni(10)), "
            0 200 tun_id=0xa,in_port=100,vlan_tci=0x0000/0x1fff => set_field:0xa->reg0,set_field:0x1->reg1,goto_table:30
            30 20 reg0=0xa,reg1=0x1 => set_field:0->reg7,resubmit(,31)
            30 10 reg0=0xa => set_field:0->reg7,resubmit(,31),set_field:0->reg7,resubmit(,32)
        ");
    bench.shows(&Unit::Tunnels(vni(10), 0), "
            32 100 reg0=0xa,reg7=0 => set_field:0xb->tun_id,set_field:192.0.2.2->tun_dst,output:100,set_field:0xa->tun_id,set_field:192.0.2.3->tun_dst,output:100,set_field:192.0.2.4->tun_dst,output:100
        ");
    bench.shows(&Unit::Locals(vni(10), 0), "
            31 100 reg0=0xa,reg7=0 => set_field:0x50000->reg6,resubmit(,60),set_field:0x50007->reg6,resubmit(,60)
        ");
    bench.change(&[Change::DelVni(vni(10))]);
    for unit in [Unit::Vni(vni(10)), Unit::Tunnels(vni(10), 0), Unit::Locals(vni(10), 0)] {
        assert!(bench.touched.contains(&unit), "{unit:?}");
        bench.shows(&unit, "");
    }
}

#[test]
fn several_ways() {
    let vrf = Vrf { vni: vni(10), router_mac: mac("02:e5:c0:00:02:01") };
    let put = |hops: &[Hop]| Change::PutPrefix(vni(10), net("10.2.0.0/16"), hops.to_vec());
    let mut bench = Bench::new(&[Change::PutVrf(vrf), put(&[remote(2), remote(3)])]);
    let sets = |bench: &Bench| bench.pipeline.sets.numbers().collect::<Vec<_>>();
    let [set] = sets(&bench)[..] else { panic!("one set") };
    let expected = format!(
        "40 116 ip,reg2=0xa,nw_dst=10.2.0.0/16 => dec_ttl,set_field:{set:#x}->reg3,\
         multipath(symmetric_l3l4+udp,0,modulo_n,256,0,NXM_NX_REG4[]),goto_table:45"
    );
    bench.shows(&Unit::Prefix(vni(10), net("10.2.0.0/16")), &expected);
    let buckets = bench.flows(&Unit::Hops(set));
    assert_eq!(buckets.len(), 256);
    assert_eq!(buckets[0].matches, format!("reg3={set:#x},reg4=0"));
    assert_eq!(buckets[17].matches, format!("reg3={set:#x},reg4=0x11"));
    let way = "set_field:02:e5:c0:00:02:01->eth_src,set_field:02:00:00:00:02:02->eth_dst,\
               set_field:0x1388->tun_id,set_field:192.0.2.2->tun_dst,goto_table:50";
    assert!(buckets.iter().any(|flow| flow.actions == way), "{buckets:?}");

    bench.change(&[put(&[remote(2)])]);
    assert!(bench.touched.contains(&Unit::Hops(set)));
    assert_eq!(bench.flows(&Unit::Hops(set)), []);
    bench.shows(
        &Unit::Prefix(vni(10), net("10.2.0.0/16")),
        &format!("40 116 ip,reg2=0xa,nw_dst=10.2.0.0/16 => dec_ttl,{way}"),
    );
    bench.change(&[put(&[])]);
    bench.shows(&Unit::Prefix(vni(10), net("10.2.0.0/16")), "40 116 ip,reg2=0xa,nw_dst=10.2.0.0/16 => drop");
    bench.change(&[Change::DelPrefix(vni(10), net("10.2.0.0/16"))]);
    assert_eq!(bench.flows(&Unit::Prefix(vni(10), net("10.2.0.0/16"))), []);
    assert!(sets(&bench).is_empty());
}

#[test]
fn a_hop_whose_client_is_down_is_skipped() {
    let vrf = Vrf { vni: vni(10), router_mac: mac("02:e5:c0:00:02:01") };
    let both = vec![Hop::Client("a".into()), Hop::Client("b".into())];
    let mut bench = Bench::new(&[
        Change::PutVrf(vrf),
        Change::PutClient(client("a", 5, None, l3(10, &["10.1.0.0/24"]))),
        Change::PutClient(client("b", 8, None, l3(10, &["10.1.0.0/24"]))),
        Change::PutPrefix(vni(10), net("10.1.0.0/24"), both),
        Change::PutPrefix(vni(10), net("10.1.1.0/24"), vec![Hop::Client("b".into())]),
    ]);
    let [set] = bench
        .pipeline
        .sets
        .numbers()
        .filter(|n| bench.pipeline.sets.get(*n).unwrap().is_ecmp())
        .collect::<Vec<_>>()[..]
    else {
        panic!("one set of several")
    };
    let to = |bench: &Bench, seat: &str| {
        bench.flows(&Unit::Hops(set)).iter().filter(|flow| flow.actions.contains(seat)).count()
    };
    assert_eq!((to(&bench, "0x50000->reg6"), to(&bench, "0x80000->reg6")), (256, 0));
    bench.shows(&Unit::Prefix(vni(10), net("10.1.1.0/24")), "40 124 ip,reg2=0xa,nw_dst=10.1.1.0/24 => drop");
    bench.touched.clear();
    bench.ports(&[5, 8], Some(TUNNEL));
    assert!(bench.touched.contains(&Unit::Hops(set)));
    assert!(bench.touched.contains(&Unit::Prefix(vni(10), net("10.1.1.0/24"))));
    let (a, b) = (to(&bench, "0x50000->reg6"), to(&bench, "0x80000->reg6"));
    assert!(a + b == 256 && a > 64 && b > 64, "{a} {b}");
}

#[test]
fn nothing_of_a_vni_that_was_not_put() {
    let m = mac("02:00:00:00:00:09");
    let put = RemoteMac { vtep: ip("192.0.2.2"), vni: vni(11), sticky: false };
    let bench = Bench::new(&[
        Change::PutMac(vni(10), m, put),
        Change::PutFlood(vni(10), ip("192.0.2.2"), Flood { vni: vni(10) }),
        Change::PutNeighbour(vni(10), ip("10.0.0.9"), Neighbour { mac: m, router: false }),
        Change::PutClient(client("a", 5, None, l2(10, &["10.0.0.1"]))),
        Change::PutClient(client("b", 6, None, l3(11, &["10.0.0.1/32"]))),
        Change::PutPrefix(vni(11), net("10.0.0.1/32"), vec![Hop::Client("b".into()), remote(2)]),
    ]);
    for unit in bench.pipeline.units().filter(|unit| *unit != Unit::Base) {
        assert_eq!(bench.flows(&unit), [], "{unit:?}");
    }
}

#[test]
fn a_remote_mac_wins_over_a_client_until_it_goes() {
    let m = mac("02:00:00:00:00:01");
    let put = RemoteMac { vtep: ip("192.0.2.2"), vni: vni(10), sticky: false };
    let mut bench = Bench::new(&[
        Change::PutVni(l2vni(10)),
        Change::PutClient(client("a", 5, None, l2(10, &[]))),
        Change::PutMac(vni(10), m, put),
    ]);
    assert!(bench.shown(&Unit::Mac(vni(10), m)).contains("tun_dst"));
    bench.told();
    bench.change(&[Change::DelMac(vni(10), m)]);
    assert!(bench.shown(&Unit::Mac(vni(10), m)).contains("0x50000->reg6"));
    assert_eq!(bench.told(), [up("a", "port5")]);
}

#[test]
fn clients_come_and_go_with_their_ports() {
    let named = Client { port: Port::Name("port9".into()), ..client("n", 0, Some(4), l2(10, &[])) };
    let mut bench = Bench { pipeline: Pipeline::new(&config()), touched: HashSet::new(), told: Vec::new() };
    bench.change(&[
        Change::PutVni(l2vni(10)),
        Change::PutClient(client("a", 5, None, l2(10, &[]))),
        Change::PutClient(named),
    ]);
    assert_eq!(bench.told(), [], "nobody has looked yet");
    bench.ports(&[5], None);
    assert_eq!(
        bench.told(),
        [up("a", "port5"), down("n", "no port port9 on bridge br-evpn yet"), Local::VniReady(vni(10), false)]
    );
    bench.ports(&[5, 9], Some(TUNNEL));
    assert_eq!(bench.told(), [up("n", "port9"), Local::VniReady(vni(10), true)]);
    bench.ports(&[5, 9], Some(TUNNEL));
    assert_eq!(bench.told(), [], "nothing new");
    bench.change(&[
        Change::PutVni(l2vni(11)),
        Change::PutClient(client("t", TUNNEL, None, l2(10, &[]))),
        Change::PutClient(client("z", 1000, None, l2(10, &[]))),
    ]);
    assert_eq!(
        bench.told(),
        [
            Local::VniReady(vni(11), true),
            down("t", "port vxlan-evpn is the VXLAN port"),
            down("z", "no port 1000 on bridge br-evpn yet")
        ]
    );
    bench.ports(&[9], Some(TUNNEL));
    assert_eq!(bench.told(), [down("a", "no port 5 on bridge br-evpn yet")]);
    assert_eq!(bench.flows(&Unit::Client("a".into())), []);
}

#[test]
fn one_place_one_client_and_whoever_has_it_keeps_it() {
    let port5 = || Port::Name("port5".into());
    let a = Client { port: port5(), ..client("a", 0, None, l2(10, &[])) };
    let mut bench =
        Bench::new(&[Change::PutVni(l2vni(10)), Change::PutClient(client("b", 5, None, l2(10, &[])))]);
    bench.told();
    bench.change(&[Change::PutClient(a.clone())]);
    assert_eq!(bench.told(), [down("a", "port port5, untagged, belongs to client b")]);
    assert_eq!(bench.flows(&Unit::Client("a".into())), []);
    // Another look changes nothing, and neither does the one there being put again otherwise.
    bench.ports(&[5, 6], Some(TUNNEL));
    assert_eq!(bench.told(), []);
    bench.change(&[Change::PutClient(client("b", 5, None, l2(10, &["10.0.0.1"])))]);
    assert_eq!(bench.told(), [up("b", "port5")]);
    // Another tag on the port is another place.
    bench.change(&[Change::PutClient(Client { vlan: Some(1), ..a.clone() })]);
    assert_eq!(bench.told(), [up("a", "port5")]);
    bench.change(&[Change::PutClient(a)]);
    bench.told();
    bench.change(&[Change::DelClient("b".into())]);
    assert_eq!(bench.told(), [up("a", "port5")]);
    assert!(!bench.flows(&Unit::Client("a".into())).is_empty());
}

#[test]
fn one_change_of_many_touches_a_handful() {
    let put = |n: u32| {
        let [a, b, c, d] = n.to_be_bytes();
        let to = RemoteMac { vtep: ip("192.0.2.2"), vni: vni(10), sticky: false };
        Change::PutMac(vni(10), MacAddr([2, 0, a, b, c, d]), to)
    };
    let flood = |n: u16| {
        let [a, b] = n.to_be_bytes();
        Change::PutFlood(vni(10), [10, 0, a, b].into(), Flood { vni: vni(10) })
    };
    let mut bench = Bench::new(&[Change::PutVni(l2vni(10))]);
    bench.change(&(0..5000).map(put).collect::<Vec<_>>());
    bench.change(&(0..5000).map(flood).collect::<Vec<_>>());
    for change in [put(6000), flood(6000), Change::DelFlood(vni(10), ip("10.0.0.1"))] {
        bench.touched.clear();
        bench.change(&[change]);
        assert!(bench.touched.len() <= 4, "{:?}", bench.touched);
    }
}

// What has to hold for any intent, in any order.

fn changes() -> impl Strategy<Value = Change> {
    let number = (10_u32..13).prop_map(vni);
    let m = (1_u8..6).prop_map(|n| MacAddr([2, 0, 0, 0, 0, n]));
    let address = prop_oneof![
        (1_u8..6).prop_map(|n| IpAddr::from([10, 0, 0, n])),
        (1_u16..6).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
    ];
    let prefix = (address.clone(), 0_u8..=32).prop_map(|(ip, len)| {
        let len = if ip.is_ipv4() { len } else { len * 4 };
        IpNet::new(ip, len).unwrap()
    });
    let vtep = (2_u8..200).prop_map(|n| IpAddr::from([192, 0, 2, n]));
    let name = (0_u8..6).prop_map(|n| Arc::<str>::from(format!("c{n}")));
    let service = prop_oneof![
        (number.clone(), prop::collection::vec(address.clone(), 0..3))
            .prop_map(|(vni, ips)| Service::L2 { vni, ips }),
        (number.clone(), prop::collection::vec(prefix.clone(), 0..3))
            .prop_map(|(vrf, prefixes)| Service::L3 { vrf, prefixes }),
    ];
    let port = prop_oneof![
        (4_u16..9).prop_map(Port::Number),
        (4_u16..9).prop_map(|n| Port::Name(format!("port{n}").into())),
    ];
    let a_client = (name.clone(), port, prop::option::of(1_u16..3), m.clone(), any::<bool>(), service)
        .prop_map(|(name, port, vlan, mac, anti_spoof, service)| {
            Change::PutClient(Client { name, port, vlan, mac, anti_spoof, service })
        });
    let hop = prop_oneof![(2_u8..6).prop_map(remote), name.clone().prop_map(Hop::Client)];
    let hops = prop::collection::btree_set(hop, 0..4).prop_map(|hops| hops.into_iter().collect());
    prop_oneof![
        3 => (number.clone(), any::<bool>())
            .prop_map(|(vni, on)| Change::PutVni(L2Vni { arp_suppression: on, ..l2vni(vni.get()) })),
        1 => number.clone().prop_map(Change::DelVni),
        9 => (number.clone(), vtep.clone(), number.clone())
            .prop_map(|(vni, vtep, wire)| Change::PutFlood(vni, vtep, Flood { vni: wire })),
        3 => (number.clone(), vtep.clone()).prop_map(|(vni, vtep)| Change::DelFlood(vni, vtep)),
        3 => (number.clone(), m.clone(), vtep, number.clone()).prop_map(|(vni, mac, vtep, wire)| {
            Change::PutMac(vni, mac, RemoteMac { vtep, vni: wire, sticky: false })
        }),
        2 => (number.clone(), m.clone()).prop_map(|(vni, mac)| Change::DelMac(vni, mac)),
        3 => (number.clone(), address.clone(), m, any::<bool>())
            .prop_map(|(vni, ip, mac, router)| Change::PutNeighbour(vni, ip, Neighbour { mac, router })),
        2 => (number.clone(), address).prop_map(|(vni, ip)| Change::DelNeighbour(vni, ip)),
        6 => a_client,
        2 => name.prop_map(Change::DelClient),
        3 => (number.clone(), 1_u8..3)
            .prop_map(|(vni, n)| Change::PutVrf(Vrf { vni, router_mac: MacAddr([2, 0, 0, 0, 1, n]) })),
        1 => number.clone().prop_map(Change::DelVrf),
        6 => (number.clone(), prefix.clone(), hops)
            .prop_map(|(vni, net, hops)| Change::PutPrefix(vni, net, hops)),
        2 => (number, prefix).prop_map(|(vni, net)| Change::DelPrefix(vni, net)),
    ]
}

/// A change, or ports that are others.
#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Ports(Vec<u16>, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ports = (prop::collection::btree_set(4_u16..9, 0..5), prop::bool::weighted(0.9))
        .prop_map(|(ports, tunnel)| Step::Ports(ports.into_iter().collect(), tunnel));
    prop::collection::vec(prop_oneof![9 => changes().prop_map(Step::Change), 1 => ports], 0..250)
}

fn everything(bench: &Bench) -> BTreeMap<Unit, Vec<Flow>> {
    let mut all = BTreeMap::new();
    for unit in bench.pipeline.units() {
        let flows = bench.flows(&unit);
        if !flows.is_empty() {
            assert!(all.insert(unit.clone(), flows).is_none(), "{unit:?} is there twice");
        }
    }
    all
}

/// What goes out of the tunnel port is kept from what came in by it.
fn split_horizon(flows: &[Flow]) {
    let output = format!("output:{TUNNEL}");
    let way_in = format!("in_port={TUNNEL}");
    for flow in flows {
        if flow.actions.contains(&output) {
            match flow.table {
                50 => assert!(flow.priority < 100, "{flow}"),
                32 => (),
                _ => panic!("out of the tunnel from elsewhere: {flow}"),
            }
        }
        if flow.actions.contains("resubmit(,32)") {
            // Shadowed, for what came from the tunnel, by one that does not flood to it.
            let matches = format!("{},reg1=0x1", flow.matches);
            let local = flows.iter().find(|f| f.table == flow.table && f.matches == matches).unwrap();
            assert!(flow.table == 30 && local.priority > flow.priority, "{flow}");
            assert!(!local.actions.contains("resubmit(,32)"), "{local}");
        }
        if flow.table == 0 && flow.matches.contains(&way_in) && flow.actions != "drop" {
            assert!(flow.actions.contains("set_field:0x1->reg1"), "{flow}");
        }
        assert!(flow.table == 0 || !flow.actions.contains("->reg1"), "{flow}");
        let next = flow.actions.rsplit_once("goto_table:").map(|(_, next)| next.parse::<u8>().unwrap());
        assert!(next.is_none_or(|next| next > flow.table), "{flow}");
    }
    if flows.iter().any(|flow| flow.actions.contains(&output)) {
        assert!(
            flows
                .iter()
                .any(|f| (f.table, f.priority, &*f.matches, &*f.actions) == (50, 100, "reg1=0x1", "drop"))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn touched_units_are_all_that_changed(steps in steps()) {
        let mut bench = Bench::new(&[]);
        let mut standing = everything(&bench);
        let mut ports: (&[u16], Option<u16>) = (&[5, 6, 7], Some(TUNNEL));
        for step in &steps {
            bench.touched.clear();
            match step {
                Step::Change(change) => bench.change(std::slice::from_ref(change)),
                Step::Ports(now, tunnel) => {
                    ports = (now, tunnel.then_some(TUNNEL));
                    bench.ports(ports.0, ports.1);
                }
            }
            for unit in &bench.touched {
                let flows = bench.flows(unit);
                if flows.is_empty() {
                    standing.remove(unit);
                } else {
                    standing.insert(unit.clone(), flows);
                }
            }
        }
        prop_assert_eq!(&standing, &everything(&bench));

        let flows: Vec<Flow> = standing.values().flatten().cloned().collect();
        let mut ids: HashMap<FlowId, &Flow> = HashMap::new();
        for flow in &flows {
            if let Some(other) = ids.insert(flow.id(), flow) {
                return Err(TestCaseError::fail(format!("the same id:\n{flow}\n{other}")));
            }
            prop_assert!(crate::ovs::flow::is_ours(flow.cookie));
        }
        split_horizon(&flows);

        // Somebody who starts now, and is told what holds, wants the same flows; but a place that two clients want is
        // whose it was first.
        let waits = bench.pipeline.clients.iter().any(|at| {
            matches!(&at.place, clients::Place::Nowhere(why) if why.contains("belongs to"))
        });
        if !waits {
            let mut fresh = Bench::new(&[]);
            fresh.ports(ports.0, ports.1);
            fresh.change(&what_holds(&bench.pipeline));
            prop_assert_eq!(standing, everything(&fresh));
        }
    }
}

/// The changes that make this of nothing, in another order.
fn what_holds(p: &Pipeline) -> Vec<Change> {
    let mut changes = Vec::new();
    for (vni, table) in p.vrfs.iter().rev() {
        for (net, set) in table.prefixes.iter().rev() {
            changes.push(Change::PutPrefix(*vni, *net, p.sets.get(*set).unwrap().hops.to_vec()));
        }
        changes.extend(table.vrf.map(Change::PutVrf));
    }
    changes.extend(p.clients.iter().map(|at| Change::PutClient(at.client.clone())));
    for vni in p.intent.rows().vnis() {
        let mut keys = Vec::new();
        p.intent.rows().keys(vni, &mut keys);
        changes.extend(keys.iter().filter_map(|key| match p.intent.rows().get(key)? {
            crate::rows::Row::Vni(l2) => Some(Change::PutVni(l2)),
            crate::rows::Row::Flood(vni, vtep, flood) => Some(Change::PutFlood(vni, vtep, flood)),
            crate::rows::Row::Mac(vni, mac, to) => Some(Change::PutMac(vni, mac, to?)),
            crate::rows::Row::Neighbour(vni, ip, n) => Some(Change::PutNeighbour(vni, ip, n)),
        }));
    }
    changes
}
