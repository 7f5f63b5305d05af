//! What is measured, in which order, and which goal each figure is held against.

mod flows;
mod vnis;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::clock::date;
use crate::daemon::{self, Kind};
use crate::report::{
    Goal, Report, Table, count, median, megabytes, middle, middle_usage, ratio, seconds, spread,
};
use crate::{Options, Result, parser, relay, sandbox, vtep};

/// A daemon that needs longer did not finish.
const LIMIT: Duration = Duration::from_secs(120);
/// For gobgpd, which would need many minutes for what others do in a second.
const LIMIT_GOBGP: Duration = Duration::from_secs(60);
/// gobgpd is not tried with more.
const MOST_GOBGP: usize = 100_000;
/// One MAC at a time, so often.
const SINGLES: usize = 200;
/// How long an idle evpnd is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Everything asked for.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut report = Report::default();
    if options.wants("relay") {
        relays(options, &mut report);
    }
    if options.wants("fdb") {
        fdbs(options, &mut report);
    }
    if options.wants("vnis") {
        vnis::vnis(options, &mut report);
    }
    if options.raw {
        return Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if options.wants("flows") {
        flows::flows(options, &mut report);
    }
    if options.wants("latency") {
        latencies(options, &mut report);
    }
    if options.wants("parse") {
        parse(&mut report);
    }
    if options.wants("idle") && options.includes("evpnd") {
        idle(&mut report);
    }
    let text = report.markdown();
    println!("\n{text}");
    if let Some(file) = &options.write {
        write(file, &text)?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Calls `measure` for each candidate in turn, `runs` times; says how it went; drops whoever failed. `measure` may pass a turn.
fn in_turns<C: Copy, S>(
    runs: usize,
    candidates: &[C],
    name: impl Fn(C) -> String,
    say: impl Fn(C, &S) -> String,
    mut measure: impl FnMut(C) -> Result<Option<S>>,
    failures: &mut Vec<String>,
) -> Vec<Vec<S>> {
    let mut all: Vec<Vec<S>> = candidates.iter().map(|_| Vec::new()).collect();
    let mut failed = vec![false; candidates.len()];
    for run in 1..=runs {
        for (at, candidate) in candidates.iter().enumerate() {
            if failed[at] {
                continue;
            }
            match measure(*candidate) {
                Ok(Some(sample)) => {
                    println!("  {} run {run}/{runs}: {}", name(*candidate), say(*candidate, &sample));
                    all[at].push(sample);
                }
                Ok(None) => {}
                Err(error) => {
                    println!("  {} run {run}/{runs}: FAILED: {error}", name(*candidate));
                    failures.push(format!("{}: {error}", name(*candidate)));
                    failed[at] = true;
                }
            }
        }
    }
    all
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "did not finish".into(), seconds)
}

fn relays(options: &Options, report: &mut Report) {
    let mut rows = Vec::new();
    for &routes in &options.routes {
        println!("relay: {} type-2 routes, {} runs each in turn", count(routes), options.runs);
        let asked =
            |kind: &Kind| options.includes(kind.name()) && (*kind != Kind::Gobgp || routes <= MOST_GOBGP);
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(asked).collect();
        let limit = |kind| if kind == Kind::Gobgp { LIMIT_GOBGP } else { LIMIT };
        let mut given_up: Vec<Kind> = Vec::new();
        let samples = in_turns(
            options.runs,
            &kinds,
            |kind| format!("{} {}", kind.name(), count(routes)),
            |kind, s: &relay::Sample| {
                let memory =
                    format!("{} resident, {} peak", megabytes(s.full.resident), megabytes(s.full.peak));
                let step = |took: Option<Duration>, cpu| format!("{} (CPU {})", time(took), seconds(cpu));
                let announce = step(s.announce, s.announce_cpu);
                // The floor knows of no routes to withdraw.
                let withdraw = match kind {
                    Kind::Floor => "–".into(),
                    _ => step(s.withdraw, s.withdraw_cpu),
                };
                format!(
                    "announce {announce}, withdraw {withdraw}, {memory}, neighbours' CPU {}",
                    seconds(s.ours)
                )
            },
            |kind| {
                // Who did not finish once is not waited for again.
                if given_up.contains(&kind) {
                    return Ok(None);
                }
                let sample = relay::measure(kind, routes, limit(kind))?;
                if sample.announce.is_none() {
                    given_up.push(kind);
                }
                Ok(Some(sample))
            },
            &mut report.failures,
        );
        for (kind, samples) in kinds.iter().zip(&samples) {
            if samples.is_empty() {
                continue;
            }
            let withdraw: Vec<_> = samples.iter().map(|s| s.withdraw).collect();
            let full = middle_usage(&samples.iter().map(|s| s.full).collect::<Vec<_>>());
            let idle = middle_usage(&samples.iter().map(|s| s.idle).collect::<Vec<_>>());
            let cpu = |which: fn(&relay::Sample) -> Duration| {
                median(samples.iter().map(|s| Some(which(s)))).map_or_else(String::new, seconds)
            };
            let announce: Vec<_> = samples.iter().map(|s| s.announce).collect();
            let withdrawn = match kind {
                Kind::Floor => "–".into(),
                _ => spread(&withdraw, limit(*kind)),
            };
            rows.push(vec![
                count(routes),
                kind.name().into(),
                spread(&announce, limit(*kind)),
                withdrawn,
                megabytes(idle.resident),
                megabytes(full.resident),
                megabytes(full.peak),
                cpu(|s| s.announce_cpu),
                cpu(|s| s.withdraw_cpu),
                cpu(|s| s.ours),
                middle(samples.iter().map(|s| s.received.0)).to_string(),
                format!("{:.1} MB", middle(samples.iter().map(|s| s.received.1)) as f64 / 1e6),
            ]);
        }
        let of =
            |kind| kinds.iter().position(|k| *k == kind).map(|at| &samples[at]).filter(|s| !s.is_empty());
        if options.routes.iter().max() == Some(&routes)
            && let (Some(ours), Some(theirs)) = (of(Kind::Evpnd), of(Kind::Frr))
        {
            relay_goals(routes, ours, theirs, report);
        }
    }
    report.tables.push(Table {
        title: "Relay".into(),
        note: "One eBGP neighbour announces MAC-only type-2 routes, 80 to an UPDATE, 1000 attribute sets (50 VTEPs with 20 \
VNIs each), consecutive UPDATEs of different sets; another receives. Everything is encoded before the clock \
starts. All of it runs at a raised priority. *announce*: first octet of the first UPDATE written → last route received, each counted once by a bit of its \
own. *withdraw*: the announcing neighbour closes its TCP connection → last withdrawal received. Median (least–most). \
*idle*, *resident*, *peak*: VmRSS with sessions up, VmRSS with all routes there and the daemon quiet again, VmHWM in the end. *CPU*: \
utime + stime of the daemon; *neighbours*: of both neighbours together, on the same processors. *UPDATEs*, *octets*: what the receiver was sent for \
the announcement. *floor*: a relay that copies octets from socket to socket. FRR is bgpd alone (`-Z -n`, no zebra, so that no next hop \
is looked up), without policy, connected check and advertisement interval, logging errors only; its coalesce time and duplicate suppression \
made no difference and are as they come. \
gobgpd is given 60 s, others 120 s.",
        head: vec![
            "routes", "daemon", "announce", "withdraw", "idle", "resident", "peak", "CPU announce", "CPU withdraw",
            "neighbours", "UPDATEs", "octets",
        ],
        rows,
    });
}

fn relay_goals(routes: usize, ours: &[relay::Sample], theirs: &[relay::Sample], report: &mut Report) {
    struct Step {
        what: &'static str,
        took: fn(&relay::Sample) -> Option<Duration>,
        cpu: fn(&relay::Sample) -> Duration,
    }
    let steps = [
        Step { what: "relay", took: |s| s.announce, cpu: |s| s.announce_cpu },
        Step { what: "withdraw", took: |s| s.withdraw, cpu: |s| s.withdraw_cpu },
    ];
    for Step { what, took: of, cpu } in steps {
        let cpu =
            |samples: &[relay::Sample]| median(samples.iter().map(|s| Some(cpu(s)))).unwrap_or_default();
        // What other work on the machine spoils least; a run shorter than a tick has none.
        let used = ratio(cpu(theirs), cpu(ours).max(Duration::from_millis(10)));
        let (mine, other) = (median(ours.iter().map(of)), median(theirs.iter().map(of)));
        let faster = mine.zip(other).map(|(mine, other)| ratio(other, mine));
        report.goals.push(Goal {
            what: format!("{what} {} type-2 routes", count(routes)),
            wanted: "≥ 5 × FRR's rate",
            ours: time(mine),
            theirs: format!("FRR {}", time(other)),
            ratio: faster.map_or("–".into(), |r| format!("{r:.1} × the rate ({used:.1} × by CPU time)")),
            missing: "",
            met: Some(faster.is_some_and(|r| r >= 5.0)),
        });
    }
    let resident = |samples: &[relay::Sample]| middle(samples.iter().map(|s| s.full.resident));
    let (mine, other) = (resident(ours), resident(theirs));
    report.goals.push(Goal {
        what: format!("memory with {} routes", count(routes)),
        wanted: "≤ 1/6 of FRR's resident size",
        ours: megabytes(mine),
        theirs: format!("FRR {}", megabytes(other)),
        ratio: format!("1/{:.1}", other as f64 / mine.max(1) as f64),
        missing: "",
        met: Some(mine * 6 <= other),
    });
}

/// Who writes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Daemon(Kind),
    Batch,
}

