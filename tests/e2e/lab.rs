//! `evpnd lab` itself: as root and as an ordinary user, alone and interrupted, and that nothing stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use evpnd::lab::until;

use crate::common::{Error, PATIENCE, Result, ensure, same};

/// A directory that any user can read, with the binary in it; where the sources are, only their owner may look.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Result<Self> {
        let place = Self(std::env::temp_dir().join(format!("evpnd-e2e-{}-{name}", std::process::id())));
        let fail = |e: std::io::Error| Error::new(format!("{}: {e}", place.0.display()));
        fs::create_dir(&place.0).map_err(fail)?;
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).map_err(fail)?;
        // By another process: a thread that forks while we hold the file open for writing would keep it "busy".
        let (code, said) =
            run(Command::new("cp").arg(env!("CARGO_BIN_EXE_evpnd")).arg(place.0.join("evpnd")))?;
        ensure(code == Some(0), || said).map(|()| place)
    }

    /// `evpnd lab ARGS`, in a process group of its own as a shell would start it.
    fn lab(&self, ordinary: bool, args: &[&str]) -> Command {
        let binary = self.0.join("evpnd");
        let mut command = if ordinary && is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(binary);
            // As Debian has it for those who are not root.
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
            command
        } else {
            Command::new(binary)
        };
        command.arg("lab").args(args).env("XDG_RUNTIME_DIR", &self.0).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn run(command: &mut Command) -> Result<(Option<i32>, String)> {
    let output = command.output().map_err(|e| Error::new(format!("{command:?}: {e}")))?;
    let both = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&both).into_owned()))
}

/// A process and all below it.
fn family(pid: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::from([pid]);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|s| s.parse().ok()) {
        all.extend(family(child));
    }
    all
}

fn all_gone(pids: &BTreeSet<u32>) -> Result<()> {
    until(PATIENCE, || {
        let left: Vec<_> = pids.iter().filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok()).collect();
        ensure(left.is_empty(), || format!("processes {left:?} are left"))
    })
}

/// What the whole run must show, in this order.
const STEPS: [&str; 13] = [
    "namespaces and links",
    "BGP sessions up",
    "flood rows in the FDBs",
    "18 of 18 pings answered",
    "MACs in the FDBs",
    "54 of 54 pings answered",
    "show routes on h1",
    "10.0.0.102",
    "kill -9 of h3's evpnd",
    "rows for h3 gone elsewhere",
    "54 of 54 pings answered",
    "hosts.svg, vlans.svg, overlays.svg in /",
    "nothing is left behind",
];

/// The same with four overlays.
const OVERLAY_STEPS: [&str; 13] = [
    "22 in a",
    "flood rows in the FDBs",
    "22001  h1    e11 10.100.1.101, e14 10.100.1.102",
    "22002  h1    e12 10.100.1.101, e15 10.100.1.102",
    "68 of 68 pings answered, 28 of them at addresses that another overlay has, too",
    "none of 166 pings answered",
    "22001 e11      ok  ok  ok     =   -   -   -   -     -",
    "MACs in the FDBs",
    "bridge fdb on h1",
    "kill -9 of h3's evpnd",
    "68 of 68 pings answered",
    "none of 166 pings answered",
    "nothing is left behind",
];

/// The same with Open vSwitch.
const OVS_STEPS: [&str; 17] = [
    "namespaces and links",
    "BGP sessions up",
    "br-evpn on each",
    "9 client files",
    "clients up",
    "6 of 6 pings answered",
    "30 of 30 pings answered",
    "evpnd show clients on h1",
    "ofport 2000 VLAN 102",
    "in_port=1001",
    "push_vlan:0x8100",
    "nw_dst=10.200.1.103",
    "kill -9 of h3's ovs-vswitchd",
    "the same",
    "0% packet loss",
    "flows adopted, not one changed",
    "nothing is left behind",
];

