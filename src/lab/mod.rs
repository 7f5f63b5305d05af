//! A complete EVPN network on this machine, in network namespaces: `evpnd lab`, and the plumbing the end-to-end
//! tests share with it.
//!
//! - `world`: namespaces of our own, with or without root, that vanish with their holder
//! - [`Lab`], [`Node`]: switches, hosts and endpoints in such a world, the daemons in them, what they show
//! - [`Ovs`]: the same with Open vSwitch in it
//! - `shape`, `topology`, `matrix`: who is where in the networks of `evpnd lab`, and who reaches whom
//! - `demo`, `demo_overlays`, `demo_ovs`: what `evpnd lab run` shows; `state`: the lab that stays
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
mod world;

use std::fmt;
use std::time::Duration;

pub use args::{Backend, LabArgs, LabCommand, Layout, Size};
pub use capture::Capture;
pub use net::{Lab, Switch};
pub use node::{CONFIG, FLOOD, FdbRow, Node};
pub use ovs::{BRIDGE, Ovs, Plug, UNDERLAY, datapath, system_datapath};

use crate::clock;

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

/// Runs an `evpnd lab` command.
pub fn main(args: &LabArgs) -> Result<()> {
    match &args.command {
        LabCommand::Run(size) => demo::run((*size).into()),
        LabCommand::Up(size) => state::up((*size).into()),
        LabCommand::Test => state::test(),
        LabCommand::Graph { dir } => state::graph(dir.as_deref()),
        LabCommand::Exec { node, command } => state::exec(node, command),
        LabCommand::Down => state::down(),
    }
}
