//! `evpnd migrate`: the text to stdout or a file, what it comes to to stderr.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::args::MigrateArgs;
use crate::config::io_text;
use crate::migrate::{ClientFiles, Migrated, Sources, migrate};

/// So many problems of client files are shown.
const SHOWN: usize = 10;

pub(super) fn run(args: &MigrateArgs, out: &mut dyn Write) -> Result<()> {
    let migrated = migrate(Sources {
        gobgp: args.gobgp.as_deref(),
        connector: args.evpn_connector.as_deref(),
        clients: args.clients.as_deref(),
    })?;
    if let Some(path) = &args.output {
        write_new(path, &migrated.text).with_context(|| format!("{} cannot be written", path.display()))?;
    } else {
        out.write_all(migrated.text.as_bytes())?;
        out.flush()?;
    }
    let name =
        args.output.as_deref().map_or_else(|| "evpnd.toml".to_owned(), |path| path.display().to_string());
    summarise(&migrated, &name, &mut io::stderr().lock())?;
    if migrated.outcome.is_err() {
        bail!("{name} has to be mended by hand before evpnd takes it");
    }
    let broken = migrated.clients.as_ref().is_none_or(|clients| !clients.problems.is_empty());
    if args.check_clients && broken {
        bail!("not all client files are good");
    }
    Ok(())
}

/// A file of our own only: it may hold passwords, and nobody's configuration is to be lost.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| anyhow::anyhow!(io_text(&error)))?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

fn summarise(migrated: &Migrated, name: &str, err: &mut dyn Write) -> io::Result<()> {
    match &migrated.outcome {
        Ok(summary) => writeln!(err, "{name}: {summary}")?,
        Err(errors) => writeln!(err, "{errors}")?,
    }
    if migrated.lost.is_empty() {
        writeln!(err, "Everything was carried over.")?;
    } else {
        writeln!(err, "Look at what could not be carried over:")?;
        for lost in &migrated.lost {
            writeln!(err, "  {lost}")?;
        }
    }
    match migrated.needless {
        0 => {}
        1 => writeln!(err, "1 other setting has no counterpart and needs none; see the comments.")?,
        n => writeln!(err, "{n} other settings have no counterpart and need none; see the comments.")?,
    }
    migrated.clients.as_ref().map_or(Ok(()), |clients| client_files(clients, err))
}

fn client_files(clients: &ClientFiles, err: &mut dyn Write) -> io::Result<()> {
    let files = |n: usize| if n == 1 { "client file is" } else { "client files are" };
    let (dir, good) = (clients.dir.display(), clients.good);
    write!(err, "{dir}: {good} {} good", files(good))?;
    match clients.problems.len() {
        0 => writeln!(err, ".")?,
        1 => writeln!(err, "; 1 problem:")?,
        n => writeln!(err, "; {n} problems:")?,
    }
    for problem in clients.problems.iter().take(SHOWN) {
        writeln!(err, "  {problem}")?;
    }
    if clients.problems.len() > SHOWN {
        writeln!(err, "  and {} more: see `evpnd check`", clients.problems.len() - SHOWN)?;
    }
    if !clients.others.is_empty() {
        let names = clients.others.join(", ");
        writeln!(err, "Not read by evpnd, since the name does not end in .json: {names}")?;
    }
    if clients.bound > 0 {
        writeln!(
            err,
            "{} of type l2 {} \"ip\", which evpn-connector ignores: what {} from other addresses will be dropped, unless \
             \"anti_spoof\": false is in the file.",
            clients.bound,
            if clients.bound == 1 { "has" } else { "have" },
            if clients.bound == 1 { "it sends" } else { "they send" },
        )?;
    }
    Ok(())
}
