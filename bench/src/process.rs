//! What the kernel says about a process: memory, processor time, context switches (proc(5)).

use std::fs;
use std::time::Duration;

/// Hundredths of a second, on every Linux there is (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

/// Memory and processor time of some processes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident now, in kB.
    pub(crate) resident: u64,
    /// The most it was, in kB.
    pub(crate) peak: u64,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// System time alone: what the kernel did for it.
    pub(crate) system: Duration,
}

/// What these processes use, added up. A process that is gone counts nothing.
pub(crate) fn usage(pids: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sum.resident += field(&status, "VmRSS:");
        sum.peak += field(&status, "VmHWM:");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: Vec<u32> = after.split(' ').skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        if let [user, system] = ticks[..] {
            sum.cpu += TICK * (user + system);
            sum.system += TICK * system;
        }
    }
    sum
}

/// Processor time of children of ours that have ended.
pub(crate) fn ended_children() -> Duration {
    ended_children_of(&[std::process::id()])
}

/// Processor time of children of these processes that have ended.
pub(crate) fn ended_children_of(pids: &[u32]) -> Duration {
    let of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        TICK * after.split(' ').skip(13).take(2).filter_map(|t| t.parse::<u32>().ok()).sum::<u32>()
    };
    pids.iter().map(of).sum()
}

/// How often threads of these processes went to sleep by themselves: each is one wake-up.
pub(crate) fn voluntary_switches(pids: &[u32]) -> u64 {
    let threads =
        pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .map(|status| field(&status, "voluntary_ctxt_switches:"))
        .sum()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}
