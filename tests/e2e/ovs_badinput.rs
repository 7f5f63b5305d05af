//! What goes wrong around Open vSwitch and in directories of clients: one clear line for each, and the rest works.

use evpnd::lab::BRIDGE;
use serde_json::Value;

use crate::common::ovs::{CLIENTS, Client, L2, L3, Site, config, underlay};
use crate::common::{Config, Error, Node, PATIENCE, Result, ensure, lab, same, wait_session};

/// The row of `show clients` for a file.
fn row(host: &Node, name: &str) -> Result<Value> {
    let rows = host.rows("clients")?;
    let found = rows.iter().find(|row| row["name"] == name).cloned();
    found.ok_or_else(|| Error::new(format!("no {name} in {rows:?}")))
}

/// Waits until evpnd says what is wrong with the dataplane, in one line with all of these words.
fn complains(site: &Site, says: &[&str]) -> Result<()> {
    site.lab.wait("a complaint", PATIENCE, || {
        let dataplane = site.host(1).show("dataplane")?;
        let error = dataplane["last_error"].as_str().unwrap_or_default();
        ensure(
            dataplane["in_sync"] == false
                && says.iter().all(|part| error.contains(part))
                && error.lines().count() == 1,
            || format!("not {says:?}: {dataplane}"),
        )
    })?;
    // The log has it, and not once for each look.
    site.lab.wait("the same in the log", PATIENCE, || {
        let log = site.host(1).log("evpnd");
        ensure(log.lines().any(|line| says.iter().all(|part| line.contains(part))), || log)
    })?;
    let log = site.host(1).log("evpnd");
    let times = log.lines().filter(|line| says.iter().all(|part| line.contains(part))).count();
    ensure(times <= 2 && !log.contains("panicked"), || log)
}

/// Two clients on h1 that reach each other: the host works.
fn works(site: &Site) -> Result<()> {
    let clients = [Client::l2("a", L2, 1), Client::l2("b", L2, 2)];
    let nodes = [site.attach(1, &clients[0])?, site.attach(1, &clients[1])?];
    site.all_reach(&[(&clients[0], &nodes[0]), (&clients[1], &nodes[1])])
}

#[test]
fn open_vswitch_does_not_run_yet() -> Result<()> {
    let site = Site::idle(1)?;
    let ovs = site.host(1).ovs();
    ovs.stop_switchd("KILL")?;
    ovs.stop_db("KILL")?;
    site.host(1).evpnd(&config(1).toml())?;
    complains(&site, &["/run/openvswitch/db.sock"])?;
    // The database alone is not enough; with both, it goes on by itself.
    site.host(1).restart("ovsdb-server")?;
    ovs.start_switchd(&[&underlay(1)])?;
    site.bridged(1)?;
    wait_session(&site.lab, site.host(1), crate::common::ovs::CONTROLLER, "established")?;
    works(&site)
}

#[test]
fn the_tools_are_not_there() -> Result<()> {
    let site = Site::idle(1)?;
    let toml = config(1).toml().replace("[dataplane.ovs]", "[dataplane.ovs]\nvsctl = \"/nowhere/ovs-vsctl\"");
    site.host(1).evpnd(&toml)?;
    complains(&site, &["/nowhere/ovs-vsctl"])
}

/// A bridge that speaks OpenFlow 1.0 alone is told of, not changed: its owner may have reasons.
#[test]
fn a_bridge_without_openflow_13() -> Result<()> {
    let site = Site::idle(1)?;
    let ovs = site.host(1).ovs();
    ovs.add_bridge(BRIDGE, "secure")?;
    ovs.vsctl(&["set", "Bridge", BRIDGE, "protocols=OpenFlow10"])?;
    site.host(1).evpnd(&config(1).toml())?;
    complains(&site, &["OpenFlow13", BRIDGE])?;
    same(&ovs.vsctl(&["get", "Bridge", BRIDGE, "protocols"])?.trim().to_owned(), &"[OpenFlow10]".to_owned())?;
    ovs.vsctl(&["set", "Bridge", BRIDGE, "protocols=OpenFlow10,OpenFlow13"])?;
    works(&site)
}

