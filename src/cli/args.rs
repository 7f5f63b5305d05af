//! The arguments of the `evpnd` command.

use std::net::IpAddr;
use std::path::PathBuf;

use bgp::wire::community::RouteTarget;
use bgp::wire::rd::Rd;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::config::DEFAULT_SOCKET;
use crate::control::Target;
use crate::lab::LabArgs;

/// EVPN for a Linux host: a BGP speaker, and VXLAN in the kernel or in Open vSwitch as it says
#[derive(Debug, Parser)]
#[command(name = "evpnd", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  evpnd check -c evpnd.toml            is the configuration right, and every client file?
  evpnd plan -c evpnd.toml             what would the daemon change now?
  evpnd run -c evpnd.toml              the daemon
  evpnd show neighbors                 are the sessions up?
  evpnd show clients                   are the clients, and what is wrong with their files?
  evpnd explain 02:00:5e:10:00:01      why can this MAC not be reached?
  evpnd graph hosts -o hosts.svg       who has what, as a picture
  evpnd lab run                        a whole network in namespaces, to see it work

Exit codes: 0 done, 1 a problem (told on stderr), 2 wrong usage.")]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    #[command(after_help = "\
Examples:
  evpnd run -c evpnd.toml
  evpnd run -c evpnd.toml -v                             with debug messages
  EVPND_LOG=info,evpnd::speaker=trace evpnd run -c evpnd.toml
  evpnd run -c evpnd.toml --log-format json

SIGHUP reads the configuration again, as `evpnd reload` does; SIGTERM and SIGINT stop it.")]
    Run(RunArgs),
    /// Check a configuration and its client files; changes nothing
    #[command(after_help = "\
Example:
  $ evpnd check -c evpnd.toml
  evpnd.toml: ok (2 neighbours, 1 VNI)
  /var/lib/evpnd/clients: ok (3 clients)")]
    Check(ConfigFile),
    /// Show what the daemon would change in the kernel or in Open vSwitch now; changes nothing
    #[command(after_help = "\
Examples:
  evpnd plan -c evpnd.toml
  evpnd plan -c evpnd.toml --json | jq -r '.[] | select(.kind == \"flow\") | .what'

+ is added, ~ changed, - removed, ! cannot be done now, ? goes once all neighbours have been heard, unless they announce
it. No daemon is needed; next to one that runs, it shows what is not as it should be.")]
    Plan(PlanArgs),
    /// Make an evpnd.toml of the configurations of gobgpd and evpn-connector
    #[command(after_help = "\
Examples:
  evpnd migrate --gobgp /etc/gobgpd/gobgp.conf --evpn-connector /etc/evpn_connector/evpn_connector.conf
  evpnd migrate --gobgp gobgp.conf --evpn-connector evpn_connector.conf -o /etc/evpnd/evpnd.toml
  evpnd migrate --evpn-connector evpn_connector.conf --clients /var/lib/evpn_connector/client_configs

The text goes to stdout, with comments where something could not be carried over; a summary goes to stderr. Nothing is
changed. docs/migration.md has the whole move, step by step.")]
    Migrate(MigrateArgs),
    /// Have the daemon read its configuration again: all of it, or nothing if anything is wrong
    #[command(after_help = "Example:\n  evpnd reload")]
    Reload(Socket),
    /// Show state, as tables or JSON
    #[command(after_help = "\
Examples:
  evpnd show summary
  evpnd show neighbors --json
  evpnd show routes --type 2 --vni 22001
  evpnd show macs --vni 22001
  evpnd show clients")]
    Show(ShowArgs),
    /// Tell the whole story of one address: heard from whom, chosen or not, imported, installed
    #[command(after_help = "\
Examples:
  evpnd explain 02:00:5e:10:00:01
  evpnd explain 10.1.0.5 --vni 22001
  evpnd explain 10.0.0.0/24 --json")]
    Explain(ExplainArgs),
    /// Draw the topology that the RIB tells: hosts, VLANs or overlays
    #[command(after_help = "\
Examples:
  evpnd graph hosts -o hosts.svg
  evpnd graph overlays --vni 22001 > overlay.svg
  evpnd graph vlans --format dot | dot -Tpdf > vlans.pdf
  evpnd show routes --json > routes.json; evpnd graph hosts --from routes.json -o hosts.svg
  ssh h1 evpnd show vnis --json > h1.json; evpnd graph vlans --vnis h1.json -o vlans.svg

