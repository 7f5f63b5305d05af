//! Several VNIs on one VXLAN device, end to end: hosts with two VNIs whose endpoints have the same addresses in both.

mod discover;
mod interop;
mod repair;
mod suppress;

use std::collections::{BTreeMap, BTreeSet};

use evpnd::lab::{FLOOD, Switch};
use serde_json::Value;

use crate::common::{Config, Error, Lab, Node, PATIENCE, Result, ensure, lab, same};

/// The VNIs of each host.
const VNIS: [u32; 2] = [5001, 5002];

/// Hosts on one switch: host N is `hN` at 10.0.0.N in AS 65000+N.
struct Site {
    lab: Lab,
    spine: Switch,
    hosts: Vec<Host>,
}

/// A host with an endpoint in each VNI.
struct Host {
    n: usize,
    node: Node,
    ends: [Node; 2],
}

impl Site {
    /// So many hosts, with no daemon on them yet.
    fn new(hosts: usize) -> Result<Self> {
        let lab = lab()?;
        let spine = lab.switch("spine")?;
        let mut site = Self { lab, spine, hosts: Vec::new() };
        for n in 1..=hosts {
            let node =
                site.lab.host(&format!("h{n}"))?.underlay(&site.spine, &[&format!("{}/24", vtep(n))])?;
            let end = |v: usize| {
                let addresses = [format!("10.9.0.{n}/16"), format!("{}/16", alone(v, n))];
                site.lab.endpoint(&node, &port(n, v), &mac(n, v), &addresses.each_ref().map(String::as_str))
            };
            let ends = [end(1)?, end(2)?];
            site.hosts.push(Host { n, node, ends });
        }
        Ok(site)
    }

    fn host(&self, n: usize) -> &Node {
        &self.hosts[n - 1].node
    }

    /// Waits until all endpoints of a VNI reach each other, for each VNI, and then makes sure that no endpoint of one reaches
    /// one of the other: neither by an address that both have nor by one of its own.
    fn all_meet_their_own(&self) -> Result<()> {
        for (at, vni) in VNIS.iter().enumerate() {
            for host in &self.hosts {
                let others: Vec<usize> = self.hosts.iter().map(|h| h.n).filter(|n| *n != host.n).collect();
                self.lab.wait(
                    &format!("h{}'s endpoint in VNI {vni} reaches all others", host.n),
                    PATIENCE,
                    || {
                        let end = &host.ends[at];
                        let silent = answers(
                            end,
                            &others.iter().map(|n| format!("10.9.0.{n}")).collect::<Vec<_>>(),
                            false,
                        )?;
                        ensure(silent.is_empty(), || format!("no answer from {silent}"))?;
                        // And they are the VNI's own, not those who have the same addresses in the other one.
                        let seen = end.run(&["ip", "neigh", "show", "dev", "eth0"])?;
                        let unknown = others
                            .iter()
                            .find(|n| !seen.contains(&format!("10.9.0.{n} lladdr {}", mac(**n, at + 1))));
                        ensure(unknown.is_none(), || seen.clone())
                    },
                )?;
            }
        }
        // Those who do not answer take their time: all at once.
        std::thread::scope(|scope| {
            let tries: Vec<_> = self
                .hosts
                .iter()
                .flat_map(|host| [(host, 1), (host, 2)])
                .map(|(host, v)| {
                    let others: Vec<String> = self.hosts.iter().map(|h| alone(3 - v, h.n)).collect();
                    scope.spawn(move || {
                        let end = &host.ends[v - 1];
                        let answered = answers(end, &others, true)?;
                        ensure(answered.is_empty(), || format!("{} is answered by {answered}", end.name()))
                    })
                })
                .collect();
            tries.into_iter().try_for_each(|one| one.join().map_err(|_| Error::new("a thread died"))?)
        })
    }
}

/// The addresses that answer a ping from a node, or those that do not.
fn answers(node: &Node, addresses: &[String], good: bool) -> Result<String> {
    let then = if good { "&&" } else { "||" };
    let ping = |to: &String| format!("{{ ping -n -c 1 -W 2 {to} >/dev/null 2>&1 {then} echo {to}; }} &\n");
    let script: String = addresses.iter().map(ping).collect();
    Ok(node.sh(&format!("{script} wait"))?.split_whitespace().collect::<Vec<_>>().join(", "))
}

fn vtep(n: usize) -> String {
    format!("10.0.0.{n}")
}

/// The port, and name, of the endpoint of host `n` in the `v`th VNI.
fn port(n: usize, v: usize) -> String {
    format!("e{n}{v}")
}

fn mac(n: usize, v: usize) -> String {
    format!("02:00:00:00:0{v}:0{n}")
}

/// Its address that no endpoint of another VNI has.
fn alone(v: usize, n: usize) -> String {
    format!("10.9.{v}.{n}")
}

/// The configuration of host `n`, neighbour of these; no VNIs yet.
fn config(n: usize, neighbours: &[usize]) -> Config {
    let config = Config::host(u32::try_from(65000 + n).unwrap_or_default(), &vtep(n));
    neighbours
        .iter()
        .fold(config, |config, other| config.neighbor(&vtep(*other), &(65000 + other).to_string(), ""))
}

/// The same with both VNIs, a line for each; their route targets are by the rule.
fn with_both(config: Config, n: usize, lines: [&str; 2]) -> Config {
    let one = |config: Config, v: usize| {
        config.bare_vni(VNIS[v - 1], &format!("interfaces = [\"{}\"]\n{}", port(n, v), lines[v - 1]))
    };
    one(one(config, 1), 2)
}

/// The VTEPs a VNI is flooded to, and where its MACs are.
type Forwards = (BTreeSet<String>, BTreeMap<String, String>);

/// Where a host floods each VNI to, and where it has which MACs of it; in whichever layout. (Programs take their time to start
/// here: one call tells all.)
fn forwards(node: &Node) -> Result<[Forwards; 2]> {
    let text = node.run(&["bridge", "-j", "fdb", "show"])?;
    let rows: Vec<Value> = serde_json::from_str(&text).map_err(|e| Error::new(format!("{e}: {text}")))?;
    Ok(VNIS.map(|vni| {
        let suffix = format!("-{vni}");
        let own = rows.iter().filter(|row| {
            row["src_vni"] == vni || row["ifname"].as_str().is_some_and(|name| name.ends_with(&suffix))
        });
        let at = |row: &Value| Some((row["mac"].as_str()?.to_owned(), row["dst"].as_str()?.to_owned()));
        let (flood, macs): (Vec<_>, Vec<_>) = own.filter_map(at).partition(|(mac, _)| mac == FLOOD);
        (flood.into_iter().map(|(_, dst)| dst).collect(), macs.into_iter().collect())
    }))
}

/// Waits until a host floods both VNIs to just these hosts and has just their endpoints.
fn wait_forwarding(site: &Site, n: usize, others: &[usize]) -> Result<()> {
    site.lab.wait(&format!("on h{n}, the rows of {others:?}"), PATIENCE, || {
        let want = [1, 2].map(|v| {
            (
                others.iter().map(|n| vtep(*n)).collect(),
                others.iter().map(|n| (mac(*n, v), vtep(*n))).collect(),
            )
        });
        same(&forwards(site.host(n))?, &want)
    })
}
