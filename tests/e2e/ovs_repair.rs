//! What survives when evpnd, ovs-vswitchd or ovsdb-server go away, when somebody else changes the switch, and what of
//! others is left alone.

use std::time::Duration;

use evpnd::lab::{BRIDGE, UNDERLAY};

use crate::common::ovs::{CONTROLLER, Client, L2, L3, Site, Stream, config, underlay, vtep};
use crate::common::{Config, Node, PATIENCE, Result, ensure, same, stays, wait_session};

/// A client of each kind on h1, one of each service on h2, all reaching what they can.
struct Both {
    site: Site,
    clients: [Client; 6],
    nodes: Vec<Node>,
}

impl Both {
    fn new() -> Result<Self> {
        let site = Site::new(2)?;
        let clients = [
            Client::l2("a", L2, 1),
            Client::l2("b", L2, 2).vlan("t1", 200, 5),
            Client::l3("c", L3, 3),
            Client::l3("d", L3, 4).vlan("t1", 200, 6),
            Client::l2("e", L2, 5),
            Client::l3("f", L3, 6),
        ];
        let nodes = clients
            .iter()
            .enumerate()
            .map(|(at, client)| site.attach(1 + at / 4, client))
            .collect::<Result<Vec<_>>>()?;
        let both = Self { site, clients, nodes };
        both.works()?;
        Ok(both)
    }

    /// All reach all within their service.
    fn works(&self) -> Result<()> {
        let all = || self.clients.iter().zip(&self.nodes);
        let l2: Vec<_> = all().filter(|(client, _)| client.is_l2()).collect();
        let l3: Vec<_> = all().filter(|(client, _)| !client.is_l2()).collect();
        self.site.all_reach(&l2)?;
        self.site.all_reach(&l3)
    }

    /// The flows of h1, when evpnd says that they are all there.
    fn flows(&self) -> Result<Vec<String>> {
        in_sync(&self.site, 1)?;
        self.site.host(1).ovs().flows()
    }
}

/// Waits until evpnd says that everything is as it should be.
fn in_sync(site: &Site, host: usize) -> Result<()> {
    site.lab.wait("in sync", PATIENCE, || {
        let row = site.host(host).show("dataplane")?;
        ensure(row["in_sync"] == true && row["desired"] == row["installed"], || row.to_string())
    })
}

#[test]
fn ports_that_appear_after_their_file_and_go_and_return() -> Result<()> {
    let site = Site::new(1)?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l3("b", L3, 2).vlan("t1", 200, 5));
    let peers = [Client::l2("c", L2, 3), Client::l3("d", L3, 4)];
    let nodes = [site.attach(1, &peers[0])?, site.attach(1, &peers[1])?];
    site.file(1, &a)?;
    site.file(1, &b)?;
    in_sync(&site, 1)?;
    let (node_a, node_b) = (site.plug(1, &a)?, site.plug(1, &b)?);
    site.reach(&node_a, "10.9.0.3")?;
    site.reach(&node_b, "10.1.0.4")?;
    let ovs = site.host(1).ovs();
    ovs.vsctl(&["del-port", BRIDGE, "a"])?;
    site.lab.wait("cut off", PATIENCE, || {
        ensure(nodes[0].ping("10.9.0.1").is_err(), || "who answers?".to_owned())
    })?;
    ovs.add_port(BRIDGE, "a", Some(a.ofport))?;
    site.reach(&nodes[0], "10.9.0.1")?;
    // As when a VM is restarted: the device goes with its port, and another of that name comes.
    ovs.vsctl(&["del-port", BRIDGE, "a"])?;
    site.replug(1, &a, &node_a)?;
    site.reach(&nodes[0], "10.9.0.1")
}

#[test]
fn restart_of_ovs_vswitchd() -> Result<()> {
    let both = Both::new()?;
    let ovs = both.site.host(1).ovs();
    let before = both.flows()?;
    for signal in ["TERM", "KILL"] {
        ovs.stop_switchd(signal)?;
        ovs.start_switchd(&[&underlay(1)])?;
        both.site.warm()?;
        both.works()?;
        both.site.established()?;
        same_flows(&both.flows()?, &before)?;
    }
    Ok(())
}

