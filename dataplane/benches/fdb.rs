//! How long the kernel's FDB takes to fill: `bridge -batch` and the reconciler, the same rows, side by side.
//!
//! `cargo bench -p evpnd-dataplane` prints ratios; the machine's seconds mean little. Each run has namespaces of its
//! own; `unshare` and iproute2 are needed.
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use dataplane::intent::{Change, L2Vni, RemoteMac};
use dataplane::kernel::{Kernel, KernelConfig};
use dataplane::reconciler::{Config, Reconciler};
use types::{MacAddr, Time, Vni};

const INSIDE: &str = "EVPND_BENCH_INSIDE";

fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn vni() -> Vni {
    Vni::new(100).expect("fits")
}

fn mac(n: u32) -> MacAddr {
    let [_, a, b, c] = n.to_be_bytes();
    MacAddr([2, 0, 1, a, b, c])
}

fn put(n: u32, to: u8) -> Change {
    Change::PutMac(vni(), mac(n), RemoteMac { vtep: [10, 9, 1, to].into(), vni: vni(), sticky: false })
}

struct Node {
    r: Reconciler<Kernel>,
    start: Instant,
}

impl Node {
    fn new() -> Self {
        let kernel = Kernel::open(KernelConfig::default()).expect("netlink");
        let mut node = Self { r: Reconciler::new(kernel, Config::default()), start: Instant::now() };
        let l2 = L2Vni {
            vni: vni(),
            vtep: [10, 9, 0, 1].into(),
            port: 4789,
            interfaces: vec![],
            arp_suppression: true,
            vlan: None,
        };
        node.timed(&[Change::PutVni(l2), Change::Settled]);
        node
    }

    fn timed(&mut self, changes: &[Change]) -> Duration {
        let start = Instant::now();
        for change in changes {
            self.r.change(change);
        }
        let mut outputs = Vec::new();
        loop {
            let now = Time::from_micros(self.start.elapsed().as_micros() as u64 + 1);
            self.r.handle(now, &mut outputs);
            if self.r.deadline() > now {
                assert!(self.r.status().in_sync, "{:?}", self.r.status());
                return start.elapsed();
            }
        }
    }
}

fn count() -> usize {
    sh("bridge fdb show dev vxlan1-100 | grep -c 'self extern_learn' || true")
        .trim()
        .parse()
        .expect("a number")
}

fn inside() {
    sh("mount -t tmpfs tmpfs /run && ip link set lo up && ip addr add 10.9.0.1/32 dev lo");
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    for n in [100_000_u32, 300_000] {
        let all: Vec<Change> = (0..n).map(|i| put(i, (i % 16) as u8)).collect();
        drop(Node::new());
        let mut script = String::new();
        for i in 0..n {
            let to = i % 16;
            writeln!(
                script,
                "fdb replace {} dev vxlan1-100 dst 10.9.1.{to} self master extern_learn",
                mac(i)
            )
            .expect("a string");
        }
        std::fs::write("/run/rows", script).expect("written");
        let start = Instant::now();
        sh("bridge -batch /run/rows");
        let theirs = start.elapsed();
        assert_eq!(count(), n as usize);
        sh("ip link del vxlan1-100; ip link del br-evpn-100");

        let mut node = Node::new();
        let ours = node.timed(&all);
        assert_eq!(count(), n as usize);
        let resync = {
            node.r.resync();
            node.timed(&[])
        };
        let mut single: Vec<Duration> = (0..1001).map(|i| node.timed(&[put(i, 99)])).collect();
        single.sort_unstable();
        let moved = node.timed(&(0..n).map(|i| put(i, 77)).collect::<Vec<_>>());
        let dels: Vec<Change> = (0..n).map(|i| Change::DelMac(vni(), mac(i))).collect();
        let gone = node.timed(&dels);
        assert_eq!(count(), 0);
        println!(
            "{n} MACs into the FDB      bridge -batch {:7.0} ms   evpnd {:7.0} ms   ratio {:.2}",
            ms(theirs),
            ms(ours),
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
        println!("{n} MACs: resync           {:7.0} ms", ms(resync));
        println!("{n} MACs: all move         {:7.0} ms", ms(moved));
        println!("{n} MACs: all go           {:7.0} ms", ms(gone));
        println!(
            "{n} MACs there, one moves  {:7.3} ms (median of 1001), {:.3} ms (worst)",
            ms(single[500]),
            ms(single[1000])
        );
        drop(node.r.shutdown(true));
    }
}

fn main() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().expect("own path"))
        .env(INSIDE, "1")
        .status()
        .expect("unshare");
    assert!(status.success());
}
