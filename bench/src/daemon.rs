//! The daemons that are compared: how each is configured, started and ended.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::ovs::BRIDGE;
use crate::process::{self, Usage};
use crate::sandbox::{self, DUT, RECEIVER, SENDER};
use crate::vnis::Layout;
use crate::{Result, clock};

/// The AS of the daemon under test.
pub(crate) const ASN: u32 = 65000;
/// The AS of the neighbour that announces.
pub(crate) const SENDER_ASN: u32 = 65101;
/// The AS of the neighbour that receives.
pub(crate) const RECEIVER_ASN: u32 = 65102;
/// The VNI of the FDB measurements.
pub(crate) const VNI: u32 = 100;

const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Evpnd,
    Frr,
    Gobgp,
    /// Not a daemon: two sockets and a buffer between them. Nothing can be faster.
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Evpnd, Self::Frr, Self::Gobgp, Self::Floor];

    /// Its name in tables and in `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evpnd => "evpnd",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Floor => "floor",
        }
    }
}

/// The evpnd binary to measure.
static EVPND: OnceLock<PathBuf> = OnceLock::new();

/// Finds what `wanted` needs; the error names all that is missing and the Debian packages that have it.
pub(crate) fn check(wanted: &[Kind], evpnd: Option<PathBuf>) -> Result<()> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("evpnd")));
    let evpnd = evpnd.or(beside).ok_or("where is evpnd? (--evpnd PATH)")?;
    let evpnd = EVPND.get_or_init(|| evpnd);
    let mut missing = Vec::new();
    for kind in wanted {
        match kind {
            Kind::Evpnd if !evpnd.exists() => missing.push(format!("{}: not built", evpnd.display())),
            Kind::Frr if !Path::new(BGPD).exists() => missing.push(format!("{BGPD}{}", package_hint(BGPD))),
            Kind::Gobgp if find("gobgpd").is_none() => {
                missing.push(format!("gobgpd{}", package_hint("gobgpd")));
            }
            _ => {}
        }
    }
    for tool in ["ip", "bridge"] {
        if find(tool).is_none() {
            missing.push(format!("{tool}{}", package_hint(tool)));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("missing: {}", missing.join("; "))) }
}

/// The evpnd binary to measure, once it was looked for.
pub(crate) fn evpnd_path() -> Result<&'static Path> {
    EVPND.get().map(PathBuf::as_path).ok_or_else(|| "evpnd was not looked for".into())
}

/// How to get a program.
pub(crate) fn package_hint(program: &str) -> &'static str {
    match program {
        BGPD | ZEBRA => " (Debian package frr: apt-get install frr)",
        "gobgpd" => " (Debian package gobgpd: apt-get install gobgpd)",
        "ovsdb-server" | "ovsdb-tool" | "ovs-vswitchd" | "ovs-vsctl" | "ovs-ofctl" => {
            " (Debian package openvswitch-switch: apt-get install openvswitch-switch)"
        }
        "ip" | "bridge" => " (Debian package iproute2: apt-get install iproute2)",
        _ => "",
    }
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists())
}

/// The versions of what is compared.
pub(crate) fn versions() -> Vec<String> {
    let commit = sandbox::output("git", "describe --always --dirty").unwrap_or_default();
    let evpnd = EVPND.get().map(|path| path.display().to_string()).unwrap_or_default();
    let ours = sandbox::output(&evpnd, "--version").unwrap_or_else(|_| "evpnd".into());
    let mut all = vec![format!("{} ({})", ours.trim(), commit.trim())];
    for (program, arguments) in
        [(BGPD, "--version"), ("gobgpd", "--version"), ("bridge", "-V"), ("ovs-vswitchd", "--version")]
    {
        let Ok(text) = sandbox::output(program, arguments) else { continue };
        all.extend(text.lines().next().map(str::to_owned));
    }
    all
}

/// A daemon that runs; ends with this.
pub(crate) struct Daemon {
    kind: Kind,
    children: Vec<Child>,
    log: String,
}

