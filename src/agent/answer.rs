//! What the daemon answers to those who ask: requests of the control socket, and the event log's followers.

use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use types::Time;

use super::Agent;
use crate::control::view::{DataplaneView, EventView, SummaryView};
use crate::control::{Call, ClearMac, LocalKind, LocalRoute, Reply, Request};
use crate::core::events::{Event, Level};
use crate::evpn::{ManualKind, ManualRoute};

/// Events in one answer.
const EVENTS: usize = 512;

/// Somebody who reads events as they come.
#[derive(Debug)]
pub(super) struct Follower {
    reply: mpsc::Sender<Reply>,
    /// The last one sent.
    sent: u64,
}

impl Agent {
    /// Answers one request. The answer's place is kept free by the control server, so nothing here waits.
    pub(super) fn asked(&mut self, call: Call, now: Time) {
        let reply = match call.request {
            Request::ShowNeighbors => Reply::Neighbors(self.core.neighbour_views(now)),
            Request::ShowRoutes(query) => Reply::Routes(self.core.route_views(&query)),
            Request::ShowVnis => Reply::Vnis(self.core.vni_views(self.plane.status().is_some())),
            Request::ShowMacs(query) => Reply::Macs(self.core.mac_views(&query)),
            Request::ShowClients(query) => Reply::Clients(self.client_views(&query)),
            Request::ShowDataplane => Reply::Dataplane(self.dataplane_view(now)),
            Request::ShowSummary => Reply::Summary(self.summary(now)),
            Request::Explain(query) => {
                self.explain(&query, &call.reply);
                return;
            }
            Request::Events(query) => {
                let events: Vec<_> = self.core.log().after(0).map(|e| view(e, now)).collect();
                let _ = call.reply.try_send(Reply::Events(events));
                // On a quiet day nothing else finds out who has gone.
                self.followers.retain(|follower| !follower.reply.is_closed());
                if query.follow {
                    self.followers.push(Follower { reply: call.reply, sent: self.core.log().newest() });
                }
                return;
            }
            Request::RouteAdd(route) => match self.core.add_route(&manual(&route), now, &mut self.out) {
                Ok(key) => Reply::Done(format!("announcing {key}")),
                Err(error) => Reply::Error(error.to_string()),
            },
            Request::RouteDel(route) => match self.core.remove_route(&manual(&route), now, &mut self.out) {
                Ok(true) => Reply::Done("withdrawn".to_owned()),
                Ok(false) => Reply::Error("there is no such route made by hand".to_owned()),
                Err(error) => Reply::Error(error.to_string()),
            },
            Request::ClearMac(ClearMac { vni, mac }) => {
                if self.core.clear_duplicate(vni, mac, now, &mut self.out) {
                    Reply::Done(format!("{mac} in VNI {vni} is no longer held as a duplicate"))
                } else {
                    Reply::Error(format!("{mac} in VNI {vni} is not held as a duplicate"))
                }
            }
            Request::Reload => match self.reload() {
                Ok(summary) => Reply::Done(format!("configuration read again: {summary}")),
                Err(error) => Reply::Error(format!("reload refused, nothing changed: {error:#}")),
            },
        };
        let _ = call.reply.try_send(reply);
    }

    fn dataplane_view(&self, now: Time) -> DataplaneView {
        let Some(status) = self.plane.status() else {
            return DataplaneView {
                backend: "none".to_owned(),
                in_sync: true,
                desired: 0,
                installed: 0,
                repairs: 0,
                last_error: None,
                limits: Vec::new(),
                last_resync_seconds: None,
                pending: 0,
                failed: 0,
                layout: None,
                discover: false,
            };
        };
        DataplaneView {
            backend: status.backend.to_owned(),
            in_sync: status.in_sync && self.plane.is_idle(),
            desired: status.desired as u64,
            installed: status.installed as u64,
            repairs: status.repairs,
            last_error: status.last_error,
            limits: status.limits,
            last_resync_seconds: status.last_resync.map(|at| now.since(at).as_secs()),
            pending: status.desired.saturating_sub(status.installed) as u64,
            failed: status.failing as u64,
            layout: self.config.dataplane.layout().map(str::to_owned),
            discover: self.config.dataplane.discovers(),
        }
    }