/// An ovs-vswitchd that is away for longer: nothing is withdrawn, and what changed meanwhile is caught up with.
#[test]
fn changes_while_ovs_vswitchd_is_away() -> Result<()> {
    // The session is not by way of the switch, which takes its own underlay along.
    let site = Site::idle(2)?;
    let side = site.lab.switch("side")?;
    let controller = site.controller.clone().underlay(&side, &["10.7.0.10/24"])?;
    controller.evpnd_run(&["show", "summary"])?;
    for number in [1, 2] {
        let host = site.host(number).clone().underlay(&side, &[&format!("10.7.0.{number}/24")])?;
        host.ping("10.7.0.10")?;
    }
    for number in [1, 2] {
        let config = Config::ovs(65000 + number as u32, &vtep(number)).neighbor("10.7.0.10", "64512", "");
        site.start(number, &config)?;
    }
    controller.stop("evpnd", "TERM")?;
    let config = Config::controller(64512, CONTROLLER).range("10.7.0.0/24", "external", "");
    controller.evpnd(&config.toml())?;
    for host in &site.hosts {
        wait_session(&site.lab, host, "10.7.0.10", "established")?;
    }
    let clients = [Client::l2("a", L2, 1), Client::l2("b", L2, 2), Client::l2("c", L2, 3)];
    let (a, b) = (site.attach(1, &clients[0])?, site.attach(2, &clients[1])?);
    site.all_reach(&[(&clients[0], &a), (&clients[1], &b)])?;
    let ovs = site.host(1).ovs();
    ovs.stop_switchd("KILL")?;
    site.lab.wait("the loss is told", PATIENCE, || {
        let row = site.host(1).show("dataplane")?;
        ensure(row["in_sync"] == false && !row["last_error"].is_null(), || row.to_string())
    })?;
    let macs_of_h1 = || -> Result<usize> {
        let rows = site.host(2).rows("macs")?;
        Ok(rows.iter().filter(|row| row["vtep"] == vtep(1).as_str()).count())
    };
    stays(Duration::from_secs(2), || same(&macs_of_h1()?, &1))?;
    // A new client on the other host, one gone, all while h1 cannot do anything about it.
    let c = site.attach(2, &clients[2])?;
    site.reach(&b, "10.9.0.3")?;
    site.forget(2, &clients[1])?;
    ovs.start_switchd(&[&underlay(1)])?;
    site.warm()?;
    site.reach(&a, "10.9.0.3")?;
    site.reach(&c, "10.9.0.1")?;
    in_sync(&site, 1)?;
    let flows = ovs.flows()?;
    ensure(!flows.iter().any(|flow| flow.contains("dl_dst=02:00:00:00:00:02")), || flows.join("\n"))
}

#[test]
fn restart_of_ovsdb_server() -> Result<()> {
    let both = Both::new()?;
    let ovs = both.site.host(1).ovs();
    for signal in ["TERM", "KILL"] {
        ovs.stop_db(signal)?;
        ovs.start_db()?;
        both.works()?;
        in_sync(&both.site, 1)?;
    }
    // It sees ports again, not only forwards.
    let new = Client::l2("new", L2, 9);
    let node = both.site.attach(1, &new)?;
    both.site.reach(&node, "10.9.0.5")
}

#[test]
fn a_bridge_deleted_by_hand_is_made_again() -> Result<()> {
    let both = Both::new()?;
    let (site, ovs) = (&both.site, both.site.host(1).ovs());
    let before = both.flows()?;
    ovs.vsctl(&["del-br", BRIDGE])?;
    site.bridged(1)?;
    // Its ports went with it, and are for whoever made them to bring back.
    for client in &both.clients[..4] {
        let (port, number) = client.trunk_or_self();
        let _ = ovs.add_port(BRIDGE, port, Some(number));
    }
    both.works()?;
    same_flows(&both.flows()?, &before)
}

#[test]
fn flows_and_ports_deleted_by_hand_come_back() -> Result<()> {
    let both = Both::new()?;
    let ovs = both.site.host(1).ovs();
    let before = both.flows()?;
    ovs.ofctl(&["del-flows", BRIDGE])?;
    both.site.host(1).evpnd_run(&["reload"])?;
    both.works()?;
    same_flows(&both.flows()?, &before)?;
    let vxlan = ovs.vsctl(&["--bare", "--columns=name", "find", "Interface", "type=vxlan"])?;
    ovs.vsctl(&["del-port", BRIDGE, vxlan.trim()])?;
    both.works()?;
    same_flows(&both.flows()?, &before)
}

