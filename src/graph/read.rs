//! Where the rows come from: a daemon, page by page, or a file with what `evpnd show routes --json` printed; and the
//! VLANs of other hosts, which no route tells, from what `evpnd show vnis --json` printed there.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use types::Vni;

use super::model::{Builder, Facts, Model, Observer};
use crate::control::view::{RouteView, VniView};
use crate::control::{Client, ClientError, Reply, Request, RoutesQuery};

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon does not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file cannot be read.
    #[error(transparent)]
    Read(io::Error),
    /// What is in the file is something else.
    #[error("not what `evpnd show {what} --json` prints: {why}")]
    Other {
        /// What should be in it.
        what: &'static str,
        /// What is wrong with it, and where.
        why: String,
    },
    /// No switch knows such a VLAN.
    #[error("VNI {vni} has VLAN {vlan}: expected a number from 1 to 4094")]
    Vlan {
        /// The VNI.
        vni: u32,
        /// What should be its VLAN.
        vlan: u16,
    },
    /// It was printed by something that does not tell its VTEP.
    #[error("it does not say whose VLANs these are: no `vtep` in it")]
    Nobody,
}

/// The VLANs of hosts, by VTEP and VNI.
pub type Vlans = BTreeMap<(IpAddr, u32), u16>;

/// Asks a daemon for its routes, and for what it knows beside them. With `vni`: only routes of that one. `vlans` is what
/// is known of other hosts.
pub fn from_daemon(client: &mut Client, vni: Option<Vni>, vlans: Vlans) -> Result<Model, Error> {
    let mut builder = Builder::default();
    let mut query = RoutesQuery { vni, ..RoutesQuery::default() };
    loop {
        let Reply::Routes(page) = client.call(&Request::ShowRoutes(query.clone()))? else {
            return Err(unexpected());
        };
        page.rows.iter().filter(|row| wanted(row, vni)).for_each(|row| builder.add(row));
        query.after = page.next;
        if query.after.is_none() {
            return Ok(builder.finish(&facts(client, vni, vlans)?));
        }
    }
}

/// Reads saved rows.
pub fn from_json(file: impl Read, vni: Option<Vni>, vlans: Vlans) -> Result<Model, Error> {
    let rows: Vec<RouteView> = rows(file, "routes")?;
    let mut builder = Builder::default();
    rows.iter().filter(|row| wanted(row, vni)).for_each(|row| builder.add(row));
    Ok(builder.finish(&Facts { only: vni, vlans, ..Facts::default() }))
}

/// Reads the VLANs of a host.
pub fn vlans(file: impl Read) -> Result<Vlans, Error> {
    let rows: Vec<VniView> = rows(file, "vnis")?;
    let told = rows.into_iter().filter_map(|row| Some((row.vtep, row.vni, row.vlan?)));
    told.map(|(vtep, vni, vlan)| match vlan {
        1..=4094 => Ok(((vtep.ok_or(Error::Nobody)?, vni), vlan)),
        _ => Err(Error::Vlan { vni, vlan }),
    })
    .collect()
}

/// What `evpnd show` printed as JSON.
fn rows<T: DeserializeOwned>(file: impl Read, what: &'static str) -> Result<Vec<T>, Error> {
    serde_json::from_reader(file).map_err(|e| {
        if e.is_io() { Error::Read(e.into()) } else { Error::Other { what, why: e.to_string() } }
    })
}

/// A route that a VNI imports may bear the number of another; a picture of one VNI shows that one.
fn wanted(row: &RouteView, vni: Option<Vni>) -> bool {
    vni.is_none_or(|vni| row.vni == Some(vni.get()))
}

fn facts(client: &mut Client, only: Option<Vni>, mut vlans: Vlans) -> Result<Facts, Error> {
    let Reply::Summary(summary) = client.call(&Request::ShowSummary)? else { return Err(unexpected()) };
    let Reply::Neighbors(neighbors) = client.call(&Request::ShowNeighbors)? else {
        return Err(unexpected());
    };
    let Reply::Vnis(vnis) = client.call(&Request::ShowVnis)? else { return Err(unexpected()) };
    vlans.extend(vnis.into_iter().filter_map(|v| Some(((v.vtep?, v.vni), v.vlan?))));
    let named = neighbors.into_iter().filter_map(|n| Some((n.address, n.description?)));
    Ok(Facts {
        observer: Some(Observer { router_id: summary.router_id, asn: summary.asn, vtep: summary.vtep }),
        only,
        names: named.collect(),
        vlans,
    })
}

fn unexpected() -> Error {
    ClientError::Confused("it answers something else".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"vni":10,"kind":"l2","flood":[],"local_macs":0,"remote_macs":0,"import_rt":[],"export_rt":[],
        "rd":"0:0","interfaces":[],"ready":true,"vtep":"10.0.0.1","vlan":VLAN}"#;

    #[test]
    fn vlans_are_those_that_there_can_be() {
        let read = |vlan: &str| vlans(format!("[{}]", ROW.replace("VLAN", vlan)).as_bytes());
        let one = |vlan| BTreeMap::from([(([10, 0, 0, 1].into(), 10), vlan)]);
        assert_eq!(read("1").unwrap(), one(1));
        assert_eq!(read("4094").unwrap(), one(4094));
        assert_eq!(read("null").unwrap(), BTreeMap::new());
        for (vlan, complaint) in [
            ("0", "VNI 10 has VLAN 0: expected a number from 1 to 4094"),
            ("4095", "VNI 10 has VLAN 4095: expected a number from 1 to 4094"),
            (
                "-1",
                "not what `evpnd show vnis --json` prints: invalid value: integer `-1`, expected u16 at line 2",
            ),
        ] {
            let told = read(vlan).unwrap_err().to_string();
            assert!(told.starts_with(complaint), "{told}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_once() {
        for text in ["", "[", "{}", "[{}]", "[[[[", "\0", "[]x"] {
            let error = from_json(text.as_bytes(), None, Vlans::new()).unwrap_err();
            assert!(error.to_string().starts_with("not what `evpnd show routes --json` prints: "), "{error}");
            // The command tells the sources of an error behind it.
            assert!(std::error::Error::source(&error).is_none(), "{error}");
        }
    }
}