A controller or route reflector knows the most, but not which VLANs a host has for its VNIs: --vnis tells it.
Long lists are cut and counted: --full has them all.")]
    Graph(GraphArgs),
    /// Release a MAC that is held as a duplicate because it kept moving
    #[command(after_help = "Example:\n  evpnd clear mac 02:00:5e:10:00:01 --vni 22001")]
    Clear(ClearArgs),
    /// Show what happened lately: sessions, routes, MAC moves, the dataplane
    #[command(after_help = "\
Examples:
  evpnd events
  evpnd events --follow                and what happens from now on, until ctrl-C
  evpnd events --follow --json         one JSON object a line")]
    Events(EventsArgs),
    /// Announce or withdraw a route by hand; it lasts until it is withdrawn or the daemon stops
    #[command(after_help = "\
Examples:
  evpnd route add imet --vni 100
  evpnd route add mac --vni 100 --mac 02:00:5e:10:00:01 --ip 10.1.0.5
  evpnd route add prefix --vni 5000 10.0.0.0/24 --rt 65000:5000
  evpnd route del mac --vni 100 --mac 02:00:5e:10:00:01 --ip 10.1.0.5")]
    Route(RouteArgs),
    /// Run a complete lab in network namespaces on this machine
    #[command(after_help = "\
Examples:
  evpnd lab run                           build it, see it work, break it, mend it, take it down
  evpnd lab run --backend ovs             the same with Open vSwitch and client files
  evpnd lab run --layout single-device    18 endpoints in four overlays, two with equal addresses, one VXLAN device a host
  evpnd lab run --overlays 4              the same overlays with a VXLAN device for each VNI
  evpnd lab up --hosts 5                  leave it standing
  evpnd lab exec h1 -- evpnd show macs
  evpnd lab test
  evpnd lab graph .                       its topology as pictures
  evpnd lab down

A layout that this kernel cannot do is shown in a virtual machine with Debian's kernel, started by the same command.")]
    Lab(LabArgs),
}

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "/etc/evpnd/evpnd.toml")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    #[command(flatten)]
    pub(super) json: Json,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("sources").required(true).multiple(true).args(["gobgp", "evpn_connector"])))]
