//! Hosts whose dataplane is Open vSwitch, the clients on them, and the files these come from.

use evpnd::lab::{BRIDGE, Capture, Plug, Switch};
use serde_json::json;

use super::{Config, Lab, Node, PATIENCE, Result, ensure, lab, wait_session};

/// The controller's address; it takes any host.
pub(crate) const CONTROLLER: &str = "10.0.0.10";
/// Where a host keeps its client files.
pub(crate) const CLIENTS: &str = "/run/clients";
/// The VNI of most L2 clients.
pub(crate) const L2: u32 = 100;
/// The VRF of most L3 clients.
pub(crate) const L3: u32 = 5000;
/// What L3 clients see as their gateway.
pub(crate) const GATEWAY_MAC: &str = "00:00:5e:00:01:01";

/// A controller (an evpnd that passes routes on) and some hosts with Open vSwitch on one switch.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) spine: Switch,
    pub(crate) controller: Node,
    pub(crate) hosts: Vec<Node>,
}

/// The VTEP's address of host 1, 2, …
pub(crate) fn vtep(host: usize) -> String {
    format!("10.0.0.{host}")
}

/// The router MAC of host 1, 2, … unless it is configured.
pub(crate) fn router_mac(host: usize) -> String {
    format!("02:e5:0a:00:00:{host:02x}")
}

/// The configuration of host 1, 2, …
pub(crate) fn config(host: usize) -> Config {
    Config::ovs(65000 + host as u32, &vtep(host)).neighbor(CONTROLLER, "64512", "")
}

impl Site {
    /// `hosts` hosts with their evpnd running and their sessions up; no clients.
    pub(crate) fn new(hosts: usize) -> Result<Self> {
        let site = Self::idle(hosts)?;
        for host in 1..=hosts {
            site.start(host, &config(host))?;
        }
        site.established()?;
        Ok(site)
    }

    /// The same without an evpnd on the hosts.
    pub(crate) fn idle(hosts: usize) -> Result<Self> {
        let lab = lab()?;
        let spine = lab.switch("spine")?;
        let controller = lab.host("ctl")?.underlay(&spine, &[&format!("{CONTROLLER}/24")])?;
        controller
            .evpnd(&Config::controller(64512, CONTROLLER).range("10.0.0.0/24", "external", "").toml())?;
        let mut site = Self { lab, spine, controller, hosts: Vec::new() };
        for number in 1..=hosts {
            let host = site.lab.host(&format!("h{number}"))?;
            let host = host.underlay_ovs(&site.spine, &[&underlay(number)])?;
            host.sh(&format!("mkdir {CLIENTS}"))?;
            site.hosts.push(host);
        }
        Ok(site)
    }

    /// Host 1, 2, …
    pub(crate) fn host(&self, number: usize) -> &Node {
        &self.hosts[number - 1]
    }

    /// Starts the evpnd of a host; returns when the bridge is there.
    pub(crate) fn start(&self, number: usize, config: &Config) -> Result<()> {
        self.host(number).evpnd(&config.toml())?;
        self.bridged(number)
    }

    /// Waits until a host has its bridge.
    pub(crate) fn bridged(&self, number: usize) -> Result<()> {
        let host = self.host(number);
        self.lab.wait("the bridge", PATIENCE, || host.ovs().vsctl(&["br-exists", BRIDGE]).map(drop))
    }

    /// Waits for all sessions.
    pub(crate) fn established(&self) -> Result<()> {
        self.hosts.iter().try_for_each(|host| wait_session(&self.lab, host, CONTROLLER, "established"))?;
        self.warm()
    }

