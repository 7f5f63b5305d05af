//! Sessions as people run them: every option of a neighbour, and peers that misbehave.

use std::time::Duration;

use evpnd::lab::Switch;

use crate::common::raw;
use crate::common::{
    Config, Lab, Node, PATIENCE, Pair, Result, V1, V2, VNI, c1, c2, ensure, lab, neighbor, routes, same,
    stays, wait_session,
};

/// Starts h1 and h2 of a [`Pair`] as neighbours of each other with these options, by IPv4.
fn pair_with(options1: &str, options2: &str) -> Result<Pair> {
    let pair = Pair::new()?;
    pair.h1.evpnd(&Config::host(65001, V1).neighbor(V2, "65002", options1).vni(VNI, &["e1"]).toml())?;
    pair.h2.evpnd(&Config::host(65002, V2).neighbor(V1, "65001", options2).vni(VNI, &["e2"]).toml())?;
    Ok(pair)
}

/// Not established now, nor within two seconds.
fn never_established(node: &Node, peer: &str) -> Result<()> {
    stays(Duration::from_secs(2), || {
        let row = neighbor(node, peer)?;
        ensure(row["state"] != "established", || format!("established against the rules: {row}"))
    })
}

fn last_error(lab: &Lab, node: &Node, peer: &str, says: &str) -> Result<()> {
    lab.wait(&format!("{}: an error that says {says:?}", node.name()), PATIENCE, || {
        let row = neighbor(node, peer)?;
        let error = row["last_error"].as_str().unwrap_or_default().to_lowercase();
        ensure(error.contains(&says.to_lowercase()), || row.to_string())
    })
}

// ---- options -----------------------------------------------------------------------------------------------------

#[test]
fn md5() -> Result<()> {
    let pair = pair_with("password = \"secret\"", "password = \"secret\"")?;
    pair.settle()
}

/// Only h2 connects: the key has to be on the listening socket of h1.
#[test]
fn md5_on_the_listener() -> Result<()> {
    let pair = pair_with("password = \"secret\"\npassive = true", "password = \"secret\"")?;
    pair.wait_established()
}

#[test]
fn md5_wrong_password() -> Result<()> {
    let pair = pair_with("password = \"secret\"", "password = \"wrong\"")?;
    never_established(&pair.h1, V2)?;
    never_established(&pair.h2, V1)
}

#[test]
fn md5_missing_password() -> Result<()> {
    let pair = pair_with("password = \"secret\"", "")?;
    never_established(&pair.h1, V2)?;
    never_established(&pair.h2, V1)
}

#[test]
fn md5_password_file_and_ranges() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.write("/run/secret", "from a file\n")?;
    let listener =
        Config::host(65001, V1).range("10.0.0.0/24", "external", "password-file = \"/run/secret\"");
    pair.h1.evpnd(&listener.vni(VNI, &["e1"]).toml())?;
    let connector = Config::host(65002, V2).neighbor(V1, "65001", "password = \"from a file\"");
    pair.h2.evpnd(&connector.vni(VNI, &["e2"]).toml())?;
    pair.settle()
}

#[test]
fn ipv6_transport() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.evpnd(&Config::host(65001, V1).neighbor("fd00::2", "65002", "").vni(VNI, &["e1"]).toml())?;
    pair.h2.evpnd(&Config::host(65002, V2).neighbor("fd00::1", "65001", "").vni(VNI, &["e2"]).toml())?;
    wait_session(&pair.lab, &pair.h1, "fd00::2", "established")?;
    pair.lab.wait("the endpoints reach each other", PATIENCE, || pair.e1.ping(crate::common::E2))?;
    pair.wait_forwarding()
}

#[test]
fn ipv6_md5_and_ttl_security() -> Result<()> {
    let pair = Pair::new()?;
    let options = "password = \"secret\"\nttl-security = 1";
    pair.h1.evpnd(&Config::host(65001, V1).neighbor("fd00::2", "65002", options).vni(VNI, &["e1"]).toml())?;
    pair.h2.evpnd(&Config::host(65002, V2).neighbor("fd00::1", "65001", options).vni(VNI, &["e2"]).toml())?;
    wait_session(&pair.lab, &pair.h1, "fd00::2", "established")
}

