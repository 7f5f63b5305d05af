//! What the Open vSwitch database says of bridges, ports and VXLAN interfaces, read with one `ovs-vsctl`.
//!
//! `--format=json` prints a table a line; its cells are OVSDB values (RFC 7047 §5.1).

use std::collections::BTreeMap;

use serde_json::Value;

use super::tools::{Failure, Tools};
use crate::backend::{Error, ErrorKind};

/// One bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) datapath: String,
    pub(crate) fail_mode: Option<String>,
    /// OpenFlow versions it allows; none: the usual ones.
    pub(crate) protocols: Vec<String>,
    pub(crate) external_ids: BTreeMap<String, String>,
    /// Names of its ports, its own among them.
    pub(crate) ports: Vec<String>,
}

/// One VXLAN interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vxlan {
    pub(crate) name: String,
    /// The bridge it is a port of.
    pub(crate) bridge: String,
    /// Its OpenFlow port number, once ovs-vswitchd has opened it.
    pub(crate) ofport: Option<u16>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) external_ids: BTreeMap<String, String>,
    /// Why it could not be opened.
    pub(crate) error: Option<String>,
}

/// The part of the database that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Db {
    pub(crate) bridges: Vec<Bridge>,
    pub(crate) vxlans: Vec<Vxlan>,
    /// Kinds of datapath that ovs-vswitchd has; none: it does not say.
    pub(crate) datapaths: Vec<String>,
}

const TABLES: [&[&str]; 4] = [
    &["--columns=_uuid,name,datapath_type,fail_mode,protocols,external_ids,ports", "list", "bridge"],
    &["--columns=_uuid,name,interfaces", "list", "port"],
    &["--columns=_uuid,name,ofport,options,external_ids,error", "find", "interface", "type=vxlan"],
    &["--columns=datapath_types", "list", "open_vswitch"],
];

/// The arguments that ask for all of it at once.
fn query() -> Vec<String> {
    let mut args = Vec::new();
    for table in TABLES {
        args.push("--".to_owned());
        args.extend(table.iter().map(|a| (*a).to_owned()));
    }
    args
}

/// A table, as it is printed.
#[derive(Debug, serde::Deserialize)]
struct Table {
    headings: Vec<String>,
    data: Vec<Vec<Value>>,
}

impl Table {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.data.iter().map(|cells| Row { headings: &self.headings, cells })
    }
}

struct Row<'a> {
    headings: &'a [String],
    cells: &'a [Value],
}

