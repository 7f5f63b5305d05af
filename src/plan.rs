//! `evpnd plan`: what a daemon would do on this host now, without doing it.
//!
//! The very core and dataplane of the daemon are driven in this process, without BGP: the dataplane tells how ports and
//! clients are ([`Dataplane::dry_run`]), the core makes changes and routes of it, and so on until nothing is new. What
//! neighbours would announce is not known to a plan. So it cannot say of what stands and is not configured whether it
//! would stay: that is listed apart, as what goes once all neighbours have been heard, unless they announce it.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use dataplane::Dataplane;
use dataplane::intent::{Change, ClientState, Local};
use dataplane::plane::{self, Step as Planned};
use dataplane::reconciler::Output as Seen;
use serde::Serialize;
use types::Vni;

use crate::agent::setup;
use crate::clients::{self, Ases, Loaded};
use crate::clock;
use crate::config::{self, Config};
use crate::control::RoutesQuery;
use crate::control::view::RouteView;
use crate::core::{Core, CoreConfig, Input, Output};

/// A port that comes up makes changes, and those may bring another one up; it never takes more turns than this.
const TURNS: usize = 8;

/// What is done with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It comes.
    Add,
    /// It is there, and becomes another.
    Change,
    /// It goes.
    Remove,
    /// It goes once all neighbours have been heard, unless they announce it.
    RemoveUnlessAnnounced,
    /// It is announced to neighbours.
    Announce,
    /// It cannot be done now; why is said.
    Cannot,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A network device, or how it is set.
    Device,
    /// A command of Open vSwitch.
    Command,
    /// A row of a forwarding or neighbour table of the kernel.
    Row,
    /// An OpenFlow flow.
    Flow,
    /// A client.
    Client,
    /// A route.
    Route,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// With what kind of thing.
    pub kind: Kind,
    /// The thing: a flow in the words of `ovs-ofctl`, a command, a row, a route's key, a reason.
    pub what: String,
    /// The route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteView>,
}

/// Everything a daemon would do.
#[derive(Debug)]
pub struct Plan {
    /// `kernel`, `ovs` or `none`.
    pub backend: &'static str,
    /// In the order in which it would be done.
    pub steps: Vec<Step>,
    /// The client files.
    pub clients: Option<Loaded>,
}

/// Finds out what a daemon with this configuration would do.
///
/// # Errors
/// The dataplane cannot be looked at.
pub fn plan(config: &Config) -> Result<Plan> {
    let now = clock::now();
    let clients = config.clients.as_ref().map(|c| clients::load(&c.dir, Ases::of(config)));
    let bare = CoreConfig { neighbours: Vec::new(), dynamic: Vec::new(), ..setup::core_config(config) };
    let mut out = Vec::new();
    let mut core = Core::new(bare, 0, now, &mut out);
    if let Some(loaded) = &clients {
        core.set_clients(loaded.clients.clone(), now, &mut out);
    }
    let mut plane = setup::dataplane(config)?;
    let mut steps = Vec::new();
    if let Some(plane) = &mut plane {
        let planned =
            look(&mut core, &mut **plane, &mut out, &mut steps).with_context(|| hint(&config.dataplane))?;
        plane.change(&Change::Settled);
        let mut all = plane.dry_run(&mut Vec::new())?;
        let sure: HashSet<&Planned> = planned.iter().collect();
        all.retain(|step| !sure.contains(step));
        let late = all.into_iter().map(Step::from);
        // Nobody announces devices: those of a VNI that is not configured go in any case.
        // A flood list that stands gets shorter by what goes, which is told already.
        let perhaps: Vec<_> = late
            .filter(|step| step.kind == Kind::Device || step.action != Action::Change)
            .map(|step| match step.kind {
                Kind::Device => step,
                _ => Step { action: Action::RemoveUnlessAnnounced, ..step },
            })
            .collect();
        steps.extend(planned.into_iter().map(Step::from));
        steps.extend(perhaps);
    }
    steps.extend(core.missing().filter_map(|vni| core.lack(vni)).map(|what| Step {
        action: Action::Cannot,
        kind: Kind::Device,
        what,
        route: None,
    }));
    steps.extend(routes(&core));
    Ok(Plan { backend: backend(&config.dataplane), steps, clients })
}