impl Writer {
    fn name(self) -> &'static str {
        match self {
            Self::Daemon(Kind::Frr) => "frr + zebra",
            Self::Daemon(kind) => kind.name(),
            Self::Batch => "bridge -batch",
        }
    }
}

fn fdbs(options: &Options, report: &mut Report) {
    let writers = [
        (Writer::Daemon(Kind::Evpnd), "evpnd"),
        (Writer::Batch, "batch"),
        (Writer::Daemon(Kind::Frr), "frr"),
    ];
    let writers: Vec<Writer> =
        writers.into_iter().filter(|(_, name)| options.includes(name)).map(|(writer, _)| writer).collect();
    let mut rows = Vec::new();
    let mut medians = Vec::new();
    for &macs in &options.macs {
        println!("fdb: {} MACs in one VNI, {} runs each in turn", count(macs), options.runs);
        let samples = in_turns(
            options.runs,
            &writers,
            |writer| format!("{} {}", writer.name(), count(macs)),
            |_, s: &vtep::Sample| {
                format!("install {} (CPU {}), remove {}", time(s.install), seconds(s.cpu), time(s.remove))
            },
            |writer| match writer {
                Writer::Daemon(kind) => vtep::measure(kind, macs, LIMIT).map(Some),
                Writer::Batch => vtep::batch(macs).map(Some),
            },
            &mut report.failures,
        );
        for (writer, samples) in writers.iter().zip(&samples) {
            if samples.is_empty() {
                continue;
            }
            let install: Vec<_> = samples.iter().map(|s| s.install).collect();
            let remove: Vec<_> = samples.iter().map(|s| s.remove).collect();
            let usage = middle_usage(&samples.iter().map(|s| s.usage).collect::<Vec<_>>());
            let cpu = median(samples.iter().map(|s| Some(s.cpu)));
            medians.push(Median { writer: *writer, macs, install: median(install.iter().copied()), cpu });
            let daemon = matches!(writer, Writer::Daemon(_));
            rows.push(vec![
                count(macs),
                writer.name().into(),
                spread(&install, LIMIT),
                spread(&remove, LIMIT),
                if daemon { megabytes(usage.resident) } else { "–".into() },
                cpu.map_or_else(String::new, seconds),
                median(samples.iter().map(|s| s.system)).map_or_else(|| "–".into(), seconds),
            ]);
        }
    }
    fdb_goals(&options.macs, &medians, report);
    report.tables.push(Table {
        title: "UPDATE → kernel FDB".into(),
        note: "MACs of one VNI behind 16 VTEPs, MAC-only type-2 routes, 80 to an UPDATE, from one eBGP neighbour. *install*: \
first octet of the first UPDATE written → each MAC has its row in the VXLAN device (self, with dst) and in the bridge (master). *remove*: \
first octet of the first withdrawing UPDATE → all gone. `bridge -batch`: start → exit, the same rows, `self master extern_learn` in one \
line each, the file written beforehand. Bridge and VXLAN device are made beforehand, the same for all. While rows are written, every \
millisecond one row of a sample of 257 is asked for (RTM_GETNEIGH, about 2 µs); once the whole sample is there, every row is asked for, \
and what is then still missing is waited for and counts. *resident*: with all MACs there; *CPU*: user and system time for installing; *kernel*: system time alone; bgpd and zebra added up.",
        head: vec!["MACs", "writer", "install", "remove", "resident", "CPU", "kernel"],
        rows,
    });
}

