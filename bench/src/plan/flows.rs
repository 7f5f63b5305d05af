//! The Open vSwitch part of the plan.

use std::time::Duration;

use super::{in_turns, time};
use crate::Options;
use crate::flows::{self, Agent, Sample, Start};
use crate::report::{Goal, Report, Table, count, median, megabytes, middle_usage, ratio, seconds, spread};

const LIMIT: Duration = Duration::from_secs(120);
/// evpn-connector computes every flow anew every three seconds: more than these only takes longer.
const MOST_CONNECTOR: usize = 10_000;
/// Client files at start.
const CLIENTS: usize = 1000;
/// How long idle agents are watched.
const IDLE: Duration = Duration::from_secs(10);

fn name(agent: &Agent) -> &'static str {
    match agent {
        Agent::Evpnd => "evpnd",
        Agent::Connector(_) => "evpn-connector + gobgpd",
    }
}

/// Routes and client files to flows.
pub(super) fn flows(options: &Options, report: &mut Report) {
    let mut agents = Vec::new();
    if options.includes("evpnd") {
        agents.push(Agent::Evpnd);
    }
    if options.includes("connector") {
        match flows::connector(options.connector.as_deref()) {
            Some(program) => agents.push(Agent::Connector(program)),
            None => println!("flows: without evpn-connector, which is not here (--evpn-connector PATH)"),
        }
    }
    let agents: Vec<&Agent> = agents.iter().collect();
    let mut rows = Vec::new();
    for &macs in &options.flows {
        println!("flows: {} MACs in one VNI, {} runs each in turn", count(macs), options.runs);
        let samples = in_turns(
            options.runs,
            &agents,
            |agent| format!("{} {}", name(agent), count(macs)),
            |_, s: &Sample| {
                format!(
                    "install {} (CPU {}), by hand {}, remove {}, one more {}",
                    time(s.install),
                    seconds(s.cpu),
                    time(s.by_hand),
                    time(s.remove),
                    time(s.singles.get(s.singles.len() / 2).copied())
                )
            },
            |agent| match agent {
                Agent::Connector(_) if macs > MOST_CONNECTOR => Ok(None),
                _ => flows::measure(agent, macs, LIMIT).map(Some),
            },
            &mut report.failures,
        );
        for (agent, samples) in agents.iter().zip(&samples) {
            if samples.is_empty() {
                continue;
            }
            let of = |which: fn(&Sample) -> Option<Duration>| samples.iter().map(which).collect::<Vec<_>>();
            let usage = middle_usage(&samples.iter().map(|s| s.usage).collect::<Vec<_>>());
            let middle = |s: &Sample| s.singles.get(s.singles.len() / 2).copied();
            let ours = |times: &[Option<Duration>]| match agent {
                Agent::Evpnd => spread(times, LIMIT),
                Agent::Connector(_) => "–".into(),
            };
            rows.push(vec![
                count(macs),
                name(agent).into(),
                spread(&of(|s| s.install), LIMIT),
                ours(&of(|s| s.by_hand)),
                spread(&of(|s| s.remove), LIMIT),
                ours(&of(middle)),
                megabytes(usage.resident),
                median(samples.iter().map(|s| Some(s.cpu))).map_or_else(String::new, seconds),
            ]);
            if **agent == Agent::Evpnd && options.flows.iter().max() == Some(&macs) {
                goals(macs, samples, report);
            }
        }
    }
    report.tables.push(Table {
        title: "UPDATE → Open vSwitch flows".into(),
        note: "MACs of one VNI behind 16 VTEPs, as above, into an ovs-vswitchd with the userspace datapath. *install*: first octet of \
the first UPDATE written → the bridging table has as many flows more (`ovs-ofctl dump-tables`, asked every 5 ms). *by hand*: `ovs-ofctl -O \
OpenFlow13 --bundle add-flows` of the very flows that were there, into the same switch, after they were withdrawn. *remove*: first octet \
of the first withdrawing UPDATE → all gone. *one more*: a MAC announced with all of them there, median of 50, until the switch reports its \
flow (`ovs-ofctl monitor watch:`). *resident*: daemon with all there; *CPU*: daemon and the tools it ran, for installing. evpn-connector \
looks at gobgpd every 3 s, its default.",
        head: vec!["MACs", "agent", "install", "by hand", "remove", "one more", "resident", "CPU"],
        rows,
    });
    starts(options, &agents, report);
    idles(&agents, report);
}

