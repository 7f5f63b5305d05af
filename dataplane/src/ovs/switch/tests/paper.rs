//! An Open vSwitch of paper: takes bundles, shows flows, refuses what it is told to, stops and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::{Error, ErrorKind};
use crate::ovs::flow::{Flow, OURS, is_ours, parse_dump_line};
use crate::ovs::tools::{Cause, Failure, Monitor, News, Ready, Tools};

/// An Open vSwitch of paper.
#[derive(Debug, Default)]
pub(super) struct World {
    /// ovsdb-server runs; ovs-vswitchd runs.
    pub(super) db: bool,
    pub(super) vswitchd: bool,
    pub(super) bridge: bool,
    pub(super) ports: BTreeMap<u16, String>,
    /// By place: table, priority, fields in order.
    pub(super) flows: BTreeMap<(u8, u16, Vec<String>), Flow>,
    /// What a flow must not contain.
    pub(super) refuse: BTreeSet<String>,
    /// Refusals name the line.
    pub(super) names_lines: bool,
    /// Every bundle that went in, and how many were refused.
    pub(super) bundles: Vec<String>,
    pub(super) refused: usize,
    /// Commands run in all.
    pub(super) commands: usize,
    pub(super) steps: Vec<String>,
    pub(super) events: bool,
    pub(super) ended: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Paper(Arc<Mutex<World>>);

fn place(flow: &Flow) -> (u8, u16, Vec<String>) {
    let mut fields: Vec<String> =
        flow.matches.split(',').filter(|f| !f.is_empty()).map(ToOwned::to_owned).collect();
    fields.sort();
    (flow.table, flow.priority, fields)
}

/// A flow from the words of a bundle's line.
fn read_line(line: &str) -> Flow {
    let (head, actions) = line.split_once(" actions=").unwrap_or((line, ""));
    let mut flow = Flow { actions: actions.to_owned(), ..Flow::default() };
    let mut fields = Vec::new();
    for field in head.split(',') {
        match field.split_once('=') {
            Some(("cookie", cookie)) => {
                let cookie = cookie.split('/').next().unwrap().trim_start_matches("0x");
                flow.cookie = u64::from_str_radix(cookie, 16).unwrap();
            }
            Some(("table", table)) => flow.table = table.parse().unwrap(),
            Some(("priority", priority)) => flow.priority = priority.parse().unwrap(),
            _ => fields.push(field),
        }
    }
    flow.matches = fields.join(",");
    flow
}

impl Paper {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(World { db: true, vswitchd: true, ..World::default() })))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn away() -> Failure {
        Failure::away(ErrorKind::NoDevice, "ask ovs-vswitchd", "it is not running")
    }

    /// ovs-vswitchd stops, and forgets its flows.
    pub(super) fn stop(&self) {
        let mut world = self.world();
        (world.vswitchd, world.ended) = (false, true);
        world.flows.clear();
    }

    pub(super) fn put(&self, text: &str) {
        let flow = parse_dump_line(text).unwrap().to_flow();
        self.world().flows.insert(place(&flow), flow);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.world().flows.values().map(ToString::to_string).collect()
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.lines().iter().any(|line| line.contains(part))
    }

    pub(super) fn bundles(&self) -> usize {
        self.world().bundles.len()
    }
}

