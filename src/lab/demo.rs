//! `evpnd lab run`: the network at work, step by step, each with its time.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use types::Time;

use super::args::{Backend, Size};
use super::net::Lab;
use super::topology::{CONTROLLER, Matrix, Net, VNI, VRF};
use super::{Error, Result, demo_ovs, pictures};
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
        let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { start: clock::now(), colour }
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

/// Prints a line. Whoever has stopped to read (`| head`) does not change what the lab does.
pub(super) fn say(line: impl Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Builds, shows, breaks and mends the network.
pub(super) fn run(size: Size) -> Result<()> {
    let what = match size.backend {
        Backend::Kernel => format!("VNI {VNI}"),
        Backend::Ovs => format!("VNI {VNI} and VRF {VRF}, Open vSwitch"),
    };
    say(format!(
        "evpnd lab: a controller (AS 64512) and {} hosts (AS 65001-{}), {} endpoint{} on each, {what}\n",
        size.hosts,
        65000 + u32::from(size.hosts),
        size.endpoints,
        if size.endpoints == 1 { "" } else { "s" },
    ));
    let show = Show::new();
    let net = stand_up(&show, Lab::new()?, size)?;
    match size.backend {
        Backend::Kernel => {
            work(&show, &net)?;
            kill_and_mend(&show, &net)?;
        }
        Backend::Ovs => demo_ovs::work(&show, &net)?,
    }
    show.step("pictures of it all", || {
        let says = pictures::draw(&net.controller, &pictures::own_dir()?)?;
        Ok(((), says))
    })?;
    drop(net);
    say("\nAll of it worked, and nothing is left behind but the pictures.");
    Ok(())
}

/// The network built and its sessions up.
pub(super) fn stand_up(show: &Show, lab: Lab, size: Size) -> Result<Net> {
    let net = show.step("namespaces and links", || {
        let net = Net::build(lab, size)?;
        let says = format!("{} in a {} of our own", net.lab.nodes().len(), place(&net));
        Ok((net, says))
    })?;
    show.step("evpnd started", || net.start().map(|()| ((), format!("{} of them", net.hosts.len() + 1))))?;
    show.step("BGP sessions up", || {
        wait_sessions(&net).map(|()| ((), format!("{} at the controller", net.hosts.len())))
    })?;
    match size.backend {
        Backend::Kernel => show.step("flood rows in the FDBs", || wait_flood(&net, &[]))?,
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
        pings(show, net, "pings inside the hosts", true)?;
        show.step("MACs in the FDBs", || wait_macs(net, &[]))?;
    }
    pings(show, net, "pings across the hosts", false)?;
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
    show.step(&format!("kill -9 of {name}'s evpnd"), || host.node.kill9().map(|()| ((), String::new())))?;
    show.step(&format!("rows for {name} gone elsewhere"), || {
        wait_flood(net, &[last])?;
        wait_macs(net, &[last])?;
        Ok(((), format!("no row for {} left on {}", host.vtep(), others(net, last))))
    })?;
    show.step(&format!("{name}'s evpnd started again"), || host.node.start().map(|()| ((), String::new())))?;
    show.step("flood rows back", || wait_flood(net, &[]))?;
    show.step("MACs back", || wait_macs(net, &[]))?;
    pings(show, net, "pings across the hosts", false)
}

fn others(net: &Net, but: usize) -> String {
    let names = net.hosts.iter().enumerate().filter(|(at, _)| *at != but).map(|(_, host)| host.node.name());
    names.collect::<Vec<_>>().join(", ")
}

/// A round of pings as a step, its matrix below it.
pub(super) fn pings(show: &Show, net: &Net, name: &str, inside: bool) -> Result<()> {
    let mut matrix: Option<Matrix> = None;
    let outcome = show.step(name, || {
        let round = matrix.insert(net.ping(inside)?);
        if round.passed() { Ok(((), round.summary())) } else { Err(Error::new(round.summary())) }
    });
    if let Some(matrix) = matrix {
        Show::detail(&matrix.table(net));
    }
    outcome
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
fn wait_flood(net: &Net, down: &[usize]) -> Result<((), String)> {
    let up = net.hosts.iter().enumerate().filter(|(at, _)| !down.contains(at));
    let mut says = String::new();
    for (at, host) in up {
        let want = net.expected_flood(at, down);
        net.lab.wait("flood rows", PATIENCE, || {
            let have = host.node.flood(&host.node.vxlan(VNI)?)?;
            if have == want {
                Ok(())
            } else {
                Err(Error::new(format!("{} floods to {have:?}, not {want:?}", host.node.name())))
            }
        })?;
        if at == 0 {
            let list: Vec<_> = want.into_iter().collect();
            says = format!("{} -> {}", host.node.name(), list.join(" "));
        }
    }
    Ok(((), says))
}

/// Waits for the remote MACs of every host but those that are down.
fn wait_macs(net: &Net, down: &[usize]) -> Result<((), String)> {
    let up = net.hosts.iter().enumerate().filter(|(at, _)| !down.contains(at));
    let mut count = BTreeMap::new();
    for (at, host) in up {
        let want = net.expected_macs(at, down);
        net.lab.wait("remote MACs", PATIENCE, || {
            let have = host.node.remote_macs(&host.node.vxlan(VNI)?)?;
            if have == want {
                Ok(())
            } else {
                Err(Error::new(format!("{} has {have:?}, not {want:?}", host.node.name())))
            }
        })?;
        count.insert(host.node.name().to_owned(), want.len());
    }
    let says: Vec<_> = count.into_iter().take(8).map(|(name, n)| format!("{name} {n}")).collect();
    Ok(((), says.join(", ")))
}
