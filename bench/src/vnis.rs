//! Growing a host from 1 VNI to thousands: evpnd, and a script of `ip -batch` and `bridge -batch` with the same devices
//! and rows.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::clock::{now, poll};
use crate::daemon::{Daemon, SENDER_ASN};
use crate::floods::Floods;
use crate::peer::{Counted, Peer};
use crate::process;
use crate::sandbox::{self, DUT, SENDER};
use crate::wire::Table;

/// The first VNI; all of them fit the number of a route distinguisher.
pub(crate) const FIRST: u32 = 10_001;
/// The VLAN of the first VNI in a script: as evpnd chooses them.
const FIRST_VLAN: u32 = 2;
/// A number for the group in which a script deletes devices.
const GROUP: u32 = 77;

/// Which devices carry VNIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    DevicePerVni,
    SingleDevice,
}

impl Layout {
    pub(crate) const ALL: [Self; 2] = [Self::DevicePerVni, Self::SingleDevice];

    /// Its name in evpnd.toml and in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DevicePerVni => "device-per-vni",
            Self::SingleDevice => "single-device",
        }
    }

    /// The VXLAN device of a VNI.
    pub(crate) fn vxlan(self, vni: u32) -> String {
        match self {
            Self::DevicePerVni => format!("vx-{vni}"),
            Self::SingleDevice => "vx0".into(),
        }
    }

    /// The keys `bridge` and `vxlan` of evpnd.toml: what names begin with, or the names.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::DevicePerVni => ("br", "vx"),
            Self::SingleDevice => ("br0", "vx0"),
        }
    }

    /// Can this kernel do it?
    pub(crate) fn is_possible(self) -> bool {
        if self == Self::DevicePerVni {
            return true;
        }
        // Without VLAN filtering the kernel ignores the wish for it in silence.
        let made = sandbox::run("ip", "link add vlans type bridge vlan_filtering 1");
        let has = fs::read_to_string("/sys/class/net/vlans/bridge/vlan_filtering");
        let _ = sandbox::run("ip", "link del vlans");
        made.is_ok() && has.is_ok_and(|text| text.trim() == "1")
    }
}

/// Who makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Evpnd,
    /// A line a thing.
    Script,
    /// Ranges of VLANs and VNIs, which are consecutive here.
    Ranges,
}

impl Maker {
    pub(crate) const ALL: [Self; 3] = [Self::Evpnd, Self::Script, Self::Ranges];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Evpnd => "evpnd",
            Self::Script => "ip, bridge -batch",
            Self::Ranges => "the same, with ranges",
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Started → all VNIs stand, and their flood rows.
    pub(crate) grow: Option<Duration>,
    /// One more.
    pub(crate) one: Option<Duration>,
    /// Processor time for that, until all is quiet again.
    pub(crate) one_cpu: Option<Duration>,
    /// All but one removed.
    pub(crate) shrink: Option<Duration>,
    /// Resident size of evpnd with all VNIs, in kB.
    pub(crate) resident: u64,
    /// What the kernel took for itself meanwhile, in kB.
    pub(crate) kernel: u64,
}

/// `count` VNIs.
fn vnis(count: usize) -> Vec<u32> {
    (FIRST..).take(count).collect()
}

/// Memory the kernel has for itself: all that is neither free nor of a program or file. In kB.
fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let programs = ["MemFree:", "Buffers:", "Cached:", "AnonPages:"].map(field).iter().sum();
    field("MemTotal:").saturating_sub(programs)
}

/// evpnd, with one neighbour that has one remote VTEP in each VNI.
pub(crate) fn evpnd(layout: Layout, count: usize, limit: Duration) -> Result<Sample> {
    let table = Table { routes: 0, vteps: 1, vnis: count + 1, first_vni: FIRST, asn: SENDER_ASN };
    let imets = table.announce_vteps();
    let mut floods = Floods::new(layout, Table::vtep(0))?;
    let mut sample = Sample::default();
    let before = kernel_memory();
    let start = now();
    let daemon = Daemon::with_vnis(layout, &vnis(count))?;
    let mut measured = || -> Result<()> {
        let counted = Counted::Imets { first: FIRST as usize, count: count + 1 };
        let peer = Peer::connect(SENDER, DUT, SENDER_ASN, counted, limit)?;
        peer.send(&imets)?;
        // Told of, and heard of: the later of the two.
        let mut both = |count: usize, start: Instant| -> Result<Option<Duration>> {
            let told = peer.wait_for(count, start, limit)?;
            let heard = floods.wait(&vnis(count), start, limit)?;
            Ok(told.zip(heard).map(|(told, heard)| told.max(heard)))
        };
        sample.grow = both(count, start)?;
        daemon.quiet();
        sample.resident = daemon.usage().resident;
        sample.kernel = kernel_memory().saturating_sub(before);
        let cpu = daemon.usage().cpu;
        daemon.reload_with_vnis(layout, &vnis(count + 1))?;
        let start = now();
        daemon.hang_up()?;
        sample.one = both(count + 1, start)?;
        daemon.quiet();
        sample.one_cpu = Some(daemon.usage().cpu.saturating_sub(cpu));
        daemon.reload_with_vnis(layout, &vnis(1))?;
        let start = now();
        daemon.hang_up()?;
        sample.shrink = both(1, start)?.map(|_| ()).and_then(|()| emptied(layout, start, limit));
        Ok(())
    };
    let result = measured().map_err(|e| daemon.explain(&e));
    drop(daemon);
    remove_all(layout)?;
    result.map(|()| sample)
}

