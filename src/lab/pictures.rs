//! The lab's network as its controller sees it, in three pictures.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::topology::Net;
use super::{Error, Result, state};
use crate::graph::View;

/// Draws all views into a directory that is made where it is missing; in words, what is there now.
pub(super) fn draw(net: &Net, dir: &Path) -> Result<String> {
    fs::create_dir_all(dir).map_err(|e| Error::new(format!("{}: {e}", dir.display())))?;
    // Which VLANs a host has is told by no route, but by the host.
    let mut vnis = Vec::new();
    for host in &net.hosts {
        let file = format!("/run/{}.json", host.node.name());
        net.controller.write(&file, &host.node.evpnd_run(&["show", "vnis", "--json"])?)?;
        vnis.push(file);
    }
    let vnis: Vec<&str> = vnis.iter().map(String::as_str).collect();
    let mut names = Vec::new();
    for view in View::ALL {
        let picture = net.controller.evpnd_run(&[&["graph", view.name(), "--vnis"][..], &vnis].concat())?;
        let name = format!("{}.svg", view.name());
        let file = dir.join(&name);
        fs::write(&file, picture).map_err(|e| Error::new(format!("{}: {e}", file.display())))?;
        names.push(name);
    }
    Ok(format!("{} in {}", names.join(", "), dir.display()))
}

/// Where pictures go when nobody says where: a directory of this user's own, beside the file of a standing lab.
pub(super) fn own_dir() -> Result<PathBuf> {
    let dir = state::file()?.with_extension("");
    let fail = |e: std::io::Error| Error::new(format!("{}: {e}", dir.display()));
    match fs::DirBuilder::new().mode(0o755).create(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.map_err(fail)?,
    }
    // In /tmp, somebody else may have been there first, with a link to who knows where.
    let meta = fs::symlink_metadata(&dir).map_err(fail)?;
    if meta.is_dir() && meta.uid() == state::uid()? {
        Ok(dir)
    } else {
        Err(Error::new(format!("{} is not ours", dir.display())))
    }
}