#[test]
fn ttl_security_next_door() -> Result<()> {
    pair_with("ttl-security = 1", "ttl-security = 1")?.wait_established()
}

/// A peer that does not send with TTL 255 is not heard, though next door.
#[test]
fn ttl_security_on_one_side_only() -> Result<()> {
    let pair = pair_with("ttl-security = 1", "")?;
    never_established(&pair.h1, V2)
}

#[test]
fn passive_waits() -> Result<()> {
    let pair = pair_with("passive = true", "passive = true")?;
    never_established(&pair.h1, V2)?;
    pair.h2.stop("evpnd", "TERM")?;
    pair.h2.evpnd(&c2().toml())?;
    pair.settle()
}

#[test]
fn another_port() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.evpnd(&c1().bgp("listen = [\"10.0.0.1:1179\"]").toml())?;
    let connector = Config::host(65002, V2).bgp("listen = []").neighbor(V1, "65001", "port = 1179");
    pair.h2.evpnd(&connector.vni(VNI, &["e2"]).toml())?;
    pair.settle()
}

#[test]
fn local_address() -> Result<()> {
    let pair = Pair::new()?;
    pair.h2.run(&["ip", "addr", "add", "10.0.0.22/24", "dev", "eth0"])?;
    // h1 knows only the second address, and does not connect to it.
    let listener = Config::host(65001, V1).neighbor("10.0.0.22", "65002", "passive = true");
    pair.h1.evpnd(&listener.vni(VNI, &["e1"]).toml())?;
    let connector = Config::host(65002, V2).neighbor(V1, "65001", "local-address = \"10.0.0.22\"");
    pair.h2.evpnd(&connector.vni(VNI, &["e2"]).toml())?;
    wait_session(&pair.lab, &pair.h1, "10.0.0.22", "established")
}

#[test]
fn the_smaller_hold_time_is_kept() -> Result<()> {
    let pair = pair_with("hold-time = 30", "hold-time = 3")?;
    pair.wait_established()?;
    same(&neighbor(&pair.h1, V2)?["hold_time"].as_u64(), &Some(3))?;
    same(&neighbor(&pair.h2, V1)?["hold_time"].as_u64(), &Some(3))?;
    // Long enough for a session without keepalives to die.
    stays(Duration::from_secs(4), || {
        let row = neighbor(&pair.h1, V2)?;
        ensure(row["state"] == "established" && row["sessions"] == 1, || row.to_string())
    })
}

/// A host that vanishes without a word: no FIN, no RST, just silence.
#[test]
fn the_hold_timer_notices_silence() -> Result<()> {
    let pair = pair_with("hold-time = 3", "hold-time = 3")?;
    pair.settle()?;
    pair.h2.run(&["ip", "link", "set", "eth0", "down"])?;
    last_error(&pair.lab, &pair.h1, V2, "hold timer expired")?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("its rows gone", PATIENCE, || {
        ensure(pair.h1.flood(&device)?.is_empty() && pair.h1.remote_macs(&device)?.is_empty(), || {
            "rows".to_owned()
        })
    })?;
    pair.h2.run(&["ip", "link", "set", "eth0", "up"])?;
    pair.settle()
}

#[test]
fn wrong_as() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.evpnd(&Config::host(65001, V1).neighbor(V2, "65009", "").vni(VNI, &["e1"]).toml())?;
    let wire = pair.h1.capture("eth0", "tcp port 179")?;
    pair.h2.evpnd(&c2().toml())?;
    last_error(&pair.lab, &pair.h1, V2, "peer AS")?;
    pair.lab.wait("the NOTIFICATION on the wire", PATIENCE, || {
        let seen = wire.fields("bgp.notify.major_error == 2", &["ip.src", "bgp.notify.minor_error_open"])?;
        ensure(seen.iter().any(|row| row == &[V1, "2"]), || format!("{seen:?}"))
    })?;
    never_established(&pair.h2, V1)
}

