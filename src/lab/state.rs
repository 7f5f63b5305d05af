//! The lab that stays: `up` leaves it standing in the background, `test` and `exec` find it again, `down` ends it.
//!
//! What is needed to find it is in one small file, `$XDG_RUNTIME_DIR/evpnd-lab.json`, or `/tmp/evpnd-lab-UID.json`.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::Backend;
use super::demo::{Show, pings, say, stand_up};
use super::matrix::Round;
use super::net::Lab;
use super::shape::Shape;
use super::topology::Net;
use super::world::{World, search_path};
use super::{Error, Result, demo_overlays, pictures, until};

/// Where a standing lab is found.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    holder: u32,
    /// When the holder began, in the kernel's ticks: a pid alone may have gone to another process.
    began: u64,
    user: bool,
    #[serde(flatten)]
    shape: Shape,
    /// Names and pids (inside the world) of the nodes.
    nodes: Vec<(String, u32)>,
}

impl State {
    fn alive(&self) -> bool {
        began(self.holder) == Some(self.began)
    }

    fn net(&self) -> Result<Net> {
        Net::adopt(self.lab()?, self.shape)
    }

    fn lab(&self) -> Result<Lab> {
        let lab = Lab::made_of(World::attach(self.holder, self.user), &own_path()?);
        for (name, pid) in &self.nodes {
            lab.adopt(name, *pid);
        }
        Ok(lab)
    }
}

/// `evpnd lab up`
pub(super) fn up(shape: Shape) -> Result<()> {
    let file = file()?;
    if let Some(state) = load(&file)? {
        if state.alive() {
            return Err(Error::new("a lab is already standing; `evpnd lab down` takes it down"));
        }
        remove(&file)?;
    }
    let show = Show::new();
    let world = World::new()?;
    let holder = world.holder();
    let user = world.user();
    let net = stand_up(&show, Lab::made_of(world, &own_path()?), shape)?;
    let nodes = net.lab.nodes().iter().map(|node| (node.name().to_owned(), node.pid())).collect();
    let began = began(holder).ok_or_else(|| Error::new("the lab has ended"))?;
    let state = State { holder, began, user, shape, nodes };
    save(&file, &state)?;
    net.lab.world().stay()?;
    say("\nThe lab stands. Try:");
    let look = match shape.backend {
        Backend::Kernel => "evpnd lab exec h1 -- bridge fdb",
        Backend::Ovs => "evpnd lab exec h1 -- ovs-ofctl -O OpenFlow13 dump-flows br-evpn",
    };
    for line in [
        "evpnd lab test",
        "evpnd lab exec h1 -- evpnd show macs",
        look,
        "evpnd lab exec e11 -- ping 10.100.2.101",
        "evpnd lab exec controller          # a shell",
        "evpnd lab graph .                  # the topology as pictures",
        "evpnd lab down",
    ] {
        say(format!("  {line}"));
    }
    Ok(())
}

/// `evpnd lab up --shell`: a shell from which the standing lab is reached, and which it ends with.
pub(super) fn shell(shape: Shape) -> Result<()> {
    up(shape)?;
    say("  exit                               # and the lab is gone\n");
    let shell = std::env::var_os("SHELL").filter(|shell| Path::new(shell).is_file());
    let status = Command::new(shell.unwrap_or_else(|| "sh".into())).env("PATH", beside_us()?).status();
    let ended = down();
    // What the last command in it came to is nobody's business.
    status.map_err(|e| Error::new(format!("shell: {e}"))).and(ended)
}

/// Where programs are looked for, `evpnd` being found from wherever it was started.
fn beside_us() -> Result<OsString> {
    let mut path = own_path()?.parent().map(Path::to_owned).unwrap_or_default().into_os_string();
    path.push(":");
    path.push(search_path());
    Ok(path)
}

/// `evpnd lab test`
pub(super) fn test() -> Result<()> {
    let net = standing()?.net()?;
    let show = Show::new();
    if net.shape.overlays > 1 {
        return demo_overlays::pings(&show, &net, true);
    }
    let inside = pings(&show, &net, "pings inside the hosts", Round::Inside);
    pings(&show, &net, "pings across the hosts", Round::Across).and(inside)
}

