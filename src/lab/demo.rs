//! `evpnd lab run`: the network at work, step by step, each with its time.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use types::Time;

use super::args::{Backend, Layout};
use super::matrix::{Matrix, Round};
use super::net::Lab;
use super::shape::{CONTROLLER, Shape, VNI, VRF};
use super::topology::{Forwarding, Net};
use super::{Error, Result, demo_overlays, demo_ovs, pictures};
use crate::clock;

/// Everything happens in well under a second; this is for a machine that is busy with something else.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Prints what happens, with its time.
pub(super) struct Show {
    start: Time,
    colour: bool,
}

impl Show {
    pub(super) fn new() -> Self {
        Self { start: clock::now(), colour: colourful() }
    }

    /// Does a step and prints its outcome in one line.
    pub(super) fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        let begun = clock::now();
        let outcome = work();
        let at = clock::now().since(self.start).as_secs_f64();
        let took = clock::now().since(begun).as_secs_f64() * 1000.0;
        let (mark, colour) = if outcome.is_ok() { ("ok  ", "\x1b[32m") } else { ("FAIL", "\x1b[31m") };
        let (on, off) = if self.colour { (colour, "\x1b[0m") } else { ("", "") };
        let says = outcome.as_ref().map_or("", |(_, says)| says.as_str());
        say(format!("{at:7.2} s  {on}{mark}{off}  {name:<30} {took:6.0} ms  {says}").trim_end());
        outcome.map(|(value, _)| value)
    }

    /// Prints something that belongs to the step before it.
    pub(super) fn detail(text: &str) {
        for line in text.lines() {
            say(format!("                {line}").trim_end());
        }
    }
}

/// Whether whoever reads sees colours: on a terminal, or one that somebody else holds for us.
pub(super) fn colourful() -> bool {
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|forced| forced != "0");
    std::env::var_os("NO_COLOR").is_none() && (forced || stdout().is_terminal())
}

/// Prints a line. Whoever has stopped to read (`| head`) does not change what the lab does.
pub(super) fn say(line: impl Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Builds, shows, breaks and mends the network.
pub(super) fn run(shape: Shape, dir: &Path) -> Result<()> {
    say(format!(
        "evpnd lab: a controller (AS 64512) and {} hosts (AS 65001-{}), {} endpoint{} on each, {}\n",
        shape.hosts,
        65000 + u32::from(shape.hosts),
        shape.endpoints,
        if shape.endpoints == 1 { "" } else { "s" },
        networks(shape),
    ));
    let show = Show::new();
    let net = stand_up(&show, Lab::new()?, shape)?;
    match shape.backend {
        Backend::Kernel if shape.overlays > 1 => {
            demo_overlays::work(&show, &net)?;
            kill_and_mend(&show, &net)?;
        }
        Backend::Kernel => {
            work(&show, &net)?;
            kill_and_mend(&show, &net)?;
        }
        Backend::Ovs => demo_ovs::work(&show, &net)?,
    }
    show.step("pictures of it all", || {
        let says = pictures::draw(&net, dir)?;
        Ok(((), says))
    })?;
    drop(net);
    say("\nAll of it worked, and nothing is left behind but the pictures.");
    Ok(())
}

/// What the endpoints are in, in words.
fn networks(shape: Shape) -> String {
    if shape.backend == Backend::Ovs {
        return format!("VNI {VNI} and VRF {VRF}, Open vSwitch");
    }
    let vnis = match shape.vnis().last() {
        Some(last) if last > VNI => format!("VNIs {VNI}-{last}"),
        _ => format!("VNI {VNI}"),
    };
    match shape.layout {
        Layout::DevicePerVni => vnis,
        Layout::SingleDevice => format!("{vnis} on one VXLAN device"),
    }
}

/// The network built and its sessions up.
pub(super) fn stand_up(show: &Show, lab: Lab, shape: Shape) -> Result<Net> {
    let net = show.step("namespaces and links", || {
        let net = Net::build(lab, shape)?;
        let says = format!("{} in a {} of our own", net.lab.nodes().len(), place(&net));
        Ok((net, says))
    })?;
    show.step("evpnd started", || net.start().map(|()| ((), format!("{} of them", net.hosts.len() + 1))))?;
    show.step("BGP sessions up", || {
        wait_sessions(&net).map(|()| ((), format!("{} at the controller", net.hosts.len())))
    })?;
    match shape.backend {
        Backend::Kernel => {
            if shape.layout == Layout::SingleDevice {
                demo_overlays::vlans(show, &net)?;
            }
            show.step("flood rows in the FDBs", || wait_flood(&net, &[]))?;
        }
        Backend::Ovs => demo_ovs::attach(show, &net)?,
    }
    Ok(net)
}

fn place(net: &Net) -> &'static str {
    if net.lab.world().user() { "user namespace" } else { "network namespace" }
}

/// Pings inside hosts, the MACs they teach, pings across hosts, and one host's routes.
fn work(show: &Show, net: &Net) -> Result<()> {
    let first = &net.hosts[0];
    let alone = first.endpoints.len() == 1;
    if !alone {
        pings(show, net, "pings inside the hosts", Round::Inside)?;
        show.step("MACs in the FDBs", || wait_macs(net, &[]))?;
    }
    pings(show, net, "pings across the hosts", Round::Across)?;
    if alone {
        show.step("MACs in the FDBs", || wait_macs(net, &[]))?;
    }
    let table = show.step("evpnd show routes on h1", || {
        let table = first.node.evpnd_run(&["show", "routes"])?;
        let says = format!("{} lines", table.lines().count());
        Ok((table, says))
    })?;
    let lines: Vec<&str> = table.lines().collect();
    Show::detail(&lines[..lines.len().min(40)].join("\n"));
    Ok(())
}

