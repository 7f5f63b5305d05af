//! Round trips over a real socket, with a core made of a few lines; the JSON that scripts rely on; bad clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::view::*;
use super::*;

/// A server with a core that answers with `core`; gone with the test.
struct Daemon {
    runtime: tokio::runtime::Runtime,
    path: PathBuf,
}

impl Daemon {
    fn start(name: &str, mut core: impl FnMut(Call) + Send + 'static) -> Self {
        let path = std::env::temp_dir().join(format!("evpnd-{name}-{}.sock", std::process::id()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let (calls, mut inbox) = mpsc::channel(4);
        let listener = runtime.block_on(async { bind(&path) }).unwrap();
        runtime.spawn(serve(listener, calls));
        runtime.spawn(async move {
            while let Some(call) = inbox.recv().await {
                core(call);
            }
        });
        Self { runtime, path }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn raw(&self) -> (UnixStream, BufReader<UnixStream>) {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (stream.try_clone().unwrap(), BufReader::new(stream))
    }
}

fn done(text: &str) -> Reply {
    Reply::Done(text.to_owned())
}

fn event(id: u64) -> EventView {
    let (neighbor, vni, mac) = (None, None, None);
    EventView { id, time: 0.5, kind: "session".into(), neighbor, vni, mac, text: "up".into() }
}

#[test]
fn requests_as_they_are_written() {
    let mac: MacAddr = "02:00:5e:10:00:01".parse().unwrap();
    let vni = Vni::new(100).unwrap();
    for (request, json) in [
        (Request::ShowSummary, r#"{"request":"show-summary"}"#),
        (Request::Reload, r#"{"request":"reload"}"#),
        (
            Request::ShowRoutes(RoutesQuery {
                route_type: Some(2),
                mac: Some(mac),
                ..RoutesQuery::default()
            }),
            r#"{"request":"show-routes","type":2,"mac":"02:00:5e:10:00:01"}"#,
        ),
        (
            Request::ShowMacs(MacsQuery { after: Some((vni, mac)), ..MacsQuery::default() }),
            r#"{"request":"show-macs","after":[100,"02:00:5e:10:00:01"]}"#,
        ),
        (
            Request::Explain(ExplainQuery { target: "10.0.0.0/24".parse().unwrap(), vni: Some(vni) }),
            r#"{"request":"explain","target":{"prefix":"10.0.0.0/24"},"vni":100}"#,
        ),
        (
            Request::RouteAdd(LocalRoute {
                kind: LocalKind::Mac { mac, ip: Some("10.0.0.1".parse().unwrap()), sticky: false },
                vni,
                rd: Some("10.0.0.1:7".parse().unwrap()),
                route_targets: vec!["65000:1".parse().unwrap()],
                next_hop: None,
            }),
            r#"{"request":"route-add","kind":{"mac":{"mac":"02:00:5e:10:00:01","ip":"10.0.0.1","sticky":false}},"vni":100,"rd":"10.0.0.1:7","route_targets":["65000:1"]}"#,
        ),
        (
            Request::RouteDel(LocalRoute {
                kind: LocalKind::Imet,
                vni,
                rd: None,
                route_targets: vec![],
                next_hop: None,
            }),
            r#"{"request":"route-del","kind":"imet","vni":100}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&request).unwrap(), json);
        assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
    }
}

/// The names and nulls of every view: whoever changes one of these lines breaks somebody's script.
#[test]
fn views_as_scripts_see_them() {
    let neighbor = NeighborView {
        address: "10.0.0.10".parse().unwrap(),
        remote_asn: None,
        state: SessionState::OpenConfirm,
        routes_received: 0,
        routes_sent: 0,
        uptime_seconds: None,
        last_error: None,
        router_id: None,
        hold_time: None,
        dynamic: false,
        description: None,
        sessions: 0,
        messages_received: 0,
        messages_sent: 0,
        backlog_bytes: 0,
    };
    let route = RouteView {
        route_type: 3,
        rd: "10.0.0.1:100".into(),
        nlri: "[3]:[0]:[32]:[10.0.0.1]".into(),
        mac: None,
        ip: Some("10.0.0.1".parse().unwrap()),
        prefix: None,
        vni: Some(100),
        next_hop: Some("10.0.0.1".parse().unwrap()),
        as_path: vec![64512, 65001],
        route_targets: vec!["65000:100".into()],
        from: "local".into(),
        best: true,
        imported_by: vec![100],
        sequence: None,
        sticky: None,
        esi: None,
        local_pref: None,
        med: None,
    };
    let mac = MacView {
        vni: 100,
        mac: "02:00:5e:10:00:01".parse().unwrap(),
        ips: vec![],
        source: MacSource::Remote,
        vtep: Some("10.0.0.102".parse().unwrap()),
        interface: None,
        sequence: 0,
        sticky: false,
        duplicate: false,
    };
    let vni = VniView {
        vni: 100,
        kind: "l2".into(),
        flood: vec!["10.0.0.102".parse().unwrap()],
        local_macs: 1,
        remote_macs: 2,
        import_rt: vec!["*:100".into()],
        export_rt: vec!["65001:100".into()],
        rd: "10.0.0.101:100".into(),
        interfaces: vec![],
        ready: None,
        prefixes_local: None,
        prefixes_remote: None,
        router_mac: None,
        vlan: None,
        vtep: None,
    };
    let dataplane = DataplaneView {
        backend: "kernel".into(),
        in_sync: true,
        desired: 5,
        installed: 5,
        repairs: 0,
        last_error: None,
        limits: vec![],
        last_resync_seconds: None,
        pending: 0,
        failed: 0,
        layout: Some("device-per-vni".into()),
        discover: false,
    };
    fn json(view: impl serde::Serialize) -> String {
        serde_json::to_string(&view).unwrap()
    }
    assert_eq!(
        json(neighbor),
        r#"{"address":"10.0.0.10","remote_asn":null,"state":"openconfirm","routes_received":0,"routes_sent":0,"uptime_seconds":null,"last_error":null,"router_id":null,"hold_time":null,"dynamic":false,"description":null,"sessions":0,"messages_received":0,"messages_sent":0,"backlog_bytes":0}"#
    );
    assert_eq!(
        json(route),
        r#"{"type":3,"rd":"10.0.0.1:100","nlri":"[3]:[0]:[32]:[10.0.0.1]","mac":null,"ip":"10.0.0.1","prefix":null,"vni":100,"next_hop":"10.0.0.1","as_path":[64512,65001],"route_targets":["65000:100"],"from":"local","best":true,"imported_by":[100],"sequence":null,"sticky":null,"esi":null,"local_pref":null,"med":null}"#
    );
    assert_eq!(
        json(mac),
        r#"{"vni":100,"mac":"02:00:5e:10:00:01","ips":[],"source":"remote","vtep":"10.0.0.102","interface":null,"sequence":0,"sticky":false,"duplicate":false}"#
    );
    assert_eq!(
        json(vni),
        r#"{"vni":100,"kind":"l2","flood":["10.0.0.102"],"local_macs":1,"remote_macs":2,"import_rt":["*:100"],"export_rt":["65001:100"],"rd":"10.0.0.101:100","interfaces":[],"ready":null,"prefixes_local":null,"prefixes_remote":null,"router_mac":null,"vlan":null,"vtep":null}"#
    );
    assert_eq!(
        json(dataplane),
        r#"{"backend":"kernel","in_sync":true,"desired":5,"installed":5,"repairs":0,"last_error":null,"limits":[],"last_resync_seconds":null,"pending":0,"failed":0,"layout":"device-per-vni","discover":false}"#
    );
    for state in [
        SessionState::Idle,
        SessionState::Connect,
        SessionState::Active,
        SessionState::OpenSent,
        SessionState::OpenConfirm,
        SessionState::Established,
    ] {
        assert_eq!(json(state), format!("\"{}\"", state.as_str()));
    }
    for source in [MacSource::Local, MacSource::Remote] {
        assert_eq!(json(source), format!("\"{}\"", source.as_str()));
    }
}

#[test]
fn one_reply_a_request_in_order() {
    let daemon = Daemon::start("order", |call| {
        let reply = match call.request {
            Request::Reload => Reply::Error("evpnd.toml:1: no".into()),
            request => done(&format!("{request:?}")),
        };
        call.reply.try_send(reply).unwrap();
    });
    let mode = std::fs::metadata(&daemon.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = daemon.client();
    assert_eq!(client.call(&Request::ShowVnis).unwrap(), done("ShowVnis"));
    assert_eq!(client.call(&Request::Reload).unwrap_err().to_string(), "evpnd.toml:1: no");
    assert_eq!(client.call(&Request::ShowSummary).unwrap(), done("ShowSummary"));
}

#[test]
fn what_is_no_request_is_said_to_be_none() {
    let daemon = Daemon::start("garbage", |call| call.reply.try_send(done("ok")).unwrap());
    let (mut out, mut replies) = daemon.raw();
    for (line, expected) in [
        ("hello\n", "does not understand"),
        ("{\"request\":\"show-tea\"}\n", "unknown variant `show-tea`"),
        ("\u{0}\u{1}\n", "does not understand"),
        ("{\"request\":\"reload\"}\n", "\"ok\""),
    ] {
        out.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        replies.read_line(&mut reply).unwrap();
        assert!(reply.contains(expected), "{reply}");
    }
    // A request without end ends the connection, and nothing else.
    let _ = out.write_all(&vec![b'x'; 100_000]);
    let mut rest = String::new();
    let _ = replies.read_to_string(&mut rest);
    assert!(rest.contains("at most 65536 octets"), "{rest}");
    assert_eq!(daemon.client().call(&Request::ShowVnis).unwrap(), done("ok"));
}

#[test]
fn clients_are_bounded_and_places_come_free() {
    let daemon = Daemon::start("many", |call| call.reply.try_send(done("ok")).unwrap());
    let mut clients: Vec<_> = (0..64).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.call(&Request::ShowVnis).unwrap();
    }
    let refused = daemon.client().call(&Request::ShowVnis).unwrap_err();
    assert_eq!(refused.to_string(), "evpnd has 64 clients already; try again later");
    clients.pop();
    let deadline = crate::clock::now() + Duration::from_secs(20);
    while daemon.client().call(&Request::ShowVnis).is_err() {
        assert!(crate::clock::now() < deadline, "the place of a client that left stays taken");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let row = Reply::Events((0..2000).map(event).collect());
    let daemon = Daemon::start("slow", move |call| {
        if matches!(&call.request, Request::Events(q) if q.follow) {
            // Full is not an error: the client misses a batch.
            while call.reply.try_send(row.clone()).is_ok() {}
        } else {
            call.reply.try_send(done("ok")).unwrap();
        }
    });
    let (mut slow, _unread) = daemon.raw();
    slow.write_all(b"{\"request\":\"events\",\"follow\":true}\n").unwrap();
    assert_eq!(daemon.client().call(&Request::ShowVnis).unwrap(), done("ok"));
}

#[test]
fn events_until_either_end_has_enough() {
    let (gone, wait_gone) = std::sync::mpsc::sync_channel(1);
    let mut kept = Vec::new();
    let daemon = Daemon::start("events", move |call| match call.request {
        Request::Events(EventsQuery { follow: true }) => {
            call.reply.try_send(Reply::Events(vec![event(1)])).unwrap();
            call.reply.try_send(Reply::Events(vec![event(2), event(3)])).unwrap();
            kept.push(call.reply);
        }
        Request::ShowVnis => {
            gone.send(kept.iter().all(mpsc::Sender::is_closed)).unwrap();
            call.reply.try_send(done("ok")).unwrap();
        }
        _ => {
            kept.clear();
            call.reply.try_send(done("ok")).unwrap();
        }
    });
    let request = Request::Events(EventsQuery { follow: true });
    let mut ids = Vec::new();
    let mut collect = |reply| {
        let Reply::Events(events) = reply else { panic!("{reply:?}") };
        ids.extend(events.iter().map(|e| e.id));
        ids.len() < 3
    };
    daemon.client().follow(&request, &mut collect).unwrap();
    assert_eq!(ids, [1, 2, 3]);
    // The client has gone, and the core is told.
    let deadline = crate::clock::now() + Duration::from_secs(20);
    loop {
        daemon.client().call(&Request::ShowVnis).unwrap();
        if wait_gone.recv().unwrap() {
            break;
        }
        assert!(crate::clock::now() < deadline, "the core still writes to a client that left");
    }
    // The core ends it.
    let mut client = daemon.client();
    let mut other = daemon.client();
    let mut count = 0;
    client
        .follow(&request, |_| {
            count += 1;
            if count == 2 {
                other.call(&Request::Reload).unwrap();
            }
            true
        })
        .unwrap();
    assert_eq!(count, 2);
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let daemon = Daemon::start("stale", |call| call.reply.try_send(done("ok")).unwrap());
    let again = daemon.runtime.block_on(async { bind(&daemon.path) }).unwrap_err();
    assert_eq!(again.to_string(), "another evpnd is running on it");
    daemon.client().call(&Request::ShowVnis).unwrap();
    let path = daemon.path.clone();
    drop(daemon);
    assert!(!path.exists(), "the socket goes with the daemon");

    // As kill -9 leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(
        Client::connect(&path).unwrap_err().to_string(),
        format!(
            "evpnd is not running on {} (connection refused); start it with `evpnd run -c evpnd.toml`, or name its \
             socket with --socket",
            path.display()
        )
    );
    let daemon = Daemon::start("stale", |call| call.reply.try_send(done("ok")).unwrap());
    daemon.client().call(&Request::ShowVnis).unwrap();
    drop(daemon);

    std::fs::write(&path, "precious").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { bind(&path) }).unwrap_err();
    assert_eq!(error.to_string(), "there is a file that is no socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}
