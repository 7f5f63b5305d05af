//! `evpnd migrate`: what gobgpd and evpn-connector were told, as an evpnd.toml.
//!
//! The result is a text to be read: every line that could not be carried over is told where it would stand, with the
//! place it came from and what follows. Nothing is left out in silence: keys that nobody asked for are told as well.
//! `docs/migration.md` has the whole move.
//!
//! - `source`: gobgpd's TOML as flat keys with their lines; `ini`: evpn-connector's file
//! - `bgp`: gobgpd's part; `ovs`: evpn-connector's; `page`: the text and its remarks

mod bgp;
mod ini;
mod ovs;
mod page;
mod source;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::clients::{self, Ases};
use crate::config::{Config, ConfigErrors, io_text};
use dataplane::intent::Service;
use page::Page;

/// What the move starts from; at least one of the two files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// gobgpd's configuration.
    pub gobgp: Option<&'a Path>,
    /// evpn-connector's.
    pub connector: Option<&'a Path>,
    /// The directory of client files, where evpn-connector was told on its command line.
    pub clients: Option<&'a Path>,
}

/// What became of it.
#[derive(Debug)]
pub struct Migrated {
    /// The evpnd.toml.
    pub text: String,
    /// What it comes to: `2 neighbours, 0 VNIs`; or what has to be mended by hand before evpnd takes it.
    pub outcome: Result<String, ConfigErrors>,
    /// What worked before and will not, one line each.
    pub lost: Vec<String>,
    /// So many keys have no counterpart, and need none.
    pub needless: usize,
    /// The client files, if their directory is on this machine.
    pub clients: Option<ClientFiles>,
}

/// How evpnd finds the client files.
#[derive(Debug, Default)]
pub struct ClientFiles {
    /// Where they are.
    pub dir: PathBuf,
    /// So many it takes.
    pub good: usize,
    /// What is wrong with others, or with the directory.
    pub problems: Vec<String>,
    /// Other files there, which evpn-connector may have read and evpnd does not: the first few.
    pub others: Vec<String>,
    /// L2 clients that give an address: evpn-connector did not look at it, evpnd drops what comes from others.
    pub bound: usize,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, String),
    /// A file is not what it should be; its line, if it is about one.
    #[error("{}: {what}", Place(.name, *.line))]
    Malformed {
        /// The file.
        name: String,
        /// The line; 0: none.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A place in a source: `gobgp.conf:12`.
struct Place<'a>(&'a str, usize);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => f.write_str(self.0),
            line => write!(f, "{}:{line}", self.0),
        }
    }
}

/// What one source needs to know of the other.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// gobgpd's AS.
    asn: Option<u32>,
    /// evpn-connector's as_number.
    rt_asn: Option<u32>,
    vtep: Option<IpAddr>,
}

/// Makes an evpnd.toml of what is there.
///
/// # Errors
/// A file cannot be read, or is not of its kind. A file whose content evpnd does not like is no error here: see
/// [`Migrated::outcome`].
pub fn migrate(sources: Sources<'_>) -> Result<Migrated, Error> {
    let gobgp = sources.gobgp.map(|path| read(path).and_then(|text| bgp::Gobgp::read(&name(path), &text)));
    let connector =
        sources.connector.map(|path| read(path).and_then(|text| ovs::Connector::read(&name(path), &text)));
    let (gobgp, connector) = (gobgp.transpose()?, connector.transpose()?);
    Ok(compose(gobgp, connector, sources.clients))
}

fn compose(
    mut gobgp: Option<bgp::Gobgp>,
    mut connector: Option<ovs::Connector>,
    clients: Option<&Path>,
) -> Migrated {
    let node = Node {
        asn: gobgp.as_ref().and_then(bgp::Gobgp::asn),
        rt_asn: connector.as_ref().map(ovs::Connector::as_number),
        vtep: connector.as_ref().and_then(ovs::Connector::vtep),
    };
    let mut page = Page::default();
    let from: Vec<_> =
        gobgp.iter().map(|g| g.name.as_str()).chain(connector.iter().map(|c| c.name.as_str())).collect();
    page.comment(&format!("Made by `evpnd migrate` from {}.", from.join(" and ")));
    page.comment("What could not be carried over is told where it would stand, with the line it came from.");
    bgp::write(gobgp.as_mut(), node, &mut page);
    let dir = ovs::write(connector.as_mut(), node, clients, &mut page);
    let outcome =
        Config::parse(&page.text, "evpnd.toml", Path::new("/etc/evpnd")).map(|config| config.summary());
    let zero = node.rt_asn.or(node.asn).unwrap_or(1);
    let ases = Ases { own: node.asn.unwrap_or(zero), zero };
    Migrated {
        outcome,
        clients: dir.filter(|dir| clients.is_some() || dir.exists()).map(|dir| look(dir, ases)),
        text: page.text,
        lost: page.lost,
        needless: page.needless,
    }
}

/// Reads client files as the daemon will.
fn look(dir: PathBuf, ases: Ases) -> ClientFiles {
    let loaded = clients::load(&dir, ases);
    let bound = |c: &&crate::evpn::ClientConfig| {
        c.client.anti_spoof && matches!(&c.client.service, Service::L2 { ips, .. } if !ips.is_empty())
    };
    let wrong = loaded.errors.iter().flat_map(ConfigErrors::lines);
    ClientFiles {
        dir,
        good: loaded.clients.len(),
        others: loaded.others,
        bound: loaded.clients.iter().filter(bound).count(),
        problems: loaded.problem.into_iter().chain(wrong).collect(),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |why: &str| Error::Unreadable(path.display().to_string(), why.to_owned());
    let octets = std::fs::read(path).map_err(|e| unreadable(&io_text(&e)))?;
    String::from_utf8(octets).map_err(|_| unreadable("it is not UTF-8"))
}
