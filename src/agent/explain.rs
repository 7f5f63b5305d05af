//! `evpnd explain`: the whole story of one address, from the neighbour's UPDATE to the row in the dataplane.

use dataplane::Standing;
use dataplane::rows::Key;
use tokio::sync::mpsc;
use types::Vni;

use super::Agent;
use crate::control::view::{ExplainStep, ExplainView};
use crate::control::{ExplainQuery, Reply, Target};
use crate::core::explain::Told;

impl Agent {
    /// Tells the story. Its last step is known to the dataplane thread only, which finishes the answer.
    pub(super) fn explain(&mut self, query: &ExplainQuery, reply: &mpsc::Sender<Reply>) {
        let told = self.core.explain(query);
        let view = ExplainView {
            target: match query.target {
                Target::Mac(mac) => mac.to_string(),
                Target::Ip(ip) => ip.to_string(),
                Target::Prefix(prefix) => prefix.to_string(),
            },
            vni: query.vni.map(Vni::get),
            reachable: None,
            verdict: String::new(),
            steps: told.steps.clone(),
        };
        let Some(thread) = self.plane.thread().filter(|_| !told.wanted.is_empty()) else {
            let _ = reply.try_send(Reply::Explain(finish(view, &told, &[])));
            return;
        };
        let keys = told.wanted.clone();
        let late = reply.clone();
        let asked = thread.lookup(keys, move |standing| {
            let _ = late.try_send(Reply::Explain(finish(view, &told, &standing)));
        });
        if !asked {
            let _ =
                reply.try_send(Reply::Error("the dataplane is too busy to be asked: try again".to_owned()));
        }
    }
}

/// Adds what the dataplane says, and the end of the story.
fn finish(mut view: ExplainView, told: &Told, standing: &[Standing]) -> ExplainView {
    let mut missing = None;
    for (key, stands) in told.wanted.iter().zip(standing) {
        let (ok, text) = match (&stands.wanted, &stands.installed) {
            (Some(wanted), Some(installed)) if wanted == installed => {
                (true, format!("in place: {installed}"))
            }
            (Some(wanted), Some(installed)) => (false, format!("{installed} stands, {wanted} is wanted")),
            (Some(wanted), None) => (false, format!("not in place: {wanted} (see evpnd show dataplane)")),
            (None, _) => (false, "the dataplane has not been told yet".to_owned()),
        };
        if !ok {
            missing.get_or_insert(*key);
        }
        view.steps.push(ExplainStep {
            stage: "installed".to_owned(),
            vni: Some(key.vni().get()),
            ok: Some(ok),
            text,
        });
    }
    (view.reachable, view.verdict) = verdict(told, missing);
    view
}

fn verdict(told: &Told, missing: Option<Key>) -> (Option<bool>, String) {
    match (missing, &told.verdict) {
        (Some(key), _) => (Some(false), format!("{key} is known, but its row is not in the dataplane")),
        (None, (reachable, text)) => (*reachable, text.clone()),
    }
}