/// What the goals need of some runs.
#[derive(Clone, Copy, Debug)]
struct Median {
    writer: Writer,
    macs: usize,
    install: Option<Duration>,
    cpu: Option<Duration>,
}

fn fdb_goals(sizes: &[usize], medians: &[Median], report: &mut Report) {
    let row = |writer, macs| medians.iter().find(|m| m.writer == writer && m.macs == macs);
    let of = |writer, macs| row(writer, macs).and_then(|m| m.install);
    let cpu = |writer, macs| row(writer, macs).and_then(|m| m.cpu).unwrap_or_default();
    let used = |other, macs| {
        ratio(cpu(Writer::Daemon(Kind::Evpnd), macs), cpu(other, macs).max(Duration::from_millis(10)))
    };
    let ours = |macs| of(Writer::Daemon(Kind::Evpnd), macs);
    for &macs in sizes {
        if let (Some(mine), Some(batch)) = (ours(macs), of(Writer::Batch, macs)) {
            report.goals.push(Goal {
                what: format!("{} MACs, UPDATE → kernel FDB", count(macs)),
                wanted: "≤ 1.2 × bridge -batch of the same rows",
                ours: seconds(mine),
                theirs: format!("bridge -batch {}", seconds(batch)),
                ratio: format!(
                    "{:.2} × its time ({:.2} × its CPU time)",
                    ratio(mine, batch),
                    used(Writer::Batch, macs)
                ),
                missing: "Most of it is the kernel's own work for two rows a MAC, the same for all writers, and waiting for its network lock (RTNL), which all namespaces of a machine share.",
                met: Some(ratio(mine, batch) <= 1.2),
            });
        }
        if let (Some(mine), Some(frr)) = (ours(macs), of(Writer::Daemon(Kind::Frr), macs)) {
            report.goals.push(Goal {
                what: format!("{} MACs, UPDATE → kernel FDB", count(macs)),
                wanted: if macs >= 300_000 { "≥ 3 × faster than FRR + zebra" } else { "–" },
                ours: seconds(mine),
                theirs: format!("FRR + zebra {}", seconds(frr)),
                ratio: format!(
                    "{:.1} × as fast ({:.2} × its CPU time)",
                    ratio(frr, mine),
                    used(Writer::Daemon(Kind::Frr), macs)
                ),
                missing: "Most of it is the kernel's own work for two rows a MAC, the same for all writers, and waiting for its network lock (RTNL), which all namespaces of a machine share.",
                met: (macs >= 300_000).then(|| ratio(frr, mine) >= 3.0),
            });
        }
    }
    if let (Some(&few), Some(&many)) = (sizes.iter().min(), sizes.iter().max())
        && few < many
        && let (Some(short), Some(long)) = (ours(few), ours(many))
    {
        let growth = ratio(long, short) / (many as f64 / few as f64);
        report.goals.push(Goal {
            what: format!("{} MACs against {}", count(many), count(few)),
            wanted: "linear (within 1.2 a MAC)",
            ours: seconds(long),
            theirs: format!("evpnd {}", seconds(short)),
            ratio: format!("{growth:.2} × a MAC"),
            missing: "",
            met: Some(growth <= 1.2),
        });
    }
}