pub(super) struct MigrateArgs {
    /// The configuration of gobgpd (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) gobgp: Option<PathBuf>,
    /// The configuration of evpn-connector (INI)
    #[arg(long, value_name = "FILE")]
    pub(super) evpn_connector: Option<PathBuf>,
    /// The client files, where evpn-connector has them from --daemon-configs_dir
    #[arg(long, value_name = "DIR")]
    pub(super) clients: Option<PathBuf>,
    /// Fail unless every client file is good
    #[arg(long)]
    pub(super) check_clients: bool,
    /// Write to this file, which must not be there yet, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Say more: once for debug, twice for trace; otherwise $EVPND_LOG decides, or it is info
    #[arg(short, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// How log messages are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Socket {
    /// The control socket of the daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true, display_order = 901)]
    pub(super) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Json {
    /// As JSON
    #[arg(long, global = true, display_order = 900)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(subcommand)]
    pub(super) what: Show,
    #[command(flatten)]
    pub(super) json: Json,
    #[command(flatten)]
    pub(super) socket: Socket,
}

#[derive(Debug, Subcommand)]
pub(super) enum Show {
    /// The neighbours and their sessions
    Neighbors,
    /// The routes, from neighbours and our own
    Routes(RoutesArgs),
    /// The VNIs, and the VLAN of each in layouts that have them
    Vnis,
    /// The MACs of all VNIs, local and remote
    Macs(MacsArgs),
    /// The clients, and what is wrong with their files
    Clients(ClientsArgs),
    /// How what is in the kernel or in Open vSwitch compares with what should be
    Dataplane,
    /// Everything in a few numbers
    Summary,
}

#[derive(Debug, Args)]
pub(super) struct RoutesArgs {
    /// Only routes of this type: 1 Ethernet A-D, 2 MAC/IP, 3 IMET, 4 Ethernet Segment, 5 IP prefix, …
    #[arg(long = "type", value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) route_type: Option<u8>,
    /// Only routes of this VNI
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(super) vni: Option<Vni>,
    /// Only routes from this neighbour
    #[arg(long, value_name = "ADDRESS")]
    pub(super) neighbor: Option<IpAddr>,
    /// Only routes of this MAC
    #[arg(long)]
    pub(super) mac: Option<MacAddr>,
    /// So many, at most
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct MacsArgs {
    /// Only MACs of this VNI
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(super) vni: Option<Vni>,
    /// Only this MAC
    #[arg(long)]
    pub(super) mac: Option<MacAddr>,
    /// So many, at most
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct ClientsArgs {
    /// So many, at most
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A MAC, an IP address or a prefix
    #[arg(value_name = "MAC|IP|PREFIX")]
    pub(super) target: Target,
    /// In this VNI only
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(super) vni: Option<Vni>,
    #[command(flatten)]
    pub(super) json: Json,
    #[command(flatten)]
    pub(super) socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// What to look at
    #[arg(value_enum)]
    pub(super) view: GraphView,
    /// SVG or DOT; when left out, DOT for a file whose name ends in .dot or .gv, else SVG
    #[arg(long, value_enum)]
    pub(super) format: Option<GraphFormat>,
    /// Write to this file, all at once; stdout with `-`, or when left out
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Only this VNI
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(super) vni: Option<Vni>,
    /// Everything, however long
    #[arg(long)]
    pub(super) full: bool,
    /// Not from the daemon: from what `evpnd show routes --json` printed; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// The VLANs of other hosts: what `evpnd show vnis --json` printed on each
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) vnis: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) socket: Socket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphView {
    /// Each host: its VNIs and VLANs, and the MACs and prefixes in them
    Hosts,
    /// Each VNI, and the VLAN that each host knows it by
    Vlans,
    /// Each VNI: its hosts, and the MACs and prefixes behind them
    Overlays,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// A picture, for a browser
    Svg,
    /// The language of Graphviz
    Dot,
}

#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    #[command(subcommand)]
    pub(super) what: ClearWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClearWhat {
    /// A MAC
    Mac {
        /// The MAC
        mac: MacAddr,
        /// In this VNI
        #[arg(long, value_name = "N", value_parser = vni)]
        vni: Vni,
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Stay, and show what happens from now on
    #[arg(short, long)]
    pub(super) follow: bool,
    #[command(flatten)]
    pub(super) json: Json,
    #[command(flatten)]
    pub(super) socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct RouteArgs {
    #[command(subcommand)]
    pub(super) what: RouteCommand,
    #[command(flatten)]
    pub(super) socket: Socket,
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Announce a route
    #[command(subcommand)]
    Add(RouteKind),
    /// Withdraw a route that was announced by hand
    #[command(subcommand)]
    Del(RouteKind),
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteKind {
    /// Type 3: send us what is flooded in a VNI
    Imet {
        #[command(flatten)]
        common: RouteCommon,
    },
    /// Type 2: a MAC, perhaps with its address, is here
    Mac {
        /// The MAC
        #[arg(long, value_parser = host_mac)]
        mac: MacAddr,
        /// Its address
        #[arg(long)]
        ip: Option<IpAddr>,
        /// It must not move elsewhere
        #[arg(long)]
        sticky: bool,
        #[command(flatten)]
        common: RouteCommon,
    },
    /// Type 5: a prefix is behind us
    Prefix {
        /// The prefix
        #[arg(value_parser = network)]
        prefix: IpNet,
        #[command(flatten)]
        common: RouteCommon,
    },
}

#[derive(Debug, Args)]
pub(super) struct RouteCommon {
    /// The VNI
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(super) vni: Vni,
    /// Route distinguisher; the VNI's own, or router-id:VNI
    #[arg(long)]
    pub(super) rd: Option<Rd>,
    /// Route target, as often as needed; those the VNI exports, or AS:VNI
    #[arg(long = "rt", value_name = "RT")]
    pub(super) route_targets: Vec<RouteTarget>,
    /// Next hop; our VTEP address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) next_hop: Option<IpAddr>,
}

fn vni(text: &str) -> Result<Vni, String> {
    let vni = text.parse().ok().filter(|vni| *vni != Vni::ZERO);
    vni.ok_or_else(|| "a VNI is a number from 1 to 16777215".to_owned())
}

fn host_mac(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = text.parse().map_err(|e: types::ParseMacError| e.to_string())?;
    if mac.is_host() { Ok(mac) } else { Err("must be the MAC of one host".to_owned()) }
}

fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| "a prefix is written like 10.0.0.0/24".to_owned())?;
    if net == net.trunc() {
        Ok(net)
    } else {
        Err(format!("has host bits set; did you mean {}?", net.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }
}
