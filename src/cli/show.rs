//! What the daemon answers, as tables for people and JSON for scripts.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use super::args::Show;
use super::table::Align::{Left, Right};
use super::table::{Align, Table, terminal_width};
use crate::control::view::{
    ClientState, ClientView, ClientsSummary, DataplaneView, EventView, ExplainView, MacView, NeighborView,
    RouteView, SummaryView, VniView,
};
use crate::control::{
    Client, ClientError, ClientsQuery, EventsQuery, MAX_PAGE, MacsQuery, Reply, Request, RoutesQuery,
};

/// Asks for a page of this many rows at a time: the first appear soon, and few trips are needed.
const PAGE: usize = 1000;

type Row = Vec<String>;

/// `evpnd show`
pub(super) fn show(what: &Show, json: bool, client: &mut Client, out: &mut dyn Write) -> Result<()> {
    match what {
        Show::Neighbors => once(&Request::ShowNeighbors, json, client, out),
        Show::Vnis => once(&Request::ShowVnis, json, client, out),
        Show::Dataplane => once(&Request::ShowDataplane, json, client, out),
        Show::Summary => once(&Request::ShowSummary, json, client, out),
        Show::Routes(args) => {
            let mut query = RoutesQuery {
                route_type: args.route_type,
                vni: args.vni,
                neighbor: args.neighbor,
                mac: args.mac,
                after: None,
                limit: None,
            };
            pages(args.limit, json, ROUTES, route, out, |limit| {
                query.limit = Some(limit);
                match client.call(&Request::ShowRoutes(query.clone()))? {
                    Reply::Routes(page) => {
                        query.after = page.next;
                        Ok((page.rows, page.next.is_some()))
                    }
                    _ => Err(unexpected()),
                }
            })
        }
        Show::Macs(args) => {
            let mut query = MacsQuery { vni: args.vni, mac: args.mac, after: None, limit: None };
            pages(args.limit, json, MACS, mac, out, |limit| {
                query.limit = Some(limit);
                match client.call(&Request::ShowMacs(query.clone()))? {
                    Reply::Macs(page) => {
                        query.after = page.next;
                        Ok((page.rows, page.next.is_some()))
                    }
                    _ => Err(unexpected()),
                }
            })
        }
        Show::Clients(args) => {
            let mut query = ClientsQuery::default();
            pages(args.limit, json, CLIENTS, self::client, out, |limit| {
                query.limit = Some(limit);
                match client.call(&Request::ShowClients(query.clone()))? {
                    Reply::Clients(page) => {
                        query.after = page.next;
                        Ok((page.rows, query.after.is_some()))
                    }
                    _ => Err(unexpected()),
                }
            })
        }
    }
}

/// A request that is answered at once and whole.
pub(super) fn once(request: &Request, json: bool, client: &mut Client, out: &mut dyn Write) -> Result<()> {
    match client.call(request)? {
        Reply::Neighbors(rows) => whole(&rows, json, NEIGHBORS, neighbor, out),
        Reply::Vnis(rows) => vnis(&rows, json, out),
        Reply::Dataplane(view) if json => object(&view, out),
        Reply::Dataplane(view) => Ok(dataplane(&view, out)?),
        Reply::Summary(view) if json => object(&view, out),
        Reply::Summary(view) => Ok(summary(&view, out)?),
        Reply::Explain(view) if json => object(&view, out),
        Reply::Explain(view) => Ok(explain(&view, out)?),
        _ => Err(unexpected()),
    }
}

pub(super) fn unexpected() -> anyhow::Error {
    ClientError::Confused("it answers something else".to_owned()).into()
}

fn object(view: &impl Serialize, out: &mut dyn Write) -> Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string(view)?)?)
}

