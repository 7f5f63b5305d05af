//! The harness for Open vSwitch itself: two of them on one machine, a tunnel between, clients with and without a VLAN;
//! with flows made by hand.

use crate::common::ovs::{tcp, wait_flow};
use crate::common::{Lab, Node, PATIENCE, Result, ensure, lab};
use evpnd::lab::{BRIDGE, Plug, system_datapath};

const MAC1: &str = "02:00:00:00:00:01";
const MAC2: &str = "02:00:00:00:00:02";
const VXLAN: u16 = 5;

struct Two {
    lab: Lab,
    h1: Node,
    h2: Node,
    flat: Node,
    tagged: Node,
}

/// A flat client on h1, one in VLAN 100 on h2, joined by VNI 9.
fn two() -> Result<Two> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let h1 = lab.host("h1")?.underlay_ovs(&spine, &["10.0.0.1/24"])?;
    let h2 = lab.host("h2")?.underlay_ovs(&spine, &["10.0.0.2/24"])?;
    for (host, own) in [(&h1, "10.0.0.1"), (&h2, "10.0.0.2")] {
        let ovs = host.ovs();
        ovs.add_bridge(BRIDGE, "secure")?;
        ovs.add_port(BRIDGE, "vx", Some(VXLAN))?;
        let local = format!("options:local_ip={own}");
        ovs.vsctl(&[
            "set",
            "Interface",
            "vx",
            "type=vxlan",
            "options:key=flow",
            "options:remote_ip=flow",
            &local,
        ])?;
    }
    h2.ovs().trunk("t1", 20)?;
    let flat = lab.ovs_endpoint(&h1, "flat", Plug::Port(10), MAC1, &["10.9.0.1/24", "fd00:9::1/64"])?;
    let tagged =
        lab.ovs_endpoint(&h2, "tagged", Plug::Trunk("t1", 100), MAC2, &["10.9.0.2/24", "fd00:9::2/64"])?;
    let two = Two { lab, h1, h2, flat, tagged };
    two.flows()?;
    Ok(two)
}

impl Two {
    fn flows(&self) -> Result<()> {
        let tunnel = |to: &str| format!("set_field:9->tun_id,set_field:{to}->tun_dst,output:{VXLAN}");
        let add = |host: &Node, flow: &str| host.ovs().ofctl(&["add-flow", BRIDGE, flow]).map(drop);
        add(&self.h1, &format!("in_port=10,actions={}", tunnel("10.0.0.2")))?;
        add(&self.h1, &format!("in_port={VXLAN},tun_id=9,actions=output:10"))?;
        add(&self.h2, &format!("in_port=20,dl_vlan=100,actions=pop_vlan,{}", tunnel("10.0.0.1")))?;
        let back = "push_vlan:0x8100,set_field:4196->vlan_vid,output:20";
        add(&self.h2, &format!("in_port={VXLAN},tun_id=9,actions={back}"))
    }

    fn warm(&self) -> Result<()> {
        self.h1.ovs().warm(&["10.0.0.2"])?;
        self.h2.ovs().warm(&["10.0.0.1"])
    }
}

#[test]
fn a_tunnel_between_two_switches() -> Result<()> {
    let two = two()?;
    two.warm()?;
    let wire = two.h2.capture("eth0", "udp port 4789")?;
    // The first packet arrives.
    two.flat.ping("10.9.0.2")?;
    two.tagged.ping("10.9.0.1")?;
    two.tagged.ping("fd00:9::1")?;
    two.lab.wait("packets in a capture", PATIENCE, || {
        let packets = wire.fields("icmp", &["vxlan.vni", "ip.dst", "vlan.id"])?;
        ensure(packets.iter().any(|p| p == &["9", "10.0.0.2,10.9.0.2", ""]), || format!("{packets:?}"))
    })?;
    // Checksums are right where no device does them, and long segments are cut.
    tcp(&two.lab, &two.flat, &two.tagged, "10.9.0.2")?;
    wait_flow(&two.lab, &two.h1, "in_port=10 actions=")
}

/// With its switch daemon a host loses its flows and its underlay; both daemons may go and come back.
#[test]
fn daemons_that_come_back() -> Result<()> {
    let two = two()?;
    two.warm()?;
    for signal in ["TERM", "KILL"] {
        let ovs = two.h1.ovs();
        ovs.stop_switchd(signal)?;
        // The kernel may go on with what it was told last.
        ensure(system_datapath() || two.flat.ping("10.9.0.2").is_err(), || "who forwards?".to_owned())?;
        ovs.start_switchd(&["10.0.0.1/24"])?;
        ensure(ovs.flows()?.is_empty(), || "flows that nobody made".to_owned())?;
        two.flows()?;
        two.warm()?;
        two.lab.wait("forwarding with a new switch daemon", PATIENCE, || two.flat.ping("10.9.0.2"))?;
        // Without its database ovs-vswitchd holds all that it does itself, forwarding in userspace included.
        ovs.stop_db(signal)?;
        ovs.start_db()?;
        two.lab.wait("forwarding with a new database server", PATIENCE, || two.flat.ping("10.9.0.2"))?;
    }
    Ok(())
}