fn whole_run(ordinary: bool, args: &[&str], steps: &[&str]) -> Result<()> {
    let name = format!("{}{}", if ordinary { "user" } else { "own" }, args.concat());
    let place = Place::new(&name)?;
    let (code, said) = run(&mut place.lab(ordinary, &[&["run"], args].concat()))?;
    ensure(code == Some(0), || format!("exit {code:?}:\n{said}"))?;
    let mut rest = said.as_str();
    for step in steps {
        let at = rest.find(step);
        rest = at
            .map(|at| &rest[at..])
            .ok_or_else(|| Error::new(format!("no {step:?} at its place in:\n{said}")))?;
    }
    ensure(!said.contains('\u{1b}'), || "colours without a terminal".to_owned())?;
    let dir = said.split("overlays.svg in ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let named =
        Path::new(dir).file_name().is_some_and(|name| name.to_string_lossy().starts_with("evpnd-lab"));
    ensure(named, || format!("pictures in {dir:?}"))?;
    let drawn = pictures(Path::new(dir));
    // Of an ordinary user they are in /tmp, where they would stay.
    let gone = fs::remove_dir_all(dir).map_err(|e| Error::new(format!("{dir}: {e}")));
    drawn.and(gone)
}

/// The three pictures of the whole lab.
fn pictures(dir: &Path) -> Result<()> {
    for view in ["hosts", "vlans", "overlays"] {
        let file = dir.join(format!("{view}.svg"));
        let text = fs::read_to_string(&file).map_err(|e| Error::new(format!("{}: {e}", file.display())))?;
        let whole = text.starts_with("<svg ") && text.ends_with("</svg>\n");
        ensure(whole && text.contains(">VNI 22001") && text.contains("10.0.0.103"), || text)?;
    }
    Ok(())
}

#[test]
fn as_an_ordinary_user() -> Result<()> {
    whole_run(true, &[], &STEPS)
}

#[test]
fn as_whoever_runs_the_tests() -> Result<()> {
    whole_run(false, &[], &STEPS)
}

#[test]
fn with_four_overlays() -> Result<()> {
    whole_run(false, &["--overlays", "4"], &OVERLAY_STEPS)
}

#[test]
fn what_is_for_the_kernel_backend_is_refused_with_the_other() -> Result<()> {
    let place = Place::new("usage")?;
    for args in [["--overlays", "2"], ["--layout", "single-device"]] {
        let (code, said) = run(&mut place.lab(false, &[&["run", "--backend", "ovs"][..], &args].concat()))?;
        ensure(code == Some(2) && said.contains("are for --backend kernel"), || {
            format!("exit {code:?}:\n{said}")
        })?;
    }
    Ok(())
}

/// What a lab for which this kernel will not do says where there is no virtual machine for it.
#[test]
fn without_the_packages_of_a_virtual_machine() -> Result<()> {
    let place = Place::new("no-vm")?;
    // A world without the program, whether it is installed or not.
    let hide = "mount --bind /dev/null /usr/bin/qemu-system-x86_64 2>/dev/null || true; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"]);
    command.arg(place.0.join("evpnd")).args(["lab", "run", "--layout", "single-device"]);
    command.env("XDG_RUNTIME_DIR", &place.0).env("EVPND_LAB_VM", "1").stdin(Stdio::null());
    let (code, said) = run(&mut command)?;
    ensure(
        code == Some(1)
            && said.contains("In a virtual machine with Debian's kernel")
            && said.contains("VM: missing Debian packages: qemu-system-x86")
            && said.contains("apt-get install --no-install-recommends qemu-system-x86"),
        || format!("exit {code:?}:\n{said}"),
    )
}

#[test]
fn a_lab_in_a_virtual_machine_does_not_stand() -> Result<()> {
    let place = Place::new("vm-up")?;
    let (code, said) = run(place.lab(false, &["up", "--layout", "single-device"]).env("EVPND_LAB_VM", "1"))?;
    ensure(code == Some(1) && said.contains("--overlays=4 --shell`"), || format!("exit {code:?}:\n{said}"))?;
    ensure(!place.0.join("evpnd-lab.json").exists(), || "something was left".to_owned())
}

