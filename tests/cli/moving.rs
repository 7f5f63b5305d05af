//! `evpnd migrate` and `evpnd plan`, as far as they need no dataplane.

use std::os::unix::fs::PermissionsExt as _;

use super::{TempPath, run};

const GOBGP: &str = "[global.config]\nas = 65100\nrouter-id = \"10.10.10.1\"\n[[neighbors]]\n[neighbors.config]\npeer-as = 65200\n\
                     neighbor-address = \"10.10.10.2\"\nauth-password = \"secret\"\n[neighbors.graceful-restart.config]\n\
                     enabled = true\n[[neighbors.afi-safis]]\nafi-safi-name = \"l2vpn-evpn\"\n";

/// gobgpd's file, evpn-connector's, and a directory of clients.
fn sources(name: &str, clients: &[(&str, &str)]) -> TempPath {
    let dir = TempPath::new(name);
    std::fs::create_dir_all(dir.0.join("clients")).unwrap();
    std::fs::write(dir.0.join("gobgp.conf"), GOBGP).unwrap();
    let connector = format!(
        "[gobgp]\nsource_ip = \"10.10.10.1\"\n[ovs]\nswitch_name = evpn\n[daemon]\nconfigs_dir: {}\n",
        dir.0.join("clients").display()
    );
    std::fs::write(dir.0.join("evpn.conf"), connector).unwrap();
    for (name, text) in clients {
        std::fs::write(dir.0.join("clients").join(name), text).unwrap();
    }
    dir
}

fn path(dir: &TempPath, name: &str) -> String {
    dir.0.join(name).display().to_string()
}

#[test]
fn migrate_writes_what_check_takes() {
    let good = "{ \"cfg_type\": \"l2\", \"mac\": \"36:e7:a5:7e:0c:81\", \"ip\": \"10.0.0.1\", \"vni\": 10, \"ofport\": 1000, // VM 1\n\
                \"type\": \"flat\", \"tag\": 0, \"imp_rt\": [\"0:10\"], \"exp_rt\": [\"0:10\"] }";
    let dir = sources("migrate.d", &[("vm1.json", good)]);
    let (gobgp, connector) = (path(&dir, "gobgp.conf"), path(&dir, "evpn.conf"));
    let out = path(&dir, "evpnd.toml");
    let from = ["migrate", "--gobgp", &gobgp, "--evpn-connector", &connector];

    let (code, text, err) = run(&from);
    assert_eq!(code, 0, "{err}");
    assert!(text.starts_with("# Made by `evpnd migrate` from gobgp.conf and evpn.conf.\n"), "{text}");
    for part in [
        "evpnd.toml: 1 neighbour, 0 VNIs\n",
        "Look at what could not be carried over:\n  gobgp.conf:10: graceful-restart is not carried over: ",
        ": 1 client file is good.\n",
        "1 of type l2 has \"ip\", which evpn-connector ignores: what it sends from other addresses will be dropped",
    ] {
        assert!(err.contains(part), "{part:?} is not in {err}");
    }
    assert!(!err.contains("secret"));

    let (code, nothing, err) = run(&[&from[..], &["-o", &out, "--check-clients"]].concat());
    assert_eq!((code, nothing.as_str()), (0, ""), "{err}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), text);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, checked, err) = run(&["check", "-c", &out]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(checked.contains("clients: ok (1 client)"), "{checked}");

    let (code, _, err) = run(&[&from[..], &["-o", &out]].concat());
    assert_eq!((code, err), (1, format!("evpnd: {out} cannot be written: file exists\n")));
}

#[test]
fn migrate_tells_of_broken_files() {
    let dir = sources("migrate-bad.d", &[("vm1.json", "{ \"vni\": 0 }")]);
    let (gobgp, connector) = (path(&dir, "gobgp.conf"), path(&dir, "evpn.conf"));
    let from = ["migrate", "--gobgp", &gobgp, "--evpn-connector", &connector];
    let (code, _, err) = run(&from);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("0 client files are good; ") && err.contains("vm1.json:1: vni: "), "{err}");
    assert_eq!(run(&[&from[..], &["--check-clients"]].concat()).0, 1);

    std::fs::write(dir.0.join("gobgp.conf"), "global:\n  config:\n").unwrap();
    let (code, out, err) = run(&from);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("evpnd: gobgp.conf:1: "), "{err}");

    std::fs::write(dir.0.join("gobgp.conf"), GOBGP.replace("65200", "23456")).unwrap();
    let (code, out, err) = run(&from);
    assert_eq!(code, 1);
    assert!(out.contains("remote-asn = 23456"), "{out}");
    assert!(
        err.contains("AS_TRANS") && err.ends_with("has to be mended by hand before evpnd takes it\n"),
        "{err}"
    );

    let (code, _, err) = run(&["migrate"]);
    assert_eq!(code, 2);
    assert!(err.contains("--gobgp <FILE>|--evpn-connector <FILE>"), "{err}");
}

#[test]
fn plan_without_a_dataplane() {
    let file = TempPath::new("plan.toml");
    std::fs::write(&file.0, "[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\nbackend = \"none\"\n")
        .unwrap();
    assert_eq!(run(&["plan", "-c", file.str(), "--json"]), (0, "[]\n".to_owned(), String::new()));
    let (code, out, err) = run(&["plan", "-c", file.str()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("Nothing is forwarded by this node: backend = \"none\".\n"), "{out}");

    let ovs = "[router]\nasn = 1\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\n[dataplane.ovs]\nvsctl = \"/nonexistent/vsctl\"\n";
    std::fs::write(&file.0, ovs).unwrap();
    let (code, out, err) = run(&["plan", "-c", file.str()]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("evpnd: Open vSwitch cannot be looked at: "), "{err}");
    assert_eq!(run(&["plan", "-c", "/nonexistent"]).0, 1);
}