/// The number of the VXLAN port is the switch's to choose; all else must be the same.
fn same_flows(have: &[String], want: &[String]) -> Result<()> {
    let have: Vec<_> = have.iter().filter(|flow| !want.contains(flow)).collect();
    ensure(have.is_empty(), || format!("flows that were not there before: {have:#?}"))
}

/// Not one of hundreds of packets, at 100 a second, through three crashes; the flows are adopted, not made again.
#[test]
fn kill_9_loses_no_packet() -> Result<()> {
    // h2 does not hear of the crash: its own session is not with h1, and the controller keeps h1's routes for it.
    let both = Both::new()?;
    let (site, h1) = (&both.site, both.site.host(1));
    let before = both.flows()?;
    let streams = [
        Stream::start(&site.lab, &both.nodes[0], "10.9.0.2")?,
        Stream::start(&site.lab, &both.nodes[2], "10.1.0.4")?,
    ];
    for _ in 0..3 {
        h1.kill9()?;
        let sent = streams[0].count();
        site.lab.wait("forwarding without evpnd", PATIENCE, || {
            ensure(streams[0].count() > sent + 20, || "nothing comes through".to_owned())
        })?;
        h1.start()?;
        site.established()?;
        in_sync(site, 1)?;
    }
    // On a fast machine all of that is over before there is much to lose.
    site.lab.wait("100 pings each", PATIENCE, || {
        ensure(streams.iter().all(|stream| stream.count() > 100), || "not yet".to_owned())
    })?;
    for stream in streams {
        let (sent, lost) = stream.end()?;
        same(&lost, &Vec::new())?;
        ensure(sent > 100, || format!("only {sent} pings"))?;
    }
    same(&both.flows()?, &before)?;
    // Adopted: they count on from before.
    let age = h1.ovs().ofctl(&["dump-flows", BRIDGE, "table=0"])?;
    ensure(age.lines().any(|line| !line.contains("n_packets=0,")), || age)?;
    both.works()
}

/// A crash on both ends at once, then only one comes back: what each sends goes on, too.
#[test]
fn stopped_in_order_flows_stay_or_go_as_configured() -> Result<()> {
    let site = Site::idle(1)?;
    site.start(1, &config(1))?;
    site.established()?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l2("b", L2, 2));
    let nodes = [site.attach(1, &a)?, site.attach(1, &b)?];
    site.reach(&nodes[0], "10.9.0.2")?;
    same(&site.host(1).stop("evpnd", "TERM")?, &Some(0))?;
    nodes[0].ping("10.9.0.2")?;
    let ovs = site.host(1).ovs();
    ensure(!ovs.flows()?.is_empty(), || "flows gone though on-exit is keep".to_owned())?;
    site.start(1, &config(1).dataplane("on-exit = \"remove\""))?;
    site.established()?;
    in_sync(&site, 1)?;
    site.reach(&nodes[0], "10.9.0.2")?;
    same(&site.host(1).stop("evpnd", "TERM")?, &Some(0))?;
    let flows = ovs.flows().unwrap_or_default();
    same(&flows, &Vec::new())?;
    // The clients' ports are not ours.
    let ports = ovs.vsctl(&["list-ports", BRIDGE])?;
    ensure(ports.lines().any(|port| port == "a") && ports.lines().any(|port| port == "b"), || ports)
}