fn goals(macs: usize, samples: &[Sample], report: &mut Report) {
    let install = median(samples.iter().map(|s| s.install));
    let by_hand = median(samples.iter().map(|s| s.by_hand));
    let of = install.zip(by_hand).map(|(ours, hand)| ratio(ours, hand));
    report.goals.push(Goal {
        what: format!("{} MACs, UPDATE → OVS flows", count(macs)),
        wanted: "≤ 1.5 × `ovs-ofctl --bundle add-flows`",
        ours: time(install),
        theirs: format!("ovs-ofctl {}", time(by_hand)),
        ratio: of.map_or("–".into(), |r| format!("{r:.2} × its time")),
        missing: "",
        met: Some(of.is_some_and(|r| r <= 1.5)),
    });
    let single = median(samples.iter().map(|s| s.singles.get(s.singles.len() / 2).copied()));
    let worst = samples.iter().filter_map(|s| s.singles.last()).max().copied();
    report.goals.push(Goal {
        what: format!("one more MAC with {} flows there", count(macs)),
        wanted: "< 20 ms",
        ours: time(single),
        theirs: format!("worst {}", time(worst)),
        ratio: "–".into(),
        missing: "",
        met: Some(single.is_some_and(|s| s < Duration::from_millis(20))),
    });
}

fn starts(options: &Options, agents: &[&Agent], report: &mut Report) {
    println!("flows: start with {} client files, {} runs each in turn", count(CLIENTS), options.runs);
    let samples = in_turns(
        options.runs,
        agents,
        |agent| format!("{} {} client files", name(agent), count(CLIENTS)),
        |_, s: &Start| format!("routes {}, flows {}", time(s.routes), time(s.flows)),
        |agent| flows::start_with(agent, CLIENTS, LIMIT).map(Some),
        &mut report.failures,
    );
    let rows = agents.iter().zip(&samples).filter(|(_, s)| !s.is_empty()).map(|(agent, samples)| {
        vec![
            name(agent).into(),
            spread(&samples.iter().map(|s| s.routes).collect::<Vec<_>>(), LIMIT),
            spread(&samples.iter().map(|s| s.flows).collect::<Vec<_>>(), LIMIT),
        ]
    });
    report.tables.push(Table {
        title: format!("Start with {} client files", count(CLIENTS)),
        note: "The same files for both: l2, flat, a port each, 100 clients to a VNI. Process started → a neighbour that connects as \
soon as it can has the type 2 of each; → there is a flow that delivers to each.",
        head: vec!["agent", "routes", "flows"],
        rows: rows.collect(),
    });
}

fn idles(agents: &[&Agent], report: &mut Report) {
    println!("flows: idle with {} remote MACs, {} s", count(MOST_CONNECTOR), IDLE.as_secs());
    let samples = in_turns(
        1,
        agents,
        |agent| format!("{} idle", name(agent)),
        |_, cpu: &Duration| format!("CPU {}", seconds(*cpu)),
        |agent| flows::idle(agent, MOST_CONNECTOR, IDLE).map(Some),
        &mut report.failures,
    );
    let rows = agents.iter().zip(&samples).filter_map(|(agent, samples)| {
        let cpu = samples.first()?;
        Some(vec![name(agent).into(), seconds(*cpu), format!("{:.1} %", 100.0 * ratio(*cpu, IDLE))])
    });
    report.tables.push(Table {
        title: format!("Idle with {} remote MACs in Open vSwitch", count(MOST_CONNECTOR)),
        note: "Processor time of agent, its tools and ovs-vswitchd within 10 s in which nothing happens.",
        head: vec!["agent", "CPU", "of one core"],
        rows: rows.collect(),
    });
}