#[test]
fn max_routes() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1
        .evpnd(&Config::host(65001, V1).neighbor(V2, "65002", "max-routes = 3").vni(VNI, &["e1"]).toml())?;
    let wire = pair.h1.capture("eth0", "tcp port 179")?;
    // One route of type 3 for each of the five VNIs.
    let five = (1..=4).fold(c2(), |config, n| config.vni(VNI + n, &[]));
    pair.h2.evpnd(&five.toml())?;
    last_error(&pair.lab, &pair.h1, V2, "maximum number of prefixes")?;
    pair.lab.wait("Cease/1 on the wire", PATIENCE, || {
        let seen = wire.fields("bgp.notify.major_error == 6", &["ip.src", "bgp.notify.minor_error_cease"])?;
        ensure(seen.iter().any(|row| row == &[V1, "1"]), || format!("{seen:?}"))
    })?;
    // Held down: h2 tries again each second and is not let in.
    stays(Duration::from_secs(4), || {
        let row = neighbor(&pair.h1, V2)?;
        ensure(row["state"] != "established" && row["routes_received"] == 0, || row.to_string())
    })?;
    ensure(pair.h1.flood(&pair.h1.vxlan(VNI)?)?.is_empty(), || "its routes are still used".to_owned())
}

#[test]
fn dynamic_neighbours_from_a_range_only() -> Result<()> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let controller = lab.host("c")?.underlay(&spine, &["10.0.0.10/23", "fd00::10/64"])?;
    let ranges = Config::controller(64512, "10.0.0.10").range("10.0.0.0/24", "external", "").range(
        "fd00::/64",
        "65003",
        "",
    );
    controller.evpnd(&ranges.toml())?;
    let inside = lab.host("h1")?.underlay(&spine, &["10.0.0.1/23"])?;
    inside.evpnd(&Config::host(65001, "10.0.0.1").neighbor("10.0.0.10", "64512", "").toml())?;
    let outside = lab.host("h2")?.underlay(&spine, &["10.0.1.2/23"])?;
    outside.evpnd(&Config::host(65002, "10.0.1.2").neighbor("10.0.0.10", "64512", "").toml())?;
    let six = lab.host("h3")?.underlay(&spine, &["10.0.1.3/23", "fd00::3/64"])?;
    six.evpnd(&Config::host(65003, "10.0.1.3").neighbor("fd00::10", "64512", "").toml())?;
    let internal = lab.host("h4")?.underlay(&spine, &["10.0.0.4/23"])?;
    internal.evpnd(&Config::host(64512, "10.0.0.4").neighbor("10.0.0.10", "64512", "").toml())?;
    wait_session(&lab, &inside, "10.0.0.10", "established")?;
    wait_session(&lab, &six, "fd00::10", "established")?;
    never_established(&outside, "10.0.0.10")?;
    never_established(&internal, "10.0.0.10")?;
    let up: Vec<_> =
        controller.rows("neighbors")?.into_iter().filter(|row| row["state"] == "established").collect();
    same(&up.len(), &2)
}

// ---- through a router --------------------------------------------------------------------------------------------

/// h1 at 10.1.0.1 (fd01::1) and h2 at 10.2.0.2 (fd02::2), a router between them.
fn routed() -> Result<(Lab, Node, Node)> {
    let lab = lab()?;
    let (left, right) = (lab.switch("left")?, lab.switch("right")?);
    let router = lab.host("r")?.underlay(&left, &["10.1.0.254/24", "fd01::254/64"])?;
    let router = router.underlay(&right, &["10.2.0.254/24", "fd02::254/64"])?;
    router.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    let h1 = lab.host("h1")?.underlay(&left, &["10.1.0.1/24", "fd01::1/64"])?;
    let h2 = lab.host("h2")?.underlay(&right, &["10.2.0.2/24", "fd02::2/64"])?;
    h1.sh("ip route add default via 10.1.0.254; ip -6 route add default via fd01::254")?;
    h2.sh("ip route add default via 10.2.0.254; ip -6 route add default via fd02::254")?;
    lab.wait("the way through the router", PATIENCE, || {
        h1.ping("10.2.0.2").and_then(|()| h1.ping("fd02::2"))
    })?;
    Ok((lab, h1, h2))
}

