//! Hosts whose endpoints come from client files alone.

use std::time::Duration;

use serde_json::Value;

use crate::common::{
    Config, E1, E2, Error, Lab, MAC1, MAC2, Node, PATIENCE, Pair, Result, V1, V2, VNI, ensure, routes, same,
    stays,
};

const DIR: &str = "/run/clients";

/// A configuration that knows of no VNI.
fn config(asn: u32, vtep: &str, peer: &str, peer_asn: &str) -> String {
    let bare = Config::host(asn, vtep).neighbor(peer, peer_asn, "").toml();
    format!("{bare}\n[clients]\ndir = \"{DIR}\"\n")
}

fn client(mac: &str, ip: &str, interface: &str) -> String {
    format!(
        "{{ \"cfg_type\": \"l2\", \"mac\": \"{mac}\", \"ip\": \"{ip}\", \"vni\": {VNI}, // as evpn-connector has it\n  \
         \"interface\": \"{interface}\", \"type\": \"flat\", \"tag\": 0,\n  \
         \"imp_rt\": [\"65000:{VNI}\"], \"exp_rt\": [\"65000:{VNI}\"] }}\n"
    )
}

/// Writes a client file, as most programs do: beside it, then over it.
fn write(host: &Node, name: &str, text: &str) -> Result<()> {
    host.write(&format!("{DIR}/.{name}.new"), text)?;
    host.sh(&format!("mv {DIR}/.{name}.new {DIR}/{name}")).map(drop)
}

fn row(host: &Node, name: &str) -> Result<Value> {
    let rows = host.rows("clients")?;
    let found = rows.iter().find(|row| row["name"] == name).cloned();
    found.ok_or_else(|| Error::new(format!("{}: no client {name} in {rows:?}", host.name())))
}

fn wait_state(lab: &Lab, host: &Node, name: &str, state: &str) -> Result<Value> {
    lab.wait(&format!("{}: {name} {state}", host.name()), PATIENCE, || {
        let row = row(host, name)?;
        ensure(row["state"] == state, || row.to_string()).map(|()| row)
    })
}

/// The MACs, with addresses, and the flooding that `host` has from `peer`.
fn heard(host: &Node, peer: &str) -> Result<(Vec<String>, usize)> {
    let mut macs: Vec<String> = routes(host, 2, peer)?
        .iter()
        .map(|row| format!("{} {}", row["mac"].as_str().unwrap_or("-"), row["ip"].as_str().unwrap_or("-")))
        .collect();
    macs.sort();
    Ok((macs, routes(host, 3, peer)?.len()))
}

/// Two hosts with one client each; both up, and reaching each other.
fn running() -> Result<Pair> {
    let pair = Pair::new()?;
    for (host, file) in [(&pair.h1, client(MAC1, E1, "e1")), (&pair.h2, client(MAC2, E2, "e2"))] {
        host.sh(&format!("mkdir {DIR}"))?;
        write(host, "vm.json", &file)?;
    }
    pair.h1.evpnd(&config(65001, V1, V2, "65002"))?;
    pair.h2.evpnd(&config(65002, V2, V1, "65001"))?;
    pair.wait_established()?;
    wait_state(&pair.lab, &pair.h1, "vm.json", "up")?;
    wait_state(&pair.lab, &pair.h2, "vm.json", "up")?;
    Ok(pair)
}

#[test]
fn clients_of_two_hosts_reach_each_other() -> Result<()> {
    let pair = running()?;
    // Announced before either has said a word.
    pair.lab.wait("h1's client on h2", PATIENCE, || {
        same(&heard(&pair.h2, V1)?, &(vec![format!("{MAC1} -"), format!("{MAC1} {E1}")], 1))
    })?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;
    pair.e2.ping(E1)?;
    let shown = row(&pair.h1, "vm.json")?;
    ensure(
        shown["interface"] == "e1" && shown["announced"] == 2 && shown["vni"] == VNI && shown["ips"][0] == E1,
        || shown.to_string(),
    )?;
    let said = pair.h1.evpnd_run(&["show", "clients"])?;
    ensure(said.contains("up; anti_spoof: the kernel backend does not check"), || said.clone())?;

    // A host that is silent for longer than bridges remember stays where its file says.
    pair.h1.sh(&format!("ip link set br-evpn-{VNI} type bridge ageing_time 100"))?;
    pair.e1.sh("ip link set eth0 down; ip link set eth0 arp off; ip link set eth0 up")?;
    stays(Duration::from_secs(3), || same(&heard(&pair.h2, V1)?.0.len(), &2))?;
    pair.e1.sh("ip link set eth0 arp on")?;

    // The file goes, and so do its routes; with the last client, the VNI.
    pair.h1.sh(&format!("rm {DIR}/vm.json"))?;
    pair.lab.wait("nothing of h1 on h2", PATIENCE, || same(&heard(&pair.h2, V1)?, &(vec![], 0)))?;
    ensure(pair.e1.ping(E2).is_err(), || "a client without a file is connected".to_owned())?;
    write(&pair.h1, "vm.json", &client(MAC1, E1, "e1"))?;
    pair.lab.wait("all of it again", PATIENCE, || pair.e1.ping(E2))
}

