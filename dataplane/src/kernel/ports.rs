//! The ports that were attached here: which ones may be released, in this run and in the ones that follow it.
//!
//! A bridge says what is in it, not who put it there; `libvirt`, or somebody who looks for a fault, may put interfaces
//! into a bridge of ours, and those are left alone. An interface is not ours to mark, either. So a file says which were
//! attached here. It is in the directory of the control socket, which a reboot empties as it does the bridges, and it has
//! a line for each change: the index of the port, that of the bridge (0 once it was released), its name. The last line of a port
//! counts, while all three are still so. What has become of others is left out when the file has grown by as much as it needs, so
//! that a port costs its line, however many there are.
//!
//! What an earlier run attached is not released before it is known what is wanted now ([`Ports::settle`]): a port that
//! one has only not heard of yet must not leave its bridge for a moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::links::{Link, Links};

/// A port that was attached here.
#[derive(Debug)]
struct Attached {
    /// To this bridge.
    bridge: u32,
    name: String,
    /// By an earlier run, and it is not yet known what is wanted in this one.
    earlier: bool,
}

/// Ports that were attached here, by index: another interface of the same name is another one.
#[derive(Debug, Default)]
pub(super) struct Ports {
    file: Option<PathBuf>,
    all: BTreeMap<u32, Attached>,
    /// Lines in the file, if it is this run's.
    lines: usize,
    /// The file could not be written, which was told.
    unwritten: bool,
}

/// Lines that the file may have beside twice those that it needs.
const SPARE: usize = 64;

fn line(index: u32, bridge: u32, name: &str) -> String {
    format!("{index} {bridge} {name}\n")
}