fn whole<T: Serialize>(
    rows: &[T],
    json: bool,
    columns: &[(&'static str, Align)],
    row: impl Fn(&T) -> Row,
    out: &mut dyn Write,
) -> Result<()> {
    if json {
        array(rows, out)
    } else {
        let rows: Vec<Row> = rows.iter().map(row).collect();
        Ok(Table::new(columns, terminal_width()).print(&rows, out)?)
    }
}

/// A table of any length: one page after the other, printed as they come. `next` is asked for so many rows at most and
/// says whether there may be more.
fn pages<T: Serialize>(
    limit: Option<usize>,
    json: bool,
    columns: &[(&'static str, Align)],
    row: fn(&T) -> Row,
    out: &mut dyn Write,
    mut next: impl FnMut(usize) -> Result<(Vec<T>, bool)>,
) -> Result<()> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut table = Table::new(columns, terminal_width());
    let mut array = Array::default();
    let mut more = left > 0;
    // An empty table has a header, too.
    if !more && !json {
        table.print(&[], out)?;
    }
    while more {
        let (mut rows, may_go_on) = next(left.min(PAGE).min(MAX_PAGE))?;
        rows.truncate(left);
        left -= rows.len();
        more = may_go_on && left > 0;
        if json {
            array.extend(&rows, out)?;
        } else if !rows.is_empty() || !more {
            let rows: Vec<Row> = rows.iter().map(row).collect();
            table.print(&rows, out)?;
        }
        out.flush()?;
    }
    if json { array.end(out) } else { Ok(()) }
}

/// A JSON array written as it comes, one element a line.
#[derive(Default)]
struct Array {
    begun: bool,
}

impl Array {
    fn extend<T: Serialize>(&mut self, rows: &[T], out: &mut dyn Write) -> Result<()> {
        for row in rows {
            out.write_all(if self.begun { b",\n" } else { b"[\n" })?;
            self.begun = true;
            serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
        }
        Ok(())
    }

    fn end(self, out: &mut dyn Write) -> Result<()> {
        Ok(out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?)
    }
}

/// Rows as a JSON array.
pub(super) fn array<T: Serialize>(rows: &[T], out: &mut dyn Write) -> Result<()> {
    let mut array = Array::default();
    array.extend(rows, out)?;
    array.end(out)
}

/// `evpnd events`
pub(super) fn events(query: EventsQuery, json: bool, client: &mut Client, out: &mut dyn Write) -> Result<()> {
    let request = Request::Events(query);
    if !query.follow {
        let Reply::Events(events) = client.call(&request)? else { return Err(unexpected()) };
        if json {
            return array(&events, out);
        }
        return events.iter().try_for_each(|event| Ok(writeln!(out, "{}", event_line(event))?));
    }
    let mut result = Ok(());
    let mut expected = None;
    client.follow(&request, |reply| {
        result = follow(&reply, json, &mut expected, out);
        result.is_ok()
    })?;
    result
}

fn follow(reply: &Reply, json: bool, expected: &mut Option<u64>, out: &mut dyn Write) -> Result<()> {
    let Reply::Events(events) = reply else { return Err(unexpected()) };
    for event in events {
        let lost = expected.map_or(0, |id| event.id.saturating_sub(id));
        *expected = Some(event.id + 1);
        if lost > 0 {
            eprintln!("evpnd: {lost} events came too fast to be shown");
        }
        if json {
            object(event, out)?;
        } else {
            writeln!(out, "{}", event_line(event))?;
        }
    }
    Ok(out.flush()?)
}

fn event_line(event: &EventView) -> String {
    let text: String = event.text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    // Whom it is about the text says itself.
    format!("{}  {:<9}  {text}", utc(event.time), event.kind)
}

/// A moment as RFC 3339 has it, in UTC, to the millisecond.
#[expect(clippy::cast_sign_loss, reason = "times before 1970 are shown as 1970")]
fn utc(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round().max(0.0) as u64;
    let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
    // Civil date from days, in years that begin in March, so that the leap day is the last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// A time span in its two largest units: `3d04h`, `2m05s`.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

const NEIGHBORS: &[(&str, Align)] = &[
    ("NEIGHBOR", Left),
    ("AS", Right),
    ("STATE", Left),
    ("UP", Right),
    ("RECEIVED", Right),
    ("SENT", Right),
    ("DESCRIPTION", Left),
    ("LAST ERROR", Left),
];

fn neighbor(n: &NeighborView) -> Row {
    vec![
        format!("{}{}", n.address, if n.dynamic { " (range)" } else { "" }),
        or_dash(n.remote_asn),
        n.state.as_str().to_owned(),
        or_dash(n.uptime_seconds.map(span)),
        n.routes_received.to_string(),
        n.routes_sent.to_string(),
        or_dash(n.description.as_ref()),
        or_dash(n.last_error.as_ref()),
    ]
}

const ROUTES: &[(&str, Align)] = &[
    ("", Left),
    ("TYPE", Right),
    ("RD", Left),
    ("ROUTE", Left),
    ("VNI", Right),
    ("NEXT HOP", Left),
    ("FROM", Left),
    ("AS PATH", Left),
    ("ROUTE TARGETS", Left),
    ("IMPORTED BY", Left),
];

fn route(r: &RouteView) -> Row {
    let path: Vec<_> = r.as_path.iter().map(ToString::to_string).collect();
    vec![
        if r.best { "*" } else { " " }.to_owned(),
        r.route_type.to_string(),
        r.rd.clone(),
        r.nlri.clone(),
        or_dash(r.vni),
        or_dash(r.next_hop),
        r.from.clone(),
        if path.is_empty() { "-".to_owned() } else { path.join(" ") },
        list(&r.route_targets),
        list(&r.imported_by),
    ]
}

const MACS: &[(&str, Align)] = &[
    ("VNI", Right),
    ("MAC", Left),
    ("SOURCE", Left),
    ("BEHIND", Left),
    ("SEQUENCE", Right),
    ("STATE", Left),
    ("ADDRESSES", Left),
];

fn mac(m: &MacView) -> Row {
    vec![
        m.vni.to_string(),
        m.mac.to_string(),
        m.source.as_str().to_owned(),
        m.interface.clone().unwrap_or_else(|| or_dash(m.vtep)),
        m.sequence.to_string(),
        match (m.duplicate, m.sticky) {
            (true, _) => "duplicate",
            (false, true) => "sticky",
            (false, false) => "-",
        }
        .to_owned(),
        list(&m.ips),
    ]
}

const VNIS: &[(&str, Align)] = &[
    ("VNI", Right),
    ("KIND", Left),
    ("RD", Left),
    ("IMPORT", Left),
    ("EXPORT", Left),
    ("LOCAL", Right),
    ("REMOTE", Right),
    ("READY", Left),
    ("INTERFACES", Left),
    ("FLOOD", Left),
];

/// Where the VLAN stands, in layouts that have them.
const VLAN_AT: usize = 2;

fn vnis(rows: &[VniView], json: bool, out: &mut dyn Write) -> Result<()> {
    if rows.iter().all(|v| v.vlan.is_none()) {
        return whole(rows, json, VNIS, vni, out);
    }
    let mut columns = VNIS.to_vec();
    columns.insert(VLAN_AT, ("VLAN", Right));
    let row = |v: &VniView| {
        let mut row = vni(v);
        row.insert(VLAN_AT, or_dash(v.vlan));
        row
    };
    whole(rows, json, &columns, row, out)
}

fn vni(v: &VniView) -> Row {
    vec![
        v.vni.to_string(),
        v.kind.clone(),
        v.rd.clone(),
        list(&v.import_rt),
        list(&v.export_rt),
        // What a VRF has is prefixes.
        v.prefixes_local.unwrap_or(v.local_macs).to_string(),
        v.prefixes_remote.unwrap_or(v.remote_macs).to_string(),
        or_dash(v.ready.map(yes_no)),
        list(&v.interfaces),
        list(&v.flood),
    ]
}

const CLIENTS: &[(&str, Align)] = &[
    ("NAME", Left),
    ("KIND", Left),
    ("VNI", Right),
    ("PORT", Left),
    ("MAC", Left),
    ("ADDRESSES", Left),
    ("ROUTES", Right),
    ("STATE", Left),
];

fn client(c: &ClientView) -> Row {
    let addresses = if c.routes.is_empty() { list(&c.ips) } else { list(&c.routes) };
    vec![
        c.name.clone(),
        or_dash(c.cfg_type.as_ref()),
        or_dash(c.vni),
        match (&c.port, c.tag) {
            (Some(port), Some(tag)) => format!("{port} VLAN {tag}"),
            (port, _) => or_dash(port.as_ref()),
        },
        or_dash(c.mac),
        addresses,
        c.announced.to_string(),
        client_state(c),
    ]
}

/// The state with all that is to be said about it.
fn client_state(c: &ClientView) -> String {
    let mut text = match c.state {
        // The problem says what goes on meanwhile.
        ClientState::BrokenKept => "broken",
        state => state.as_str(),
    }
    .to_owned();
    if let Some(problem) = &c.problem {
        text = format!("{text}: {problem}");
    }
    if c.errors.len() > 1 {
        text = format!("{text} (and {} more errors)", c.errors.len() - 1);
    }
    if c.in_use && matches!(c.state, ClientState::BrokenKept | ClientState::Conflict) {
        let place = c.interface.as_ref().map_or_else(|| "waiting".to_owned(), |i| format!("up at {i}"));
        text = format!("{text}; what it said before stays, {place}");
    }
    if let Some(vtep) = c.elsewhere {
        text = format!("{text}; its MAC is behind {vtep} now");
    }
    for warning in &c.warnings {
        text = format!("{text}; {warning}");
    }
    text
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Names and values, one a line.
fn pairs(pairs: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().try_for_each(|(name, value)| writeln!(out, "{name:width$}  {value}"))
}

fn dataplane(d: &DataplaneView, out: &mut dyn Write) -> io::Result<()> {
    let resync = d.last_resync_seconds.map(|s| format!("{} ago", span(s)));
    let limits = d.limits.iter().map(|limit| ("limit", limit.clone()));
    let lines: Vec<_> = [
        ("backend", backend(&d.backend, d.layout.as_deref(), d.discover)),
        ("in sync", yes_no(d.in_sync).to_owned()),
        ("desired", d.desired.to_string()),
        ("installed", d.installed.to_string()),
        ("pending", d.pending.to_string()),
        ("failed", d.failed.to_string()),
        ("repairs", d.repairs.to_string()),
        ("last resync", or_dash(resync)),
        ("last error", or_dash(d.last_error.as_ref())),
    ]
    .into_iter()
    .chain(limits)
    .collect();
    pairs(&lines, out)
}

/// `ovs`, `kernel`, `kernel (single-device, discover)`.
fn backend(name: &str, layout: Option<&str>, discover: bool) -> String {
    let layout = layout.filter(|layout| *layout != "device-per-vni");
    let words: Vec<_> = layout.into_iter().chain(discover.then_some("discover")).collect();
    if words.is_empty() { name.to_owned() } else { format!("{name} ({})", words.join(", ")) }
}

fn clients(c: &ClientsSummary) -> String {
    let numbers = [(c.up, "up"), (c.waiting, "waiting"), (c.broken, "broken"), (c.conflict, "in conflict")];
    let mut parts = vec![format!("{} {}", c.files, if c.files == 1 { "file" } else { "files" })];
    parts.extend(numbers.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    parts.extend(c.problem.clone());
    parts.join(", ")
}

fn summary(s: &SummaryView, out: &mut dyn Write) -> io::Result<()> {
    let backend = backend(&s.backend, s.layout.as_deref(), s.discover);
    let vnis = match s.vnis_not_ready {
        0 => s.vnis.to_string(),
        n => format!("{}, {n} of them not ready", s.vnis),
    };
    pairs(
        &[
            ("evpnd", format!("{}, up {}", s.version, span(s.uptime_seconds))),
            ("router", format!("{}, AS {}, VTEP {}", s.router_id, s.asn, or_dash(s.vtep))),
            ("neighbors", format!("{} of {} established", s.neighbors_established, s.neighbors)),
            ("routes", format!("{}, {} paths", s.routes, s.paths)),
            ("VNIs", vnis),
            ("MACs", format!("{} local, {} remote", s.local_macs, s.remote_macs)),
            ("clients", s.clients.as_ref().map_or_else(|| "-".to_owned(), clients)),
            ("dataplane", format!("{backend}, {}", if s.in_sync { "in sync" } else { "not in sync" })),
        ],
        out,
    )
}

fn explain(e: &ExplainView, out: &mut dyn Write) -> io::Result<()> {
    if e.verdict.starts_with(&e.target) {
        writeln!(out, "{}", e.verdict)?;
    } else {
        writeln!(out, "{}: {}", e.target, e.verdict)?;
    }
    if e.steps.is_empty() {
        return Ok(());
    }
    let mark = |ok: Option<bool>| or_dash(ok.map(|ok| if ok { "ok" } else { "no" }));
    let row = |step: &crate::control::view::ExplainStep| {
        vec![step.stage.clone(), or_dash(step.vni), mark(step.ok), step.text.clone()]
    };
    let rows: Vec<Row> = e.steps.iter().map(row).collect();
    let columns = [("STAGE", Left), ("VNI", Right), ("", Left), ("WHAT", Left)];
    Table::new(&columns, terminal_width()).print(&rows, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_400.5, "2000-02-29T00:00:00.500Z"),
            (1_795_219_199.999, "2026-11-20T23:59:59.999Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00.000Z"),
            (-5.0, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn spans() {
        for (seconds, text) in [(0, "0s"), (125, "2m05s"), (7384, "2h03m"), (273_600, "3d04h")] {
            assert_eq!(span(seconds), text);
        }
    }
}