impl Tools for Paper {
    fn vsctl(&self, action: &str, args: &[String]) -> Result<String, Failure> {
        let mut world = self.world();
        world.commands += 1;
        if !world.db {
            return Err(Failure::away(ErrorKind::NoDevice, action, "ovsdb-server is not running"));
        }
        let has = |word: &str| args.iter().any(|arg| arg == word);
        if has("list") {
            let rows = |on: bool, row: &str| if on { row.to_owned() } else { String::new() };
            let vxlan = world.ports.contains_key(&65278);
            let options = r#"["map",[["key","flow"],["remote_ip","flow"],["local_ip","10.0.0.1"]]]"#;
            return Ok([
                format!(
                    r#"{{"headings":["_uuid","name","datapath_type","fail_mode","protocols","external_ids","ports"],"data":[{}]}}"#,
                    rows(world.bridge, r#"[["uuid","b"],"br-x","netdev","secure",["set",[]],["map",[["evpnd","bridge"]]],["set",[["uuid","p"]]]]"#),
                ),
                format!(
                    r#"{{"headings":["_uuid","name","interfaces"],"data":[{}]}}"#,
                    rows(vxlan, r#"[["uuid","p"],"vxlan-evpn",["uuid","i"]]"#),
                ),
                format!(
                    r#"{{"headings":["_uuid","name","ofport","options","external_ids","error"],"data":[{}]}}"#,
                    rows(vxlan, &format!(r#"[["uuid","i"],"vxlan-evpn",65278,{options},["map",[["evpnd","vxlan"]]],["set",[]]]"#)),
                ),
                r#"{"headings":["datapath_types"],"data":[["netdev"]]}"#.to_owned(),
            ]
            .join("\n"));
        }
        if has("add-br") {
            world.bridge = true;
        } else if has("add-port") {
            world.ports.insert(65278, "vxlan-evpn".into());
        } else if has("del-br") {
            (world.bridge, world.ended) = (false, true);
            world.ports.clear();
            world.flows.clear();
        }
        world.steps.push(action.to_owned());
        Ok(String::new())
    }

    fn bundle(&self, lines: &str) -> Result<(), Failure> {
        let mut world = self.world();
        world.commands += 1;
        if !world.vswitchd || !world.bridge {
            return Err(Self::away());
        }
        if let Some(index) = lines.lines().position(|line| world.refuse.iter().any(|r| line.contains(r))) {
            world.refused += 1;
            let cause = Cause::Refused(world.names_lines.then_some(index));
            return Err(Failure { cause, error: Error::new(ErrorKind::Other, "change flows", "bad flow") });
        }
        for line in lines.lines() {
            match line.split_once(' ').unwrap() {
                ("add", rest) => {
                    let flow = read_line(rest);
                    world.flows.insert(place(&flow), flow);
                }
                ("delete_strict", rest) => {
                    let at = place(&read_line(rest));
                    if world.flows.get(&at).is_some_and(|flow| is_ours(flow.cookie)) {
                        world.flows.remove(&at);
                    }
                }
                ("delete", OURS) => {
                    world.flows.retain(|_, flow| !is_ours(flow.cookie));
                }
                other => panic!("{other:?}"),
            }
        }
        world.bundles.push(lines.to_owned());
        Ok(())
    }

    fn ready(&self, lines: &str) -> Result<Box<dyn Ready>, Failure> {
        Ok(Box::new(Waiting { paper: self.clone(), lines: lines.to_owned(), result: None }))
    }

    fn dump(&self, line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        self.world().commands += 1;
        if !self.world().vswitchd || !self.world().bridge {
            return Err(Self::away());
        }
        line("OFPST_FLOW reply (OF1.3) (xid=0x2):");
        for flow in self.lines() {
            line(&format!(" {flow}"));
        }
        Ok(())
    }

    fn ports(&self) -> Result<Vec<(u16, String)>, Failure> {
        let mut world = self.world();
        world.commands += 1;
        if !world.vswitchd || !world.bridge {
            return Err(Self::away());
        }
        Ok(world.ports.iter().map(|(number, name)| (*number, name.clone())).collect())
    }

    fn monitor(&self) -> Result<Box<dyn Monitor>, Failure> {
        self.world().ended = false;
        Ok(Box::new(self.clone()))
    }
}

/// A bundle that waits for its word; then it is in, whether or not anybody waits for it.
#[derive(Debug)]
struct Waiting {
    paper: Paper,
    lines: String,
    result: Option<Result<(), Failure>>,
}

impl Ready for Waiting {
    fn go(&mut self) {
        self.result = Some(self.paper.bundle(&self.lines));
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.result.take().expect("it was told to go")
    }
}

impl Monitor for Paper {
    fn poll(&mut self) -> News {
        let mut world = self.world();
        if world.ended {
            return News::Ended(String::new());
        }
        if std::mem::take(&mut world.events) { News::Ports } else { News::None }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
