//! The `evpnd` command as people and scripts use it: exit codes, messages, tables and JSON, against a core made of a
//! few lines.
#![forbid(unsafe_code)]

#[path = "cli/moving.rs"]
mod moving;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use evpnd::control::view::*;
use evpnd::control::{Call, ClearMac, EventsQuery, Page, Reply, Request, RoutesQuery, bind, serve};
use tokio::sync::mpsc;
use types::Vni;

fn evpnd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evpnd"));
    command.args(args).env_remove("EVPND_LOG").env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
    command
}

/// Exit code, stdout and stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = evpnd(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A file or directory of its own for one test, gone with it.
struct TempPath(PathBuf);

impl TempPath {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("evpnd-cli-{}-{name}", std::process::id())))
    }

    fn str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir_all(&self.0));
    }
}

/// A daemon with a core that answers from these few lines, and what it was asked.
struct Daemon {
    socket: TempPath,
    asked: Arc<Mutex<Vec<Request>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start(name: &str) -> Self {
        Self::with(name, answer)
    }

    /// One with a core that answers so.
    fn with(name: &str, answer: fn(Request) -> Reply) -> Self {
        let socket = TempPath::new(name);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let (calls, mut inbox) = mpsc::channel::<Call>(4);
        let listener = runtime.block_on(async { bind(&socket.0) }).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        runtime.spawn(serve(listener, calls));
        runtime.spawn(async move {
            while let Some(call) = inbox.recv().await {
                log.lock().unwrap().push(call.request.clone());
                if call.request == Request::Events(EventsQuery { follow: true }) {
                    call.reply.try_send(Reply::Events(vec![event(1, "up")])).unwrap();
                    call.reply.try_send(Reply::Events(vec![event(4, "down: hold timer expired")])).unwrap();
                } else {
                    call.reply.try_send(answer(call.request)).unwrap();
                }
            }
        });
        Self { socket, asked, _runtime: runtime }
    }

    /// Runs a command on it: exit code, stdout and stderr.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(&[args, &["--socket", self.socket.str()]].concat())
    }

    /// As [`Self::run`], for what works and says nothing on stderr.
    fn show(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        out
    }
}

fn event(id: u64, text: &str) -> EventView {
    let neighbor = Some("10.0.0.10".parse().unwrap());
    EventView {
        id,
        time: 1_795_219_199.999,
        kind: "session".into(),
        neighbor,
        vni: None,
        mac: None,
        text: text.into(),
    }
}

fn neighbor(address: &str, state: SessionState) -> NeighborView {
    let up = state == SessionState::Established;
    NeighborView {
        address: address.parse().unwrap(),
        remote_asn: up.then_some(4_200_000_001),
        state,
        routes_received: if up { 100_000 } else { 0 },
        routes_sent: 12,
        uptime_seconds: up.then_some(7384),
        last_error: (!up).then(|| "connection refused".into()),
        router_id: None,
        hold_time: up.then_some(90),
        dynamic: !up,
        description: up.then(|| "tor ä".into()),
        sessions: 1,
        messages_received: 5,
        messages_sent: 6,
        backlog_bytes: 0,
    }
}

fn route(n: u64) -> RouteView {
    RouteView {
        route_type: 2,
        rd: "10.0.0.102:22001".into(),
        nlri: format!("[2]:[0]:[48]:[02:00:00:00:00:{n:02x}]"),
        mac: Some(format!("02:00:00:00:00:{n:02x}").parse().unwrap()),
        ip: None,
        prefix: None,
        vni: Some(22001),
        next_hop: Some("10.0.0.102".parse().unwrap()),
        as_path: vec![64512, 65002],
        route_targets: vec!["65000:22001".into()],
        from: "10.0.0.10".into(),
        best: true,
        imported_by: vec![22001],
        sequence: Some(0),
        sticky: Some(false),
        esi: None,
        local_pref: None,
        med: None,
    }
}

/// An l2 client that is up; the others of its table differ in a few fields.
fn client(name: &str) -> ClientView {
    ClientView {
        name: name.into(),
        cfg_type: Some("l2".into()),
        vni: Some(10),
        port: Some("ofport 1000".into()),
        tag: None,
        mac: Some("36:e7:a5:7e:0c:81".parse().unwrap()),
        ips: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        routes: vec![],
        state: ClientState::Up,
        problem: None,
        line: None,
        anti_spoof: true,
        in_use: true,
        interface: Some("tap0".into()),
        announced: 3,
        elsewhere: None,
        errors: vec![],
        warnings: vec![],
    }
}

