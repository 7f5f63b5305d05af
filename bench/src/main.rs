//! evpnd beside FRR, gobgpd and iproute2: every goal of its speed table as a ratio, measured side by side in one run.
//!
//! `evpnd-bench all` (or `make bench`) prints progress and tables and writes `docs/benchmarks.md`. Runs of the
//! candidates take turns, so that what else the machine does hits all of them, and medians count. Each measurement
//! is described where its table is made, in [`plan`].

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "short texts, none while a clock runs")]

mod clock;
mod daemon;
mod fdb;
mod floods;
mod flows;
mod ovs;
mod parser;
mod peer;
mod plan;
mod process;
mod relay;
mod report;
mod sandbox;
mod vnis;
mod vtep;
mod wire;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::daemon::Kind;
use crate::vnis::Layout;

/// What went wrong, for people.
pub(crate) type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "\
usage: evpnd-bench [all|relay|fdb|vnis|flows|latency|parse|idle ...] [OPTION ...]
  --runs N          runs of each candidate, taking turns (3)
  --routes N,...    sizes of the relay measurement (10k,100k,1M)
  --macs N,...      sizes of the FDB measurement (100k,300k)
  --only NAME,...   of evpnd, frr, gobgp, floor, batch, connector
  --vnis N,...      sizes of the measurement of VNIs (1,100,1k,4k)
  --layout NAME     of the measurement of VNIs; single-device runs in a virtual machine if this kernel lacks
                    VLAN filtering (both)
  --flows N,...     sizes of the Open vSwitch measurement (10k,100k)
  --evpnd PATH      the binary to measure (built beside this one)
  --evpn-connector PATH   with gobgpd beside evpnd on Open vSwitch (default: what is in PATH, if any)
  --write FILE      the report (docs/benchmarks.md with `all`, nowhere otherwise)";

/// The command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) what: Vec<String>,
    pub(crate) runs: usize,
    pub(crate) routes: Vec<usize>,
    pub(crate) macs: Vec<usize>,
    pub(crate) only: Option<Vec<String>>,
    pub(crate) flows: Vec<usize>,
    pub(crate) vnis: Vec<usize>,
    pub(crate) layouts: Vec<Layout>,
    /// Print figures for another of us to read, not tables.
    pub(crate) raw: bool,
    pub(crate) evpnd: Option<PathBuf>,
    pub(crate) connector: Option<PathBuf>,
    pub(crate) write: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            what: Vec::new(),
            runs: 3,
            routes: vec![10_000, 100_000, 1_000_000],
            macs: vec![100_000, 300_000],
            only: None,
            flows: vec![10_000, 100_000],
            vnis: vec![1, 100, 1000, 4000],
            layouts: Layout::ALL.to_vec(),
            raw: false,
            evpnd: None,
            connector: None,
            write: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} what?"));
            match argument.as_str() {
                "all" | "relay" | "fdb" | "vnis" | "flows" | "latency" | "parse" | "idle" => {
                    options.what.push(argument);
                }
                "--runs" => options.runs = number(&value()?)?.max(1),
                "--routes" => options.routes = value()?.split(',').map(number).collect::<Result<_>>()?,
                "--macs" => options.macs = value()?.split(',').map(number).collect::<Result<_>>()?,
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--flows" => options.flows = value()?.split(',').map(number).collect::<Result<_>>()?,
                "--vnis" => options.vnis = value()?.split(',').map(number).collect::<Result<_>>()?,
                "--layout" => {
                    let name = value()?;
                    options.layouts.retain(|layout| layout.name() == name);
                }
                "--raw" => options.raw = true,
                "--evpn-connector" => options.connector = Some(value()?.into()),
                "--evpnd" => options.evpnd = Some(value()?.into()),
                "--write" => options.write = Some(value()?.into()),
                _ => return Err(format!("{argument}: what is that?\n{USAGE}")),
            }
        }
        if options.what.is_empty() {
            return Err(USAGE.into());
        }
        if options.what.iter().any(|what| what == "all") && options.write.is_none() {
            options.write = Some("docs/benchmarks.md".into());
        }
        Ok(options)
    }

    /// Is this measurement asked for?
    pub(crate) fn wants(&self, what: &str) -> bool {
        self.what.iter().any(|w| w == what || w == "all")
    }

    /// Is this candidate?
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|n| n == name))
    }
}

/// `1000`, `10k` or `1M`; no more than a MAC's last three octets can tell apart.
fn number(text: &str) -> Result<usize> {
    let (digits, factor) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('k') { 1000 } else { 1_000_000 }),
        None => (text, 1),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text}: not a number"))?;
    number.checked_mul(factor).filter(|n| (1..1 << 24).contains(n)).ok_or_else(|| format!("{text}: 1 to 16M"))
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("floor-process") {
        return finish(relay::floor().map(|()| ExitCode::SUCCESS));
    }
    finish(Options::parse(std::env::args().skip(1)).and_then(|options| start(&options)))
}

fn finish(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("evpnd-bench: {error}");
        ExitCode::FAILURE
    })
}

fn start(options: &Options) -> Result<ExitCode> {
    let needed = |kind: &Kind| {
        let measured = match kind {
            Kind::Evpnd => ["relay", "fdb", "vnis", "flows", "latency", "idle"].as_slice(),
            Kind::Frr => &["relay", "fdb", "latency"],
            Kind::Gobgp | Kind::Floor => &["relay"],
        };
        options.includes(kind.name()) && measured.iter().any(|what| options.wants(what))
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(needed).collect();
    if !sandbox::inside() {
        if kinds.contains(&Kind::Evpnd) && options.evpnd.is_none() {
            build()?;
        }
        if options.wants("parse") {
            parser::build()?;
        }
        daemon::check(&kinds, options.evpnd.clone())?;
        return sandbox::enter();
    }
    daemon::check(&kinds, options.evpnd.clone())?;
    sandbox::furnish()?;
    plan::run(options)
}

/// Builds evpnd the way this program was built, where cargo runs us; otherwise what is there is taken.
fn build() -> Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let profile =
        exe.parent().and_then(|dir| dir.file_name()).map(|name| name.to_string_lossy().into_owned());
    let profile = profile.map_or("release".into(), |name| if name == "debug" { "dev".into() } else { name });
    let status =
        Command::new(cargo).args(["build", "-p", "evpnd", "--bin", "evpnd", "--profile", &profile]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("building evpnd: {status}")),
        Err(e) => Err(format!("building evpnd: {e}")),
    }
}