    fn summary(&self, now: Time) -> SummaryView {
        let neighbours = self.core.neighbour_views(now);
        let rib = self.core.rib_counters();
        let vnis = self.core.vni_views(self.plane.status().is_some());
        let dataplane = self.dataplane_view(now);
        SummaryView {
            version: crate::VERSION.to_owned(),
            router_id: self.config.router.router_id,
            asn: self.config.router.asn,
            vtep: self.config.vtep(),
            uptime_seconds: now.since(self.started).as_secs(),
            neighbors: neighbours.len() as u64,
            neighbors_established: neighbours.iter().filter(|n| n.uptime_seconds.is_some()).count() as u64,
            routes: rib.destinations as u64,
            paths: rib.paths as u64,
            vnis: vnis.len() as u64,
            vnis_not_ready: vnis.iter().filter(|v| v.ready == Some(false)).count() as u64,
            local_macs: vnis.iter().map(|v| v.local_macs).sum(),
            remote_macs: vnis.iter().map(|v| v.remote_macs).sum(),
            clients: self.clients_summary(),
            backend: dataplane.backend,
            layout: dataplane.layout,
            discover: dataplane.discover,
            in_sync: dataplane.in_sync,
        }
    }

    /// Repeats new events in the process log and to followers.
    pub(super) fn tell(&mut self) {
        let newest = self.core.log().newest();
        if newest == self.logged && self.followers.iter().all(|follower| follower.sent == newest) {
            return;
        }
        for event in self.core.log().after(self.logged) {
            match event.level {
                Level::Warn => tracing::warn!(target: "evpnd", kind = %event.kind, "{}", event.text),
                Level::Info => tracing::info!(target: "evpnd", kind = %event.kind, "{}", event.text),
                Level::Debug => tracing::debug!(target: "evpnd", kind = %event.kind, "{}", event.text),
            }
        }
        self.logged = newest;
        let now = crate::clock::now();
        let log = self.core.log();
        self.followers.retain_mut(|follower| {
            while follower.sent < newest {
                // Room first: an answer that finds none is not worth putting into words.
                let room = match follower.reply.try_reserve() {
                    Ok(room) => room,
                    // It reads too slowly; what is still kept when it has room again it gets then.
                    Err(mpsc::error::TrySendError::Full(())) => break,
                    Err(mpsc::error::TrySendError::Closed(())) => return false,
                };
                let batch: Vec<_> = log.after(follower.sent).take(EVENTS).map(|e| view(e, now)).collect();
                let Some(last) = batch.last().map(|e| e.id) else { break };
                room.send(Reply::Events(batch));
                follower.sent = last;
            }
            true
        });
    }
}

fn view(event: &Event, now: Time) -> EventView {
    EventView {
        id: event.sequence,
        time: wall_clock(now.since(event.at)),
        kind: event.kind.to_string(),
        neighbor: event.about.neighbour,
        vni: event.about.vni.map(types::Vni::get),
        mac: event.about.mac,
        text: event.text.to_string(),
    }
}

/// The date `ago` before now, in seconds since 1970, to the millisecond.
fn wall_clock(ago: Duration) -> f64 {
    let since = crate::clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 52 bits for a long time")]
    let millis = since.saturating_sub(ago).as_millis() as f64;
    millis / 1000.0
}

fn manual(route: &LocalRoute) -> ManualRoute {
    let kind = match route.kind {
        LocalKind::Imet => ManualKind::Imet,
        LocalKind::Mac { mac, ip, sticky } => ManualKind::Mac { mac, ip, sequence: 0, sticky },
        LocalKind::Prefix(prefix) => ManualKind::Prefix { prefix, gateway: None, router_mac: None },
    };
    ManualRoute {
        rd: route.rd,
        route_targets: route.route_targets.clone(),
        next_hop: route.next_hop,
        ..ManualRoute::new(route.vni, kind)
    }
}
