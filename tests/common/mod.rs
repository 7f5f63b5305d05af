//! What the end-to-end tests share: labs that run this build's evpnd, small networks in one line, the other daemons.

pub(crate) mod border;
pub(crate) mod config;
pub(crate) mod frames;
pub(crate) mod frr;
pub(crate) mod gobgp;
pub(crate) mod ovs;
pub(crate) mod raw;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use config::Config;
use evpnd::lab::Switch;
pub(crate) use evpnd::lab::{Error, Lab, Node, Result};
use serde_json::Value;

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The VNI of most tests.
pub(crate) const VNI: u32 = 100;

/// An empty lab that runs the evpnd under test.
pub(crate) fn lab() -> Result<Lab> {
    Lab::with_binary(env!("CARGO_BIN_EXE_evpnd"))
}

/// An error unless `good`.
pub(crate) fn ensure(good: bool, or: impl FnOnce() -> String) -> Result<()> {
    if good { Ok(()) } else { Err(Error::new(or())) }
}

/// An error unless `have` is `want`.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(have: &T, want: &T) -> Result<()> {
    ensure(have == want, || format!("{have:?}, not {want:?}"))
}

/// Two hosts on one switch with an endpoint each in [`VNI`]: h1 at 10.0.0.1 (fd00::1) in AS 65001 with e1 at 10.9.0.1,
/// h2 likewise. No daemon runs yet.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) lab: Lab,
    pub(crate) spine: Switch,
    pub(crate) h1: Node,
    pub(crate) h2: Node,
    pub(crate) e1: Node,
    pub(crate) e2: Node,
}

pub(crate) const V1: &str = "10.0.0.1";
pub(crate) const V2: &str = "10.0.0.2";
pub(crate) const E1: &str = "10.9.0.1";
pub(crate) const E2: &str = "10.9.0.2";
pub(crate) const MAC1: &str = "02:00:00:00:00:01";
pub(crate) const MAC2: &str = "02:00:00:00:00:02";

impl Pair {
    pub(crate) fn new() -> Result<Self> {
        let lab = lab()?;
        let spine = lab.switch("spine")?;
        let h1 = lab.host("h1")?.underlay(&spine, &[&format!("{V1}/24"), "fd00::1/64"])?;
        let h2 = lab.host("h2")?.underlay(&spine, &[&format!("{V2}/24"), "fd00::2/64"])?;
        let e1 = lab.endpoint(&h1, "e1", MAC1, &[&format!("{E1}/24")])?;
        let e2 = lab.endpoint(&h2, "e2", MAC2, &[&format!("{E2}/24")])?;
        Ok(Self { lab, spine, h1, h2, e1, e2 })
    }

    /// The same with an evpnd on each, neighbours of each other, everything learned.
    pub(crate) fn running() -> Result<Self> {
        let pair = Self::new()?;
        pair.h1.evpnd(&c1().toml())?;
        pair.h2.evpnd(&c2().toml())?;
        pair.settle()?;
        Ok(pair)
    }

    /// Waits for the session between the two.
    pub(crate) fn wait_established(&self) -> Result<()> {
        wait_session(&self.lab, &self.h1, V2, "established")?;
        wait_session(&self.lab, &self.h2, V1, "established")
    }

    /// Waits until each floods to the other and a ping has taught both MACs to both kernels.
    pub(crate) fn settle(&self) -> Result<()> {
        self.wait_established()?;
        self.lab.wait("the endpoints reach each other", PATIENCE, || self.e1.ping(E2))?;
        self.wait_forwarding()
    }

    /// Waits for flood rows and MACs in both kernels.
    pub(crate) fn wait_forwarding(&self) -> Result<()> {
        self.lab.wait("rows of h2 on h1", PATIENCE, || forwards_to(&self.h1, V2, MAC2))?;
        self.lab.wait("rows of h1 on h2", PATIENCE, || forwards_to(&self.h2, V1, MAC1))
    }
}

/// h1's configuration in a [`Pair`].
pub(crate) fn c1() -> Config {
    Config::host(65001, V1).neighbor(V2, "65002", "").vni(VNI, &["e1"])
}

/// h2's configuration in a [`Pair`].
pub(crate) fn c2() -> Config {
    Config::host(65002, V2).neighbor(V1, "65001", "").vni(VNI, &["e2"])
}

/// Whether a host floods [`VNI`] to just this VTEP and has just this MAC there.
pub(crate) fn forwards_to(host: &Node, vtep: &str, mac: &str) -> Result<()> {
    let device = host.vxlan(VNI)?;
    same(&host.flood(&device)?, &[vtep.to_owned()].into())?;
    same(&host.remote_macs(&device)?, &BTreeMap::from([(mac.to_owned(), vtep.to_owned())]))
}

/// Waits for a session of a host to be in a state.
pub(crate) fn wait_session(lab: &Lab, node: &Node, peer: &str, state: &str) -> Result<()> {
    lab.wait(&format!("{}: {peer} {state}", node.name()), PATIENCE, || {
        let row = neighbor(node, peer)?;
        ensure(row["state"] == state, || row.to_string())
    })
}

/// The row of `show neighbors` for a neighbour.
pub(crate) fn neighbor(node: &Node, peer: &str) -> Result<Value> {
    let rows = node.rows("neighbors")?;
    let found = rows.iter().find(|row| row["address"] == peer).cloned();
    found.ok_or_else(|| Error::new(format!("{}: no neighbour {peer} in {rows:?}", node.name())))
}

/// The rows of `show routes` of one type, from one neighbour (or `local`).
pub(crate) fn routes(node: &Node, route_type: u8, from: &str) -> Result<Vec<Value>> {
    let rows = node.rows("routes")?.into_iter();
    Ok(rows.filter(|row| row["type"] == route_type && row["from"] == from).collect())
}

/// Waits until `check` holds and goes on to hold for `span`; for what must *not* happen.
pub(crate) fn stays(span: Duration, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let end = evpnd::clock::now() + span;
    while evpnd::clock::now() < end {
        check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