/// Broken files, files for the same place, ports that are not there: each is told, and nobody else notices.
#[test]
fn a_bad_file_disturbs_nobody() -> Result<()> {
    let pair = running()?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;
    let before = heard(&pair.h2, V1)?;
    let capture = pair.h1.capture("eth0", "tcp port 179 and tcp[((tcp[12] & 0xf0) >> 2) + 18] = 2")?;

    write(
        &pair.h1,
        "broken.json",
        "{ \"mac\": \"02:00:00:00:00:09\",\n \"vni\": 0, \"interface\": \"e9\" }",
    )?;
    let shown = wait_state(&pair.lab, &pair.h1, "broken.json", "broken")?;
    ensure(
        shown["line"] == 2
            && shown["problem"] == "line 2: vni: expected a number from 1 to 16777215, found 0",
        || shown.to_string(),
    )?;
    // What a file said before it was broken stays.
    write(&pair.h1, "vm.json", "{ \"cfg_type\": \"l2\",")?;
    let shown = wait_state(&pair.lab, &pair.h1, "vm.json", "broken-kept")?;
    ensure(shown["mac"] == MAC1 && shown["in_use"] == true, || shown.to_string())?;
    write(&pair.h1, "xtra.json", &client("02:00:00:00:00:08", "10.9.0.8", "e1"))?;
    let shown = wait_state(&pair.lab, &pair.h1, "xtra.json", "conflict")?;
    ensure(shown["problem"] == "vm.json has e1", || shown.to_string())?;
    write(&pair.h1, "later.json", &client("02:00:00:00:00:07", "10.9.0.7", "tap7"))?;
    pair.lab.wait("it waits for its port", PATIENCE, || {
        let shown = row(&pair.h1, "later.json")?;
        let problem = "there is no interface tap7 yet";
        ensure(shown["state"] == "waiting" && shown["problem"] == problem, || shown.to_string())
    })?;
    pair.h1.sh(&format!(
        "dd if=/dev/zero of={DIR}/huge.json bs=1M count=0 seek=100 2>/dev/null; mkfifo {DIR}/fifo.json"
    ))?;
    let shown = wait_state(&pair.lab, &pair.h1, "huge.json", "broken")?;
    ensure(shown["problem"] == "has 102400 KiB, a client file at most 1024: not read", || shown.to_string())?;

    pair.e1.ping(E2)?;
    same(&heard(&pair.h2, V1)?, &before)?;
    let updates = capture.fields("bgp", &["frame.time"])?;
    same(&updates.len(), &0)?;
    let events = pair.h1.evpnd_run(&["events"])?;
    for line in ["client broken.json: line 2: vni:", "client xtra.json: conflict: vm.json has e1"] {
        ensure(events.contains(line), || format!("no {line:?} in\n{events}"))?;
    }
    // `check` says the same of all of them, and a reload is no reason to drop anything.
    let output = pair.h1.evpnd_output(&["check", "-c", evpnd::lab::CONFIG])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same(&output.status.code(), &Some(1))?;
    ensure(
        ["broken.json:2: vni", "vm.json:1", "huge.json: has"].iter().all(|part| said.contains(part)),
        || said.clone(),
    )?;
    pair.h1.evpnd_run(&["reload"])?;
    pair.e1.ping(E2)?;
    // A port that comes makes its client.
    pair.h1.sh("ip tuntap add tap7 mode tap")?;
    wait_state(&pair.lab, &pair.h1, "later.json", "up")?;
    pair.lab.wait("its route on h2", PATIENCE, || same(&heard(&pair.h2, V1)?.0.len(), &4))?;
    pair.h1.sh("ip link del tap7")?;
    pair.lab.wait("its route gone from h2", PATIENCE, || same(&heard(&pair.h2, V1)?, &before))
}

/// kill -9 and start again: the clients are there before anything is taken away.
#[test]
fn a_restart_loses_no_packet() -> Result<()> {
    let pair = running()?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;
    let ports = pair.h1.run(&["ip", "-o", "link", "show", "master", &format!("br-evpn-{VNI}")])?;
    pair.h1.stop("evpnd", "KILL")?;
    pair.h1.restart("evpnd")?;
    wait_state(&pair.lab, &pair.h1, "vm.json", "up")?;
    same(&pair.h1.run(&["ip", "-o", "link", "show", "master", &format!("br-evpn-{VNI}")])?, &ports)?;
    pair.wait_established()?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))
}
