//! What evpnd does when somebody else touches the kernel, and what survives when evpnd itself goes away.

use std::time::Duration;

use crate::common::{
    Config, E2, MAC2, PATIENCE, Pair, Result, V1, V2, VNI, c1, c2, ensure, forwards_to, same, stays,
    wait_session,
};

#[test]
fn rows_deleted_by_hand_come_back() -> Result<()> {
    let pair = Pair::running()?;
    let device = pair.h1.vxlan(VNI)?;
    pair.h1.run(&["bridge", "fdb", "del", MAC2, "dev", &device, "self"])?;
    pair.wait_forwarding()?;
    pair.h1.run(&["bridge", "fdb", "del", "00:00:00:00:00:00", "dev", &device, "dst", V2, "self"])?;
    pair.wait_forwarding()?;
    pair.h1.run(&["bridge", "fdb", "del", MAC2, "dev", &device, "master"])?;
    pair.lab.wait("the bridge's row", PATIENCE, || {
        let rows = pair.h1.fdb(&device)?;
        ensure(rows.iter().any(|row| row.mac == MAC2 && row.master.is_some()), || format!("{rows:?}"))
    })?;
    pair.lab.wait("repairs in show dataplane", PATIENCE, || {
        let dataplane = pair.h1.show("dataplane")?;
        let good = dataplane["in_sync"] == true && dataplane["repairs"].as_u64().is_some_and(|n| n >= 1);
        ensure(good, || dataplane.to_string())
    })?;
    pair.e1.ping(E2)
}

#[test]
fn a_deleted_bridge_is_built_again() -> Result<()> {
    let pair = Pair::running()?;
    pair.h1.run(&["ip", "link", "del", &pair.h1.bridge_of(&pair.h1.vxlan(VNI)?)?])?;
    pair.lab.wait("forwarding again", PATIENCE, || pair.e1.ping(E2))?;
    pair.h1.run(&["ip", "link", "del", &pair.h1.vxlan(VNI)?])?;
    pair.lab.wait("forwarding again", PATIENCE, || pair.e1.ping(E2))?;
    pair.wait_forwarding()
}

#[test]
fn a_port_that_comes_back_is_attached_again() -> Result<()> {
    let pair = Pair::running()?;
    pair.h1.run(&["ip", "link", "del", "e1"])?;
    pair.lab.plug_endpoint(&pair.h1, &pair.e1, crate::common::MAC1, &["10.9.0.1/24"])?;
    pair.lab.wait("forwarding again", PATIENCE, || pair.e1.ping(E2))?;
    pair.wait_forwarding()
}

/// h1 with evpnd; h2 made by hand, with its routes announced to h1 by a controller. What h2 does thus does not depend
/// on h1's sessions, and every packet lost is h1's doing.
fn beside_a_static_host(config: &Config) -> Result<Pair> {
    let pair = Pair::new()?;
    let controller = pair.lab.host("c")?.underlay(&pair.spine, &["10.0.0.10/24"])?;
    controller.evpnd(&Config::controller(64512, "10.0.0.10").range("10.0.0.0/24", "external", "").toml())?;
    let rest = ["--vni", "100", "--rt", "65000:100", "--next-hop", V2];
    controller.evpnd_run(&[&["route", "add", "imet"][..], &rest].concat())?;
    controller.evpnd_run(&[&["route", "add", "mac", "--mac", MAC2][..], &rest].concat())?;
    pair.h2.sh(&format!(
        "ip link add br0 type bridge; ip link set br0 up; ip link set e2 master br0
         ip link add vx type vxlan id {VNI} local {V2} dstport 4789 nolearning; ip link set vx master br0 up
         bridge fdb append 00:00:00:00:00:00 dev vx dst {V1} self permanent"
    ))?;
    pair.h1.evpnd(&config.toml())?;
    pair.lab.wait("the endpoints reach each other", PATIENCE, || pair.e1.ping(E2))?;
    settled_beside(&pair)?;
    Ok(pair)
}