/// `evpnd lab graph [DIR]`
pub(super) fn graph(dir: Option<&Path>) -> Result<()> {
    let net = standing()?.net()?;
    let dir = dir.map_or_else(pictures::own_dir, |dir| Ok(dir.to_owned()))?;
    say(pictures::draw(&net, &dir)?);
    Ok(())
}

/// `evpnd lab exec NODE -- COMMAND`: this process becomes the command.
pub(super) fn exec(node: &str, command: &[String]) -> Result<()> {
    let node = standing()?.lab()?.node(node)?;
    let shell = ["sh".to_owned()];
    let (program, args) = command.split_first().or_else(|| shell.split_first()).unzip();
    let program = program.ok_or_else(|| Error::new("nothing to run"))?;
    let failed = node
        .command(program)
        .args(args.unwrap_or_default())
        .env("PATH", beside_us()?)
        .env("PS1", format!("{}# ", node.name()))
        .stdin(std::process::Stdio::inherit())
        .exec();
    Err(Error::new(format!("{program}: {failed}")))
}

/// `evpnd lab down`
pub(super) fn down() -> Result<()> {
    let file = file()?;
    let Some(state) = load(&file)? else { return Err(Error::new("no lab is standing")) };
    if state.alive() {
        let killed = Command::new("sh").args(["-c", &format!("kill -9 {}", state.holder)]).status();
        if !killed.is_ok_and(|status| status.success()) {
            return Err(Error::new(format!("cannot end process {}", state.holder)));
        }
        until(Duration::from_secs(10), || {
            if state.alive() { Err(Error::new("the lab does not end")) } else { Ok(()) }
        })?;
    }
    remove(&file)
}

fn standing() -> Result<State> {
    let state = load(&file()?)?.filter(State::alive);
    state.ok_or_else(|| Error::new("no lab is standing; `evpnd lab up` makes one"))
}

fn own_path() -> Result<PathBuf> {
    std::env::current_exe().map_err(|e| Error::new(format!("own path: {e}")))
}

/// When a process began, in the kernel's ticks; `None` when there is none, or a dead one.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // proc(5): starttime is field 22; the state was field 3.
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// Who we are.
pub(super) fn uid() -> Result<u32> {
    fs::metadata("/proc/self").map(|m| m.uid()).map_err(|e| Error::new(format!("/proc/self: {e}")))
}

/// Where the standing lab of this user is noted.
pub(super) fn file() -> Result<PathBuf> {
    let uid = uid()?;
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Under sudo the directory may still be the other user's.
    let own = own.filter(|dir| fs::metadata(dir).is_ok_and(|m| m.is_dir() && m.uid() == uid));
    Ok(own.map_or_else(
        || PathBuf::from(format!("/tmp/evpnd-lab-{uid}.json")),
        |dir| dir.join("evpnd-lab.json"),
    ))
}

fn load(file: &Path) -> Result<Option<State>> {
    let name = file.display();
    let Ok(meta) = fs::symlink_metadata(file) else { return Ok(None) };
    let uid = uid()?;
    if !meta.is_file() || meta.uid() != uid {
        return Err(Error::new(format!("{name} is not ours")));
    }
    let text = fs::read_to_string(file).map_err(|e| Error::new(format!("{name}: {e}")))?;
    serde_json::from_str(&text).map(Some).map_err(|e| Error::new(format!("{name}: {e}")))
}

fn save(file: &Path, state: &State) -> Result<()> {
    let fail = |e: std::io::Error| Error::new(format!("{}: {e}", file.display()));
    let text = serde_json::to_string(state).map_err(|e| Error::new(format!("{}: {e}", file.display())))?;
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fail)?;
    out.write_all(text.as_bytes()).map_err(fail)
}

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).map_err(|e| Error::new(format!("{}: {e}", file.display())))
}
