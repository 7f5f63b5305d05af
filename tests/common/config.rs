//! Configurations of evpnd, put together from the few things a test cares about.

use std::fmt::Write as _;

/// A configuration in the making. Texts that are added are TOML lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    router: String,
    bgp: String,
    peers: String,
    dataplane: String,
    vnis: String,
}

impl Config {
    /// A host with the kernel as dataplane; its VTEP address is its router id.
    pub(crate) fn host(asn: u32, vtep: &str) -> Self {
        Self {
            router: format!("[router]\nasn = {asn}\nrouter-id = \"{vtep}\"\n"),
            // Quick to try again, or a test that kills things would wait.
            bgp: "\n[bgp]\nconnect-retry = 1\n".to_owned(),
            dataplane: format!("\n[dataplane]\nbackend = \"kernel\"\nvtep = \"{vtep}\"\n"),
            ..Self::default()
        }
    }

    /// A controller: no dataplane.
    pub(crate) fn controller(asn: u32, router_id: &str) -> Self {
        Self { dataplane: "\n[dataplane]\nbackend = \"none\"\n".to_owned(), ..Self::host(asn, router_id) }
    }

    /// A host with Open vSwitch in userspace as dataplane, its clients in `/run/clients`.
    pub(crate) fn ovs(asn: u32, vtep: &str) -> Self {
        Self {
            dataplane: format!("\n[dataplane]\nbackend = \"ovs\"\nvtep = \"{vtep}\"\n"),
            vnis: format!(
                "\n[dataplane.ovs]\ndatapath = \"{}\"\n\n[clients]\ndir = \"/run/clients\"\n",
                evpnd::lab::datapath()
            ),
            ..Self::host(asn, vtep)
        }
    }

    /// A neighbour; `remote_asn` is a number or a word.
    pub(crate) fn neighbor(mut self, address: &str, remote_asn: &str, more: &str) -> Self {
        let remote_asn = quoted(remote_asn);
        let _ = write!(
            self.peers,
            "\n[[bgp.neighbor]]\naddress = \"{address}\"\nremote-asn = {remote_asn}\n{more}\n"
        );
        self
    }

    /// A range neighbours may come from.
    pub(crate) fn range(mut self, range: &str, remote_asn: &str, more: &str) -> Self {
        let remote_asn = quoted(remote_asn);
        let _ = write!(
            self.peers,
            "\n[[bgp.dynamic-neighbor]]\nrange = \"{range}\"\nremote-asn = {remote_asn}\n{more}\n"
        );
        self
    }

    /// Lines of `[bgp]`.
    pub(crate) fn bgp(mut self, lines: &str) -> Self {
        let _ = writeln!(self.bgp, "{lines}");
        self
    }

    /// Lines of `[dataplane]`.
    pub(crate) fn dataplane(mut self, lines: &str) -> Self {
        let _ = writeln!(self.dataplane, "{lines}");
        self
    }

    /// A VNI with its interfaces and the route target `65000:VNI`.
    pub(crate) fn vni(self, vni: u32, interfaces: &[&str]) -> Self {
        let rt = format!("import-rt = [\"65000:{vni}\"]\nexport-rt = [\"65000:{vni}\"]");
        self.bare_vni(vni, &format!("{rt}\ninterfaces = {interfaces:?}"))
    }

    /// A VNI with nothing but these lines.
    pub(crate) fn bare_vni(mut self, vni: u32, lines: &str) -> Self {
        let _ = write!(self.vnis, "\n[[l2vni]]\nvni = {vni}\n{lines}\n");
        self
    }

    /// The file.
    pub(crate) fn toml(&self) -> String {
        [&self.router, &self.bgp, &self.peers, &self.dataplane, &self.vnis].map(String::as_str).concat()
    }
}

fn quoted(remote_asn: &str) -> String {
    if remote_asn.parse::<u32>().is_ok() { remote_asn.to_owned() } else { format!("{remote_asn:?}") }
}
