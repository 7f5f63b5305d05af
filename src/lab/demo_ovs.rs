//! `evpnd lab run --backend ovs`: clients of Open vSwitch from their files, the flows they become, and what goes on
//! forwarding when ovs-vswitchd or evpnd is killed.

use serde_json::Value;

use super::demo::{PATIENCE, Show, pings};
use super::matrix::Round;
use super::node::Node;
use super::ovs::BRIDGE;
use super::shape::Kind;
use super::topology::{Endpoint, Host, Net};
use super::{Error, Result};

/// Ports and client files for all endpoints, and evpnd's word that they are up.
pub(super) fn attach(show: &Show, net: &Net) -> Result<()> {
    show.step("bridges made by evpnd", || {
        for host in &net.hosts {
            net.lab.wait("the bridge", PATIENCE, || host.node.ovs().vsctl(&["br-exists", BRIDGE]))?;
        }
        Ok(((), format!("{BRIDGE} on each")))
    })?;
    show.step("endpoints plugged in", || {
        for host in &net.hosts {
            host.endpoints.iter().try_for_each(|endpoint| net.attach(host, endpoint))?;
        }
        let files = net.endpoints().count();
        Ok(((), format!("{files} client files: flat, VLAN and routed in turn")))
    })?;
    show.step("clients up", || {
        let mut count = Vec::new();
        for host in &net.hosts {
            net.lab.wait("clients", PATIENCE, || {
                let rows = host.node.rows("clients")?;
                let up = rows.iter().filter(|row| row["state"] == "up").count();
                let all = up == host.endpoints.len();
                if all { Ok(()) } else { Err(Error::new(format!("{}: {rows:?}", host.node.name()))) }
            })?;
            count.push(format!("{} {}", host.node.name(), host.endpoints.len()));
        }
        Ok(((), count.join(", ")))
    })?;
    show.step("flows to all clients", || everywhere(net))
}

/// Waits until each host has a flow towards each endpoint.
fn everywhere(net: &Net) -> Result<((), String)> {
    let mut count = Vec::new();
    for host in &net.hosts {
        let all = net.lab.wait("flows to all", PATIENCE, || {
            let flows = host.node.ovs().flows()?;
            let to = |endpoint: &Endpoint| flows.iter().any(|flow| is_towards(flow, endpoint));
            match net.endpoints().find(|(_, endpoint)| !to(endpoint)) {
                None => Ok(flows.len()),
                Some((_, missing)) => {
                    Err(Error::new(format!("{}: none to {}", host.node.name(), missing.node.name())))
                }
            }
        })?;
        count.push(format!("{} {all}", host.node.name()));
    }
    Ok(((), format!("{} flows in all", count.join(", "))))
}

/// Pings, tables, and two crashes.
pub(super) fn work(show: &Show, net: &Net) -> Result<()> {
    rounds(show, net)?;
    let first = &net.hosts[0];
    let table = show.step("evpnd show clients on h1", || {
        let table = first.node.evpnd_run(&["show", "clients"])?;
        let says = format!("{} lines", table.lines().count());
        Ok((table, says))
    })?;
    Show::detail(&table.lines().take(40).collect::<Vec<_>>().join("\n"));
    extract(show, first)?;
    let last = &net.hosts[net.hosts.len() - 1];
    switch_killed(show, net, last)?;
    agent_killed(show, net, last)?;
    rounds(show, net)
}

/// Pings inside the hosts, where there are two of a kind, and across.
fn rounds(show: &Show, net: &Net) -> Result<()> {
    if net.hosts[0].endpoints.len() > 1 {
        pings(show, net, "pings inside the hosts", Round::Inside)?;
    }
    pings(show, net, "pings across the hosts", Round::Across)
}

/// The flows by which the first endpoint of each kind is known on its way in and out.
fn extract(show: &Show, host: &Host) -> Result<()> {
    let flows = show.step("ovs-ofctl dump-flows on h1", || {
        let flows = host.node.ovs().flows()?;
        let says = format!("{} flows, of them for the first endpoint of each kind:", flows.len());
        Ok((flows, says))
    })?;
    let kinds =
        [|k: Kind| k == Kind::Flat, |k: Kind| matches!(k, Kind::Vlan(_)), |k: Kind| k == Kind::Routed];
    for kind in kinds {
        let Some(endpoint) = host.endpoints.iter().find(|e| kind(e.seat.kind)) else { continue };
        Show::detail(&format!(
            "{} ({}, ofport {})",
            endpoint.node.name(),
            what(endpoint),
            endpoint.seat.ofport
        ));
        let of_it = flows.iter().filter(|flow| concerns(flow, endpoint));
        for flow in of_it {
            // The cookie is ours on all of them.
            let flow = flow.split_once(", ").map_or(flow.as_str(), |(_, rest)| rest);
            Show::detail(&format!("  {}", flow.trim()));
        }
    }
    Ok(())
}

fn what(endpoint: &Endpoint) -> String {
    match endpoint.seat.kind {
        Kind::Flat => "flat".to_owned(),
        Kind::Vlan(tag) => format!("VLAN {tag}"),
        Kind::Routed => "routed".to_owned(),
    }
}