impl Daemon {
    /// Starts one between [`SENDER`] and [`RECEIVER`], without any data plane.
    pub(crate) fn relay(kind: Kind) -> Result<Self> {
        let dir = sandbox::fresh_dir(kind.name())?;
        match kind {
            Kind::Evpnd => {
                let config = evpnd_config(&dir, &[(SENDER, SENDER_ASN), (RECEIVER, RECEIVER_ASN)]);
                Self::evpnd(&dir, &format!("{config}\n[dataplane]\nbackend = \"none\"\n"))
            }
            Kind::Frr => {
                let config = frr_config(&[(SENDER, SENDER_ASN), (RECEIVER, RECEIVER_ASN)], "");
                write(&format!("{dir}/bgpd.conf"), &config)?;
                let bgpd = format!(
                    "{FRR_COMMON} -Z -n -p 179 -f {dir}/bgpd.conf -i {dir}/bgpd.pid --vty_socket {dir}"
                );
                Self::start(kind, &dir, &[(BGPD, &bgpd)])
            }
            Kind::Gobgp => {
                write(
                    &format!("{dir}/gobgpd.toml"),
                    &gobgp_config(&[(SENDER, SENDER_ASN), (RECEIVER, RECEIVER_ASN)]),
                )?;
                let arguments =
                    format!("-f {dir}/gobgpd.toml -l warn --pprof-disable --api-hosts {DUT}:50051");
                Self::start(kind, &dir, &[("gobgpd", &arguments)])
            }
            Kind::Floor => {
                let exe = std::env::current_exe().map_err(|e| e.to_string())?;
                Self::start(kind, &dir, &[(&exe.to_string_lossy(), "floor-process")])
            }
        }
    }

    /// Starts one as VTEP for [`VNI`] on the devices of [`crate::fdb::make_devices`], with [`SENDER`] as its only neighbour.
    pub(crate) fn vtep(kind: Kind) -> Result<Self> {
        let dir = sandbox::fresh_dir(kind.name())?;
        match kind {
            Kind::Evpnd => {
                let config = evpnd_config(&dir, &[(SENDER, SENDER_ASN)]);
                let dataplane = format!(
                    "[dataplane]\nbackend = \"kernel\"\nvtep = \"{DUT}\"\n\
                     [dataplane.kernel]\nbridge = \"br\"\nvxlan = \"vxlan\"\nmanage-devices = false\n\
                     [[l2vni]]\nvni = {VNI}\nimport-rt = [\"65000:{VNI}\"]\n"
                );
                Self::evpnd(&dir, &format!("{config}\n{dataplane}"))
            }
            Kind::Frr => {
                let vni = format!(
                    "  advertise-all-vni\n  vni {VNI}\n   route-target import 65000:{VNI}\n  exit-vni\n"
                );
                write(&format!("{dir}/bgpd.conf"), &frr_config(&[(SENDER, SENDER_ASN)], &vni))?;
                write(&format!("{dir}/zebra.conf"), "")?;
                let zebra = format!(
                    "{FRR_COMMON} -s 90000000 -f {dir}/zebra.conf -i {dir}/zebra.pid --vty_socket {dir} -z {dir}/zapi"
                );
                let bgpd = format!(
                    "{FRR_COMMON} -p 179 -f {dir}/bgpd.conf -i {dir}/bgpd.pid --vty_socket {dir} -z {dir}/zapi"
                );
                Self::start(kind, &dir, &[(ZEBRA, &zebra), (BGPD, &bgpd)])
            }
            Kind::Gobgp | Kind::Floor => Err(format!("{} does not write to the kernel", kind.name())),
        }
    }

    /// evpnd with four VNIs whose devices it makes, and [`SENDER`] as its only neighbour.
    pub(crate) fn idle() -> Result<Self> {
        let dir = sandbox::fresh_dir("evpnd")?;
        let mut config = evpnd_config(&dir, &[(SENDER, SENDER_ASN)]);
        config += &format!("[dataplane]\nbackend = \"kernel\"\nvtep = \"{DUT}\"\n");
        for vni in VNI..VNI + 4 {
            config += &format!("[[l2vni]]\nvni = {vni}\n");
        }
        Self::evpnd(&dir, &config)
    }

