//! The directory: which files are client files, whether one has changed, and what is in it.
//!
//! Nothing in a directory may hold evpnd up or cost it memory: sizes are looked at before a file is opened, what is no
//! regular file is not opened at all, and no more is read than a client file may have.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::io_text;

/// The most that a client file may have. Real ones have some hundred octets.
pub(super) const MAX_SIZE: u64 = 1 << 20;
/// The most files in a directory that are looked at: as many as there are ports.
pub(super) const MAX_FILES: usize = 65_279;
/// Names of other files that are told.
const OTHERS: usize = 5;
/// Two writes this close may leave the same time stamp behind.
const SAME_TICK: Duration = Duration::from_secs(2);

/// Whether a file of this name is a client file: editors and copying tools put their own beside it, hidden or with other
/// endings.
pub(super) fn is_client_file(name: &[u8]) -> bool {
    name.ends_with(b".json") && !name.starts_with(b".")
}

/// What changes whenever a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            size: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }

    /// It changed so recently that it may change again without the stamp showing it.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let age = |(seconds, nanos): (i64, i64)| {
            let at = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
            let now = now.duration_since(UNIX_EPOCH).ok()?;
            Some(now.abs_diff(at))
        };
        age(self.changed).into_iter().chain(age(self.modified)).any(|age| age < SAME_TICK)
    }
}

/// A name in the directory, and what is behind it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: Arc<str>,
    /// Why there is nothing to read, if so.
    pub(super) stamp: Result<Stamp, String>,
}

/// A look at the directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The client files, in order of name.
    pub(super) files: Vec<Found>,
    /// What is wrong beside files: names, or their number.
    pub(super) problem: Option<String>,
    /// Other names, of which some may have been meant to be client files; the first few.
    pub(super) others: Vec<String>,
    /// It could not be listed: nothing is known.
    pub(super) unreadable: bool,
}

/// Lists the client files; symbolic links count as what they point at.
pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !is_client_file(name.as_encoded_bytes()) {
            let name = name.to_string_lossy();
            if listing.others.len() < OTHERS && !name.starts_with('.') && !name.ends_with('~') {
                listing.others.push(name.into_owned());
            }
            continue;
        }
        let path = dir.join(&name);
        let Ok(name) = name.into_string() else {
            listing.problem = Some(format!("{}: its name is not UTF-8: not read", path.display()));
            continue;
        };
        if listing.files.len() >= MAX_FILES {
            listing.problem = Some(format!("more than {MAX_FILES} client files: the rest is not read"));
            break;
        }
        let stamp = match fs::metadata(&path) {
            Ok(file) if file.is_file() => Ok(Stamp::of(&file)),
            Ok(_) => continue,
            // Gone between one call and the next, or a link to nothing?
            Err(error) => match fs::symlink_metadata(&path) {
                Err(_) => continue,
                Ok(link) if link.is_symlink() => {
                    Err(format!("is a symbolic link that leads nowhere: {}", io_text(&error)))
                }
                Ok(_) => Err(format!("cannot be read: {}", io_text(&error))),
            },
        };
        listing.files.push(Found { name: name.into(), stamp });
    }
    listing.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A text.
    Text(String),
    /// Nothing: perhaps somebody is about to write it.
    Empty,
    /// Why nothing can be made of it.
    Bad(String),
}

/// Reads a file, if it is one that a client can be in.
pub(super) fn read(path: &Path) -> Content {
    let open = || -> io::Result<(File, Metadata)> {
        // Not blocking: it may have become a FIFO by now.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = match open() {
        Ok(opened) => opened,
        Err(error) => return Content::Bad(format!("cannot be read: {}", io_text(&error))),
    };
    if !metadata.is_file() {
        return Content::Bad("is no regular file".to_owned());
    }
    if metadata.len() > MAX_SIZE {
        let size = metadata.len() / 1024;
        return Content::Bad(format!("has {size} KiB, a client file at most {}: not read", MAX_SIZE / 1024));
    }
    let mut octets = Vec::with_capacity(metadata.len() as usize);
    match file.take(MAX_SIZE + 1).read_to_end(&mut octets) {
        Ok(n) if n as u64 > MAX_SIZE => Content::Bad("grows while it is read".to_owned()),
        Ok(0) => Content::Empty,
        Ok(_) => match String::from_utf8(octets) {
            Ok(text) if text.trim().is_empty() => Content::Empty,
            Ok(text) => Content::Text(text),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let line = String::from_utf8_lossy(&error.as_bytes()[..good]).matches('\n').count() + 1;
                Content::Bad(format!("is not UTF-8: octet {} in line {line}", good + 1))
            }
        },
        Err(error) if error.kind() == ErrorKind::WouldBlock => Content::Bad("is no regular file".to_owned()),
        Err(error) => Content::Bad(format!("cannot be read: {}", io_text(&error))),
    }
}
