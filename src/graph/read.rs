//! Where the rows come from: a daemon, page by page, or a file with what `evpnd show routes --json` printed; and the
//! VLANs of other hosts, which no route tells, from what `evpnd show vnis --json` printed there.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;

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
    /// What is in the file is no list of routes.
    #[error("not what `evpnd show routes --json` prints: {0}")]
    Routes(#[from] serde_json::Error),
    /// What is in the file is no list of VNIs.
    #[error("not what `evpnd show vnis --json` prints: {0}")]
    Vnis(serde_json::Error),
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
            return Ok(builder.finish(&facts(client, vlans)?));
        }
    }
}

/// Reads saved rows.
pub fn from_json(file: impl Read, vni: Option<Vni>, vlans: Vlans) -> Result<Model, Error> {
    let rows: Vec<RouteView> = serde_json::from_reader(file)?;
    let mut builder = Builder::default();
    rows.iter().filter(|row| wanted(row, vni)).for_each(|row| builder.add(row));
    Ok(builder.finish(&Facts { vlans, ..Facts::default() }))
}

/// Reads the VLANs of a host.
pub fn vlans(file: impl Read) -> Result<Vlans, Error> {
    let rows: Vec<VniView> = serde_json::from_reader(file).map_err(Error::Vnis)?;
    let told = rows.into_iter().filter_map(|row| Some((row.vtep, row.vni, row.vlan?)));
    told.map(|(vtep, vni, vlan)| Ok(((vtep.ok_or(Error::Nobody)?, vni), vlan))).collect()
}

/// A route that a VNI imports may bear the number of another; a picture of one VNI shows that one.
fn wanted(row: &RouteView, vni: Option<Vni>) -> bool {
    vni.is_none_or(|vni| row.vni == Some(vni.get()))
}

fn facts(client: &mut Client, mut vlans: Vlans) -> Result<Facts, Error> {
    let Reply::Summary(summary) = client.call(&Request::ShowSummary)? else { return Err(unexpected()) };
    let Reply::Neighbors(neighbors) = client.call(&Request::ShowNeighbors)? else {
        return Err(unexpected());
    };
    let Reply::Vnis(vnis) = client.call(&Request::ShowVnis)? else { return Err(unexpected()) };
    vlans.extend(vnis.into_iter().filter_map(|v| Some(((v.vtep?, v.vni), v.vlan?))));
    let named = neighbors.into_iter().filter_map(|n| Some((n.address, n.description?)));
    Ok(Facts {
        observer: Some(Observer { router_id: summary.router_id, asn: summary.asn, vtep: summary.vtep }),
        names: named.collect(),
        vlans,
    })
}

fn unexpected() -> Error {
    ClientError::Confused("it answers something else".to_owned()).into()
}