#[test]
fn with_open_vswitch_as_an_ordinary_user() -> Result<()> {
    whole_run(true, &["--backend", "ovs"], &OVS_STEPS)
}

#[test]
fn with_open_vswitch() -> Result<()> {
    whole_run(false, &["--backend", "ovs"], &OVS_STEPS)
}

#[test]
fn other_sizes_with_open_vswitch() -> Result<()> {
    let place = Place::new("ovs-size")?;
    let size = ["run", "--backend", "ovs", "--hosts", "2", "--endpoints", "1"];
    let (code, said) = run(&mut place.lab(false, &size))?;
    ensure(code == Some(0) && said.contains("2 of 2 pings answered"), || format!("exit {code:?}:\n{said}"))
}

#[test]
fn other_sizes() -> Result<()> {
    let place = Place::new("size")?;
    let (code, said) = run(&mut place.lab(false, &["run", "--hosts", "5", "--endpoints", "1"]))?;
    ensure(code == Some(0) && said.contains("20 of 20 pings answered"), || format!("exit {code:?}:\n{said}"))
}

#[test]
fn a_reader_that_leaves_changes_nothing() -> Result<()> {
    let place = Place::new("head")?;
    let mut command = place.lab(false, &["run", "--hosts", "2", "--endpoints", "1"]);
    let mut child = command.spawn().map_err(|e| Error::new(e.to_string()))?;
    drop(child.stdout.take());
    let output = child.wait_with_output().map_err(|e| Error::new(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(0), || format!("{:?}:\n{said}", output.status))
}

/// Starts a run and reads on until a line has `until`.
fn started(place: &Place, until: &str) -> Result<(Child, BTreeSet<u32>)> {
    let mut child = place.lab(false, &["run"]).spawn().map_err(|e| Error::new(format!("evpnd lab: {e}")))?;
    let out = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in out {
        if line.is_ok_and(|line| line.contains(until)) {
            let family = family(child.id());
            return Ok((child, family));
        }
    }
    let mut said = String::new();
    let _ = child.stderr.take().map(|mut err| err.read_to_string(&mut said));
    Err(Error::new(format!("no {until:?}: {said}")))
}

fn interrupted(signal: &str, until: &str) -> Result<()> {
    let place = Place::new(&format!("{signal}-{}", until.len()))?;
    let (mut child, family) = started(&place, until)?;
    ensure(family.len() > 10, || format!("{family:?}"))?;
    // To the whole process group, as a terminal does it.
    let kill = format!("kill -{signal} -{}", child.id());
    let (code, said) = run(Command::new("sh").args(["-c", &kill]))?;
    ensure(code == Some(0), || said)?;
    let status = child.wait().map_err(|e| Error::new(e.to_string()))?;
    ensure(!status.success(), || format!("{status}"))?;
    all_gone(&family)
}

#[test]
fn ctrl_c_leaves_nothing() -> Result<()> {
    interrupted("INT", "BGP sessions up")
}

/// The virtual machine ends with the command, and so does what it was made of.
#[test]
fn ctrl_c_leaves_no_virtual_machine() -> Result<()> {
    let place = Place::new("vm-int")?;
    let scratch = place.0.join("scratch");
    fs::create_dir(&scratch).map_err(|e| Error::new(e.to_string()))?;
    let mut command = place.lab(false, &["run"]);
    command.env("EVPND_LAB_VM", "1").env("TMPDIR", &scratch).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|e| Error::new(format!("evpnd lab: {e}")))?;
    let runs = until(PATIENCE, || {
        let all = family(child.id());
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let machine = all.iter().any(|pid| name(pid).starts_with("qemu-system"));
        if machine { Ok(all) } else { Err(Error::new("no virtual machine")) }
    });
    let killed = run(Command::new("sh").args(["-c", &format!("kill -INT -{}", child.id())]))?;
    let status = child.wait().map_err(|e| Error::new(e.to_string()))?;
    ensure(killed.0 == Some(0) && !status.success(), || format!("{killed:?}, {status}"))?;
    all_gone(&runs?)?;
    let left: Vec<_> = fs::read_dir(&scratch).into_iter().flatten().flatten().collect();
    ensure(left.is_empty(), || format!("{left:?}"))
}

