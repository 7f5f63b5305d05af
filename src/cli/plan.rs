//! `evpnd plan` as people read it: groups of `+`, `~` and `-`, routes, and what a plan cannot know.

use std::io::{self, Write};

use anyhow::Result;

use super::show;
use crate::config::{Config, ConfigErrors};
use crate::control::view::RouteView;
use crate::plan::{Action, Kind, Plan, Step, plan};

/// So many of what would perhaps go are shown: there may be hundreds of thousands.
const SHOWN: usize = 20;

pub(super) fn run(config: &Config, json: bool, out: &mut dyn Write) -> Result<()> {
    let plan = plan(config)?;
    if let Some(loaded) = &plan.clients {
        for line in loaded.problem.iter().cloned().chain(loaded.errors.iter().flat_map(ConfigErrors::lines)) {
            eprintln!("{line}");
        }
    }
    if json {
        return show::array(&plan.steps, out);
    }
    Ok(print(&plan, out)?)
}

fn print(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let forwarding = |step: &&Step| step.kind != Kind::Route && step.action != Action::RemoveUnlessAnnounced;
    for (kind, title) in [
        (Kind::Command, "bridge and ports"),
        (Kind::Device, "devices"),
        (Kind::Row, "rows"),
        (Kind::Flow, "flows"),
        (Kind::Client, "clients that cannot be reached now"),
    ] {
        let steps: Vec<_> = plan.steps.iter().filter(forwarding).filter(|step| step.kind == kind).collect();
        group(title, &steps, usize::MAX, out)?;
    }
    if plan.backend == "none" {
        writeln!(out, "Nothing is forwarded by this node: backend = \"none\".")?;
    } else if !plan.steps.iter().any(|step| forwarding(&step)) {
        writeln!(out, "Nothing to do: what there is, is what should be.")?;
    }
    let of = |action| plan.steps.iter().filter(move |step| step.action == action).collect::<Vec<_>>();
    let perhaps = of(Action::RemoveUnlessAnnounced);
    group("goes once all neighbours have been heard, unless they announce it", &perhaps, SHOWN, out)?;
    let routes = of(Action::Announce);
    group("routes to announce", &routes, usize::MAX, out)?;
    let count = |actions: &[Action]| plan.steps.iter().filter(|s| actions.contains(&s.action)).count();
    writeln!(
        out,
        "{} to add, {} to change, {} to remove, {} perhaps; {} to announce.",
        count(&[Action::Add]),
        count(&[Action::Change]),
        count(&[Action::Remove]),
        perhaps.len(),
        routes.len(),
    )?;
    if plan.backend != "none" {
        writeln!(
            out,
            "Not known to a plan: what neighbours announce, and what comes of it; MACs that are yet to be learned."
        )?;
    }
    Ok(())
}

fn group(title: &str, steps: &[&Step], most: usize, out: &mut dyn Write) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}")?;
    for step in steps.iter().take(most) {
        let sign = match step.action {
            Action::Add | Action::Announce => '+',
            Action::Change => '~',
            Action::Remove => '-',
            Action::RemoveUnlessAnnounced => '?',
            Action::Cannot => '!',
        };
        match &step.route {
            Some(view) => writeln!(out, "  {sign} {}", route(view))?,
            None => writeln!(out, "  {sign} {}", step.what)?,
        }
    }
    if steps.len() > most {
        writeln!(out, "    and {} more; --json has all", steps.len() - most)?;
    }
    Ok(())
}

fn route(view: &RouteView) -> String {
    let vni = view.vni.map(|vni| format!(" vni {vni}")).unwrap_or_default();
    let next_hop = view.next_hop.map(|ip| format!(" next hop {ip}")).unwrap_or_default();
    format!("{} rd {}{vni}{next_hop} rt {}", view.nlri, view.rd, view.route_targets.join(","))
}