/// Starts both ends of the routed pair with the same options, by IPv4 and by IPv6 at once.
fn start_routed(h1: &Node, h2: &Node, options: &str) -> Result<()> {
    let one = Config::host(65001, "10.1.0.1").neighbor("10.2.0.2", "65002", options);
    h1.evpnd(&one.neighbor("fd02::2", "65002", options).toml())?;
    let two = Config::host(65002, "10.2.0.2").neighbor("10.1.0.1", "65001", options);
    h2.evpnd(&two.neighbor("fd01::1", "65001", options).toml())
}

#[test]
fn ebgp_does_not_cross_a_router_by_itself() -> Result<()> {
    let (_lab, h1, h2) = routed()?;
    start_routed(&h1, &h2, "")?;
    never_established(&h1, "10.2.0.2")?;
    never_established(&h1, "fd02::2")
}

#[test]
fn multihop() -> Result<()> {
    let (lab, h1, h2) = routed()?;
    start_routed(&h1, &h2, "multihop = 2")?;
    wait_session(&lab, &h1, "10.2.0.2", "established")?;
    wait_session(&lab, &h1, "fd02::2", "established")
}

#[test]
fn ttl_security_counts_hops() -> Result<()> {
    let (lab, h1, h2) = routed()?;
    start_routed(&h1, &h2, "ttl-security = 1")?;
    never_established(&h1, "10.2.0.2")?;
    never_established(&h1, "fd02::2")?;
    for node in [&h1, &h2] {
        node.stop("evpnd", "TERM")?;
    }
    start_routed(&h1, &h2, "ttl-security = 2")?;
    wait_session(&lab, &h1, "10.2.0.2", "established")?;
    wait_session(&lab, &h1, "fd02::2", "established")
}

// ---- peers that misbehave ----------------------------------------------------------------------------------------

/// A controller with a range, and one decent host with an established session that nothing may disturb.
struct Crowd {
    lab: Lab,
    spine: Switch,
    controller: Node,
    decent: Node,
    rude: Node,
}

const CONTROLLER: &str = "10.0.0.10";

impl Crowd {
    fn new() -> Result<Self> {
        let lab = lab()?;
        let spine = lab.switch("spine")?;
        let controller = lab.host("c")?.underlay(&spine, &["10.0.0.10/24"])?;
        let decent = lab.host("h1")?.underlay(&spine, &["10.0.0.1/24"])?;
        let rude = lab.host("rude")?.underlay(&spine, &["10.0.0.66/24"])?;
        lab.endpoint(&decent, "e1", crate::common::MAC1, &["10.9.0.1/24"])?;
        controller.evpnd(
            &Config::controller(64512, CONTROLLER)
                .range("10.0.0.0/28", "external", "")
                .range("10.0.0.64/27", "65066", "")
                .neighbor("10.0.0.66", "65066", "passive = true")
                .toml(),
        )?;
        decent.evpnd(
            &Config::host(65001, "10.0.0.1").neighbor(CONTROLLER, "64512", "").vni(VNI, &["e1"]).toml(),
        )?;
        wait_session(&lab, &decent, CONTROLLER, "established")?;
        Ok(Self { lab, spine, controller, decent, rude })
    }

    fn talk(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        raw::talk(&self.rude, CONTROLLER, bytes, 10)
    }