/// Whether a flow takes packets from an endpoint, or knows it as a destination.
fn concerns(flow: &str, endpoint: &Endpoint) -> bool {
    let fields = fields(flow);
    let port = format!("in_port={}", endpoint.seat.ofport);
    let tag = match endpoint.seat.kind {
        Kind::Vlan(tag) => fields.contains(&format!("dl_vlan={tag}").as_str()),
        Kind::Flat | Kind::Routed => true,
    };
    (fields.contains(&port.as_str()) && tag) || is_towards(flow, endpoint) || delivers(flow, endpoint)
}

/// Whether a flow hands packets to an endpoint's port (docs/ovs-pipeline.md: register 6 is the client they are for).
fn delivers(flow: &str, endpoint: &Endpoint) -> bool {
    let tag = if let Kind::Vlan(tag) = endpoint.seat.kind { tag } else { 0 };
    let client = format!("reg6=0x{:x}", u32::from(endpoint.seat.ofport) << 16 | u32::from(tag));
    let fields = fields(flow);
    fields.contains(&client.as_str()) && !fields.iter().any(|field| field.starts_with("reg5="))
}

/// Whether a flow says where an endpoint is.
fn is_towards(flow: &str, endpoint: &Endpoint) -> bool {
    let field = match endpoint.seat.kind {
        Kind::Routed => format!("nw_dst={}", endpoint.seat.address),
        Kind::Flat | Kind::Vlan(_) => format!("dl_dst={}", endpoint.seat.mac),
    };
    fields(flow).contains(&field.as_str())
}

fn fields(flow: &str) -> Vec<&str> {
    let matches = flow.split_once(" actions=").map_or(flow, |(matches, _)| matches);
    matches.split([',', ' ']).collect()
}

/// ovs-vswitchd is killed and takes all flows with it; it comes back, and so do they.
fn switch_killed(show: &Show, net: &Net, host: &Host) -> Result<()> {
    let (name, ovs) = (host.node.name(), host.node.ovs());
    let before = ovs.flows()?;
    show.step(&format!("kill -9 of {name}'s ovs-vswitchd"), || {
        ovs.stop_switchd("KILL")?;
        ovs.start_switchd(&[&format!("{}/24", host.vtep())])?;
        Ok(((), "and started again, without a flow".to_owned()))
    })?;
    show.step("its flows are back", || {
        net.lab.wait("the flows", PATIENCE, || {
            let now = ovs.flows()?;
            let back = before.iter().filter(|flow| now.contains(flow)).count();
            let all = back == before.len() && now.len() == before.len();
            if all { Ok(()) } else { Err(Error::new(format!("{back} of {}", before.len()))) }
        })?;
        Ok(((), format!("{0} of {0}, the same", before.len())))
    })?;
    // Its tunnels have forgotten their neighbours, too.
    net.warm()?;
    rounds(show, net)
}

/// evpnd is killed and comes back: what is on its host goes on, without a packet lost.
fn agent_killed(show: &Show, net: &Net, host: &Host) -> Result<()> {
    const PINGS: usize = 200;
    let (name, ovs) = (host.node.name(), host.node.ovs());
    let before = ovs.flows()?;
    let pair = host.endpoints.first().zip(host.endpoints.get(1));
    if let Some((from, to)) = pair {
        let count = PINGS.to_string();
        from.node.spawn("stream", &["ping", "-n", "-q", "-i", "0.01", "-c", &count, &to.seat.address])?;
    }
    show.step(&format!("kill -9 of {name}'s evpnd"), || host.node.kill9().map(|()| ((), String::new())))?;
    if let Some((from, _)) = pair {
        show.step("pings meanwhile", || {
            net.lab.wait("the pings", PATIENCE, || ended(&from.node))?;
            let log = from.node.log("stream");
            let says =
                log.lines().find(|line| line.contains("packets transmitted")).unwrap_or(&log).to_owned();
            if says.contains(" 0% packet loss") { Ok(((), says)) } else { Err(Error::new(says)) }
        })?;
    }
    show.step(&format!("{name}'s evpnd started again"), || {
        host.node.start()?;
        net.lab.wait("everything as it should be", PATIENCE, || {
            let row = host.node.show("dataplane")?;
            if row["in_sync"] == Value::Bool(true) { Ok(()) } else { Err(Error::new(row.to_string())) }
        })?;
        let same = ovs.flows()? == before;
        let says = if same { "flows adopted, not one changed" } else { "flows are being caught up" };
        Ok(((), says.to_owned()))
    })?;
    show.step("BGP sessions up", || {
        super::demo::wait_sessions(net).map(|()| ((), format!("{} at the controller", net.hosts.len())))
    })?;
    show.step("flows as before", || {
        everywhere(net)?;
        net.lab.wait("the flows", PATIENCE, || {
            if ovs.flows()? == before { Ok(()) } else { Err(Error::new("flows differ")) }
        })?;
        Ok(((), format!("{} of them", before.len())))
    })
}

fn ended(node: &Node) -> Result<()> {
    if node.running("stream") { Err(Error::new("still pinging")) } else { Ok(()) }
}
