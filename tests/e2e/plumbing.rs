//! The harness itself: nodes, links, endpoints and captures, and that they vanish.

use std::path::Path;

use crate::common::{PATIENCE, Result, ensure, lab};

/// Two hosts on a switch, an overlay between them made by hand: what every other test builds on.
#[test]
fn a_world_of_its_own() -> Result<()> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let h1 = lab.host("h1")?.underlay(&spine, &["10.0.0.1/24", "fd00::1/64"])?;
    let h2 = lab.host("h2")?.underlay(&spine, &["10.0.0.2/24", "fd00::2/64"])?;
    h1.ping("10.0.0.2")?;
    h1.ping("fd00::2")?;

    let e1 = lab.endpoint(&h1, "e1", "02:00:00:00:00:01", &["10.9.0.1/24"])?;
    lab.endpoint(&h2, "e2", "02:00:00:00:00:02", &["10.9.0.2/24"])?;
    for (host, own, other, port) in [(&h1, "10.0.0.1", "10.0.0.2", "e1"), (&h2, "10.0.0.2", "10.0.0.1", "e2")]
    {
        host.sh(&format!(
            "ip link add br0 type bridge; ip link set br0 up; ip link set {port} master br0
             ip link add vx9 type vxlan id 9 local {own} dstport 4789 nolearning; ip link set vx9 master br0 up
             bridge fdb append 00:00:00:00:00:00 dev vx9 dst {other} self permanent"
        ))?;
        ensure(host.flood("vx9")?.contains(other), || format!("{} does not flood to {other}", host.name()))?;
        ensure(host.vxlan(9)? == "vx9", || "device by VNI".to_owned())?;
    }
    let wire = h1.capture("eth0", "udp port 4789")?;
    lab.wait("a ping through the overlay", PATIENCE, || e1.ping("10.9.0.2"))?;
    lab.wait("its packets in a capture", PATIENCE, || {
        let packets = wire.fields("icmp", &["vxlan.vni", "ip.dst"])?;
        ensure(packets.iter().any(|p| p == &["9", "10.0.0.2,10.9.0.2"]), || format!("{packets:?}"))
    })
}

/// Names are private: two labs may use the same ones, and a daemon dies with its lab.
#[test]
fn nothing_is_left() -> Result<()> {
    let (one, two) = (lab()?, lab()?);
    let (a, b) = (one.host("h1")?, two.host("h1")?);
    a.spawn("sleeper", &["sleep", "1000"])?;
    b.spawn("sleeper", &["sleep", "1000"])?;
    let (gone, stays) = (a.path("/run"), b.path("/run"));
    ensure(a.running("sleeper") && gone.exists(), || "the daemon does not run".to_owned())?;
    drop(one);
    ensure(!gone.exists() && !a.running("sleeper"), || "the world outlives its lab".to_owned())?;
    ensure(b.running("sleeper") && stays.exists(), || "another world suffered".to_owned())?;
    ensure(!Path::new("/run/netns/h1").exists(), || "a name shows outside".to_owned())?;
    let code = b.stop("sleeper", "TERM")?;
    ensure(code.is_none_or(|code| code != 0) && !b.running("sleeper"), || format!("{code:?}"))
}