    /// evpnd with these VNIs, on devices that it makes, and [`SENDER`] as its only neighbour.
    pub(crate) fn with_vnis(layout: Layout, vnis: &[u32]) -> Result<Self> {
        let dir = sandbox::fresh_dir("evpnd")?;
        let config = vnis_config(&dir, layout, vnis);
        Self::evpnd(&dir, &config)
    }

    /// Changes the VNIs in the configuration of such a one.
    pub(crate) fn reload_with_vnis(&self, layout: Layout, vnis: &[u32]) -> Result<()> {
        let dir = Path::new(&self.log).parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        write(&format!("{dir}/evpnd.toml"), &vnis_config(&dir, layout, vnis))
    }

    /// Has it read its configuration again.
    pub(crate) fn hang_up(&self) -> Result<()> {
        let mut pids = self.children.iter().map(Pid::from_child);
        pids.try_for_each(|pid| kill_process(pid, Signal::HUP)).map_err(|e| e.to_string())
    }

    /// evpnd on Open vSwitch, with these client files and one neighbour.
    pub(crate) fn ovs(neighbour: (Ipv4Addr, u32), clients: &str) -> Result<Self> {
        let dir = sandbox::fresh_dir("evpnd")?;
        let config = evpnd_config(&dir, &[neighbour]);
        let dataplane = format!(
            "[dataplane]\nbackend = \"ovs\"\nvtep = \"{DUT}\"\n[dataplane.ovs]\nbridge = \"{BRIDGE}\"\n\
             datapath = \"netdev\"\n[clients]\ndir = \"{clients}\"\n"
        );
        Self::evpnd(&dir, &format!("{config}\n{dataplane}"))
    }

    /// gobgpd with one neighbour, and evpn-connector with these client files.
    pub(crate) fn connector(program: &Path, neighbour: (Ipv4Addr, u32), clients: &str) -> Result<Self> {
        let dir = sandbox::fresh_dir("connector")?;
        write(&format!("{dir}/gobgpd.toml"), &gobgp_config(&[neighbour]))?;
        write(&format!("{dir}/logging.yaml"), "version: 1\n")?;
        let config = format!(
            "[gobgp]\ngobgp_channel = {DUT}:50051\nsource_ip = {DUT}\nas_number = {ASN}\n[ovs]\nswitch_name = {BRIDGE}\n\
             enable_sudo = False\ntmp_flow_file_path = {dir}/flows\n[daemon]\nconfigs_dir = {clients}\n\
             [logging]\nconfig = {dir}/logging.yaml\n"
        );
        write(&format!("{dir}/connector.cfg"), &config)?;
        let gobgpd = format!("-f {dir}/gobgpd.toml -l warn --pprof-disable --api-hosts {DUT}:50051");
        let arguments = format!("--config-file {dir}/connector.cfg");
        Self::start(
            Kind::Gobgp,
            &dir,
            &[("gobgpd", gobgpd.as_str()), (&program.to_string_lossy(), &arguments)],
        )
    }

    fn evpnd(dir: &str, config: &str) -> Result<Self> {
        write(&format!("{dir}/evpnd.toml"), config)?;
        let binary = evpnd_path()?.to_string_lossy();
        Self::start(Kind::Evpnd, dir, &[(&binary, &format!("run -c {dir}/evpnd.toml"))])
    }

    fn start(kind: Kind, dir: &str, commands: &[(&str, &str)]) -> Result<Self> {
        let log = format!("{dir}/log");
        let mut daemon = Self { kind, children: Vec::new(), log };
        for (program, arguments) in commands {
            let log =
                File::options().append(true).create(true).open(&daemon.log).map_err(|e| e.to_string())?;
            let err = log.try_clone().map_err(|e| e.to_string())?;
            let mut command = Command::new(program);
            command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(log).stderr(err);
            let child = command.spawn().map_err(|e| format!("{program}: {e}{}", package_hint(program)))?;
            daemon.children.push(child);
            if *program == ZEBRA {
                // bgpd looks for it once and then only every few seconds.
                let socket = format!("{dir}/zapi");
                let there = || Path::new(&socket).exists().then_some(());
                clock::poll(Duration::from_secs(10), Duration::from_millis(20), there)
                    .ok_or("zebra does not open its socket")?;
            }
        }
        Ok(daemon)
    }

