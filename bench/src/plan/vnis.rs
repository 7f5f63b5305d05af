//! The part of the plan about very many VNIs. What this machine's kernel cannot do is measured in the virtual machine of
//! `.ci/vm`, all of it: figures from there only compare with one another.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{in_turns, time};
use crate::report::{Goal, Report, Table, count, median, megabytes, middle, ratio, seconds, spread};
use crate::vnis::{self, Layout, Maker, Sample};
use crate::{Options, Result, daemon};

const LIMIT: Duration = Duration::from_secs(300);
/// Runs commands in the virtual machine.
const VM: &str = ".ci/vm";
/// It is switched off after so many seconds.
const VM_LIMIT: &str = "5000";
/// Marks the lines of figures that come out of it.
const RAW: &str = "raw";

/// A figure of a run.
type Figure = fn(&Sample) -> Option<Duration>;

/// The runs of one maker with one number of VNIs.
#[derive(Debug)]
struct Runs {
    layout: Layout,
    maker: Maker,
    vnis: usize,
    samples: Vec<Sample>,
}

/// Growing to each number of VNIs, in each layout.
pub(super) fn vnis(options: &Options, report: &mut Report) {
    let mut all: Vec<Runs> = Vec::new();
    let mut elsewhere = Vec::new();
    for &layout in &options.layouts {
        if layout.is_possible() {
            here(layout, options, &mut all, report);
        } else if options.raw {
            report.failures.push(format!("{}: not in this kernel", layout.name()));
        } else {
            elsewhere.push(layout);
            println!("vnis: {} in the virtual machine", layout.name());
            match in_vm(layout, options) {
                Ok(runs) => all.extend(runs),
                Err(error) => report.failures.push(format!("VNIs, {}: {error}", layout.name())),
            }
        }
    }
    if options.raw {
        return;
    }
    let place = |layout| if elsewhere.contains(&layout) { ", in the VM" } else { "" };
    goals(&all, &place, report);
    let rows = all.iter().map(|runs| row(runs, &place)).collect();
    report.tables.push(Table {
        title: "VNIs".into(),
        note: "One bridge and VXLAN device a VNI (device-per-vni), or one for all (single-device), with ARP suppression, and one remote \
VTEP in each VNI. *grow*: evpnd started with so many `[[l2vni]]` → a neighbour has the type 3 of each, and the kernel a flood row for each \
of the neighbour's own; for scripts: the same devices and rows, one file for `ip -batch` and one for `bridge -batch`, both written \
beforehand. *one more*: SIGHUP with one `[[l2vni]]` more → its type 3 and flood row; *CPU*: of the writer for that, user and \
system, until it is quiet again, reading the configuration included. *all but one*: removed; scripts put devices into a group that is \
deleted with one command, since each deletion by itself waits for every CPU. *ranges*: VLANs and VNIs as ranges, which only works \
where both are consecutive. *resident*: VmRSS of evpnd with all VNIs. *kernel*: what the kernel took for itself, of this machine as a \
whole. Median (least–most). Where the kernel lacks VLAN filtering, single-device is measured in a virtual machine without hardware \
support, scripts too: ten times slower.\n\n\
What the kernel itself makes more than linear: with a device for each VNI, every device that is set up or \
removed has the routes of all others looked at (IPv6 has one for ff00::/8 on each; evpnd turns it off on its VXLAN devices), and every one \
that is removed waits for all CPUs and has all VXLAN devices looked at; in a single device, each message that changes VLANs of a port \
(RTM_SETLINK of AF_BRIDGE) is followed by a notification with all VLANs of that port, which is why evpnd puts many into a message.",
        head: vec![
            "layout", "VNIs", "who", "grow", "a VNI", "one more", "CPU", "all but one", "resident", "kernel, a VNI",
        ],
        rows,
    });
}

fn here(layout: Layout, options: &Options, all: &mut Vec<Runs>, report: &mut Report) {
    let name = |maker: Maker| if maker == Maker::Evpnd { "evpnd" } else { "batch" };
    let wanted = |maker: &Maker| {
        options.includes(name(*maker)) && (*maker != Maker::Ranges || layout == Layout::SingleDevice)
    };
    let makers: Vec<Maker> = Maker::ALL.into_iter().filter(wanted).collect();
    for &vnis in &options.vnis {
        println!("vnis: {}, {}, {} runs each in turn", count(vnis), layout.name(), options.runs);
        let samples = in_turns(
            options.runs,
            &makers,
            |maker| format!("{} {} {}", maker.name(), layout.name(), count(vnis)),
            |_, s: &Sample| {
                format!(
                    "grow {}, one more {} (CPU {}), all but one removed {}",
                    time(s.grow),
                    time(s.one),
                    time(s.one_cpu),
                    time(s.shrink)
                )
            },
            |maker| match maker {
                Maker::Evpnd => vnis::evpnd(layout, vnis, LIMIT).map(Some),
                // A range of one is none to `bridge`.
                Maker::Ranges if vnis == 1 => Ok(None),
                _ => vnis::script(layout, maker, vnis).map(Some),
            },
            &mut report.failures,
        );
        let runs = makers.iter().zip(samples).filter(|(_, samples)| !samples.is_empty());
        let runs: Vec<_> = runs.map(|(&maker, samples)| Runs { layout, maker, vnis, samples }).collect();
        if options.raw {
            runs.iter().for_each(print);
        }
        all.extend(runs);
    }
}