impl Ports {
    /// What the file says, as far as it is still so. Nothing is written.
    pub(super) fn read(file: Option<PathBuf>, links: &Links) -> Self {
        let text = file.as_deref().map_or(Ok(String::new()), fs::read_to_string).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = file.as_deref().unwrap_or(Path::new("")).display();
                tracing::warn!("ports attached by an earlier run stay attached: {path}: {error}");
            }
            String::new()
        });
        let attached = |line: &str| {
            let mut words = line.split_whitespace();
            let (index, bridge) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some((index, Attached { bridge, name: words.next()?.to_owned(), earlier: true }))
        };
        let mut all: BTreeMap<u32, Attached> = text.lines().filter_map(attached).collect();
        all.retain(|index, attached| {
            let link = links.get(*index).filter(|link| link.name == attached.name);
            link.is_some_and(|link| link.master == Some(attached.bridge))
        });
        Self { file, all, lines: 0, unwritten: false }
    }

    /// A link is, or is about to be, a port of a bridge on our behalf.
    pub(super) fn insert(&mut self, link: &Link, bridge: u32) {
        let new = Attached { bridge, name: link.name.clone(), earlier: false };
        let old = self.all.insert(link.index, new);
        if old.is_none_or(|old| old.bridge != bridge || old.name != link.name) {
            self.write(&line(link.index, bridge, &link.name));
        }
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some(attached) = self.all.remove(&index) {
            self.write(&line(index, 0, &attached.name));
        }
    }

    /// A link went, and with a bridge all that was in it. The lines of these mean nothing any more; they go with the next
    /// that changes, or with the last.
    pub(super) fn link_gone(&mut self, index: u32) {
        let before = self.all.len();
        self.all.retain(|port, attached| *port != index && attached.bridge != index);
        if self.all.is_empty() && before > 0 {
            self.write("");
        }
    }

    /// Is this link where it was put here?
    pub(super) fn contains(&self, link: &Link) -> bool {
        self.all.get(&link.index).is_some_and(|attached| link.master == Some(attached.bridge))
    }

    /// And may it be released, if nobody wants it?
    pub(super) fn may_go(&self, link: &Link) -> bool {
        self.contains(link) && !self.all[&link.index].earlier
    }

    /// What is wanted is known: from now on that counts for the ports of earlier runs, too.
    pub(super) fn settle(&mut self) {
        self.all.values_mut().for_each(|attached| attached.earlier = false);
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        self.all.keys().copied()
    }

    /// Writes what changed, or, now and then, all that is.
    fn write(&mut self, change: &str) {
        let Some(file) = &self.file else { return };
        let appends = self.lines > 0 && self.lines < 2 * self.all.len() + SPARE;
        self.lines = if appends { self.lines + 1 } else { self.all.len() };
        let result = if self.all.is_empty() {
            fs::remove_file(file)
                .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        } else if appends {
            fs::OpenOptions::new()
                .append(true)
                .open(file)
                .and_then(|mut file| file.write_all(change.as_bytes()))
        } else {
            let mut text = String::from("# attached by evpnd: index, index of the bridge, name\n");
            text.extend(self.all.iter().map(|(index, port)| line(*index, port.bridge, &port.name)));
            // Whoever reads it after a crash finds it whole.
            let new = file.with_extension("new");
            fs::write(&new, text).and_then(|()| fs::rename(&new, file))
        };
        if result.is_err() || self.all.is_empty() {
            self.lines = 0;
        }
        let unwritten = result.is_err();
        if let Err(error) = result
            && !self.unwritten
        {
            let path = file.display();
            tracing::warn!(
                "{path}: {error}: ports that evpnd attaches now would not be released after a restart"
            );
        }
        self.unwritten = unwritten;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::link;
    use super::super::links::Kind;
    use super::*;

    fn port(index: u32, name: &str, master: Option<u32>) -> Link {
        Link { master, ..link(index, name, Kind::Other("veth".into())) }
    }

    fn links<const N: usize>(all: [Link; N]) -> Links {
        let mut links = Links::default();
        for link in all {
            links.insert(link);
        }
        links
    }

    #[test]
    fn the_next_run_knows_what_is_still_so() {
        let dir = std::env::temp_dir().join(format!("evpnd-ports-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("evpnd.ports");
        let read = |links: &Links| Ports::read(Some(file.clone()), links);

        let mut ports = read(&Links::default());
        for index in 5..=8 {
            ports.insert(&port(index, &format!("tap{index}"), None), 10);
        }
        assert!(!ports.contains(&port(5, "tap5", None)), "not yet");
        assert!(ports.may_go(&port(5, "tap5", Some(10))));

        // One moved to another bridge, one went and another has its name, one has another name: who knows.
        let (same, moved) = (port(5, "tap5", Some(10)), port(6, "tap6", Some(11)));
        let (other, renamed) = (port(17, "tap7", Some(10)), port(8, "x", Some(10)));
        let now = links([same.clone(), moved.clone(), other.clone(), renamed.clone()]);
        let mut ports = read(&now);
        let known = [&same, &moved, &other, &renamed].map(|link| ports.contains(link));
        assert_eq!(known, [true, false, false, false]);
        // Nothing happens to it before what is wanted is known.
        assert!(!ports.may_go(&same));
        ports.settle();
        assert!(ports.may_go(&same) && !ports.may_go(&moved));

        // What has only been looked at is as it was; what is attached nowhere any more leaves no file.
        assert!(read(&now).contains(&same));
        ports.insert(&moved, 11);
        ports.remove(5);
        assert!(!read(&now).contains(&same) && read(&now).contains(&moved));
        ports.link_gone(11);
        assert!(!file.exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_port_costs_its_line_and_the_file_does_not_grow_for_ever() {
        let dir = std::env::temp_dir().join(format!("evpnd-ports-lines-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("evpnd.ports");
        let mut ports = Ports::read(Some(file.clone()), &Links::default());
        let length = || fs::metadata(&file).unwrap().len();
        for index in 1..=1000 {
            ports.insert(&port(index, "tap", None), 50_000);
        }
        let before = length();
        ports.insert(&port(1001, "tap", None), 50_000);
        assert_eq!(length() - before, "1001 50000 tap\n".len() as u64);
        // One that was released and came back by somebody else's hand is not ours.
        ports.remove(1001);
        let back = links([port(1001, "tap", Some(50_000)), port(1000, "tap", Some(50_000))]);
        let next = Ports::read(Some(file.clone()), &back);
        assert_eq!(next.indices().collect::<Vec<_>>(), [1000]);
        for index in 2000..20_000 {
            ports.insert(&port(index, "tap", None), 50_000);
            ports.link_gone(index);
        }
        assert!(length() < 3 * before, "{}", length());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn without_a_file_it_works_for_this_run() {
        let mut ports = Ports::read(Some("/nowhere/at/all".into()), &Links::default());
        ports.insert(&port(5, "tap5", None), 10);
        assert!(ports.may_go(&port(5, "tap5", Some(10))));
        let mut ports = Ports::read(None, &Links::default());
        ports.insert(&port(5, "tap5", None), 10);
        assert!(ports.may_go(&port(5, "tap5", Some(10))));
    }
}