    /// The decent host still has the session it began with.
    fn undisturbed(&self) -> Result<()> {
        let row = neighbor(&self.decent, CONTROLLER)?;
        ensure(row["state"] == "established" && row["sessions"] == 1, || row.to_string())
    }
}

#[test]
fn what_is_no_bgp_gets_a_notification() -> Result<()> {
    let crowd = Crowd::new()?;
    let good = raw::open(65066, 90, [10, 0, 0, 66]);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cases: [(&str, Vec<u8>, (u8, u8)); 9] = [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: 10.0.0.10\r\n\r\n".to_vec(), (1, 1)),
        ("a length of 18", [&[0xff; 16][..], &[0, 18, 4]].concat(), (1, 2)),
        ("a length of 5000", [&[0xff; 16][..], &[0x13, 0x88, 1]].concat(), (1, 2)),
        ("an unknown type", raw::message(99, &[]), (1, 3)),
        ("a wrong version", changed(19, 3), (2, 1)),
        ("a wrong AS", raw::open(65067, 90, [10, 0, 0, 66]), (2, 2)),
        ("router id 0.0.0.0", raw::open(65066, 90, [0; 4]), (2, 3)),
        ("a hold time of 2", raw::open(65066, 2, [10, 0, 0, 66]), (2, 6)),
        ("an UPDATE before the OPEN", raw::message(2, &[0; 4]), (5, 1)),
    ];
    for (n, (what, bytes, want)) in cases.into_iter().enumerate() {
        // Each as a peer of its own: who was rude a moment ago is kept waiting (RFC 4271 §8.1.1, DampPeerOscillations).
        let own = 70 + n;
        crowd.rude.sh(&format!(
            "ip addr add 10.0.0.{own}/24 dev eth0; ip route replace {CONTROLLER} dev eth0 src 10.0.0.{own}"
        ))?;
        let answer = crowd.talk(&bytes)?;
        let says = raw::notification(&answer);
        ensure(says == Some(want), || format!("{what}: {says:?}, not {want:?}; {answer:02x?}"))?;
        crowd.undisturbed()?;
    }
    // Its other address is not blamed for it.
    crowd.rude.run(&["ip", "route", "replace", CONTROLLER, "dev", "eth0", "src", "10.0.0.66"])?;
    let hello = [good, raw::keepalive()].concat();
    raw::hold(&crowd.rude, "polite", CONTROLLER, &hello, true)?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")
}

#[test]
fn one_octet_at_a_time_is_fine() -> Result<()> {
    let crowd = Crowd::new()?;
    let hello = [raw::open(65066, 90, [10, 0, 0, 66]), raw::keepalive()].concat();
    std::fs::write(crowd.rude.path("/run/hello.bin"), hello)
        .map_err(|e| crate::common::Error::new(e.to_string()))?;
    let script = r"exec 3<>/dev/tcp/10.0.0.10/179; cat <&3 >/dev/null &
        for ((n = 0; n < $(stat -c %s /run/hello.bin); n++)); do dd if=/run/hello.bin bs=1 count=1 skip=$n status=none >&3; done
        sleep infinity";
    crowd.rude.spawn("slow", &["bash", "-c", script])?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")
}

/// Connections that never say anything, and one of a host that has vanished.
#[test]
fn half_open_connections() -> Result<()> {
    let crowd = Crowd::new()?;
    let silent = "for n in $(seq 50); do exec {fd}<>/dev/tcp/10.0.0.10/179; done; sleep infinity";
    crowd.rude.spawn("silent", &["bash", "-c", silent])?;
    stays(Duration::from_secs(2), || crowd.undisturbed())?;
    crowd.rude.stop("silent", "KILL")?;
    // It opens, then its link goes: the session must end by the hold timer, and a new one be possible.
    let hello = [raw::open(65066, 3, [10, 0, 0, 66]), raw::keepalive()].concat();
    raw::hold(&crowd.rude, "first", CONTROLLER, &hello, true)?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")?;
    crowd.rude.run(&["ip", "link", "set", "eth0", "down"])?;
    last_error(&crowd.lab, &crowd.controller, "10.0.0.66", "hold timer expired")?;
    crowd.rude.stop("first", "KILL")?;
    crowd.rude.run(&["ip", "link", "set", "eth0", "up"])?;
    raw::hold(&crowd.rude, "second", CONTROLLER, &hello, true)?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")?;
    crowd.undisturbed()
}