    /// Has all hosts know each other's MACs below the tunnels.
    pub(crate) fn warm(&self) -> Result<()> {
        for (at, host) in self.hosts.iter().enumerate() {
            let others = (0..self.hosts.len()).filter(|i| *i != at).map(|i| vtep(i + 1));
            let others: Vec<String> = others.collect();
            host.ovs().warm(&others.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// A new client on a host: its endpoint, its port, its file.
    pub(crate) fn attach(&self, number: usize, client: &Client) -> Result<Node> {
        let endpoint = self.plug(number, client)?;
        self.file(number, client)?;
        Ok(endpoint)
    }

    /// Endpoint and port of a client, without its file.
    pub(crate) fn plug(&self, number: usize, client: &Client) -> Result<Node> {
        let endpoint = self.lab.host(&client.name)?;
        self.replug(number, client, &endpoint)?;
        Ok(endpoint)
    }

    /// The endpoint of a client to a port of another host (or the first time).
    pub(crate) fn replug(&self, number: usize, client: &Client, endpoint: &Node) -> Result<()> {
        let host = self.host(number);
        let plug = match &client.trunk {
            None => Plug::Port(client.ofport),
            Some((trunk, tag)) => {
                if host.ovs().vsctl(&["port-to-br", trunk]).is_err() {
                    host.ovs().trunk(trunk, client.ofport)?;
                }
                Plug::Trunk(trunk, *tag)
            }
        };
        let addresses: Vec<&str> = client.addresses.iter().map(String::as_str).collect();
        self.lab.plug_ovs(host, endpoint, plug, &client.mac, &addresses)?;
        if client.kind == "l3" {
            // The gateway has no address that anybody needs to know: it answers for all.
            endpoint.sh("ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1 dev eth0
                 ip -6 route add default via fe80::1 dev eth0")?;
        }
        Ok(())
    }

    /// Writes the file of a client, as a whole: no half of it is ever seen.
    pub(crate) fn file(&self, number: usize, client: &Client) -> Result<()> {
        self.text(number, &format!("{}.json", client.name), &client.json())
    }

    /// Writes a file into a host's directory of clients.
    pub(crate) fn text(&self, number: usize, name: &str, text: &str) -> Result<()> {
        let host = self.host(number);
        host.write("/run/new", text)?;
        host.run(&["mv", "/run/new", &format!("{CLIENTS}/{name}")]).map(drop)
    }

    /// Deletes the file of a client.
    pub(crate) fn forget(&self, number: usize, client: &Client) -> Result<()> {
        self.host(number).run(&["rm", &format!("{CLIENTS}/{}.json", client.name)]).map(drop)
    }

    /// Waits until a node gets answers from an address.
    pub(crate) fn reach(&self, from: &Node, to: &str) -> Result<()> {
        self.lab.wait(&format!("{} reaches {to}", from.name()), PATIENCE, || from.ping(to))
    }

    /// Waits until each of some clients reaches all others, at all their addresses.
    pub(crate) fn all_reach(&self, clients: &[(&Client, &Node)]) -> Result<()> {
        for (client, node) in clients {
            let others = clients.iter().filter(|(other, _)| other.name != client.name);
            for address in others.flat_map(|(other, _)| other.hosts()) {
                self.reach(node, &address)?;
            }
        }
        Ok(())
    }

    /// Waits for a flow on a host that contains a text.
    pub(crate) fn flow(&self, number: usize, text: &str) -> Result<()> {
        wait_flow(&self.lab, self.host(number), text)
    }
}

/// A host's address with its length.
pub(crate) fn underlay(number: usize) -> String {
    format!("{}/24", vtep(number))
}

/// A client in the making.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) mac: String,
    pub(crate) ofport: u16,
    kind: &'static str,
    vni: u32,
    addresses: Vec<String>,
    trunk: Option<(String, u16)>,
    anti_spoof: bool,
    with_ip: bool,
}

impl Client {
    /// An L2 client: MAC 02:00:00:00:00:ID, 10.9.0.ID and fd00:9::ID, port 100 + ID.
    pub(crate) fn l2(name: &str, vni: u32, id: u8) -> Self {
        Self {
            name: name.to_owned(),
            mac: format!("02:00:00:00:00:{id:02x}"),
            ofport: 100 + u16::from(id),
            kind: "l2",
            vni,
            addresses: vec![format!("10.9.0.{id}/24"), format!("fd00:9::{id}/64")],
            trunk: None,
            anti_spoof: true,
            with_ip: true,
        }
    }

    /// An L3 client: MAC 02:00:00:00:00:ID, 10.1.0.ID and fd00:1::ID, port 100 + ID.
    pub(crate) fn l3(name: &str, vrf: u32, id: u8) -> Self {
        let addresses = vec![format!("10.1.0.{id}/32"), format!("fd00:1::{id}/128")];
        Self { kind: "l3", addresses, ..Self::l2(name, vrf, id) }
    }

    /// In a VLAN of a port that is shared.
    pub(crate) fn vlan(self, trunk: &str, ofport: u16, tag: u16) -> Self {
        Self { trunk: Some((trunk.to_owned(), tag)), ofport, ..self }
    }

    /// On another port.
    pub(crate) fn port(self, ofport: u16) -> Self {
        Self { ofport, ..self }
    }

    /// May send whatever it likes.
    pub(crate) fn trusted(self) -> Self {
        Self { anti_spoof: false, ..self }
    }

    /// An L2 client whose addresses nobody knows.
    pub(crate) fn without_ip(self) -> Self {
        Self { with_ip: false, ..self }
    }

    /// Whether it is an L2 client.
    pub(crate) fn is_l2(&self) -> bool {
        self.kind == "l2"
    }

    /// Name and number of the port it is behind.
    pub(crate) fn trunk_or_self(&self) -> (&str, u16) {
        (self.trunk.as_ref().map_or(&self.name, |(trunk, _)| trunk), self.ofport)
    }

    /// Its addresses without their lengths.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.addresses.iter().filter_map(|a| a.split('/').next()).map(str::to_owned).collect()
    }

    /// Its file.
    pub(crate) fn json(&self) -> String {
        let tag = self.trunk.as_ref().map_or(0, |(_, tag)| *tag);
        let rt = [format!("65000:{}", self.vni)];
        let mut file = json!({
            "cfg_type": self.kind, "mac": self.mac, "vni": self.vni, "ofport": self.ofport,
            "type": if tag == 0 { "flat" } else { "vlan" }, "tag": tag, "imp_rt": rt, "exp_rt": rt,
        });
        if self.kind == "l3" {
            file["routes"] = json!(self.addresses);
        } else if self.with_ip {
            file["ip"] = json!(self.hosts());
        }
        if !self.anti_spoof {
            file["anti_spoof"] = json!(false);
        }
        file.to_string()
    }
}

/// Waits for a flow that contains a text.
pub(crate) fn wait_flow(lab: &Lab, host: &Node, text: &str) -> Result<()> {
    lab.wait(&format!("a flow with {text} on {}", host.name()), PATIENCE, || {
        let flows = host.ovs().flows()?;
        ensure(flows.iter().any(|flow| flow.contains(text)), || flows.join("\n"))
    })
}

/// Waits until a capture has a packet that matches.
pub(crate) fn sees(lab: &Lab, capture: &Capture, seen: &str) -> Result<()> {
    lab.wait(&format!("{seen} in the capture"), PATIENCE, || {
        ensure(!capture.fields(seen, &["frame.number"])?.is_empty(), || format!("no {seen}"))
    })
}

/// Waits until a capture has a packet that matches `seen`; then it must have none that matches `unseen`.
pub(crate) fn only(lab: &Lab, capture: &Capture, seen: &str, unseen: &str) -> Result<()> {
    sees(lab, capture, seen)?;
    let packets = capture.text(unseen)?;
    ensure(packets.is_empty(), || format!("{unseen} was captured:\n{packets}"))
}

/// Pings from one node to an address all the time, 100 a second.
#[derive(Debug)]
pub(crate) struct Stream {
    from: Node,
    name: String,
}

impl Stream {
    pub(crate) fn start(lab: &Lab, from: &Node, to: &str) -> Result<Self> {
        let stream = Self { from: from.clone(), name: format!("stream-{to}") };
        from.spawn(&stream.name, &["ping", "-n", "-i", "0.01", to])?;
        lab.wait("the first answers", PATIENCE, || {
            ensure(stream.answered().len() > 3, || from.log(&stream.name))
        })?;
        Ok(stream)
    }

    fn answered(&self) -> std::collections::BTreeSet<usize> {
        let log = self.from.log(&self.name);
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
        log.lines().filter_map(number).collect()
    }

    /// How many were answered so far.
    pub(crate) fn count(&self) -> usize {
        self.answered().len()
    }

    /// How many were sent, and the numbers of those that were lost: not the one still under way.
    pub(crate) fn end(self) -> Result<(usize, Vec<usize>)> {
        self.from.stop(&self.name, "INT")?;
        let answered = self.answered();
        let last = answered.last().copied().unwrap_or(0);
        Ok((last, (1..=last).filter(|n| !answered.contains(n)).collect()))
    }
}

/// Sends 64 KiB over TCP from one node to an address of another.
pub(crate) fn tcp(lab: &Lab, from: &Node, to: &Node, address: &str) -> Result<()> {
    const LISTEN: &str = r#"use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in(7000, INADDR_ANY)) or die "bind: $!"; listen($s, 1) or die; $| = 1; print "listening\n";
accept(my $c, $s) or die; my ($n, $b) = (0); $n += $_ while $_ = sysread($c, $b, 65536); print "received $n\n";"#;
    const SEND: &str = r#"use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
connect($s, sockaddr_in(7000, inet_aton($ARGV[0]))) or die "connect: $!"; my $b = "x" x 65536;
while (length $b) { my $n = syswrite($s, $b) or die "write: $!"; substr($b, 0, $n, "") }"#;
    let name = format!("listener-{}", from.name());
    to.spawn(&name, &["timeout", "20", "perl", "-e", LISTEN])?;
    let log = |what: &str| {
        lab.wait(&format!("TCP: {what}"), PATIENCE, || ensure(to.log(&name).contains(what), || to.log(&name)))
    };
    log("listening")?;
    from.run(&["timeout", "10", "perl", "-e", SEND, address])?;
    log("received 65536")
}