/// Waits until h1 has its session and h2's rows, as it says and as the kernel has them.
fn settled_beside(pair: &Pair) -> Result<()> {
    wait_session(&pair.lab, &pair.h1, "10.0.0.10", "established")?;
    pair.lab.wait("everything as it should be", PATIENCE, || {
        forwards_to(&pair.h1, V2, MAC2)?;
        let dataplane = pair.h1.show("dataplane")?;
        ensure(dataplane["in_sync"] == true && dataplane["installed"] == dataplane["desired"], || {
            dataplane.to_string()
        })?;
        let macs = pair.h1.rows("macs")?;
        ensure(macs.len() == 2, || format!("{macs:?}"))
    })
}

fn by_controller() -> Config {
    Config::host(65001, V1).neighbor("10.0.0.10", "64512", "").vni(VNI, &["e1"])
}

#[test]
fn forwarding_goes_on_through_kill_9_and_restart() -> Result<()> {
    let pair = beside_a_static_host(&by_controller())?;
    let links = || pair.h1.run(&["ip", "-o", "link", "show"]);
    let (before, links_before) = (sorted(pair.h1.fdb(&pair.h1.vxlan(VNI)?)?), links()?);
    let stream = Stream::start(&pair, "ping")?;
    for _ in 0..3 {
        pair.h1.kill9()?;
        pair.h1.start()?;
        settled_beside(&pair)?;
    }
    pair.lab.wait("enough pings", PATIENCE, || {
        let answered = stream.answered().len();
        ensure(answered > 10, || format!("only {answered}"))
    })?;
    let (_, lost) = stream.end()?;
    same(&lost, &Vec::new())?;
    // Adopted, not built again: the same devices, the same rows.
    same(&links()?, &links_before)?;
    same(&sorted(pair.h1.fdb(&pair.h1.vxlan(VNI)?)?), &before)
}

/// Without a controller between them the other host hears of the crash, as BGP has it, and drops what it had from us
/// until we are back: forwarding resumes by itself.
#[test]
fn two_hosts_find_each_other_again() -> Result<()> {
    let pair = Pair::running()?;
    for _ in 0..3 {
        pair.h1.kill9()?;
        pair.h1.start()?;
        pair.wait_established()?;
        pair.wait_forwarding()?;
        pair.e1.ping(E2)?;
    }
    Ok(())
}

fn sorted(rows: Vec<evpnd::lab::FdbRow>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    rows
}

/// A ping every 20 ms from e1 to e2.
struct Stream<'a> {
    pair: &'a Pair,
    name: &'a str,
}

impl<'a> Stream<'a> {
    fn start(pair: &'a Pair, name: &'a str) -> Result<Self> {
        pair.e1.spawn(name, &["ping", "-n", "-i", "0.02", E2])?;
        let stream = Self { pair, name };
        pair.lab.wait("the first answers", PATIENCE, || {
            ensure(stream.answered().len() > 3, || pair.e1.log(name))
        })?;
        Ok(stream)
    }

    /// The numbers of the pings that were answered.
    fn answered(&self) -> std::collections::BTreeSet<usize> {
        let log = self.pair.e1.log(self.name);
        let numbers =
            log.lines().filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok());
        numbers.collect()
    }

    /// How many were sent, and the numbers of those that were lost: not the one still under way.
    fn end(self) -> Result<(usize, Vec<usize>)> {
        self.pair.e1.stop(self.name, "INT")?;
        let answered = self.answered();
        let last = answered.last().copied().unwrap_or(0);
        Ok((last, (1..=last).filter(|n| !answered.contains(n)).collect()))
    }
}

#[test]
fn on_exit_keep_leaves_everything_forwarding() -> Result<()> {
    let pair = beside_a_static_host(&by_controller())?;
    let stream = Stream::start(&pair, "ping")?;
    same(&pair.h1.stop("evpnd", "TERM")?, &Some(0))?;
    forwards_to(&pair.h1, V2, MAC2)?;
    pair.h1.start()?;
    settled_beside(&pair)?;
    let (_, lost) = stream.end()?;
    same(&lost, &Vec::new())
}