/// A peer that takes nothing while fifty thousand routes wait for it: the others get theirs, and memory stays bounded.
#[test]
fn a_slow_reader_holds_up_nobody() -> Result<()> {
    const ROUTES: u32 = 50_000;
    let crowd = Crowd::new()?;
    // So that little fits into the kernel between the two.
    crowd.rude.sh("echo 4096 4096 4096 > /proc/sys/net/ipv4/tcp_rmem")?;
    let hello = [raw::open(65066, 0, [10, 0, 0, 66]), raw::keepalive()].concat();
    raw::hold(&crowd.rude, "deaf", CONTROLLER, &hello, false)?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")?;

    let feed = crowd.lab.host("feed")?.underlay(&crowd.spine, &["10.0.0.5/24"])?;
    let mut bytes = [raw::open(65005, 90, [10, 0, 0, 5]), raw::keepalive()].concat();
    for first in (0..ROUTES).step_by(50) {
        bytes.extend(raw::macs(65005, [10, 0, 0, 5], VNI, first..first + 50));
    }
    raw::hold(&feed, "feed", CONTROLLER, &bytes, true)?;
    crowd.lab.wait("all routes at the decent host", Duration::from_secs(60), || {
        let row = neighbor(&crowd.decent, CONTROLLER)?;
        ensure(row["routes_received"].as_u64() >= Some(u64::from(ROUTES)), || row.to_string())
    })?;
    let row = neighbor(&crowd.controller, "10.0.0.66")?;
    let backlog = row["backlog_bytes"].as_u64().unwrap_or(u64::MAX);
    ensure(row["state"] == "established" && backlog < 1 << 20, || row.to_string())?;
    ensure(row["routes_sent"].as_u64() < Some(u64::from(ROUTES)), || {
        format!("the reader is not slow: {row}")
    })?;
    crowd.undisturbed()?;
    // Having slept, it gets all of it.
    crowd.rude.stop("deaf", "KILL")?;
    crowd.rude.sh("echo 4096 131072 6291456 > /proc/sys/net/ipv4/tcp_rmem")?;
    raw::hold(&crowd.rude, "awake", CONTROLLER, &hello, true)?;
    crowd.lab.wait("all routes at the slow one", Duration::from_secs(60), || {
        let row = neighbor(&crowd.controller, "10.0.0.66")?;
        ensure(row["routes_sent"].as_u64() >= Some(u64::from(ROUTES)), || row.to_string())
    })
}

/// A malformed NLRI costs itself, not the session, and is not passed on.
#[test]
fn a_malformed_route_costs_only_itself() -> Result<()> {
    let crowd = Crowd::new()?;
    let mut update = raw::macs(65066, [10, 0, 0, 66], VNI, 1..3);
    // The first NLRI's MAC length: 47 bits.
    let at = update.windows(2).position(|w| w == [48, 2]).unwrap_or(0);
    update[at] = 47;
    let bytes = [raw::open(65066, 90, [10, 0, 0, 66]), raw::keepalive(), update].concat();
    raw::hold(&crowd.rude, "odd", CONTROLLER, &bytes, true)?;
    crowd.lab.wait("the good route at the decent host", PATIENCE, || {
        let rows = routes(&crowd.decent, 2, CONTROLLER)?;
        let macs: Vec<_> = rows.iter().map(|row| row["mac"].as_str().unwrap_or_default()).collect();
        same(&macs, &vec!["02:00:00:00:00:02"])
    })?;
    wait_session(&crowd.lab, &crowd.controller, "10.0.0.66", "established")?;
    crowd.undisturbed()
}