#[test]
fn kill_9_leaves_nothing() -> Result<()> {
    interrupted("KILL", "flood rows in the FDBs")
}

#[test]
fn up_test_exec_down() -> Result<()> {
    let place = Place::new("up")?;
    let lab = |args: &[&str]| run(&mut place.lab(false, args));
    let good = |args: &[&str]| -> Result<String> {
        let (code, said) = lab(args)?;
        ensure(code == Some(0), || format!("lab {args:?}: exit {code:?}:\n{said}")).map(|()| said)
    };
    let refused = |args: &[&str], says: &str| -> Result<()> {
        let (code, said) = lab(args)?;
        ensure(code == Some(1) && said.contains(says), || format!("lab {args:?}: exit {code:?}:\n{said}"))
    };
    for args in [&["test"][..], &["down"], &["exec", "h1", "true"], &["graph"]] {
        refused(args, "no lab is standing")?;
    }
    good(&["up", "--hosts", "2", "--endpoints", "2"])?;
    let _down = Down(&place);
    refused(&["up"], "already standing")?;
    let text = good(&["test"])?;
    ensure(text.contains("4 of 4 pings answered") && text.contains("8 of 8 pings answered"), || text)?;
    let macs = good(&["exec", "h1", "--", "evpnd", "show", "macs", "--json"])?;
    let macs: serde_json::Value =
        serde_json::from_str(&macs).map_err(|e| Error::new(format!("{e}: {macs}")))?;
    same(&macs.as_array().map(Vec::len), &Some(4))?;
    let text = good(&["graph"])?;
    ensure(
        text == format!("hosts.svg, vlans.svg, overlays.svg in {}/evpnd-lab\n", place.0.display()),
        || text,
    )?;
    let text = good(&["exec", "h1", "--", "evpnd", "graph", "hosts", "--format", "dot"])?;
    ensure(text.contains("\"VTEP 10.0.0.102\""), || text)?;
    refused(&["exec", "h9", "true"], "no node h9")?;
    same(&lab(&["exec", "e11", "--", "sh", "-c", "exit 7"])?.0, &Some(7))?;
    good(&["exec", "e11", "--", "ping", "-c", "1", "-W", "2", "10.100.2.101"])?;

    let state = fs::read_to_string(place.0.join("evpnd-lab.json")).map_err(|e| Error::new(e.to_string()))?;
    let state: serde_json::Value = serde_json::from_str(&state).map_err(|e| Error::new(e.to_string()))?;
    let holder = state["holder"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    let family = family(holder);
    ensure(family.len() > 1, || format!("{family:?}"))?;
    good(&["down"])?;
    all_gone(&family)?;
    refused(&["test"], "no lab is standing")?;
    ensure(!place.0.join("evpnd-lab.json").exists(), || "the state file is left".to_owned())
}

/// A shell beside the lab, which ends with it; what the shell itself comes to is not the lab's.
#[test]
fn a_shell_beside_the_lab() -> Result<()> {
    let place = Place::new("shell")?;
    let script = place.0.join("script");
    fs::write(&script, "evpnd lab test\nevpnd lab exec h2 -- evpnd show vnis\nexit 7\n")
        .map_err(|e| Error::new(e.to_string()))?;
    let input = fs::File::open(&script).map_err(|e| Error::new(e.to_string()))?;
    let mut command = place.lab(false, &["up", "--shell", "--hosts", "2", "--endpoints", "1"]);
    let (code, said) = run(command.env("SHELL", "/bin/sh").stdin(input))?;
    ensure(
        code == Some(0) && said.contains("2 of 2 pings answered") && said.contains("10.0.0.102:22001"),
        || format!("exit {code:?}:\n{said}"),
    )?;
    ensure(!place.0.join("evpnd-lab.json").exists(), || "the state file is left".to_owned())
}

/// Takes a lab down that a failed test left standing.
struct Down<'a>(&'a Place);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = self.0.lab(false, &["down"]).output();
    }
}