fn row(runs: &Runs, place: &dyn Fn(Layout) -> &'static str) -> Vec<String> {
    let Runs { layout, maker, vnis, samples } = runs;
    let of = |which: Figure| samples.iter().map(which).collect::<Vec<_>>();
    let each = median(of(|s| s.grow)).map(|all| all / u32::try_from(*vnis).unwrap_or(1));
    let kernel = middle(samples.iter().map(|s| s.kernel)) / *vnis as u64;
    vec![
        format!("{}{}", layout.name(), place(*layout)),
        count(*vnis),
        maker.name().into(),
        spread(&of(|s| s.grow), LIMIT),
        time(each),
        spread(&of(|s| s.one), LIMIT),
        time(median(of(|s| s.one_cpu))),
        spread(&of(|s| s.shrink), LIMIT),
        if *maker == Maker::Evpnd {
            megabytes(middle(samples.iter().map(|s| s.resident)))
        } else {
            "–".into()
        },
        // Below a hundred, what else the machine does is more.
        if *vnis >= 100 { format!("{kernel} kB") } else { "–".into() },
    ]
}

fn goals(all: &[Runs], place: &dyn Fn(Layout) -> &'static str, report: &mut Report) {
    let Some(most) = all.iter().map(|runs| runs.vnis).max() else { return };
    for layout in Layout::ALL {
        let of = |maker, vnis, which: Figure| {
            let runs = all.iter().find(|r| (r.layout, r.maker, r.vnis) == (layout, maker, vnis))?;
            median(runs.samples.iter().map(which))
        };
        let (name, at) = (layout.name(), place(layout));
        let steps: [(String, Figure); 3] = [
            (format!("{} VNIs, {name}{at}", count(most)), |s| s.grow),
            (format!("one more with {} there, {name}{at}", count(most)), |s| s.one),
            (format!("all but one of {} removed, {name}{at}", count(most)), |s| s.shrink),
        ];
        for (what, which) in steps {
            let (Some(mine), Some(script)) = (of(Maker::Evpnd, most, which), of(Maker::Script, most, which))
            else {
                continue;
            };
            report.goals.push(Goal {
                what,
                wanted: "≤ 1.2 × ip -batch and bridge -batch",
                ours: seconds(mine),
                theirs: format!("script {}", seconds(script)),
                ratio: format!("{:.2} × its time", ratio(mine, script)),
                missing: "A script writes only what it is told; evpnd reads all of its configuration, and reads back from the kernel what it wrote.",
                met: Some(ratio(mine, script) <= 1.2),
            });
        }
    }
}

/// Runs this program in the virtual machine.
fn in_vm(layout: Layout, options: &Options) -> Result<Vec<Runs>> {
    if !Path::new(VM).exists() {
        return Err(format!(
            "this kernel lacks VLAN filtering, and there is no {VM} here (run it in the repository)"
        ));
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let list = options.vnis.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new(VM);
    command.arg("run").arg(exe).args(["vnis", "--raw", "--layout", layout.name(), "--vnis", &list]);
    command.args(["--runs", &options.runs.to_string()]).arg("--evpnd").arg(daemon::evpnd_path()?);
    if let Some(only) = &options.only {
        command.args(["--only", &only.join(",")]);
    }
    // It makes namespaces of its own there.
    command.env_remove(crate::sandbox::INSIDE).env("EVPND_VM_LIMIT", VM_LIMIT);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("{VM}: {e}"))?;
    let mut all: Vec<Runs> = Vec::new();
    let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    for line in lines.into_iter().flatten().map_while(std::result::Result::ok) {
        let Some((maker, vnis, sample)) = read(&line) else {
            println!("{line}");
            continue;
        };
        match all.iter_mut().find(|runs| (runs.maker, runs.vnis) == (maker, vnis)) {
            Some(runs) => runs.samples.push(sample),
            None => all.push(Runs { layout, maker, vnis, samples: vec![sample] }),
        }
    }
    let status = child.wait().map_err(|e| format!("{VM}: {e}"))?;
    if all.is_empty() { Err(format!("nothing came out of it: {status}")) } else { Ok(all) }
}

fn print(runs: &Runs) {
    for s in &runs.samples {
        let times = [s.grow, s.one, s.one_cpu, s.shrink];
        let times = times.map(|t| t.map_or("-".into(), |t| t.as_nanos().to_string())).join(" ");
        println!("{RAW} {} {} {times} {} {}", runs.maker as usize, runs.vnis, s.resident, s.kernel);
    }
}

/// The reverse of `print`.
fn read(line: &str) -> Option<(Maker, usize, Sample)> {
    let mut words = line.strip_prefix(RAW)?.split_whitespace();
    let mut number = || -> Option<Option<u64>> {
        let word = words.next()?;
        if word == "-" { Some(None) } else { word.parse().ok().map(Some) }
    };
    let maker = *Maker::ALL.get(usize::try_from(number()??).ok()?)?;
    let vnis = usize::try_from(number()??).ok()?;
    let mut time = || number().map(|nanos| nanos.map(Duration::from_nanos));
    let (grow, one, one_cpu, shrink) = (time()?, time()?, time()?, time()?);
    let sample = Sample { grow, one, one_cpu, shrink, resident: number()??, kernel: number()?? };
    Some((maker, vnis, sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_out_of_the_machine_as_they_were() {
        assert_eq!(read("vnis: 4k, single-device"), None);
        let sample = Sample {
            grow: Some(Duration::from_micros(1_234_567)),
            one: Some(Duration::from_nanos(89)),
            one_cpu: None,
            shrink: Some(Duration::from_secs(60)),
            resident: 30_000,
            kernel: 7,
        };
        let line = "raw 2 4000 1234567000 89 - 60000000000 30000 7";
        assert_eq!(read(line), Some((Maker::Ranges, 4000, sample)));
    }
}