#[test]
fn flows_and_ports_of_others_are_left_alone() -> Result<()> {
    let site = Site::idle(1)?;
    let ovs = site.host(1).ovs();
    // An operator's bridge with a port, a setting and flows of its own, made before.
    ovs.add_bridge(BRIDGE, "secure")?;
    site.host(1)
        .sh("ip link add mine type veth peer name mine2; ip link set mine up; ip link set mine2 up")?;
    ovs.add_port(BRIDGE, "mine", Some(50))?;
    ovs.vsctl(&["set", "Bridge", BRIDGE, "external_ids:owner=me", "other_config:mac-table-size=4096"])?;
    let foreign = [
        "cookie=0x7, table=0, priority=50,in_port=50 actions=drop",
        "cookie=0x7, table=100, priority=1,ip actions=output:50",
        "table=5, priority=3,arp actions=drop",
    ];
    for flow in foreign {
        ovs.ofctl(&["add-flow", BRIDGE, &flow.replace(" actions", ",actions")])?;
    }
    let others = || -> Result<Vec<String>> {
        let mut flows = ovs.flows()?;
        flows.retain(|flow| !flow.contains("cookie=0x65767064"));
        Ok(flows)
    };
    let before = others()?;
    same(&before.len(), &3)?;
    site.start(1, &config(1).dataplane("on-exit = \"remove\""))?;
    site.established()?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l2("b", L2, 2));
    let nodes = [site.attach(1, &a)?, site.attach(1, &b)?];
    site.reach(&nodes[0], "10.9.0.2")?;
    site.host(1).evpnd_run(&["reload"])?;
    in_sync(&site, 1)?;
    same(&others()?, &before)?;
    same(&site.host(1).stop("evpnd", "TERM")?, &Some(0))?;
    same(&others()?, &before)?;
    let kept =
        ovs.vsctl(&["--bare", "get", "Bridge", BRIDGE, "external_ids:owner", "other_config:mac-table-size"])?;
    ensure(kept.contains("me") && kept.contains("4096"), || kept)?;
    let ports = ovs.vsctl(&["list-ports", BRIDGE])?;
    ensure(ports.lines().any(|port| port == "mine"), || ports)?;
    same(&ovs.vsctl(&["list-ports", UNDERLAY])?.trim().to_owned(), &"eth0".to_owned())
}

/// The bridge, the port and the flows as evpn-connector leaves them: taken over with its clients' ports, its flows
/// without a cookie are nobody else's and must not forward beside ours.
#[test]
fn a_bridge_of_evpn_connector_is_adopted() -> Result<()> {
    let site = Site::idle(2)?;
    let ovs = site.host(1).ovs();
    ovs.add_bridge(BRIDGE, "secure")?;
    ovs.vsctl(&["set", "Bridge", BRIDGE, "protocols=OpenFlow13"])?;
    ovs.add_port(BRIDGE, "vxlan_out", Some(65278))?;
    ovs.vsctl(&[
        "set",
        "Interface",
        "vxlan_out",
        "type=vxlan",
        "options:in_key=flow",
        "options:out_key=flow",
        "options:remote_ip=flow",
        "options:local_ip=10.0.0.1",
        "options:dst_port=4789",
    ])?;
    for flow in [
        "priority=0,actions=drop",
        "priority=10,in_port=101,actions=set_field:0x64->reg0,set_field:0x1->reg1,resubmit(,1)",
        "priority=10,tun_id=0x64,in_port=65278,actions=set_field:0x64->reg0,set_field:0->reg1,resubmit(,1)",
        "table=1,priority=0,actions=drop",
        "table=1,priority=10,reg0=0x64,dl_dst=02:00:00:00:00:01,actions=output:101",
        "table=2,priority=0,actions=drop",
    ] {
        ovs.ofctl(&["add-flow", BRIDGE, flow])?;
    }
    let a = Client::l2("a", L2, 1);
    let node_a = site.attach(1, &a)?;
    site.start(1, &config(1))?;
    site.start(2, &config(2))?;
    site.established()?;
    let b = Client::l2("b", L2, 2);
    let node_b = site.attach(2, &b)?;
    let c = Client::l3("c", L3, 3).vlan("t1", 200, 30);
    let d = Client::l3("d", L3, 4);
    let (node_c, node_d) = (site.attach(1, &c)?, site.attach(2, &d)?);
    site.all_reach(&[(&a, &node_a), (&b, &node_b)])?;
    site.all_reach(&[(&c, &node_c), (&d, &node_d)])?;
    // Its port carries the tunnels; there is no second one.
    let tunnels = ovs.vsctl(&["--bare", "--columns=name", "find", "Interface", "type=vxlan"])?;
    same(&tunnels.split_whitespace().collect::<Vec<_>>(), &vec!["vxlan_out"])?;
    same(&ovs.vsctl(&["get", "Bridge", BRIDGE, "protocols"])?.trim().to_owned(), &"[OpenFlow13]".to_owned())
}
