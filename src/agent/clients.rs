//! Client files in the daemon: a directory is watched, what it says goes to the core, and how it all stands is shown.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use dataplane::intent::{Client, ClientState as PortState, Service};
use types::Time;

use super::{Agent, Event};
use crate::clients::{Ases, Standing, Status, Update, Watch, Weight};
use crate::config::{Config, Dataplane};
use crate::control::view::{ClientState, ClientView, ClientsSummary};
use crate::control::{ClientsQuery, MAX_PAGE, Page};
use crate::core::events::{About, Level};
use crate::evpn;

/// What is known of the directory of clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    watch: Option<Watch>,
    /// Counts directories: what the thread of an earlier one still says does not count.
    generation: u64,
    files: Arc<Vec<Status>>,
    problem: Option<String>,
}

impl Agent {
    /// Watches the directory of `wanted`, where it is not watched already.
    pub(super) fn watch_clients(
        &mut self,
        wanted: &Config,
        running: Option<&Config>,
        now: Time,
    ) -> Result<()> {
        let dir = wanted.clients.as_ref().map(|clients| &clients.dir);
        if running.is_some_and(|running| running.clients == wanted.clients) {
            if let Some(watch) = &self.clients.watch {
                watch.rescan();
            }
            return Ok(());
        }
        let generation = self.clients.generation + 1;
        let (watch, first) = match dir {
            Some(dir) => {
                let sender = self.sender.clone();
                let tell = move |update| {
                    // Blocks while the core is busy: then the directory waits, and nobody else.
                    sender.blocking_send(Event::Clients(generation, update)).is_ok()
                };
                let started = Watch::start(dir, Ases::of(wanted), tell);
                let (watch, first) =
                    started.with_context(|| format!("cannot watch the clients in {}", dir.display()))?;
                (Some(watch), first)
            }
            None => (None, None),
        };
        // Another directory is another set of clients, whatever it has: those of the old one go.
        let first = first.or_else(|| running.map(|_| Update::none()));
        self.clients = Clients { watch, generation, ..Clients::default() };
        if let Some(update) = first {
            self.clients_changed(generation, update, now);
        }
        Ok(())
    }

    /// The directory has news.
    pub(super) fn clients_changed(&mut self, generation: u64, update: Update, now: Time) {
        if generation != self.clients.generation {
            return;
        }
        (self.clients.files, self.clients.problem) = (update.files, update.problem);
        self.core.clients_unread(self.clients.problem.is_some());
        for note in update.notes {
            let level = match note.weight {
                Weight::Detail => Level::Debug,
                Weight::News => Level::Info,
                Weight::Warning => Level::Warn,
            };
            let about = About { neighbour: None, vni: note.vni, mac: note.mac };
            self.core.note_client(level, about, note.text, now);
        }
        if let Some(clients) = update.clients {
            self.core.set_clients(clients, now, &mut self.out);
        }
    }

    /// A page of `show clients`, in order of name.
    pub(super) fn client_views(&self, query: &ClientsQuery) -> Page<ClientView, String> {
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let files = &self.clients.files;
        let from =
            query.after.as_ref().map_or(0, |after| files.partition_point(|file| *file.name <= **after));
        let files = &files[from..];
        let page = &files[..files.len().min(limit)];
        let known: HashMap<&str, evpn::ClientView<'_>> =
            self.core.clients().map(|client| (&*client.config.client.name, client)).collect();
        let rows: Vec<_> = page.iter().map(|file| self.view(file, known.get(&*file.name))).collect();
        let next = (files.len() > limit).then(|| page.last().map(|file| file.name.to_string())).flatten();
        Page { rows, next }
    }

    fn view(&self, file: &Status, known: Option<&evpn::ClientView<'_>>) -> ClientView {
        let config = file.in_use.as_ref().or(file.asks.as_ref());
        let client = config.map(|config| &config.client);
        let (state, problem) = state(file, known);
        let interface = known.and_then(|known| match known.state {
            Some(PortState::Up { interface }) => Some(interface.to_string()),
            _ => None,
        });
        let (ips, routes) = match client.map(|client| &client.service) {
            Some(Service::L2 { ips, .. }) => (ips.clone(), Vec::new()),
            Some(Service::L3 { prefixes, .. }) => (Vec::new(), prefixes.clone()),
            None => (Vec::new(), Vec::new()),
        };
        let mut warnings = file.warnings.clone();
        if file.in_use.is_some() && client.is_some_and(|client| client.anti_spoof) && !self.checks_sources() {
            warnings.push("anti_spoof: the kernel backend does not check what a client sends".to_owned());
        }
        ClientView {
            name: file.name.to_string(),
            cfg_type: client.map(|client| kind(client).0.to_owned()),
            vni: client.map(|client| kind(client).1),
            port: client.map(|client| client.port.to_string()),
            tag: client.and_then(|client| client.vlan),
            mac: client.map(|client| client.mac),
            ips,
            routes,
            state,
            problem,
            line: file.line.map(|line| line as u64),
            anti_spoof: client.is_none_or(|client| client.anti_spoof),
            in_use: file.in_use.is_some(),
            interface,
            announced: known.map_or(0, |known| known.routes as u64),
            elsewhere: known.and_then(|known| known.elsewhere),
            errors: file.errors.clone(),
            warnings,
        }
    }

    /// Only a switch with flows drops what a client sends in somebody else's name.
    const fn checks_sources(&self) -> bool {
        !matches!(self.config.dataplane, Dataplane::Kernel(_))
    }

    /// The clients in numbers; `None` without a directory.
    pub(super) fn clients_summary(&self) -> Option<ClientsSummary> {
        self.clients.watch.as_ref()?;
        let known: HashMap<&str, evpn::ClientView<'_>> =
            self.core.clients().map(|client| (&*client.config.client.name, client)).collect();
        let mut summary = ClientsSummary {
            files: self.clients.files.len() as u64,
            problem: self.clients.problem.clone(),
            ..ClientsSummary::default()
        };
        for file in self.clients.files.iter() {
            *match state(file, known.get(&*file.name)).0 {
                ClientState::Up => &mut summary.up,
                ClientState::Waiting => &mut summary.waiting,
                ClientState::BrokenKept | ClientState::Broken => &mut summary.broken,
                ClientState::Conflict => &mut summary.conflict,
            } += 1;
        }
        Some(summary)
    }
}

/// `l2` or `l3`, and the VNI.
fn kind(client: &Client) -> (&'static str, u32) {
    match client.service {
        Service::L2 { vni, .. } => ("l2", vni.get()),
        Service::L3 { vrf, .. } => ("l3", vrf.get()),
    }
}

/// How a file stands, and why not better.
fn state(file: &Status, known: Option<&evpn::ClientView<'_>>) -> (ClientState, Option<String>) {
    match &file.standing {
        Standing::Broken(why) if file.in_use.is_some() => (ClientState::BrokenKept, Some(why.clone())),
        Standing::Broken(why) => (ClientState::Broken, Some(why.clone())),
        Standing::Conflict(why) => (ClientState::Conflict, Some(why.clone())),
        Standing::Accepted => match known.and_then(|known| known.state) {
            Some(PortState::Up { .. }) => (ClientState::Up, None),
            Some(PortState::Down { reason }) => (ClientState::Waiting, Some(reason.clone())),
            None => (ClientState::Waiting, Some("the dataplane has not said anything of it yet".to_owned())),
        },
    }
}
