//! What the tools say, and what becomes of it; each text as a real tool printed it.

use super::*;

fn tools() -> Commands {
    Commands {
        bridge: "br-x".into(),
        db: None,
        rundir: None,
        vsctl: "/nonexistent/ovs-vsctl".into(),
        ofctl: "/nonexistent/ovs-ofctl".into(),
    }
}

fn ofctl(said: &str) -> Failure {
    tools().ofctl_failure("list flows of bridge br-x", 5, &Trouble::Failed(said.to_owned()))
}

fn vsctl(said: &str) -> Failure {
    tools().vsctl_failure("read the Open vSwitch database", &Trouble::Failed(said.to_owned()))
}

#[test]
fn each_way_to_fail_is_one_line_that_says_what_to_do() {
    for (failure, kind, says) in [
        (
            ofctl("ovs-ofctl: br-x is not a bridge or a socket"),
            ErrorKind::NoDevice,
            "list flows of bridge br-x: ovs-vswitchd does not serve bridge br-x: is it running? (systemctl status \
             openvswitch-switch)",
        ),
        (
            ofctl(
                "2026-11-21T04:00:26Z|00001|vconn|WARN|unix:/tmp/swd/br-x.mgmt: version negotiation failed (we \
                 support version 0x04, peer supports version 0x01)\novs-ofctl: br-x: failed to connect to socket \
                 (Protocol error)",
            ),
            ErrorKind::Conflict,
            "list flows of bridge br-x: the bridge does not speak OpenFlow 1.3: allow it with: ovs-vsctl add \
             bridge br-x protocols OpenFlow13",
        ),
        (
            ofctl("ovs-ofctl: /tmp/swd/br-x.mgmt: failed to open socket (Permission denied)"),
            ErrorKind::Permission,
            "list flows of bridge br-x: no permission for the bridge's OpenFlow socket (/tmp/swd/br-x.mgmt: \
             failed to open socket (Permission denied)): run evpnd as root, or as a user that may use it",
        ),
        (
            ofctl("ovs-ofctl: OpenFlow packet receive failed (End of file)"),
            ErrorKind::NoDevice,
            "list flows of bridge br-x: the connection to bridge br-x was lost (OpenFlow packet receive failed \
             (End of file))",
        ),
        (
            vsctl("ovs-vsctl: unix:/tmp/nonono: database connection failed (No such file or directory)"),
            ErrorKind::NoDevice,
            "read the Open vSwitch database: ovsdb-server is not running (unix:/tmp/nonono: database connection \
             failed (No such file or directory)): start Open vSwitch (systemctl start openvswitch-switch), or say \
             where it is with db in [dataplane.ovs]",
        ),
        (
            vsctl("ovs-vsctl: unix:/tmp/swd/db.sock: database connection failed (Permission denied)"),
            ErrorKind::Permission,
            "read the Open vSwitch database: no permission for the Open vSwitch database (unix:/tmp/swd/db.sock: \
             database connection failed (Permission denied)): run evpnd as root, or as a user that may use it",
        ),
        (
            tools().vsctl("read the Open vSwitch database", &[]).unwrap_err(),
            ErrorKind::Other,
            "read the Open vSwitch database: /nonexistent/ovs-vsctl is not installed: install Open vSwitch \
             (package openvswitch-switch), or say where it is with vsctl in [dataplane.ovs]",
        ),
        (
            tools().dump(&mut |_| {}).unwrap_err(),
            ErrorKind::Other,
            "list flows of bridge br-x: /nonexistent/ovs-ofctl is not installed: install Open vSwitch (package \
             openvswitch-switch), or say where it is with ofctl in [dataplane.ovs]",
        ),
    ] {
        assert_eq!(failure.error.to_string(), says);
        assert_eq!((failure.cause, failure.error.kind), (Cause::Away, kind), "{says}");
    }
}

