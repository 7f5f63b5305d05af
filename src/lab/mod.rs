//! A complete EVPN network on this machine, in network namespaces: `evpnd lab`, and the plumbing the end-to-end
//! tests share with it.
//!
//! - `world`: namespaces of our own, with or without root, that vanish with their holder
//! - [`Lab`], [`Node`]: switches, hosts and endpoints in such a world, the daemons in them, what they show
//! - [`Ovs`]: the same with Open vSwitch in it
//! - `shape`, `topology`, `matrix`: who is where in the networks of `evpnd lab`, and who reaches whom
//! - `demo`, `demo_overlays`, `demo_ovs`: what `evpnd lab run` shows; `state`: the lab that stays
//! - `vm`: the same in a virtual machine, where this kernel cannot do it
//! - `pictures`: what the controller's RIB looks like
//! - [`main`]: the commands

mod args;
mod capture;
mod demo;
mod demo_overlays;
mod demo_ovs;
mod matrix;
mod net;
mod node;
mod ovs;
mod pictures;
mod shape;
mod state;
mod topology;
mod vm;
mod world;

use std::fmt;
use std::time::Duration;

pub use args::{Backend, LabArgs, LabCommand, Layout, RunArgs, Size, UpArgs};
pub use capture::Capture;
pub use net::{Lab, Switch};
pub use node::{CONFIG, FLOOD, FdbRow, Node};
pub use ovs::{BRIDGE, Ovs, Plug, UNDERLAY, datapath, system_datapath};

use crate::clock;
use shape::Shape;

/// What went wrong in a lab, in words for the one who looks on.
pub struct Error {
    what: String,
    /// No use in waiting: it will not get better.
    last: bool,
}

/// A result of lab work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that waiting may cure.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), last: false }
    }

    /// An error that no waiting cures.
    pub fn last(what: impl Into<String>) -> Self {
        Self { what: what.into(), last: true }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// As [`fmt::Display`]: a test that returns its error prints it in this form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}

/// The environment variable that says how many times longer than usual everything may take, on a machine that is slow
/// (a virtual one that is emulated).
pub const PATIENCE: &str = "EVPND_LAB_PATIENCE";

/// A limit for how long something may take, on this machine.
pub fn patience(limit: Duration) -> Duration {
    let factor = std::env::var(PATIENCE).ok().and_then(|factor| factor.parse::<u32>().ok());
    limit * factor.unwrap_or(1).clamp(1, 100)
}

/// Tries `check` until it succeeds, with pauses that grow from 5 to 100 ms; its last complaint once `limit` has passed
/// (see [`patience`]).
pub fn until<T>(limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let end = clock::now() + patience(limit);
    let mut pause = Duration::from_millis(5);
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(e) if e.last || clock::now() >= end => return Err(e),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Does something with each of many things, some at a time; in order, what came of it.
fn several<T: Sync, R: Send>(
    all: &[T],
    at_a_time: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut done = Vec::new();
    for batch in all.chunks(at_a_time) {
        let results: Result<Vec<R>> = std::thread::scope(|scope| {
            let running: Vec<_> = batch.iter().map(|one| scope.spawn(|| work(one))).collect();
            let died = || Err(Error::last("a thread of the lab died"));
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect()
        });
        done.extend(results?);
    }
    Ok(done)
}

/// Runs an `evpnd lab` command.
pub fn main(args: &LabArgs) -> Result<()> {
    match &args.command {
        LabCommand::Run(args) => run(args),
        LabCommand::Up(args) => up(args),
        LabCommand::Test => state::test(),
        LabCommand::Graph { dir } => state::graph(dir.as_deref()),
        LabCommand::Exec { node, command } => state::exec(node, command),
        LabCommand::Down => state::down(),
    }
}

fn run(args: &RunArgs) -> Result<()> {
    let shape = Shape::from(args.size);
    let dir = args.pictures.as_deref().map_or_else(pictures::own_dir, vm::absolute)?;
    let Some(why) = vm::needed(shape)? else { return demo::run(shape, &dir) };
    let mut command = vec!["lab".to_owned(), "run".to_owned(), "--pictures".to_owned()];
    command.push(dir.to_str().map(str::to_owned).ok_or_else(|| Error::new("--pictures: no text"))?);
    command.extend(shape.arguments());
    Err(vm::run(why, &command, &dir))
}

fn up(args: &UpArgs) -> Result<()> {
    let shape = Shape::from(args.size);
    match vm::needed(shape)? {
        None if args.shell => state::shell(shape),
        None => state::up(shape),
        Some(_) if args.shell => {
            let mut command = vec!["lab".to_owned(), "up".to_owned(), "--shell".to_owned()];
            command.extend(shape.arguments());
            Err(vm::shell(&command))
        }
        Some(why) => Err(Error::new(format!(
            "it takes a virtual machine, {why}, and that ends with this command: `evpnd lab up {} --shell` opens a shell \
             in it beside the standing lab, `evpnd lab run` shows all and ends",
            shape.arguments().join(" ")
        ))),
    }
}