/// A directory full of mistakes, and two clients that are right.
#[test]
fn a_directory_of_broken_files() -> Result<()> {
    let site = Site::new(1)?;
    let host = site.host(1);
    let right = Client::l2("right", L2, 9).json();
    let with = |from: &str, to: &str| {
        let text = right.replace(from, to);
        assert_ne!(text, right, "no {from} in {right}");
        text.replace("02:00:00:00:00:09", "02:00:00:00:00:0a").replace("\"ofport\":109", "\"ofport\":110")
    };
    let l3 = Client::l3("l3", L3, 11).json();
    for (name, text, problem) in [
        ("json", "{ \"cfg_type\": \"l2\",".to_owned(), "line 1"),
        ("empty", String::new(), "is empty"),
        ("list", "[1, 2]".to_owned(), "an object"),
        ("rt", with("65000:100", "65000:4294967296"), "4294967296"),
        ("rt-word", with("65000:100", "blue"), "route target"),
        ("vni", with("\"vni\":100", "\"vni\":16777216"), "vni"),
        ("port", with("\"ofport\":109", "\"ofport\":65280"), "ofport"),
        ("mac", with("02:00:00:00:00:09", "03:00:00:00:00:09"), "mac"),
        ("tag", with("\"tag\":0", "\"tag\":4096"), "tag"),
        ("word", with("\"flat\"", "\"flap\""), "type"),
        ("bits", l3.replace("10.1.0.11/32", "10.1.0.11/24"), "routes"),
    ] {
        site.text(1, &format!("{name}.json"), &text)?;
        let name = format!("{name}.json");
        site.lab.wait(&name, PATIENCE, || {
            let row = row(host, &name)?;
            let says = row["problem"].as_str().unwrap_or_default();
            let good = row["state"] == "broken" && says.contains(problem) && says.lines().count() == 1;
            ensure(good && !says.is_empty(), || row.to_string())
        })?;
    }
    host.sh(&format!(
        "cd {CLIENTS}; dd if=/dev/zero of=huge.json bs=1M count=0 seek=100 2>/dev/null
         printf '{{ \"mac\": \"\\377\\376\" }}' > latin.json; ln -s loop.json loop.json; ln -s nowhere dangling.json
         mkdir dir.json; mkfifo fifo.json"
    ))?;
    for name in ["huge.json", "latin.json", "loop.json", "dangling.json"] {
        site.lab.wait(name, PATIENCE, || {
            let row = row(host, name)?;
            let says = row["problem"].as_str().unwrap_or_default();
            ensure(row["state"] == "broken" && says.lines().count() == 1, || row.to_string())
        })?;
    }
    // What is no file at all is nobody's business, and keeps nobody waiting.
    works(&site)?;
    let listed = host.rows("clients")?;
    ensure(!listed.iter().any(|row| row["name"] == "dir.json" || row["name"] == "fifo.json"), || {
        format!("{listed:?}")
    })?;
    // Somebody's port, somebody's MAC: the earlier file keeps it.
    site.file(1, &Client::l2("thief-of-port", L2, 12).port(101))?;
    site.file(1, &Client::l2("thief-of-mac", L2, 1).port(113))?;
    for (name, says) in [("thief-of-port.json", "101"), ("thief-of-mac.json", "02:00:00:00:00:01")] {
        site.lab.wait(name, PATIENCE, || {
            let row = row(host, name)?;
            let problem = row["problem"].as_str().unwrap_or_default();
            let good = row["state"] == "conflict" && problem.contains("a.json") && problem.contains(says);
            ensure(good, || row.to_string())
        })?;
    }
    // A VLAN on a flat client is ignored, as evpn-connector does, and told.
    site.text(1, "flat-tag.json", &with("\"tag\":0", "\"tag\":7"))?;
    // A port that is not there is waited for.
    site.lab.wait("it waits for its port", PATIENCE, || {
        let row = row(host, "flat-tag.json")?;
        let says = row["problem"].as_str().unwrap_or_default();
        ensure(row["state"] == "waiting" && says.contains("110") && says.contains(BRIDGE), || {
            row.to_string()
        })?;
        ensure(row["warnings"].to_string().contains("tag"), || row.to_string())
    })?;
    let a = site.lab.node("a")?;
    a.ping("10.9.0.2")?;
    a.ping("fd00:9::2")?;
    // `evpnd check` says all of it, and fails.
    let output = host.evpnd_output(&["check", "-c", evpnd::lab::CONFIG])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    for name in ["json.json", "rt.json", "bits.json", "loop.json", "huge.json", "latin.json"] {
        ensure(said.lines().any(|line| line.contains(name)), || format!("no {name} in:\n{said}"))?;
    }
    Ok(())
}

/// Keys that only one backend has, in the other's file.
#[test]
fn keys_of_another_backend() -> Result<()> {
    let lab = lab()?;
    let host = lab.host("h1")?;
    for (from, to, says) in [
        ("[clients]", "[[l2vni]]\nvni = 7\ninterfaces = [\"e1\"]\n[clients]", "interfaces"),
        ("[dataplane.ovs]", "[dataplane.ovs]\nbridge = \"-x\"", "bridge"),
        ("[dataplane.ovs]", "[dataplane.ovs]\ngateway-mac = \"01:00:5e:00:01:01\"", "gateway-mac"),
        ("[dataplane.ovs]", "[dataplane.ovs]\ndatapath-type = \"netdev\"", "datapath-type"),
    ] {
        let toml = Config::ovs(65001, "10.0.0.1").toml().replacen(from, to, 1);
        host.write(evpnd::lab::CONFIG, &toml)?;
        let output = host.evpnd_output(&["check", "-c", evpnd::lab::CONFIG])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(output.status.code() == Some(1) && said.contains(says), || format!("{says}: {said}\n{toml}"))?;
    }
    Ok(())
}
