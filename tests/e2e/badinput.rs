//! What people get wrong: one clear line, exit code 1, and nothing changed.

use evpnd::lab::{CONFIG, Node};

use crate::common::{Config, Lab, PATIENCE, Pair, Result, V1, V2, VNI, c1, ensure, lab, same};

/// A host with one port.
fn host() -> Result<(Lab, Node)> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let h1 = lab.host("h1")?.underlay(&spine, &["10.0.0.1/24"])?;
    lab.endpoint(&h1, "e1", crate::common::MAC1, &["10.9.0.1/24"])?;
    Ok((lab, h1))
}

/// Runs `evpnd run` with a configuration that it must refuse; its words must have all of `says`.
fn refused(host: &Node, config: &str, says: &[&str]) -> Result<()> {
    let before = devices(host)?;
    host.write(CONFIG, config)?;
    let output = host.evpnd_output(&["run", "-c", CONFIG])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about = || format!("exit {:?}, said:\n{said}\nto:\n{config}", output.status.code());
    ensure(output.status.code() == Some(1), about)?;
    ensure(says.iter().all(|part| said.contains(part)), || format!("not {says:?}: {}", about()))?;
    // One line with the problem; below it at most the line of the file and a mark.
    ensure(said.lines().filter(|line| line.contains("evpnd")).count() == 1, about)?;
    ensure(said.lines().count() <= 3 && !said.contains("panicked"), about)?;
    same(&devices(host)?, &before)
}

/// All devices and the bridges they are ports of.
fn devices(host: &Node) -> Result<Vec<(String, String)>> {
    let text = host.run(&["ip", "-j", "link", "show"])?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    ensure(!links.is_empty(), || text)?;
    let name = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(links.iter().map(|link| (name(&link["ifname"]), name(&link["master"]))).collect())
}

/// The same for what a look at the file alone shows: `evpnd check` says the same.
fn refused_by_check(host: &Node, config: &str, says: &[&str]) -> Result<()> {
    refused(host, config, says)?;
    let output = host.evpnd_output(&["check", "-c", CONFIG])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    ensure(says.iter().all(|part| said.contains(part)), || format!("check does not say {says:?}: {said}"))
}

#[test]
fn files_with_mistakes() -> Result<()> {
    let (_lab, h1) = host()?;
    let good = c1().toml();
    let line_of = |config: &str, text: &str| {
        let at = config.lines().position(|line| line.contains(text)).unwrap_or(0);
        format!("{CONFIG}:{}:", at + 1)
    };
    for (from, to, key) in [
        ("connect-retry = 1", "conect-retry = 1", "conect-retry"),
        ("[dataplane]", "[metrics]\n[dataplane]", "metrics"),
        ("asn = 65001", "asn = \"65001\"", "router.asn"),
        ("asn = 65001", "asn = 0", "router.asn"),
        ("asn = 65001", "asn = 4294967296", "router.asn"),
        ("vni = 100", "vni = 16777216", "vni"),
        ("address = \"10.0.0.2\"", "address = \"10.0.0.256\"", "address"),
        ("vtep = \"10.0.0.1\"", "vtep = \"here\"", "vtep"),
        ("remote-asn = 65002", "remote-asn = \"outside\"", "remote-asn"),
        ("backend = \"kernel\"", "backend = \"vpp\"", "backend"),
        ("[router]", "[[l3vni]]\nvni = 5000\n[router]", "l3vni"),
        ("[router]", "[client]\ndir = \"/x\"\n[router]", "client"),
        ("interfaces = [\"e1\"]", "interfaces = \"e1\"", "interfaces"),
        ("import-rt = [\"65000:100\"]", "import-rt = [\"65000-100\"]", "import-rt"),
        ("interfaces = [\"e1\"]", "interfaces = [\"e1\"", ""),
    ] {
        let bad = good.replace(from, to);
        ensure(bad != good, || format!("no {from} in the sample"))?;
        let mistake = to.lines().next().unwrap_or(to);
        let place = if key.is_empty() { format!("{CONFIG}:") } else { line_of(&bad, mistake) };
        refused_by_check(&h1, &bad, &[&place, key])?;
    }
    Ok(())
}

#[test]
fn vnis_that_clash() -> Result<()> {
    let (_lab, h1) = host()?;
    refused_by_check(&h1, &c1().vni(VNI, &[]).toml(), &[CONFIG, "100"])?;
    refused_by_check(&h1, &c1().vni(200, &["e1"]).toml(), &[CONFIG, "e1"])
}

/// A bridge has 4,094 VLANs, and each VNI needs one of its own.
#[test]
fn more_vnis_than_vlans() -> Result<()> {
    let (_lab, h1) = host()?;
    let single = c1().dataplane("[dataplane.kernel]\nlayout = \"single-device\"");
    let twice = single.clone().bare_vni(200, "vlan = 7").bare_vni(300, "vlan = 7").toml();
    refused_by_check(&h1, &twice, &[CONFIG, "vlan", "7"])?;
    let many = (1001..5095).fold(single, |config, vni| config.bare_vni(vni, "")).toml();
    refused_by_check(&h1, &many, &[CONFIG, "no VLAN is left"])
}