/// Waits until the devices of all VNIs but one are gone.
fn emptied(layout: Layout, start: Instant, limit: Duration) -> Option<Duration> {
    let left = || devices().iter().filter(|name| is_made(name)).count();
    let most = match layout {
        Layout::DevicePerVni => 2,
        // Bridge, VXLAN device, and a VLAN of the bridge for the neighbours of the VNI.
        Layout::SingleDevice => 3,
    };
    poll(limit.saturating_sub(start.elapsed()), Duration::from_millis(5), || {
        (left() <= most).then(|| start.elapsed())
    })
}

fn devices() -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Is it a device of this measurement?
fn is_made(name: &str) -> bool {
    ["br", "vx"].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('-') || rest == "0" || rest.starts_with("0."))
    })
}

/// The same by hand.
pub(crate) fn script(layout: Layout, maker: Maker, count: usize) -> Result<Sample> {
    let mut floods = Floods::new(layout, Table::vtep(0))?;
    let ranges = maker == Maker::Ranges;
    let base = if layout == Layout::SingleDevice { overlay() } else { Batches::default() };
    let all = base.and(&add(layout, FIRST, count, ranges));
    let one = add(layout, FIRST + count as u32, 1, false);
    let rest = remove(layout, FIRST + 1, count, ranges);
    let mut sample = Sample::default();
    let mut measured = || -> Result<()> {
        let before = kernel_memory();
        sample.grow = Some(all.run()?);
        sample.kernel = kernel_memory().saturating_sub(before);
        let cpu = process::ended_children();
        sample.one = Some(one.run()?);
        sample.one_cpu = Some(process::ended_children().saturating_sub(cpu));
        if floods.wait(&vnis(count + 1), now(), Duration::from_secs(10))?.is_none() {
            return Err(format!("not all {} flood rows are there", count + 1));
        }
        sample.shrink = Some(rest.run()?);
        Ok(())
    };
    let result = measured();
    remove_all(layout)?;
    result.map(|()| sample)
}

/// Lines for `ip -batch`, then lines for `bridge -batch`, then one more command of `ip`.
#[derive(Debug, Default)]
struct Batches {
    ip: String,
    bridge: String,
    last: String,
}

impl Batches {
    fn and(mut self, more: &Self) -> Self {
        self.ip += &more.ip;
        self.bridge += &more.bridge;
        self.last += &more.last;
        self
    }

    /// Runs it; the files are written before the clock starts.
    fn run(&self) -> Result<Duration> {
        let dir = sandbox::fresh_dir("batch")?;
        for (name, lines) in [("ip", &self.ip), ("bridge", &self.bridge)] {
            fs::write(format!("{dir}/{name}"), lines).map_err(|e| e.to_string())?;
        }
        let start = now();
        for (program, lines) in [("bridge", &self.bridge), ("ip", &self.ip)].into_iter().rev() {
            if lines.is_empty() {
                continue;
            }
            let mut command = Command::new(program);
            command.args(["-batch", &format!("{dir}/{program}")]).stdin(Stdio::null());
            let output = command.output().map_err(|e| format!("{program}: {e}"))?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{program} -batch: {}", errors.lines().next().unwrap_or_default()));
            }
        }
        if !self.last.is_empty() {
            sandbox::run("ip", &self.last)?;
        }
        Ok(start.elapsed())
    }
}

