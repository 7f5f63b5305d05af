//! The configuration read again while evpnd runs: by signal and by command, all or nothing, sessions kept.

use std::time::Duration;

use crate::common::{
    Config, E2, MAC1, PATIENCE, Pair, Result, V1, V2, VNI, c1, c2, ensure, neighbor, same, stays,
    wait_session,
};

/// The session of h1 with h2 is the first one.
fn same_session(pair: &Pair) -> Result<()> {
    let row = neighbor(&pair.h1, V2)?;
    ensure(row["state"] == "established" && row["sessions"] == 1, || row.to_string())
}

fn reload(pair: &Pair, config: &Config) -> Result<()> {
    pair.h1.write(evpnd::lab::CONFIG, &config.toml())?;
    pair.h1.evpnd_run(&["reload"]).map(drop)
}

#[test]
fn vnis_come_and_go() -> Result<()> {
    let pair = Pair::running()?;
    let e3 = pair.lab.endpoint(&pair.h1, "e3", "02:00:00:00:00:03", &["10.9.3.1/24"])?;
    let e4 = pair.lab.endpoint(&pair.h2, "e4", "02:00:00:00:00:04", &["10.9.3.2/24"])?;
    reload(&pair, &c1().vni(300, &["e3"]))?;
    // The other one by the signal.
    pair.h2.write(evpnd::lab::CONFIG, &c2().vni(300, &["e4"]).toml())?;
    pair.h2.signal("evpnd", "HUP")?;
    pair.lab.wait("the new VNI forwards", PATIENCE, || e3.ping("10.9.3.2"))?;
    e4.ping("10.9.3.1")?;
    pair.e1.ping(E2)?;
    // The two VNIs stay apart.
    e3.sh("ip addr add 10.9.0.3/24 dev eth0")?;
    ensure(e3.ping("10.9.0.2").is_err(), || "VNI 300 leaks into VNI 100".to_owned())?;

    reload(&pair, &c1())?;
    pair.lab.wait("the VNI's device gone", PATIENCE, || {
        ensure(pair.h1.vxlan(300).is_err(), || "it is still there".to_owned())
    })?;
    pair.lab.wait("its flood row gone from h2", PATIENCE, || {
        same(&pair.h2.flood(&pair.h2.vxlan(300)?)?.len(), &0)
    })?;
    pair.e1.ping(E2)?;
    same_session(&pair)
}

#[test]
fn interfaces_come_and_go() -> Result<()> {
    let pair = Pair::running()?;
    let e3 = pair.lab.endpoint(&pair.h1, "e3", "02:00:00:00:00:03", &["10.9.0.3/24"])?;
    let with = |ports: &[&str]| Config::host(65001, V1).neighbor(V2, "65002", "").vni(VNI, ports);
    reload(&pair, &with(&["e1", "e3"]))?;
    pair.lab.wait("the new port forwards", PATIENCE, || e3.ping(E2))?;
    pair.lab.wait("its MAC on h2", PATIENCE, || {
        let have = pair.h2.remote_macs(&pair.h2.vxlan(VNI)?)?;
        ensure(have.contains_key("02:00:00:00:00:03"), || format!("{have:?}"))
    })?;
    reload(&pair, &with(&["e3"]))?;
    pair.lab.wait("the other port's MAC gone from h2", PATIENCE, || {
        let have = pair.h2.remote_macs(&pair.h2.vxlan(VNI)?)?;
        ensure(!have.contains_key(MAC1), || format!("{have:?}"))
    })?;
    ensure(pair.e1.ping(E2).is_err(), || "the port is still attached".to_owned())?;
    same_session(&pair)
}

#[test]
fn neighbours_come_and_go() -> Result<()> {
    let pair = Pair::running()?;
    let h3 = pair.lab.host("h3")?.underlay(&pair.spine, &["10.0.0.3/24"])?;
    h3.evpnd(
        &Config::host(65003, "10.0.0.3")
            .neighbor(V1, "65001", "")
            .bare_vni(VNI, "import-rt = [\"65000:100\"]\nexport-rt = [\"65000:100\"]")
            .toml(),
    )?;
    reload(&pair, &c1().neighbor("10.0.0.3", "65003", ""))?;
    wait_session(&pair.lab, &pair.h1, "10.0.0.3", "established")?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("both VTEPs in the flood list", PATIENCE, || {
        same(&pair.h1.flood(&device)?, &[V2.to_owned(), "10.0.0.3".to_owned()].into())
    })?;
    reload(&pair, &c1())?;
    pair.lab.wait("one gone", PATIENCE, || same(&pair.h1.flood(&device)?, &[V2.to_owned()].into()))?;
    ensure(neighbor(&pair.h1, "10.0.0.3").is_err(), || "still shown".to_owned())?;
    same_session(&pair)
}

/// A route target that changes is announced anew and imported anew, without a new session.
#[test]
fn route_targets_change() -> Result<()> {
    let pair = Pair::running()?;
    let other = |n: u32| {
        let rt = format!("import-rt = [\"65000:{n}\"]\nexport-rt = [\"65000:{n}\"]\ninterfaces = [\"e1\"]");
        Config::host(65001, V1).neighbor(V2, "65002", "").bare_vni(VNI, &rt)
    };
    reload(&pair, &other(999))?;
    let nothing = |node: &evpnd::lab::Node| {
        let device = node.vxlan(VNI)?;
        same(&(node.flood(&device)?.len(), node.remote_macs(&device)?.len()), &(0, 0))
    };
    pair.lab.wait("nothing on h1", PATIENCE, || nothing(&pair.h1))?;
    pair.lab.wait("nothing on h2", PATIENCE, || nothing(&pair.h2))?;
    reload(&pair, &other(VNI))?;
    pair.wait_forwarding()?;
    same_session(&pair)
}

#[test]
fn a_bad_file_changes_nothing() -> Result<()> {
    let pair = Pair::running()?;
    let links = pair.h1.run(&["ip", "-br", "link"])?;
    let text = format!("{}\n[bgp.nonsense]\nx = 1\n", c1().vni(300, &[]).toml());
    pair.h1.write(evpnd::lab::CONFIG, &text)?;
    let output = pair.h1.evpnd_output(&["reload"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    ensure(said.contains("evpnd.toml:") && said.contains("nonsense"), || said)?;
    pair.h1.signal("evpnd", "HUP")?;
    pair.lab.wait("the reason in the log", PATIENCE, || {
        let log = pair.h1.log("evpnd");
        ensure(log.contains("nonsense"), || log)
    })?;
    // And one that is good, but not for a daemon that runs.
    pair.h1.write(
        evpnd::lab::CONFIG,
        &c1().vni(300, &[]).dataplane("[dataplane.kernel]\nlayout = \"single-device\"").toml(),
    )?;
    let output = pair.h1.evpnd_output(&["reload"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    let reason = "dataplane.kernel.layout cannot change while running: restart evpnd";
    ensure(said.contains(reason), || said)?;
    pair.h1.signal("evpnd", "HUP")?;
    pair.lab.wait("that reason in the log", PATIENCE, || {
        let log = pair.h1.log("evpnd");
        ensure(log.contains(reason), || log)
    })?;
    stays(Duration::from_secs(1), || same(&pair.h1.run(&["ip", "-br", "link"])?, &links))?;
    pair.e1.ping(E2)?;
    pair.wait_forwarding()?;
    same_session(&pair)
}