/// The last host's evpnd killed, what the others do about it, and back again.
fn kill_and_mend(show: &Show, net: &Net) -> Result<()> {
    let last = net.hosts.len() - 1;
    let host = &net.hosts[last];
    let name = host.node.name();
    let single = net.shape.layout == Layout::SingleDevice;
    let vlans = single.then(|| demo_overlays::told(host)).transpose()?;
    show.step(&format!("kill -9 of {name}'s evpnd"), || host.node.kill9().map(|()| ((), String::new())))?;
    show.step(&format!("rows for {name} gone elsewhere"), || {
        wait_flood(net, &[last])?;
        wait_macs(net, &[last])?;
        Ok(((), format!("no row for {} left on {}", host.vtep(), others(net, last))))
    })?;
    show.step(&format!("{name}'s evpnd started again"), || host.node.start().map(|()| ((), String::new())))?;
    if let Some(before) = vlans {
        show.step("VLANs as before", || {
            net.lab.wait("VLANs", PATIENCE, || {
                let now = demo_overlays::told(host)?;
                if now == before { Ok(()) } else { Err(Error::new(format!("{now:?}, not {before:?}"))) }
            })?;
            Ok(((), format!("{name} took up the VLANs it had: {}", before.len())))
        })?;
    }
    show.step("flood rows back", || wait_flood(net, &[]))?;
    show.step("MACs back", || wait_macs(net, &[]))?;
    if net.shape.overlays > 1 {
        return demo_overlays::pings(show, net, false);
    }
    pings(show, net, "pings across the hosts", Round::Across)
}

fn others(net: &Net, but: usize) -> String {
    let names = net.hosts.iter().enumerate().filter(|(at, _)| *at != but).map(|(_, host)| host.node.name());
    names.collect::<Vec<_>>().join(", ")
}

/// A round of pings as a step, its matrix below it.
pub(super) fn pings(show: &Show, net: &Net, name: &str, round: Round) -> Result<()> {
    let (matrix, outcome) = round_of_pings(show, net, name, round);
    Show::detail(&matrix.table(net));
    outcome
}

/// A round of pings as a step.
pub(super) fn round_of_pings(show: &Show, net: &Net, name: &str, round: Round) -> (Matrix, Result<()>) {
    let mut matrix = Matrix::default();
    let outcome = show.step(name, || {
        matrix = net.ping(round)?;
        let (good, says) = matrix.verdict(net);
        if good { Ok(((), says)) } else { Err(Error::new(says)) }
    });
    (matrix, outcome)
}

pub(super) fn wait_sessions(net: &Net) -> Result<()> {
    net.lab.wait("sessions", PATIENCE, || {
        for host in &net.hosts {
            for (node, peer) in [(&host.node, CONTROLLER), (&net.controller, &host.vtep())] {
                let state = node.session(peer)?;
                if state.as_deref() != Some("established") {
                    return Err(Error::new(format!("{}: {peer} is {state:?}", node.name())));
                }
            }
        }
        Ok(())
    })
}

/// Waits for the flood rows of every host but those that are down.
pub(super) fn wait_flood(net: &Net, down: &[usize]) -> Result<((), String)> {
    let count = wait_rows(net, down, "flood rows", |vni| vni.flood.len(), |a, b| a.flood == b.flood)?;
    let first = net.expected(0, down);
    match first.values().next() {
        Some(vni) if first.len() == 1 => {
            let list: Vec<&str> = vni.flood.iter().map(String::as_str).collect();
            Ok(((), format!("{} -> {}", net.hosts[0].node.name(), list.join(" "))))
        }
        _ => Ok(((), count)),
    }
}

/// Waits for the remote MACs of every host but those that are down.
pub(super) fn wait_macs(net: &Net, down: &[usize]) -> Result<((), String)> {
    wait_rows(net, down, "remote MACs", |vni| vni.macs.len(), |a, b| a.macs == b.macs)
        .map(|count| ((), count))
}

/// Waits until every host but those that are down has what it must have of each VNI; how much that is.
fn wait_rows(
    net: &Net,
    down: &[usize],
    what: &str,
    count: impl Fn(&Forwarding) -> usize,
    same: impl Fn(&Forwarding, &Forwarding) -> bool,
) -> Result<String> {
    let none = Forwarding::default();
    let mut says = Vec::new();
    for (at, host) in net.hosts.iter().enumerate().filter(|(at, _)| !down.contains(at)) {
        let want = net.expected(at, down);
        net.lab.wait(what, PATIENCE, || {
            let have = net.found(at)?;
            for vni in want.keys().chain(have.keys()) {
                let (want, have) = (want.get(vni).unwrap_or(&none), have.get(vni).unwrap_or(&none));
                if !same(want, have) {
                    let name = host.node.name();
                    return Err(Error::new(format!("{name}: VNI {vni} has {have:?}, not {want:?}")));
                }
            }
            Ok(())
        })?;
        says.push(format!("{} {}", host.node.name(), want.values().map(&count).sum::<usize>()));
    }
    says.truncate(8);
    Ok(says.join(", "))
}