#[test]
fn what_is_refused_is_told_from_what_is_away() {
    let by_tool = ofctl(
        "2026-11-21T04:03:06Z|00001|ofp_actions|WARN|set_field vlan_vid lacks correct prerequisites\n\
         ovs-ofctl: -:2: actions are invalid with specified match (OFPBAC_MATCH_INCONSISTENT)",
    );
    assert_eq!(by_tool.cause, Cause::Refused(Some(1)));
    assert_eq!(by_tool.error.reason, "actions are invalid with specified match (OFPBAC_MATCH_INCONSISTENT)");
    let by_switch = ofctl(
        "Error OFPBAC_BAD_OUT_GROUP for: OFPT_FLOW_MOD (OF1.3) (xid=0x7): ADD table:3 actions=group:7\n\
         Error OFPBFC_MSG_FAILED for: ONFT_BUNDLE_CONTROL (OF1.3) (xid=0xa):\n \
         bundle_id=0 type=COMMIT_REQUEST flags=atomic ordered\n\
         ovs-ofctl: talking to unix:/tmp/swd/br-x.mgmt (Protocol error)",
    );
    assert_eq!(by_switch.cause, Cause::Refused(None));
    assert_eq!(by_switch.error.reason, "Error OFPBAC_BAD_OUT_GROUP for: OFPT_FLOW_MOD");
}

#[test]
fn ports_are_read() {
    assert_eq!(parse_port(" 1(vx): addr:32:4e:ae:46:46:79"), Some((1, "vx".to_owned())));
    assert_eq!(parse_port(" 12(\"p 0\"): addr:32:4e:ae:46:46:79"), Some((12, "p 0".to_owned())));
    for line in [
        " LOCAL(br-x): addr:0a:6a:43:f3:18:47",
        "     config:     PORT_DOWN",
        "OFPST_PORT_DESC reply (OF1.3) (xid=0x2):",
        "",
    ] {
        assert_eq!(parse_port(line), None, "{line}");
    }
}

#[test]
fn long_errors_are_cut() {
    let text = format!("ovs-ofctl: -:1: unknown {}", "ü".repeat(5000));
    assert!(ofctl(&text).error.reason.len() <= SHOWN + "…".len());
}

/// The monitor with something else in the place of `ovs-ofctl`.
#[test]
fn the_monitor_ends_with_us_and_tells_when_it_ended_itself() {
    let dir = std::env::temp_dir().join(format!("evpnd-monitor-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let fake = dir.join("ofctl");
    let pid = dir.join("pid");
    let write = |body: &str| {
        std::fs::write(&fake, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let tools = || Commands { ofctl: fake.clone(), ..tools() };
    let wait = |monitor: &mut Box<dyn Monitor>| loop {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fd = monitor.fd().expect("a descriptor");
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&limit)).unwrap();
        assert!(ready > 0, "nothing heard");
        match monitor.poll() {
            News::None => {}
            news => return news,
        }
    };

    write("echo 'ovs-ofctl: br-x is not a bridge or a socket' >&2; exit 1");
    let mut monitor = tools().monitor().unwrap();
    assert_eq!(wait(&mut monitor), News::Ended("br-x is not a bridge or a socket".into()));
    drop(monitor);

    write(&format!(
        "echo 'OFPT_PORT_STATUS (OF1.3) (xid=0x0): ADD: 4(p0): addr:66:24:c9:0a:45:6c' >&2\n\
         echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        pid.display()
    ));
    let mut monitor = tools().monitor().unwrap();
    assert_eq!(wait(&mut monitor), News::Ports);
    while !std::fs::exists(&pid).unwrap() {
        std::thread::yield_now();
    }
    let proc = format!("/proc/{}", std::fs::read_to_string(&pid).unwrap().trim());
    assert!(std::fs::exists(&proc).unwrap());
    drop(monitor);
    // Whoever inherits the killed process may take a moment to take note of it.
    let state = || std::fs::read_to_string(format!("{proc}/stat")).unwrap_or_default();
    assert!(state().is_empty() || state().contains(") Z "), "it is gone: {}", state());
    std::fs::remove_dir_all(&dir).unwrap();
}