/// The devices that all VNIs share.
fn overlay() -> Batches {
    let ip = format!(
        "link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0 mcast_snooping 0\n\
         link add vx0 type vxlan external vnifilter local {DUT} dstport 4789 nolearning\n\
         link set br0 addrgenmode none\nlink set vx0 addrgenmode none\nlink set vx0 master br0\n\
         link set vx0 type bridge_slave learning off neigh_suppress on vlan_tunnel on\n\
         link set vx0 up\nlink set br0 up\n"
    );
    Batches { ip, ..Batches::default() }
}

fn add(layout: Layout, first: u32, count: usize, ranges: bool) -> Batches {
    let (mut ip, mut bridge) = (String::new(), String::new());
    let vtep = Table::vtep(0);
    for vni in (first..).take(count) {
        let vlan = vni - FIRST + FIRST_VLAN;
        match layout {
            Layout::DevicePerVni => {
                let _ = write!(
                    ip,
                    "link add br-{vni} type bridge mcast_snooping 0\n\
                     link set br-{vni} addrgenmode none\n\
                     link set br-{vni} alias \"vni {vni}\"\n\
                     link add vx-{vni} type vxlan id {vni} local {DUT} dstport 4789 nolearning\n\
                     link set vx-{vni} addrgenmode none\n\
                     link set vx-{vni} alias \"vni {vni}\"\n\
                     link set vx-{vni} master br-{vni}\n\
                     link set vx-{vni} type bridge_slave learning off neigh_suppress on\n\
                     link set br-{vni} up\nlink set vx-{vni} up\n"
                );
                let _ = writeln!(
                    bridge,
                    "fdb append 00:00:00:00:00:00 dev vx-{vni} dst {vtep} self extern_learn"
                );
            }
            Layout::SingleDevice => {
                // As evpnd does it: no ARP table before there is an address to keep.
                if !ranges {
                    let _ = write!(
                        bridge,
                        "vlan add dev vx0 vid {vlan}\nvlan add dev vx0 vid {vlan} tunnel_info id {vni}\n\
                         vni add dev vx0 vni {vni}\n"
                    );
                } else if vni == first {
                    let more = count as u32 - 1;
                    let (vlans, vnis) = (format!("{vlan}-{}", vlan + more), format!("{vni}-{}", vni + more));
                    let _ = write!(
                        bridge,
                        "vlan add dev vx0 vid {vlans}\nvlan add dev vx0 vid {vlans} tunnel_info id {vnis}\n\
                         vni add dev vx0 vni {vnis}\n"
                    );
                }
                let _ = writeln!(
                    bridge,
                    "fdb append 00:00:00:00:00:00 dev vx0 dst {vtep} src_vni {vni} self extern_learn"
                );
            }
        }
    }
    Batches { ip, bridge, last: String::new() }
}

/// Each deletion of a device waits for every CPU; so they are put into a group, which goes in one command.
fn remove(layout: Layout, first: u32, count: usize, ranges: bool) -> Batches {
    let (mut ip, mut bridge) = (String::new(), String::new());
    let vtep = Table::vtep(0);
    for vni in (first..).take(count) {
        let vlan = vni - FIRST + FIRST_VLAN;
        match layout {
            Layout::DevicePerVni => {
                let _ = write!(ip, "link set vx-{vni} group {GROUP}\nlink set br-{vni} group {GROUP}\n");
            }
            Layout::SingleDevice => {
                let _ = writeln!(bridge, "fdb del 00:00:00:00:00:00 dev vx0 dst {vtep} src_vni {vni} self");
                if !ranges {
                    let _ = writeln!(bridge, "vni delete dev vx0 vni {vni}\nvlan del dev vx0 vid {vlan}");
                } else if vni == first {
                    let more = count as u32 - 1;
                    let _ = writeln!(
                        bridge,
                        "vni delete dev vx0 vni {vni}-{}\nvlan del dev vx0 vid {vlan}-{}",
                        vni + more,
                        vlan + more
                    );
                }
            }
        }
    }
    let last = if ip.is_empty() { String::new() } else { format!("link del group {GROUP}") };
    Batches { ip, bridge, last }
}

/// What is left, whoever made it.
fn remove_all(layout: Layout) -> Result<()> {
    let mut left: Vec<String> = devices().into_iter().filter(|name| is_made(name)).collect();
    // A bridge takes its VLANs with it.
    left.retain(|name| layout == Layout::DevicePerVni || !name.contains('.'));
    let ip = left.iter().map(|name| format!("link set {name} group {GROUP}\n")).collect();
    let last = if left.is_empty() { String::new() } else { format!("link del group {GROUP}") };
    Batches { ip, last, ..Batches::default() }.run().map(drop)
}