fn latencies(options: &Options, report: &mut Report) {
    println!("latency: one MAC at a time, {SINGLES} times");
    let mut rows = Vec::new();
    let mut ours = None;
    let mut theirs = String::from("–");
    for kind in [Kind::Evpnd, Kind::Frr] {
        if !options.includes(kind.name()) {
            continue;
        }
        let all = match vtep::latency(kind, SINGLES) {
            Ok(all) => all,
            Err(error) => {
                println!("  {}: FAILED: {error}", kind.name());
                report.failures.push(format!("latency of {}: {error}", kind.name()));
                continue;
            }
        };
        let [middle, late, last] = [all[SINGLES / 2], all[SINGLES * 99 / 100], all[SINGLES - 1]];
        println!("  {}: median {}, p99 {}", kind.name(), seconds(middle), seconds(late));
        rows.push(vec![kind.name().into(), seconds(all[0]), seconds(middle), seconds(late), seconds(last)]);
        match kind {
            Kind::Evpnd => ours = Some(middle),
            _ => theirs = format!("FRR + zebra {}", seconds(middle)),
        }
    }
    if let Some(ours) = ours {
        report.goals.push(Goal {
            what: "one route, UPDATE → FDB, quiet system".into(),
            wanted: "median < 1 ms",
            ours: seconds(ours),
            theirs,
            ratio: "–".into(),
            missing: "",
            met: Some(ours < Duration::from_millis(1)),
        });
    }
    report.tables.push(Table {
        title: "One route".into(),
        note: "One UPDATE with one new MAC written → the kernel's own notification (RTNLGRP_NEIGH) of the second of its two rows \
received, every 20 to 27 ms, 200 times; the neighbour's own wake-up is included.",
        head: vec!["daemon", "least", "median", "p99", "most"],
        rows,
    });
}