/// The same without what makes it up.
fn down(name: &str, state: ClientState, problem: &str) -> ClientView {
    ClientView { interface: None, announced: 0, state, problem: Some(problem.into()), ..client(name) }
}

fn clients() -> Vec<ClientView> {
    let unknown = || ClientView {
        cfg_type: None,
        vni: None,
        port: None,
        mac: None,
        ips: vec![],
        in_use: false,
        ..down("e.json", ClientState::Broken, "line 3: is no JSON: expected comma")
    };
    vec![
        client("a.json"),
        ClientView {
            cfg_type: Some("l3".into()),
            port: Some("tap1".into()),
            tag: Some(100),
            ips: vec![],
            routes: vec!["10.0.0.0/24".parse().unwrap()],
            warnings: vec!["line 9: ofprt: unknown key, ignored; did you mean ofport?".into()],
            ..down("b.json", ClientState::Waiting, "no port tap1 on br-evpn yet")
        },
        ClientView { in_use: false, ..down("c.json", ClientState::Conflict, "a.json has ofport 1000") },
        ClientView {
            state: ClientState::BrokenKept,
            problem: Some("line 2: vni: expected a number from 1 to 16777215, found 0".into()),
            line: Some(2),
            errors: vec!["line 2: vni: …".into(), "line 3: mac: …".into()],
            elsewhere: Some("10.0.0.102".parse().unwrap()),
            ..client("d.json")
        },
        unknown(),
    ]
}

fn vni() -> VniView {
    VniView {
        vni: 22001,
        kind: "l2".into(),
        flood: vec!["10.0.0.102".parse().unwrap(), "10.0.0.103".parse().unwrap()],
        local_macs: 1,
        remote_macs: 1,
        import_rt: vec!["65000:22001".into(), "*:7".into()],
        export_rt: vec!["65000:22001".into()],
        rd: "10.0.0.101:22001".into(),
        interfaces: vec!["tap1".into()],
        ready: Some(true),
        prefixes_local: None,
        prefixes_remote: None,
        router_mac: None,
        vlan: None,
        vtep: None,
    }
}

