//! A network namespace for each test, and words to say what should be in it.

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use dataplane::backend::Backend;
use dataplane::intent::{Change, Flood, L2Vni, Local, Neighbour, RemoteMac};
use dataplane::kernel::{KernelConfig, open};
use dataplane::reconciler::{Config, Output, Reconciler};
use types::{MacAddr, Time, Vni};

use crate::layout::config;

/// How long anything may take before the test fails: longer on a slow machine, which `EVPND_LAB_PATIENCE` tells of.
pub(crate) fn patience() -> Duration {
    let factor = std::env::var("EVPND_LAB_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    Duration::from_secs(20) * factor.unwrap_or(1)
}

/// Runs the body of the test of that name in namespaces of its own.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    // A private /run, for `ip netns`; and the loopback as every host has it.
    let prepare = || {
        sh("mount -t tmpfs tmpfs /run && ip link set lo up && ip addr add 10.9.0.1/32 dev lo");
    };
    crate::common::in_namespace(test, prepare, body);
}

/// Runs a shell command that has to succeed; its output.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{text}{errors}");
    text
}

/// Does this shell command succeed?
pub(crate) fn succeeds(command: &str) -> bool {
    let quiet = |c: &mut Command| c.stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet(Command::new("sh").args(["-c", command])).expect("sh").success()
}

pub(crate) fn lines(command: &str) -> Vec<String> {
    sorted(&sh(command))
}

pub(crate) fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    lines.sort();
    lines
}

pub(crate) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(crate) fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn l2(n: u32, interfaces: &[&str]) -> L2Vni {
    L2Vni {
        vni: vni(n),
        vtep: ip("10.9.0.1"),
        port: 4789,
        interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
        arp_suppression: true,
        vlan: None,
    }
}

pub(crate) fn put_flood(n: u32, vtep: &str) -> Change {
    Change::PutFlood(vni(n), ip(vtep), Flood { vni: vni(n) })
}

pub(crate) fn put_mac(n: u32, m: &str, vtep: &str) -> Change {
    Change::PutMac(vni(n), mac(m), RemoteMac { vtep: ip(vtep), vni: vni(n), sticky: false })
}

pub(crate) fn put_neighbour(n: u32, address: &str, m: &str) -> Change {
    Change::PutNeighbour(vni(n), ip(address), Neighbour { mac: mac(m), router: false })
}

/// The backend of whichever layout.
pub(crate) type Engine = Box<dyn Backend + Send>;

/// A reconciler on the kernel of this thread's namespace.
pub(crate) fn reconciler(config: KernelConfig) -> Reconciler<Engine> {
    Reconciler::new(open(config).expect("netlink"), Config::default())
}

/// What a dry run says that wants no VNI.
pub(crate) fn planned_without_vnis() -> Vec<String> {
    let mut r = reconciler(config());
    r.change(&Change::Settled);
    r.dry_run(&mut Vec::new()).unwrap().into_iter().map(|step| step.what).collect()
}

/// All links there are.
pub(crate) fn links() -> Vec<String> {
    lines("ip -br link show | cut -d' ' -f1")
}

/// A reconciler that is worked by hand.
pub(crate) struct Host {
    pub(crate) r: Reconciler<Engine>,
    start: Instant,
    pub(crate) outputs: Vec<Output>,
    /// Added to the clock.
    pub(crate) ahead: Duration,
}

#[allow(clippy::disallowed_methods, reason = "a test tells the time to what must not look at a clock")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

impl Host {
    pub(crate) fn new(changes: &[Change]) -> Self {
        Self::with(config(), changes)
    }

    pub(crate) fn with(config: KernelConfig, changes: &[Change]) -> Self {
        let mut host =
            Self { r: reconciler(config), start: clock(), outputs: Vec::new(), ahead: Duration::ZERO };
        host.change(changes);
        host
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap() + 1) + self.ahead
    }

    /// Changes the intent, and works until there is nothing left to do.
    pub(crate) fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.r.change(change);
        }
        self.work();
    }

    pub(crate) fn work(&mut self) {
        let until = clock() + patience();
        loop {
            let now = self.now();
            self.r.handle(now, &mut self.outputs);
            if self.r.deadline() > now {
                return;
            }
            assert!(clock() < until, "never done");
        }
    }

    /// Lets the timer of the full resync pass.
    pub(crate) fn resync(&mut self) {
        self.r.resync();
        self.work();
    }

    /// Works until this holds.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let until = clock() + patience();
        loop {
            self.work();
            if done(self) {
                return;
            }
            let last = self.outputs.len().saturating_sub(10);
            assert!(clock() < until, "in vain: {what}\n{:?}\n{:?}", self.r.status(), &self.outputs[last..]);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Works until this was told upwards.
    pub(crate) fn hears(&mut self, what: &Local) {
        let wanted = Output::Local(what.clone());
        self.until(&format!("{what:?}"), |host| host.outputs.contains(&wanted));
    }

    pub(crate) fn assert_in_sync(&self) {
        let status = self.r.status();
        assert!(status.in_sync, "{status:?}\n{:?}", self.outputs);
        assert_eq!(status.desired, status.installed, "{status:?}");
    }
}

/// Lines of a command that never ends, as they come; killed when dropped.
pub(crate) struct Watch {
    child: std::process::Child,
    lines: Receiver<String>,
}

impl Watch {
    pub(crate) fn new(command: &str) -> Self {
        use std::io::BufRead;
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let out = child.stdout.take().unwrap();
        let (tx, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(out).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Everything up to the line that has `last` in it.
    pub(crate) fn up_to(&self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line =
                self.lines.recv_timeout(patience()).unwrap_or_else(|_| panic!("no {last} in {seen:?}"));
            if line.contains(last) {
                return seen;
            }
            seen.push(line);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    /// Was anything heard since the last question?
    pub(crate) fn heard_any(&self) -> bool {
        self.lines.try_recv().is_ok()
    }
}