fn parse(report: &mut Report) {
    println!("parse: bgp/benches/parse.rs");
    let lines = match parser::measure() {
        Ok(lines) => lines,
        Err(error) => {
            println!("  FAILED: {error}");
            report.failures.push(format!("parse: {error}"));
            return;
        }
    };
    let of = |name| lines.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, figure)| *figure);
    let (ours, by_hand) = (of(parser::UPDATE), of(parser::BY_HAND));
    println!("  {ours:.1} ns a NLRI, by hand {by_hand:.1} ns");
    report.goals.push(Goal {
        what: "parse an UPDATE of 40 type-2 NLRIs".into(),
        wanted: "≤ 10 ns a NLRI, ≤ 3 × a hand-written copy-out",
        ours: format!("{ours:.1} ns"),
        theirs: format!("by hand {by_hand:.1} ns"),
        ratio: format!("{:.1} × its time", ours / by_hand),
        missing: "Attributes are near half of it, checked and put into vectors of their own: read only where they differ from those of the UPDATE before, they would cost a comparison.",
        met: Some(ours <= 10.0 && ours <= 3.0 * by_hand),
    });
    report.tables.push(Table {
        title: "Parser".into(),
        note: "`cargo bench -p evpnd-bgp --bench parse`, hot cache, best of its rounds.",
        head: vec!["what", "ns a NLRI"],
        rows: lines.into_iter().map(|(name, figure)| vec![name, format!("{figure:.2}")]).collect(),
    });
}

fn idle(report: &mut Report) {
    println!("idle: evpnd with four VNIs and one neighbour, {} s", IDLE.as_secs());
    let (usage, switches) = match vtep::idle(IDLE) {
        Ok(found) => found,
        Err(error) => {
            println!("  FAILED: {error}");
            report.failures.push(format!("idle: {error}"));
            return;
        }
    };
    println!("  {} resident, {switches} wake-ups", megabytes(usage.resident));
    report.goals.push(Goal {
        what: "idle daemon: memory".into(),
        wanted: "< 10 MB resident",
        ours: megabytes(usage.resident),
        theirs: "–".into(),
        ratio: "–".into(),
        missing: "",
        met: Some(usage.resident * 1024 < 10_000_000),
    });
    report.goals.push(Goal {
        what: format!("idle daemon: wake-ups in {} s, all threads", IDLE.as_secs()),
        wanted: "its timers only",
        ours: switches.to_string(),
        theirs: "timers due: 0 or 1 (keepalive every 80 s)".into(),
        ratio: "–".into(),
        // One expiry may wake more than one thread: the one that waits and the one that writes.
        missing: "",
        met: Some(switches <= 4),
    });
}

/// The report, with all that is needed to judge it and to run it again.
fn write(file: &Path, tables: &str) -> Result<()> {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown", |l| l.trim_start_matches([' ', '\t', ':']));
    let processors = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory: u64 = memory.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let kernel = sandbox::output("uname", "-srm").unwrap_or_default();
    let distribution = read("/etc/os-release");
    let distribution = distribution
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"');
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let versions = daemon::versions().iter().map(|v| format!("- {v}\n")).collect::<String>();
    let text = format!(
        "# Benchmarks\n\n\
         Written by `make bench`; do not edit. Figures of different runs or machines do not compare: the ratios do.\n\n\
         - date: {}\n- machine: {processors} × {model}, {} of memory, {distribution}, {}\n- load average at the end: {load}\n\
         - command: `cargo run --release -p evpnd-bench -- {command}`\n\n\
         Versions:\n\n{versions}\n{tables}",
        date(),
        megabytes(memory),
        kernel.trim(),
    );
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("written to {}", file.display());
    Ok(())
}