#[test]
fn an_interface_that_is_missing() -> Result<()> {
    let (_lab, h1) = host()?;
    refused(&h1, &Config::host(65001, V1).vni(VNI, &["e1", "tap77"]).toml(), &["tap77"])
}

/// The layout needs what not every kernel has: it is said, once, with the way out, and what was begun is taken back. Where
/// this machine's kernel has it, it works.
#[test]
fn vlans_where_the_kernel_has_none() -> Result<()> {
    let (lab, h1) = host()?;
    // What another layout had goes on as it is.
    h1.evpnd(&c1().toml())?;
    lab.wait("devices", PATIENCE, || {
        let all = devices(&h1)?;
        ensure(all.iter().any(|(name, master)| name == "e1" && !master.is_empty()), || format!("{all:?}"))
    })?;
    h1.kill9()?;
    let before = devices(&h1)?;
    let single = "[dataplane.kernel]\nlayout = \"single-device\"";
    h1.evpnd(&c1().dataplane(single).toml())?;
    let filtering =
        h1.sh("ip link add probe type bridge vlan_filtering 1; ip -d link show probe; ip link del probe");
    if filtering.is_ok_and(|shown| shown.contains("vlan_filtering 1")) {
        return lab.wait("the VNI", PATIENCE, || {
            let dataplane = h1.show("dataplane")?;
            ensure(dataplane["in_sync"] == true && dataplane["desired"] != 0, || dataplane.to_string())
        });
    }
    let wanted = ["no VLAN filtering", "set layout = \"device-per-vni\""];
    lab.wait("the reason", PATIENCE, || {
        let dataplane = h1.show("dataplane")?;
        let error = dataplane["last_error"].as_str().unwrap_or_default();
        ensure(wanted.iter().all(|part| error.contains(part)), || dataplane.to_string())
    })?;
    let said = h1.log("evpnd");
    same(&said.lines().filter(|line| line.contains(wanted[0])).count(), &1)?;
    same(&devices(&h1)?, &before)
}

#[test]
fn no_file() -> Result<()> {
    let (_lab, h1) = host()?;
    for command in ["run", "check"] {
        let output = h1.evpnd_output(&[command, "-c", "/run/nowhere.toml"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        same(&output.status.code(), &Some(1))?;
        ensure(said.contains("/run/nowhere.toml") && said.lines().count() == 1, || said)?;
    }
    Ok(())
}

/// Wrong usage is not a problem with the system: exit code 2.
#[test]
fn wrong_usage() -> Result<()> {
    let (_lab, h1) = host()?;
    for args in
        [&["run", "--fast"][..], &["shwo"], &["show", "everything"], &["route", "add", "mac", "--vni", "x"]]
    {
        same(&(args, h1.evpnd_output(args)?.status.code()), &(args, Some(2)))?;
    }
    Ok(())
}

#[test]
fn no_permission() -> Result<()> {
    let (_lab, h1) = host()?;
    h1.write(CONFIG, &c1().bgp("listen = []").toml())?;
    let before = devices(&h1)?;
    let output = h1
        .command("setpriv")
        .args([
            "--bounding-set=-net_admin",
            "--inh-caps=-net_admin",
            "timeout",
            "20",
            env!("CARGO_BIN_EXE_evpnd"),
        ])
        .args(["run", "-c", CONFIG])
        .output()
        .map_err(|e| crate::common::Error::new(format!("setpriv: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    same(&output.status.code(), &Some(1))?;
    ensure(said.lines().count() == 1 && (said.contains("permission") || said.contains("permitted")), || {
        said.clone()
    })?;
    ensure(said.contains("net_admin") || said.contains("root"), || said)?;
    same(&devices(&h1)?, &before)
}

/// The port is taken, or the address is not ours.
#[test]
fn a_listener_that_cannot_be() -> Result<()> {
    let (_lab, h1) = host()?;
    refused(&h1, &c1().bgp("listen = [\"10.0.0.99:179\"]").toml(), &["10.0.0.99:179"])
}

/// A second daemon on the same socket, and a client without a daemon.
#[test]
fn two_daemons_and_none() -> Result<()> {
    let pair = Pair::new()?;
    let output = pair.h1.evpnd_output(&["show", "summary"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    ensure(said.contains("/run/evpnd/evpnd.sock") && said.lines().count() == 1, || said)?;

    pair.h1.evpnd(&c1().toml())?;
    pair.h2.evpnd(&crate::common::c2().toml())?;
    pair.settle()?;
    let output = pair.h1.evpnd_output(&["run", "-c", CONFIG])?;
    same(&output.status.code(), &Some(1))?;
    pair.lab.wait("the first is not harmed", PATIENCE, || {
        crate::common::forwards_to(&pair.h1, V2, crate::common::MAC2)
    })
}