#[test]
fn on_exit_remove_leaves_nothing() -> Result<()> {
    let pair = Pair::new()?;
    let before = pair.h1.run(&["ip", "-br", "link"])?;
    pair.h1.evpnd(&c1().dataplane("on-exit = \"remove\"").toml())?;
    pair.h2.evpnd(&c2().toml())?;
    pair.settle()?;
    same(&pair.h1.stop("evpnd", "TERM")?, &Some(0))?;
    same(&pair.h1.run(&["ip", "-br", "link"])?, &before)
}

#[test]
fn rows_and_devices_of_others_survive() -> Result<()> {
    let pair = Pair::new()?;
    // Somebody else's overlay, and somebody else's device that could be taken for ours.
    pair.h1.sh("ip link add br7 type bridge; ip link set br7 up
         ip link add vx7 type vxlan id 7 local 10.0.0.1 dstport 4790 nolearning; ip link set vx7 master br7 up
         bridge fdb append 00:00:00:00:00:00 dev vx7 dst 10.0.0.77 self permanent
         bridge fdb add 02:77:00:00:00:01 dev vx7 dst 10.0.0.77 self extern_learn
         bridge fdb add 02:77:00:00:00:01 dev vx7 master extern_learn")?;
    let foreign = |what: &str| -> Result<Vec<String>> {
        let mut lines: Vec<String> =
            pair.h1.run(&["bridge", "fdb", "show", "dev", "vx7"])?.lines().map(str::to_owned).collect();
        lines.sort();
        ensure(
            lines.iter().filter(|line| line.contains("10.0.0.77") || line.contains("02:77")).count() >= 3,
            || format!("{what}: {lines:?}"),
        )?;
        Ok(lines)
    };
    let before = foreign("before")?;
    pair.h1.evpnd(&c1().dataplane("on-exit = \"remove\"").toml())?;
    pair.h2.evpnd(&c2().toml())?;
    pair.settle()?;
    // A static row of the operator's on our own device.
    let ours = pair.h1.vxlan(VNI)?;
    pair.h1.run(&[
        "bridge",
        "fdb",
        "add",
        "02:77:00:00:00:02",
        "dev",
        &ours,
        "dst",
        "10.0.0.78",
        "self",
        "static",
    ])?;
    pair.h1.kill9()?;
    pair.h1.start()?;
    pair.settle_with("02:77:00:00:00:02", "10.0.0.78")?;
    same(&pair.h1.stop("evpnd", "TERM")?, &Some(0))?;
    same(&foreign("after")?, &before)
}

impl Pair {
    /// As `settle`, with one more MAC on h1 that is the operator's.
    fn settle_with(&self, mac: &str, vtep: &str) -> Result<()> {
        self.wait_established()?;
        self.lab.wait("the endpoints reach each other", PATIENCE, || self.e1.ping(E2))?;
        let want = [(MAC2.to_owned(), V2.to_owned()), (mac.to_owned(), vtep.to_owned())].into();
        let check = || same(&self.h1.remote_macs(&self.h1.vxlan(VNI)?)?, &want);
        self.lab.wait("the operator's row beside ours", PATIENCE, check)?;
        stays(Duration::from_secs(1), check)
    }
}

#[test]
fn devices_that_exist_are_used_and_left() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.sh(&format!(
        "ip link add brx{VNI} type bridge; ip link set brx{VNI} up
         ip link add vxx{VNI} type vxlan id {VNI} local {V1} dstport 4789 nolearning
         ip link set vxx{VNI} master brx{VNI} up; ip link set e1 master brx{VNI}"
    ))?;
    let own =
        "on-exit = \"remove\"\n[dataplane.kernel]\nmanage-devices = false\nbridge = \"brx\"\nvxlan = \"vxx\"";
    let config: Config = c1().dataplane(own);
    pair.h1.evpnd(&config.toml())?;
    pair.h2.evpnd(&c2().toml())?;
    pair.settle()?;
    same(&pair.h1.stop("evpnd", "TERM")?, &Some(0))?;
    let device = pair.h1.vxlan(VNI)?;
    same(&device, &format!("vxx{VNI}"))?;
    ensure(pair.h1.flood(&device)?.is_empty() && pair.h1.remote_macs(&device)?.is_empty(), || {
        "rows of ours are left".to_owned()
    })
}