impl<'a> Row<'a> {
    fn cell(&self, column: &str) -> Option<&'a Value> {
        let at = self.headings.iter().position(|h| h == column)?;
        self.cells.get(at)
    }

    /// The atoms of a cell: one, or those of a set.
    fn set(&self, column: &str) -> Vec<String> {
        match self.cell(column) {
            Some(Value::Array(pair)) if pair.first().is_some_and(|kind| kind == "set") => {
                pair.get(1).and_then(Value::as_array).into_iter().flatten().filter_map(atom).collect()
            }
            Some(value) => atom(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn one(&self, column: &str) -> Option<String> {
        self.set(column).into_iter().next()
    }

    fn map(&self, column: &str) -> BTreeMap<String, String> {
        let pairs = self.cell(column).and_then(|value| value.get(1)).and_then(Value::as_array);
        let pair = |p: &Value| Some((atom(p.get(0)?)?, atom(p.get(1)?)?));
        pairs.into_iter().flatten().filter_map(pair).collect()
    }
}

/// A string, number or UUID as text.
fn atom(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Array(pair) if pair.first().is_some_and(|kind| kind == "uuid") => {
            pair.get(1).and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    }
}

impl Db {
    /// Reads it.
    pub(crate) fn read(tools: &dyn Tools) -> Result<Self, Failure> {
        let action = "read the Open vSwitch database";
        let text = tools.vsctl(action, &query())?;
        Self::parse(&text).ok_or_else(|| {
            Failure::away(ErrorKind::Other, action, "ovs-vsctl printed something else than tables")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let tables: Vec<Table> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .ok()?;
        let [bridges, ports, vxlans, root] = tables.try_into().ok()?;
        let (bridges, ports, vxlans, root): (Table, Table, Table, Table) = (bridges, ports, vxlans, root);
        let mut db = Self {
            datapaths: root.rows().flat_map(|r| r.set("datapath_types")).collect(),
            ..Self::default()
        };
        let port_names: BTreeMap<String, String> =
            ports.rows().filter_map(|r| Some((r.one("_uuid")?, r.one("name")?))).collect();
        let mut bridge_of_port: BTreeMap<String, String> = BTreeMap::new();
        for row in bridges.rows() {
            let name = row.one("name")?;
            let uuids = row.set("ports");
            let ports = uuids.iter().filter_map(|uuid| port_names.get(uuid).cloned()).collect();
            bridge_of_port.extend(uuids.into_iter().map(|uuid| (uuid, name.clone())));
            db.bridges.push(Bridge {
                datapath: row.one("datapath_type").unwrap_or_default(),
                fail_mode: row.one("fail_mode"),
                protocols: row.set("protocols"),
                external_ids: row.map("external_ids"),
                ports,
                name,
            });
        }
        let mut bridge_of: BTreeMap<String, String> = BTreeMap::new();
        for row in ports.rows() {
            let Some(bridge) = row.one("_uuid").and_then(|uuid| bridge_of_port.get(&uuid).cloned()) else {
                continue;
            };
            bridge_of.extend(row.set("interfaces").into_iter().map(|uuid| (uuid, bridge.clone())));
        }
        for row in vxlans.rows() {
            let bridge = row.one("_uuid").and_then(|uuid| bridge_of.get(&uuid).cloned()).unwrap_or_default();
            db.vxlans.push(Vxlan {
                name: row.one("name")?,
                bridge,
                ofport: row.one("ofport").and_then(|n| n.parse().ok()),
                options: row.map("options"),
                external_ids: row.map("external_ids"),
                error: row.one("error"),
            });
        }
        Some(db)
    }

    /// The bridge of this name.
    pub(crate) fn bridge(&self, name: &str) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.name == name)
    }

    /// The bridge that has a port of this name.
    pub(crate) fn bridge_with_port(&self, port: &str) -> Option<&str> {
        let with = self.bridges.iter().find(|bridge| bridge.ports.iter().any(|p| p == port))?;
        Some(&with.name)
    }
}

/// An error about the database's contents.
pub(crate) fn conflict(action: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, action, reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn db(text: &str) -> Db {
        Db::parse(text).expect("tables")
    }

    #[test]
    fn tables_as_ovs_vsctl_prints_them() {
        let text = concat!(
            r#"{"data":[[["uuid","b1"],"br-x","netdev","secure",["set",["OpenFlow10","OpenFlow13"]],["map",[["evpnd","bridge"]]],["set",[["uuid","p1"],["uuid","p2"]]]],[["uuid","b2"],"br-y","",["set",[]],["set",[]],["map",[]],["uuid","p3"]]],"headings":["_uuid","name","datapath_type","fail_mode","protocols","external_ids","ports"]}"#,
            "\n",
            r#"{"data":[[["uuid","p1"],"br-x",["uuid","i1"]],[["uuid","p2"],"vx",["uuid","i2"]],[["uuid","p3"],"br-y",["uuid","i3"]]],"headings":["_uuid","name","interfaces"]}"#,
            "\n",
            r#"{"data":[[["uuid","i2"],"vx",1,["map",[["dst_port","4789"],["key","flow"]]],["map",[]],["set",[]]],[["uuid","i9"],"v9",-1,["map",[]],["map",[]],"could not add"]],"headings":["_uuid","name","ofport","options","external_ids","error"]}"#,
            "\n",
            r#"{"data":[[["set",["netdev","system"]]]],"headings":["datapath_types"]}"#,
            "\n",
        );
        let db = db(text);
        assert_eq!(db.datapaths, ["netdev", "system"]);
        let x = db.bridge("br-x").unwrap();
        assert_eq!((x.fail_mode.as_deref(), x.datapath.as_str()), (Some("secure"), "netdev"));
        assert_eq!(x.protocols, ["OpenFlow10", "OpenFlow13"]);
        assert_eq!(x.ports, ["br-x", "vx"]);
        assert_eq!(x.external_ids["evpnd"], "bridge");
        assert_eq!(db.bridge("br-y").unwrap().fail_mode, None);
        assert_eq!(db.bridge_with_port("vx"), Some("br-x"));
        assert_eq!((db.vxlans[0].ofport, db.vxlans[0].bridge.as_str()), (Some(1), "br-x"));
        assert_eq!(db.vxlans[0].options["dst_port"], "4789");
        assert_eq!((db.vxlans[1].ofport, db.vxlans[1].error.as_deref()), (None, Some("could not add")));
        assert!(Db::parse("nonsense\n").is_none());
    }
}
