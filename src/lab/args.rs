//! The arguments of `evpnd lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// `evpnd lab …`
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    /// What to do with the lab.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// What to do with the lab.
#[derive(Clone, Debug, Subcommand)]
pub enum LabCommand {
    /// Build it, show it work, break it, mend it, take it down; the exit code tells the result
    Run(RunArgs),
    /// Build it and leave it standing in the background
    Up(UpArgs),
    /// Ping between all endpoints of the standing lab
    Test,
    /// Draw the standing lab as its controller sees it: hosts.svg, vlans.svg, overlays.svg
    Graph {
        /// Where to put them; a directory of your own for it when left out
        dir: Option<PathBuf>,
    },
    /// Run a command in a node of the standing lab: evpnd lab exec h1 -- evpnd show macs
    Exec {
        /// The node: controller, h1, h2, …, e11 (host 1, endpoint 1), …
        node: String,
        /// The command and its arguments; a shell when left out
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Take the standing lab down
    Down,
}

/// `evpnd lab run`
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// How large it is.
    #[command(flatten)]
    pub size: Size,
    /// Where to put the pictures; a directory of your own for it when left out
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// `evpnd lab up`
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// How large it is.
    #[command(flatten)]
    pub size: Size,
    /// Open a shell beside it, and take it down when that ends; the way in where the lab is in a virtual machine
    #[arg(long)]
    pub shell: bool,
}

/// How large a lab.
#[derive(Clone, Copy, Debug, Args)]
pub struct Size {
    /// Hosts, each with an evpnd
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=100))]
    pub hosts: u8,
    /// Endpoints on each host [default: 3; 6 with several overlays]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    pub endpoints: Option<u8>,
    /// What forwards packets on the hosts
    #[arg(long, value_enum, default_value_t = Backend::Kernel)]
    pub backend: Backend,
    /// How the kernel does it
    #[arg(long, value_enum, default_value_t = Layout::DevicePerVni)]
    pub layout: Layout,
    /// VNIs, all of one subnet, the first two with the same addresses [default: 1; 4 with --layout single-device]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub overlays: Option<u8>,
}

impl Size {
    /// What cannot be together.
    fn conflict(self) -> Option<&'static str> {
        let kernel = self.layout != Layout::DevicePerVni || self.overlays.is_some_and(|n| n > 1);
        let conflict = kernel && self.backend == Backend::Ovs;
        conflict.then_some("--layout single-device and --overlays are for --backend kernel")
    }
}

impl LabArgs {
    /// Why these arguments are of no use together, if so.
    pub fn conflict(&self) -> Option<&'static str> {
        match &self.command {
            LabCommand::Run(RunArgs { size, .. }) | LabCommand::Up(UpArgs { size, .. }) => size.conflict(),
            _ => None,
        }
    }
}

/// The devices that a host of a lab has with the kernel backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A bridge and a VXLAN device for each VNI
    #[default]
    DevicePerVni,
    /// One bridge with VLANs and one VXLAN device for all VNIs; in a virtual machine where this kernel has no VLAN filtering
    SingleDevice,
}

/// What forwards packets on the hosts of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Bridges and VXLAN devices of the kernel
    #[default]
    Kernel,
    /// Open vSwitch in userspace; of each host's endpoints the first is flat, the second in a VLAN, the third routed, and so
    /// on
    Ovs,
}