    /// Memory and time of all its processes.
    pub(crate) fn usage(&self) -> Usage {
        process::usage(&self.pids())
    }

    /// The same with the time of the tools it ran and that have ended.
    pub(crate) fn usage_with_children(&self) -> Usage {
        let mut usage = self.usage();
        usage.cpu += process::ended_children_of(&self.pids());
        usage
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Waits until it has used almost no processor time for a second; ten at most.
    pub(crate) fn quiet(&self) {
        let mut last = self.usage().cpu;
        let mut calm = 0;
        clock::poll(Duration::from_secs(10), Duration::from_millis(250), || {
            let cpu = self.usage().cpu;
            calm = if cpu.saturating_sub(last) <= Duration::from_millis(10) { calm + 1 } else { 0 };
            last = cpu;
            (calm >= 4).then_some(())
        });
    }

    /// Adds who it was and what it last logged to an error.
    pub(crate) fn explain(&self, error: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(10);
        let tail: Vec<_> = log.lines().skip(from).collect();
        format!("{}: {error}\n{}", self.kind.name(), tail.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|e| format!("{file}: {e}"))
}

fn evpnd_config(dir: &str, neighbors: &[(Ipv4Addr, u32)]) -> String {
    let mut config = format!(
        "[router]\nasn = {ASN}\nrouter-id = \"{DUT}\"\n[control]\nsocket = \"{dir}/sock\"\n\
         [bgp]\nlisten = [\"{DUT}:179\"]\nhold-time = 240\n"
    );
    for (address, asn) in neighbors {
        config += &format!("[[bgp.neighbor]]\naddress = \"{address}\"\nremote-asn = {asn}\npassive = true\n");
    }
    config
}

/// With these VNIs.
fn vnis_config(dir: &str, layout: Layout, vnis: &[u32]) -> String {
    let mut config = evpnd_config(dir, &[(SENDER, SENDER_ASN)]);
    let (name, (bridge, vxlan)) = (layout.name(), layout.names());
    config += &format!(
        "[dataplane]\nbackend = \"kernel\"\nvtep = \"{DUT}\"\n\
         [dataplane.kernel]\nlayout = \"{name}\"\nbridge = \"{bridge}\"\nvxlan = \"{vxlan}\"\n"
    );
    for vni in vnis {
        config += &format!("[[l2vni]]\nvni = {vni}\n");
    }
    config
}

/// In the foreground, as root of our namespaces, no terminal port.
const FRR_COMMON: &str = "-u root -g root -P 0 --log stdout --log-level errors";

fn frr_config(neighbors: &[(Ipv4Addr, u32)], family: &str) -> String {
    let mut config = format!(
        "router bgp {ASN}\n bgp router-id {DUT}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n bgp disable-ebgp-connected-route-check\n"
    );
    for (address, asn) in neighbors {
        config += &format!(
            " neighbor {address} remote-as {asn}\n neighbor {address} passive\n neighbor {address} ebgp-multihop 255\n \
             neighbor {address} advertisement-interval 0\n neighbor {address} timers 80 240\n"
        );
    }
    config += " address-family l2vpn evpn\n";
    for (address, _) in neighbors {
        config += &format!("  neighbor {address} activate\n");
    }
    config + family + " exit-address-family\n"
}

fn gobgp_config(neighbors: &[(Ipv4Addr, u32)]) -> String {
    let mut config =
        format!("[global.config]\nas = {ASN}\nrouter-id = \"{DUT}\"\nlocal-address-list = [\"{DUT}\"]\n");
    for (address, asn) in neighbors {
        config += &format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\n\
             [neighbors.transport.config]\npassive-mode = true\n\
             [neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 64\n\
             [neighbors.timers.config]\nhold-time = 240\nkeepalive-interval = 80\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l2vpn-evpn\"\n"
        );
    }
    config
}
