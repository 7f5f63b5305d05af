//! An endpoint that moves between hosts (RFC 7432 §15): the sequence number rises and the kernels follow.

use serde_json::Value;

use crate::common::{E1, Error, MAC1, Node, PATIENCE, Pair, Result, V1, V2, VNI, c1, c2, ensure};

const MAC: &str = "02:00:00:00:00:aa";
const ADDRESS: &str = "10.9.0.170/24";

/// The row of `show macs` for the endpoint.
fn row(node: &Node) -> Result<Value> {
    let rows = node.rows("macs")?;
    let found = rows.into_iter().find(|row| row["mac"] == MAC);
    found.ok_or_else(|| Error::new(format!("{}: {MAC} is not in show macs", node.name())))
}

/// One address in two places, of which one is up at a time: what a live migration looks like from the network.
struct Migrant {
    pair: Pair,
    places: [Node; 2],
}

impl Migrant {
    fn new() -> Result<Self> {
        let pair = Pair::new()?;
        let places = [
            pair.lab.endpoint(&pair.h1, "m1", MAC, &[ADDRESS])?,
            pair.lab.endpoint(&pair.h2, "m2", MAC, &[ADDRESS])?,
        ];
        for place in &places {
            place.run(&["ip", "link", "set", "eth0", "down"])?;
        }
        let with = |config: crate::common::Config, port: &str, moving: &str| {
            config.toml().replace(&format!("[\"{port}\"]"), &format!("[\"{port}\", \"{moving}\"]"))
        };
        pair.h1.evpnd(&with(c1(), "e1", "m1"))?;
        pair.h2.evpnd(&with(c2(), "e2", "m2"))?;
        pair.settle_first()?;
        Ok(Self { pair, places })
    }

    /// Moves to host 1 or 2, and speaks as soon as it is there.
    fn move_to(&self, host: usize) -> Result<()> {
        self.places[2 - host].run(&["ip", "link", "set", "eth0", "down"])?;
        self.places[host - 1].run(&["ip", "link", "set", "eth0", "up"])?;
        let lab = &self.pair.lab;
        lab.wait(&format!("a ping from its place on host {host}"), PATIENCE, || {
            self.places[host - 1].ping(E1)
        })
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
}

impl Pair {
    fn settle_first(&self) -> Result<()> {
        self.wait_established()?;
        self.lab.wait("the endpoints reach each other", PATIENCE, || self.e1.ping(crate::common::E2))
    }
}

#[test]
fn twenty_migrations() -> Result<()> {
    let migrant = Migrant::new()?;
    migrant.move_to(1)?;
    let mut last = migrant.settled(1)?;
    for round in 1..=20 {
        let host = 1 + round % 2;
        migrant.move_to(host)?;
        let sequence = migrant.settled(host)?;
        ensure(sequence > last, || format!("round {round}: sequence {sequence} after {last}"))?;
        last = sequence;
        migrant.pair.e1.ping("10.9.0.170")?;
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
