//! Hosts whose dataplane is Open vSwitch, their clients, and what their flows are.

use evpnd::lab::{Lab, Node, Result};

use super::{PATIENCE, ensure};

/// Waits for a flow that contains a text.
pub(crate) fn wait_flow(lab: &Lab, host: &Node, text: &str) -> Result<()> {
    lab.wait(&format!("a flow with {text} on {}", host.name()), PATIENCE, || {
        let flows = host.ovs().flows()?;
        ensure(flows.iter().any(|flow| flow.contains(text)), || flows.join("\n"))
    })
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