/// Dataplane and core in turns, until neither has news for the other; what is to be done then. Clients that are down
/// are steps of their own.
fn look(
    core: &mut Core,
    plane: &mut dyn Dataplane,
    out: &mut Vec<Output>,
    steps: &mut Vec<Step>,
) -> Result<Vec<Planned>, dataplane::backend::Error> {
    let now = clock::now();
    let mut told: Vec<Local> = Vec::new();
    for _ in 0..TURNS {
        while core.work(true, now, out) {}
        for output in out.drain(..) {
            if let Output::Dataplane(change) = output {
                plane.change(&change);
            }
        }
        let mut seen = Vec::new();
        let planned = plane.dry_run(&mut seen)?;
        let mut news: Vec<Local> = seen
            .into_iter()
            .filter_map(|s| if let Seen::Local(local) = s { Some(local) } else { None })
            .collect();
        // What a device would say once it is there.
        let vnis = core.vni_views(true).into_iter().filter(|v| v.ready == Some(false));
        let vnis = vnis.filter_map(|v| Vni::new(v.vni)).filter(|vni| core.lack(*vni).is_none());
        news.extend(vnis.map(|vni| Local::VniReady(vni, true)));
        news.retain(|local| !matches!(local, Local::VniReady(_, false)) && !told.contains(local));
        if news.is_empty() {
            steps.extend(told.iter().filter_map(down));
            return Ok(planned);
        }
        for local in news {
            core.handle(Input::Local(local.clone()), now, out);
            if let Local::Client { name, .. } = &local {
                told.retain(|t| !matches!(t, Local::Client { name: other, .. } if other == name));
            }
            told.push(local);
        }
    }
    steps.extend(told.iter().filter_map(down));
    plane.dry_run(&mut Vec::new())
}

fn down(local: &Local) -> Option<Step> {
    let Local::Client { name, state: ClientState::Down { reason } } = local else { return None };
    let what = format!("{name}: {reason}");
    Some(Step { action: Action::Cannot, kind: Kind::Client, what, route: None })
}

/// What would be announced, whoever it is announced to.
fn routes(core: &Core) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut query = RoutesQuery::default();
    loop {
        let page = core.route_views(&query);
        steps.extend(page.rows.into_iter().map(|route| Step {
            action: Action::Announce,
            kind: Kind::Route,
            what: route.nlri.clone(),
            route: Some(route),
        }));
        if page.next.is_none() {
            return steps;
        }
        query.after = page.next;
    }
}

impl From<Planned> for Step {
    fn from(planned: Planned) -> Self {
        let action = match planned.action {
            plane::Action::Add => Action::Add,
            plane::Action::Change => Action::Change,
            plane::Action::Remove => Action::Remove,
            plane::Action::Cannot => Action::Cannot,
        };
        let kind = match planned.thing {
            plane::Thing::Device => Kind::Device,
            plane::Thing::Command => Kind::Command,
            plane::Thing::Row => Kind::Row,
            plane::Thing::Flow => Kind::Flow,
        };
        Self { action, kind, what: planned.what, route: None }
    }
}

const fn backend(dataplane: &config::Dataplane) -> &'static str {
    match dataplane {
        config::Dataplane::None { .. } => "none",
        config::Dataplane::Kernel(_) => "kernel",
        config::Dataplane::Ovs(_) => "ovs",
    }
}

/// What is said before the reason why it cannot be looked at.
const fn hint(dataplane: &config::Dataplane) -> &'static str {
    match dataplane {
        config::Dataplane::Ovs(_) => "Open vSwitch cannot be looked at",
        _ => "the kernel cannot be looked at",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_dataplane_plans_nothing() {
        let text = "[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\nbackend = \"none\"\n";
        let config = Config::parse(text, "evpnd.toml", std::path::Path::new("/")).unwrap();
        let plan = plan(&config).unwrap();
        assert_eq!((plan.backend, plan.steps.len()), ("none", 0));
    }

    #[test]
    fn an_open_vswitch_that_is_not_there_is_told() {
        let text = "[router]\nasn = 1\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\n\
                    [dataplane.ovs]\nvsctl = \"/nonexistent/ovs-vsctl\"\n";
        let config = Config::parse(text, "evpnd.toml", std::path::Path::new("/")).unwrap();
        let error = format!("{:#}", plan(&config).unwrap_err());
        assert!(error.starts_with("Open vSwitch cannot be looked at"), "{error}");
        assert!(error.contains("/nonexistent/ovs-vsctl"), "{error}");
    }
}