fn answer(request: Request) -> Reply {
    match request {
        Request::ClearMac(ClearMac { vni, mac }) => Reply::Done(format!("cleared {mac} in {vni}")),
        Request::ShowNeighbors => Reply::Neighbors(vec![
            neighbor("10.0.0.10", SessionState::Established),
            neighbor("2001:db8::11", SessionState::Active),
        ]),
        // 5 routes in pages of two, an empty one among them.
        Request::ShowRoutes(RoutesQuery { mac: Some(_), .. }) => {
            Reply::Routes(Page { rows: vec![], next: None })
        }
        Request::ShowRoutes(query) => {
            let limit = query.limit.unwrap_or(usize::MAX);
            let at = query.after.unwrap_or(0);
            let (rows, next) = match at {
                0 => (vec![route(1), route(2)], Some(2)),
                2 => (vec![], Some(3)),
                3 => (vec![route(3), route(4)], Some(5)),
                _ => (vec![route(5)], None),
            };
            Reply::Routes(Page { rows: rows.into_iter().take(limit).collect(), next })
        }
        Request::ShowMacs(_) => Reply::Macs(Page {
            rows: vec![
                MacView {
                    vni: 22001,
                    mac: "02:00:00:00:00:01".parse().unwrap(),
                    ips: vec!["10.1.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                    source: MacSource::Local,
                    vtep: None,
                    interface: Some("tap1".into()),
                    sequence: 0,
                    sticky: true,
                    duplicate: false,
                },
                MacView {
                    vni: 22001,
                    mac: "02:00:00:00:00:02".parse().unwrap(),
                    ips: vec![],
                    source: MacSource::Remote,
                    vtep: Some("10.0.0.102".parse().unwrap()),
                    interface: None,
                    sequence: 12,
                    sticky: false,
                    duplicate: false,
                },
            ],
            next: None,
        }),
        Request::ShowVnis => Reply::Vnis(vec![vni()]),
        Request::ShowClients(query) => {
            let rows = clients();
            let at = query.after.map_or(0, |after| rows.iter().position(|c| c.name == after).unwrap() + 1);
            let rows: Vec<_> = rows[at..].iter().take(query.limit.unwrap_or(5).min(2)).cloned().collect();
            let next = rows.last().map(|c| c.name.clone()).filter(|name| name != "e.json");
            Reply::Clients(Page { rows, next })
        }
        Request::ShowDataplane => Reply::Dataplane(DataplaneView {
            backend: "kernel".into(),
            in_sync: false,
            desired: 5,
            installed: 4,
            repairs: 2,
            last_error: Some("bridge br-evpn-22001: operation not permitted".into()),
            limits: Vec::new(),
            last_resync_seconds: Some(61),
            pending: 0,
            failed: 1,
            layout: Some("device-per-vni".into()),
            discover: false,
        }),
        Request::ShowSummary => Reply::Summary(SummaryView {
            version: "0.1.0".into(),
            router_id: "10.0.0.101".parse().unwrap(),
            asn: 65001,
            vtep: Some("10.0.0.101".parse().unwrap()),
            uptime_seconds: 59,
            neighbors: 2,
            neighbors_established: 1,
            routes: 5,
            paths: 10,
            vnis: 3,
            vnis_not_ready: 1,
            local_macs: 1,
            remote_macs: 1,
            clients: Some(ClientsSummary {
                files: 5,
                up: 1,
                waiting: 1,
                broken: 2,
                conflict: 1,
                problem: None,
            }),
            backend: "kernel".into(),
            layout: Some("single-device".into()),
            discover: true,
            in_sync: true,
        }),
        Request::Explain(query) => Reply::Explain(ExplainView {
            target: "02:00:00:00:00:02".into(),
            vni: query.vni.map(Vni::get),
            reachable: Some(false),
            verdict: "not reachable: no VNI takes route target 65000:9".into(),
            steps: vec![
                ExplainStep {
                    stage: "received".into(),
                    vni: None,
                    ok: Some(true),
                    text: "from 10.0.0.10, 3 s ago".into(),
                },
                ExplainStep {
                    stage: "imported".into(),
                    vni: Some(22001),
                    ok: Some(false),
                    text: "wants 65000:22001".into(),
                },
            ],
        }),
        Request::Events(_) => {
            Reply::Events(vec![event(1, "10.0.0.10: up"), event(2, "10.0.0.10: down\u{1b}[2J")])
        }
        Request::Reload => Reply::Error("evpnd.toml:2: router.asn: required".into()),
        Request::RouteAdd(route) => Reply::Done(format!("announced: {:?} in VNI {}", route.kind, route.vni)),
        Request::RouteDel(_) => Reply::Error("there is no such route".into()),
    }
}

#[test]
fn neighbors() {
    let daemon = Daemon::start("neighbors");
    assert_eq!(
        daemon.show(&["show", "neighbors"]),
        "\
NEIGHBOR                      AS  STATE           UP  RECEIVED  SENT  DESCRIPTION  LAST ERROR
10.0.0.10             4200000001  established  2h03m    100000    12  tor ä        -
2001:db8::11 (range)           -  active           -         0    12  -            connection refused
"
    );
    let json: serde_json::Value =
        serde_json::from_str(&daemon.show(&["show", "neighbors", "--json"])).unwrap();
    assert_eq!(json[0]["state"], "established");
    assert_eq!(json[0]["remote_asn"], 4_200_000_001_u64);
    assert_eq!(json[0]["last_error"], serde_json::Value::Null);
    assert_eq!(json[1]["uptime_seconds"], serde_json::Value::Null);
    assert_eq!(json.as_array().unwrap().len(), 2);
    // The flag may stand on either side of what is shown.
    assert_eq!(daemon.show(&["show", "--json", "neighbors"]), daemon.show(&["show", "neighbors", "--json"]));
}

#[test]
fn routes_come_in_pages_and_look_whole() {
    let daemon = Daemon::start("routes");
    let rows = |n: u64| {
        let row = |n| {
            format!(
                "*     2  10.0.0.102:22001  [2]:[0]:[48]:[02:00:00:00:00:0{n}]  22001  10.0.0.102  10.0.0.10  \
                 64512 65002  65000:22001    22001\n"
            )
        };
        (1..=n).map(row).collect::<Vec<_>>().concat()
    };
    let header = "   TYPE  RD                ROUTE                               VNI  NEXT HOP    FROM       AS PATH      \
                  ROUTE TARGETS  IMPORTED BY\n";
    assert_eq!(daemon.show(&["show", "routes"]), format!("{header}{}", rows(5)));
    assert_eq!(daemon.show(&["show", "routes", "--limit", "3"]), format!("{header}{}", rows(3)));
    let json: Vec<RouteView> = serde_json::from_str(&daemon.show(&["show", "routes", "--json"])).unwrap();
    assert_eq!(json, (1..=5).map(route).collect::<Vec<_>>());
    assert_eq!(daemon.show(&["show", "routes", "--json", "--limit", "0"]), "[]\n");
    daemon.asked.lock().unwrap().clear();

    let mac = "02:00:00:00:00:01";
    let filters = ["--type", "2", "--vni", "22001", "--neighbor", "10.0.0.10", "--mac", mac];
    let empty = daemon.show(&[&["show", "routes"][..], &filters].concat());
    assert_eq!(
        empty,
        "  TYPE  RD  ROUTE  VNI  NEXT HOP  FROM  AS PATH  ROUTE TARGETS  IMPORTED BY\n".to_owned()
    );
    let expected = RoutesQuery {
        route_type: Some(2),
        vni: Some("22001".parse().unwrap()),
        neighbor: Some("10.0.0.10".parse().unwrap()),
        mac: Some(mac.parse().unwrap()),
        after: None,
        limit: Some(1000),
    };
    assert_eq!(*daemon.asked.lock().unwrap(), [Request::ShowRoutes(expected)]);
}

/// A VNI of a layout with VLANs, and one that is configured and that nobody has set up.
fn vnis_with_vlans(_: Request) -> Reply {
    let found = VniView { vlan: Some(12), interfaces: vec![], ..vni() };
    let missing = VniView {
        vni: 7,
        flood: vec![],
        local_macs: 0,
        remote_macs: 0,
        rd: "10.0.0.101:7".into(),
        ready: Some(false),
        vlan: None,
        ..found.clone()
    };
    Reply::Vnis(vec![missing, found])
}

#[test]
fn vlans_are_a_column_where_there_are_any() {
    let daemon = Daemon::with("vlans", vnis_with_vlans);
    assert_eq!(
        daemon.show(&["show", "vnis"]),
        "  VNI  KIND  VLAN  RD                IMPORT           EXPORT       LOCAL  REMOTE  READY  INTERFACES  FLOOD
    7  l2       -  10.0.0.101:7      65000:22001,*:7  65000:22001      0       0  no     -           -
22001  l2      12  10.0.0.101:22001  65000:22001,*:7  65000:22001      1       1  yes    -           10.0.0.102,10.0.0.103
"
    );
    let json = daemon.show(&["show", "vnis", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!((&rows[0]["vlan"], &rows[1]["vlan"]), (&serde_json::Value::Null, &12.into()));
}

#[test]
fn the_other_tables() {
    let daemon = Daemon::start("tables");
    assert_eq!(
        daemon.show(&["show", "macs"]),
        "  VNI  MAC                SOURCE  BEHIND      SEQUENCE  STATE   ADDRESSES
22001  02:00:00:00:00:01  local   tap1               0  sticky  10.1.0.1,2001:db8::1
22001  02:00:00:00:00:02  remote  10.0.0.102        12  -       -
"
    );
    assert_eq!(
        daemon.show(&["show", "vnis"]),
        "  VNI  KIND  RD                IMPORT           EXPORT       LOCAL  REMOTE  READY  INTERFACES  FLOOD
22001  l2    10.0.0.101:22001  65000:22001,*:7  65000:22001      1       1  yes    tap1        10.0.0.102,10.0.0.103
"
    );
    assert_eq!(
        daemon.show(&["show", "dataplane"]),
        "\
backend      kernel
in sync      no
desired      5
installed    4
pending      0
failed       1
repairs      2
last resync  1m01s ago
last error   bridge br-evpn-22001: operation not permitted
"
    );
    assert_eq!(
        daemon.show(&["show", "summary"]),
        "\
evpnd      0.1.0, up 59s
router     10.0.0.101, AS 65001, VTEP 10.0.0.101
neighbors  1 of 2 established
routes     5, 10 paths
VNIs       3, 1 of them not ready
MACs       1 local, 1 remote
clients    5 files, 1 up, 1 waiting, 2 broken, 1 in conflict
dataplane  kernel (single-device, discover), in sync
"
    );
    assert_eq!(
        daemon.show(&["explain", "02:00:00:00:00:02", "--vni", "22001"]),
        "\
02:00:00:00:00:02: not reachable: no VNI takes route target 65000:9
STAGE       VNI      WHAT
received      -  ok  from 10.0.0.10, 3 s ago
imported  22001  no  wants 65000:22001
"
    );
    for what in [&["show", "dataplane"][..], &["show", "summary"], &["explain", "10.0.0.1"]] {
        let json: serde_json::Value =
            serde_json::from_str(&daemon.show(&[what, &["--json"]].concat())).unwrap();
        assert!(json.is_object(), "{what:?}");
    }
    for what in [&["show", "macs"][..], &["show", "vnis"], &["events"]] {
        let json: serde_json::Value =
            serde_json::from_str(&daemon.show(&[what, &["--json"]].concat())).unwrap();
        assert!(json.is_array(), "{what:?}");
    }
}

#[test]
fn clients_with_all_that_is_to_be_said_of_them() {
    let daemon = Daemon::start("clients");
    let shown = daemon.show(&["show", "clients"]);
    let lines: Vec<&str> = shown.lines().collect();
    let starts = [
        "NAME    KIND  VNI  PORT           MAC                ADDRESSES             ROUTES  STATE",
        "a.json  l2     10  ofport 1000    36:e7:a5:7e:0c:81  10.0.0.1,2001:db8::1       3  up",
        "b.json  l3     10  tap1 VLAN 100  36:e7:a5:7e:0c:81  10.0.0.0/24                0  waiting: no port tap1 on br-evpn \
         yet; line 9: ofprt: unknown key, ignored; did you mean ofport?",
        "c.json  l2     10  ofport 1000    36:e7:a5:7e:0c:81  10.0.0.1,2001:db8::1       0  conflict: a.json has ofport 1000",
        "d.json  l2     10  ofport 1000    36:e7:a5:7e:0c:81  10.0.0.1,2001:db8::1       3  broken: line 2: vni: expected a \
         number from 1 to 16777215, found 0 (and 1 more errors); what it said before stays, up at tap0; its MAC is \
         behind 10.0.0.102 now",
        "e.json  -       -  -              -                  -                          0  broken: line 3: is no JSON: \
         expected comma",
    ];
    assert_eq!(lines, starts);
    let json: serde_json::Value = serde_json::from_str(&daemon.show(&["show", "clients", "--json"])).unwrap();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        for key in [
            "name",
            "cfg_type",
            "vni",
            "port",
            "tag",
            "mac",
            "ips",
            "routes",
            "state",
            "problem",
            "line",
            "anti_spoof",
        ] {
            assert!(row.get(key).is_some(), "{key} is missing in {row}");
        }
    }
    let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["up", "waiting", "conflict", "broken-kept", "broken"]);
    assert_eq!((&rows[3]["line"], &rows[1]["tag"]), (&2.into(), &100.into()));
    assert_eq!(daemon.show(&["show", "clients", "--limit", "3"]).lines().count(), 4);
}

/// Every client file is checked with the configuration, and all that is wrong is said at once.
#[test]
fn check_reads_client_files() {
    let dir = TempPath::new("check-clients.d");
    let config = TempPath::new("check-clients.toml");
    std::fs::create_dir_all(dir.0.join("clients")).unwrap();
    let text = format!(
        "[router]\nasn = 65001\n[dataplane]\nvtep = \"10.0.0.1\"\n[clients]\ndir = {:?}\n",
        dir.0.join("clients")
    );
    std::fs::write(&config.0, text).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.0.join("clients").join(name), text).unwrap();
    let good = "{\"mac\": \"02:00:00:00:00:01\", \"vni\": 10, \"interface\": \"tap0\"}";
    write("a.json", good);
    let (code, out, err) = run(&["check", "-c", config.str()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("clients: ok (1 client)\n"), "{out}");

    write("vm9", good);
    write("vm9.json~", good);
    let (code, _, err) = run(&["check", "-c", config.str()]);
    assert_eq!(code, 0, "{err}");
    assert!(err.ends_with("clients: not read, since their names do not end in .json: vm9\n"), "{err}");
    std::fs::remove_file(dir.0.join("clients/vm9")).unwrap();

    write("b.json", "{\n  \"mac\": \"nonsense\",\n  \"vni\": 0, // none\n  \"ofport\": 1\n}\n");
    write("c.json", good);
    write("d.json", "");
    let (code, out, err) = run(&["check", "-c", config.str()]);
    assert_eq!(code, 1, "{out}");
    let path = dir.0.join("clients");
    let path = path.display();
    assert_eq!(
        err,
        format!(
            "\
{path}/b.json:2: mac: expected a MAC like \"36:e7:a5:7e:0c:81\", found \"nonsense\"
    2 |   \"mac\": \"nonsense\",
      |          ^^^^^^^^^^
{path}/b.json:3: vni: expected a number from 1 to 16777215, found 0
    3 |   \"vni\": 0, // none
      |          ^
{path}/c.json: a.json has tap0
{path}/d.json: is empty
"
        )
    );
    // A directory that is not there yet is no mistake; it is said all the same.
    std::fs::remove_dir_all(&dir.0).unwrap();
    let (code, _, err) = run(&["check", "-c", config.str()]);
    assert_eq!(code, 0);
    assert!(err.ends_with("there is no such directory (yet)\n"), "{err}");
}

#[test]
fn events() {
    let daemon = Daemon::start("events");
    // What a peer says cannot move the cursor.
    assert_eq!(
        daemon.show(&["events"]),
        "2026-11-20T23:59:59.999Z  session    10.0.0.10: up\n\
         2026-11-20T23:59:59.999Z  session    10.0.0.10: down\u{fffd}[2J\n"
    );
    // Events 2 and 3 came too fast; the core ends the stream.
    let (code, out, err) = daemon.run(&["events", "--follow"]);
    assert_eq!((code, err.as_str()), (0, "evpnd: 2 events came too fast to be shown\n"));
    assert_eq!(out.lines().count(), 2);
    let (_, out, _) = daemon.run(&["events", "-f", "--json"]);
    let ids: Vec<_> = out.lines().map(|l| serde_json::from_str::<EventView>(l).unwrap().id).collect();
    assert_eq!(ids, [1, 4]);
}

#[test]
fn words_and_refusals() {
    let daemon = Daemon::start("words");
    let mac = ["--vni", "100", "--mac", "02:00:00:00:00:01"];
    assert_eq!(daemon.show(&["route", "add", "imet", "--vni", "100"]), "announced: Imet in VNI 100\n");
    daemon.show(
        &[&["route", "add", "mac", "--ip", "10.1.0.1", "--rt", "65000:1", "--rd", "1:2"][..], &mac].concat(),
    );
    daemon.show(&["route", "add", "prefix", "--vni", "5000", "10.0.0.0/24", "--next-hop", "10.0.0.9"]);
    let asked: Vec<_> =
        daemon.asked.lock().unwrap().iter().map(|r| serde_json::to_string(r).unwrap()).collect();
    assert_eq!(
        asked,
        [
            r#"{"request":"route-add","kind":"imet","vni":100}"#,
            r#"{"request":"route-add","kind":{"mac":{"mac":"02:00:00:00:00:01","ip":"10.1.0.1","sticky":false}},"vni":100,"rd":"1:2","route_targets":["65000:1"]}"#,
            r#"{"request":"route-add","kind":{"prefix":"10.0.0.0/24"},"vni":5000,"next_hop":"10.0.0.9"}"#,
        ]
    );
    let refused = daemon.run(&[&["route", "del", "mac"][..], &mac].concat());
    assert_eq!(refused, (1, String::new(), "there is no such route\n".to_owned()));
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused, (1, String::new(), "evpnd.toml:2: router.asn: required\n".to_owned()));
}

