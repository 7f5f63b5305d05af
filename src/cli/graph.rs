//! `evpnd graph`: rows from a daemon or a file, a picture to a file or stdout.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::args::{GraphArgs, GraphFormat, GraphView};
use crate::control::Client;
use crate::graph::{Limits, Model, View, dot, read, svg};

/// `evpnd graph`
pub(super) fn graph(args: &GraphArgs, out: &mut dyn Write) -> Result<()> {
    let model = model(args)?;
    let limits = if args.full { Limits::FULL } else { Limits::FOLDED };
    let view = match args.view {
        GraphView::Hosts => View::Hosts,
        GraphView::Vlans => View::Vlans,
        GraphView::Overlays => View::Overlays,
    };
    let picture = match format(args) {
        GraphFormat::Svg => svg(&model, view, limits),
        GraphFormat::Dot => dot(&model, view, limits),
    };
    match &args.output {
        Some(file) if file != Path::new("-") => {
            write(file, &picture).with_context(|| file.display().to_string())
        }
        _ => Ok(out.write_all(picture.as_bytes())?),
    }
}

fn model(args: &GraphArgs) -> Result<Model> {
    let mut vlans = read::Vlans::new();
    for file in &args.vnis {
        let name = || file.display().to_string();
        let opened = File::open(file).with_context(name)?;
        vlans.extend(read::vlans(BufReader::new(opened)).with_context(name)?);
    }
    let Some(file) = &args.from else {
        return match read::from_daemon(&mut Client::connect(&args.socket.socket)?, args.vni, vlans) {
            // Told as those of all other commands are.
            Err(read::Error::Client(error)) => Err(error.into()),
            other => Ok(other?),
        };
    };
    if file == Path::new("-") {
        return read::from_json(io::stdin().lock(), args.vni, vlans).context("stdin");
    }
    let name = || file.display().to_string();
    let opened = File::open(file).with_context(name)?;
    read::from_json(BufReader::new(opened), args.vni, vlans).with_context(name)
}

/// The end of the file's name, in small letters.
fn ending(args: &GraphArgs) -> Option<String> {
    Some(args.output.as_ref()?.extension()?.to_str()?.to_ascii_lowercase())
}

fn format(args: &GraphArgs) -> GraphFormat {
    let named = ending(args).is_some_and(|ending| ending == "dot" || ending == "gv");
    args.format.unwrap_or(if named { GraphFormat::Dot } else { GraphFormat::Svg })
}

/// Why these arguments are of no use together, if so: SVG in a file that calls itself PNG is shown by nothing.
pub(super) fn conflict(args: &GraphArgs) -> Option<String> {
    const OTHERS: [&str; 8] = ["eps", "gif", "jpeg", "jpg", "pdf", "png", "ps", "webp"];
    let ending = ending(args).filter(|ending| OTHERS.contains(&ending.as_str()))?;
    args.format.is_none().then(|| {
        format!(
            "--output: evpnd writes SVG and DOT, no {}; Graphviz does, from DOT: --format dot | dot -T{ending}",
            ending.to_ascii_uppercase()
        )
    })
}

/// A reader of the file sees the picture before or this one, never a part.
fn write(file: &Path, picture: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    // A device or a pipe is written to, not replaced.
    if fs::metadata(file).is_ok_and(|m| !m.is_file()) {
        return fs::write(file, picture);
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = Path::new(&name);
    fs::write(new, picture).and_then(|()| fs::rename(new, file)).inspect_err(|_| {
        let _ = fs::remove_file(new);
    })
}
