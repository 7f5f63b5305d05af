//! An endpoint that moves between hosts (RFC 7432 §15): the sequence number rises and the kernels follow.

use serde_json::Value;

use crate::common::{Config, E1, E2, Error, MAC1, Node, PATIENCE, Pair, Result, V1, V2, VNI, c1, c2, ensure};

const MAC: &str = "02:00:00:00:00:aa";
const ADDRESS: &str = "10.9.0.170/24";

/// The row of `show macs` for the endpoint.
fn row(node: &Node) -> Result<Value> {
    let rows = node.rows("macs")?;
    let found = rows.into_iter().find(|row| row["mac"] == MAC);
    found.ok_or_else(|| Error::new(format!("{}: {MAC} is not in show macs", node.name())))
}

/// One address in two places, neither of which says a word of its own accord.
struct Migrant {
    pair: Pair,
    places: [Node; 2],
}

impl Migrant {
    fn new(both_up: bool) -> Result<Self> {
        let pair = Pair::new()?;
        let place = |host: &Node, name: &str| -> Result<Node> {
            let endpoint = pair.lab.host(name)?;
            endpoint
                .sh("cd /proc/sys/net/ipv6/conf; echo 1 > all/disable_ipv6; echo 1 > default/disable_ipv6")?;
            pair.lab.plug_endpoint(host, &endpoint, MAC, &[ADDRESS])?;
            if !both_up {
                endpoint.run(&["ip", "link", "set", "eth0", "down"])?;
            }
            Ok(endpoint)
        };
        let places = [place(&pair.h1, "m1")?, place(&pair.h2, "m2")?];
        let with = |config: Config, port: &str, moving: &str| {
            config.toml().replace(&format!("[\"{port}\"]"), &format!("[\"{port}\", \"{moving}\"]"))
        };
        pair.h1.evpnd(&with(c1(), "e1", "m1"))?;
        pair.h2.evpnd(&with(c2(), "e2", "m2"))?;
        pair.wait_established()?;
        pair.lab.wait("the endpoints reach each other", PATIENCE, || pair.e1.ping(E2))?;
        Ok(Self { pair, places })
    }

    /// Speaks from its place on host 1 or 2: an ARP request and a ping.
    fn speak(&self, host: usize) -> Result<()> {
        let place = &self.places[host - 1];
        place.run(&["ip", "neigh", "flush", "all"])?;
        let (near, what) = if host == 1 { (E1, "e1") } else { (E2, "e2") };
        self.pair
            .lab
            .wait(&format!("a ping from its place on host {host} to {what}"), PATIENCE, || place.ping(near))
    }

    /// Waits until both hosts agree that it is on `host`, in the kernel and in `show macs`; the sequence number.
    fn settled(&self, host: usize) -> Result<u64> {
        let (here, there, vtep) =
            if host == 1 { (&self.pair.h1, &self.pair.h2, V1) } else { (&self.pair.h2, &self.pair.h1, V2) };
        self.pair.lab.wait(&format!("both know it is on host {host}"), PATIENCE, || {
            let device = there.vxlan(VNI)?;
            let far = there.remote_macs(&device)?;
            ensure(far.get(MAC).is_some_and(|dst| dst == vtep), || format!("{}: {far:?}", there.name()))?;
            let near = here.remote_macs(&here.vxlan(VNI)?)?;
            ensure(!near.contains_key(MAC), || format!("{}: {near:?}", here.name()))?;
            let (local, remote) = (row(here)?, row(there)?);
            ensure(
                local["source"] == "local" && remote["source"] == "remote" && remote["vtep"] == vtep,
                || format!("{local} {remote}"),
            )?;
            let sequence = |row: &Value| row["sequence"].as_u64().unwrap_or(0);
            ensure(sequence(&local) == sequence(&remote), || format!("{local} {remote}"))?;
            Ok(sequence(&local))
        })
    }

    /// It can be reached from both hosts' other endpoints.
    fn reached(&self) -> Result<()> {
        for endpoint in [&self.pair.e1, &self.pair.e2] {
            self.pair.lab.wait("the endpoint where it is now", PATIENCE, || endpoint.ping("10.9.0.170"))?;
        }
        Ok(())
    }
}

/// As in a live migration: the address appears in the new place before the old one is gone.
#[test]
fn the_sequence_rises_with_each_move() -> Result<()> {
    let migrant = Migrant::new(true)?;
    migrant.speak(1)?;
    let mut last = migrant.settled(1)?;
    // Four moves; the fifth within three minutes makes a duplicate of it (RFC 7432 §15.1).
    for host in [2, 1, 2, 1] {
        migrant.speak(host)?;
        let sequence = migrant.settled(host)?;
        ensure(sequence == last + 1, || format!("sequence {sequence} after {last}"))?;
        last = sequence;
    }
    Ok(())
}

/// As in a cold migration: gone here before it appears there. Each time, both kernels agree.
#[test]
fn twenty_migrations() -> Result<()> {
    let migrant = Migrant::new(false)?;
    for round in 0..20 {
        let host = 1 + round % 2;
        migrant.places[2 - host].run(&["ip", "link", "set", "eth0", "down"])?;
        migrant.places[host - 1].run(&["ip", "link", "set", "eth0", "up"])?;
        migrant.speak(host)?;
        migrant.settled(host)?;
        migrant.reached()?;
    }
    Ok(())
}

/// A sticky MAC stays where it was said to be.
#[test]
fn sticky_macs_do_not_move() -> Result<()> {
    let pair = Pair::running()?;
    pair.h1.evpnd_run(&["route", "add", "mac", "--vni", "100", "--mac", MAC, "--sticky"])?;
    let device = pair.h2.vxlan(VNI)?;
    pair.lab.wait("the sticky MAC on h2", PATIENCE, || {
        let have = pair.h2.remote_macs(&device)?;
        ensure(have.get(MAC).is_some_and(|vtep| vtep == V1), || format!("{have:?}"))?;
        let row = row(&pair.h2)?;
        ensure(row["sticky"] == true, || row.to_string())
    })?;
    pair.h1.evpnd_run(&["route", "del", "mac", "--vni", "100", "--mac", MAC, "--sticky"])?;
    pair.lab.wait("gone", PATIENCE, || {
        let have = pair.h2.remote_macs(&device)?;
        ensure(!have.contains_key(MAC) && have.contains_key(MAC1), || format!("{have:?}"))
    })
}