#[test]
fn a_reader_that_has_seen_enough() {
    let daemon = Daemon::start("head");
    let mut child = evpnd(&["show", "routes", "--socket", daemon.socket.str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn pictures() {
    let daemon = Daemon::start("graph");
    // All pages, and what is known beside them.
    let svg = daemon.show(&["graph", "hosts"]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    for words in
        ["5 MACs, from the 5 routes in the RIB of 10.0.0.101 (AS 65001)", ">10.0.0.102<", ">VNI 22001<"]
    {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    let dot = daemon.show(&["graph", "overlays", "--format", "dot"]);
    assert!(dot.starts_with("graph \"evpnd-overlays\" {\n") && dot.contains("02:00:00:00:00:05"), "{dot}");
    // Only one VNI is asked for.
    daemon.asked.lock().unwrap().clear();
    let svg = daemon.show(&["graph", "vlans", "--vni", "22001"]);
    assert!(svg.contains("routes of VNI 22001 in the RIB of"), "{svg}");
    let vni = Some("22001".parse().unwrap());
    assert_eq!(
        daemon.asked.lock().unwrap()[0],
        Request::ShowRoutes(RoutesQuery { vni, ..Default::default() })
    );

    // From a file, to a file: the name says the language.
    let rows = TempPath::new("graph.json");
    std::fs::write(&rows.0, daemon.show(&["show", "routes", "--json"])).unwrap();
    let out = TempPath::new("graph.dot");
    assert_eq!(
        run(&["graph", "hosts", "--from", rows.str(), "-o", out.str()]),
        (0, String::new(), String::new())
    );
    assert!(std::fs::read_to_string(&out.0).unwrap().starts_with("graph \"evpnd-hosts\""));
    // A link stays one, and leads to the picture.
    let link = TempPath::new("graph.link");
    std::os::unix::fs::symlink(&out.0, &link.0).unwrap();
    run(&["graph", "vlans", "--from", rows.str(), "--format", "dot", "-o", link.str()]);
    assert!(link.0.is_symlink());
    assert!(std::fs::read_to_string(&out.0).unwrap().starts_with("graph \"evpnd-vlans\""));
    // Stdout has a name, too.
    let (code, svg, err) = run(&["graph", "hosts", "--from", rows.str(), "-o", "-"]);
    assert!((code, err.as_str()) == (0, "") && svg.starts_with("<svg "), "{err}{svg}");

    // VLANs that no route tells.
    let (h2, h3) = (TempPath::new("h2.json"), TempPath::new("h3.json"));
    let vni = |vtep: &str, vlan: u16| {
        format!(
            r#"[{{"vni":22001,"kind":"l2","flood":[],"local_macs":0,"remote_macs":0,"import_rt":[],"export_rt":[],
              "rd":"0:0","interfaces":[],"ready":true,"vtep":{vtep},"vlan":{vlan}}}]"#
        )
    };
    std::fs::write(&h2.0, vni("\"10.0.0.102\"", 77)).unwrap();
    std::fs::write(&h3.0, vni("\"10.0.0.103\"", 78)).unwrap();
    for from in [&["--from", rows.str()][..], &["--socket", daemon.socket.str()]] {
        let args = [&["graph", "vlans", "--vnis", h3.str(), h2.str()][..], from].concat();
        let (code, svg, err) = run(&args);
        assert!((code, err.as_str()) == (0, "") && svg.contains(">VLAN 77<"), "{args:?}: {err}{svg}");
        // Nothing is heard of that host.
        assert!(!svg.contains(">VLAN 78<"), "{svg}");
    }
    std::fs::write(&h3.0, vni("null", 78)).unwrap();
    for (file, complaint) in [(&h3, "whose VLANs"), (&rows, "show vnis --json")] {
        let (code, _, err) = run(&["graph", "vlans", "--from", rows.str(), "--vnis", file.str()]);
        assert!(code == 1 && err.contains(file.str()) && err.contains(complaint), "{err}");
    }

    // What cannot be read or written is named, and nothing is left.
    std::fs::write(&rows.0, "[{\"type\": 2}]").unwrap();
    let (code, _, err) = run(&["graph", "hosts", "--from", rows.str()]);
    assert_eq!(code, 1);
    assert!(err.contains(rows.str()) && err.contains("show routes --json"), "{err}");
    let (code, _, err) = run(&["graph", "hosts", "--from", "/nowhere/rows.json"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "evpnd: /nowhere/rows.json: No such file or directory (os error 2)\n")
    );
    let (code, _, err) = daemon.run(&["graph", "hosts", "-o", "/nowhere/hosts.svg"]);
    assert_eq!(code, 1);
    assert!(err.starts_with("evpnd: /nowhere/hosts.svg: "), "{err}");
}

#[test]
fn nobody_there() {
    let path = TempPath::new("nobody");
    let commands: [&[&str]; 5] = [
        &["show", "summary"],
        &["reload"],
        &["events"],
        &["explain", "10.0.0.1"],
        &["route", "add", "imet", "--vni", "1"],
    ];
    for command in commands {
        let (code, out, err) = run(&[command, &["--socket", path.str()]].concat());
        let expected = format!(
            "evpnd is not running on {} (no such file or directory); start it with `evpnd run -c evpnd.toml`, or name \
             its socket with --socket\n",
            path.str()
        );
        assert_eq!((code, out.as_str(), err), (1, "", expected), "{command:?}");
    }
}

#[test]
fn wrong_usage() {
    for (args, message) in [
        (&[][..], "Usage: evpnd <COMMAND>"),
        (&["shw"], "unrecognized subcommand 'shw'"),
        (&["show", "tea"], "unrecognized subcommand 'tea'"),
        (&["graph", "cables"], "invalid value 'cables'"),
        (&["graph", "hosts", "-o", "hosts.PDF"], "no PDF; Graphviz does, from DOT: --format dot | dot -Tpdf"),
        (&["graph", "hosts", "-o", "hosts.png"], "Usage: evpnd graph [OPTIONS] <VIEW>"),
        (&["lab", "run", "--layout", "single-device", "--backend", "ovs"], "Usage: evpnd lab <COMMAND>"),
        (
            &["explain", "nonsense"],
            "expected a MAC (02:00:5e:10:00:01), an IP address or a prefix (10.0.0.0/24)",
        ),
        (&["show", "routes", "--vni", "0"], "a VNI is a number from 1 to 16777215"),
        (&["show", "routes", "--type", "0"], "0 is not in 1..=255"),
        (&["route", "add", "mac", "--vni", "1", "--mac", "ff:ff:ff:ff:ff:ff"], "must be the MAC of one host"),
        (
            &["route", "add", "prefix", "--vni", "1", "10.0.0.1/24"],
            "has host bits set; did you mean 10.0.0.0/24?",
        ),
        (&["route", "add", "imet"], "--vni <N>"),
        (&["route", "add", "imet", "--vni", "1", "--rt", "1"], "a route target is written 65000:100"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(message), "{args:?}: {err}");
    }
}

#[test]
fn help_has_examples() {
    for command in
        ["run", "check", "plan", "migrate", "reload", "show", "explain", "events", "graph", "route", "lab"]
    {
        let (code, out, _) = run(&[command, "--help"]);
        assert_eq!(code, 0);
        assert!(out.contains("Example") && out.contains(&format!("evpnd {command}")), "{out}");
    }
}

#[test]
fn check() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/host-ebgp.toml");
    let sample = sample.to_str().unwrap();
    assert_eq!(
        run(&["check", "-c", sample]),
        (0, format!("{sample}: ok (2 neighbours, 2 VNIs)\n"), String::new())
    );
    let file = TempPath::new("bad.toml");
    std::fs::write(&file.0, "[router]\nasn = 1\n[dataplane]\nvtep = \"10.0.0.1\"\n[[l3vni]]\nvni = 5\n")
        .unwrap();
    let expected = format!(
        "{}:5: l3vni: not in this version yet; remove it\n    5 | [[l3vni]]\n      |   ^^^^^\n",
        file.str()
    );
    for command in ["check", "run"] {
        assert_eq!(run(&[command, "-c", file.str()]), (1, String::new(), expected.clone()));
    }
    assert_eq!(
        run(&["check", "-c", "/nonexistent/evpnd.toml"]).2,
        "/nonexistent/evpnd.toml: cannot be read: no such file or directory\n"
    );
}

#[test]
fn a_log_filter_that_is_none() {
    let output = evpnd(&["run", "-c", "/nonexistent"]).env("EVPND_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.starts_with("evpnd: EVPND_LOG: expected error, warn, info, debug or trace"), "{err}");
}
