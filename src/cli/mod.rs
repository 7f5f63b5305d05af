//! The `evpnd` command: arguments in, text and an exit code out.
//!
//! Exit codes: 0 done, 1 a problem with a message on stderr, 2 wrong usage (clap's).

mod args;
mod graph;
mod log;
mod migrate;
mod plan;
mod show;
mod table;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use crate::clients::{self, Ases};
use crate::config::{Config, ConfigErrors};
use crate::control::{
    ClearMac, Client, ClientError, EventsQuery, ExplainQuery, LocalKind, LocalRoute, Reply, Request,
};
use args::{ClearArgs, ClearWhat, Cli, Command, RouteCommand, RouteCommon, RouteKind};

/// Runs the command that the arguments of this process name. `run` is the daemon: it is given the configuration and
/// the file it came from, and returns when it has been told to stop.
pub fn main(run: fn(Config, PathBuf) -> Result<()>) -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = command(cli.command, run, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `evpnd show routes | head`: whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Problems of a file begin with its name, those with the daemon with "evpnd".
            if error.is::<ConfigErrors>() || error.is::<ClientErrors>() || error.is::<ClientError>() {
                eprintln!("{error}");
            } else {
                eprintln!("evpnd: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn command(command: Command, run: fn(Config, PathBuf) -> Result<()>, out: &mut dyn Write) -> Result<()> {
    match command {
        Command::Run(args) => {
            let log = log::init(args.verbose, args.log_format)?;
            let config = Config::load(&args.file.config)?;
            let result = run(config, args.file.config);
            log.flush();
            result
        }
        Command::Check(file) => {
            let config = Config::load(&file.config)?;
            writeln!(out, "{}: ok ({})", file.config.display(), config.summary())?;
            match &config.clients {
                Some(clients) => check_clients(&clients.dir, Ases::of(&config), out),
                None => Ok(()),
            }
        }
        Command::Plan(args) => plan::run(&Config::load(&args.file.config)?, args.json.json, out),
        Command::Migrate(args) => migrate::run(&args, out),
        Command::Reload(socket) => tell(&mut Client::connect(&socket.socket)?, &Request::Reload, out),
        Command::Show(args) => {
            show::show(&args.what, args.json.json, &mut Client::connect(&args.socket.socket)?, out)
        }
        Command::Explain(args) => {
            let request = Request::Explain(ExplainQuery { target: args.target, vni: args.vni });
            show::once(&request, args.json.json, &mut Client::connect(&args.socket.socket)?, out)
        }
        Command::Clear(ClearArgs { what: ClearWhat::Mac { mac, vni, socket } }) => {
            tell(&mut Client::connect(&socket.socket)?, &Request::ClearMac(ClearMac { vni, mac }), out)
        }
        Command::Graph(args) => {
            if let Some(conflict) = graph::conflict(&args) {
                wrong_usage("graph", ErrorKind::ArgumentConflict, conflict);
            }
            graph::graph(&args, out)
        }
        Command::Events(args) => {
            let query = EventsQuery { follow: args.follow };
            show::events(query, args.json.json, &mut Client::connect(&args.socket.socket)?, out)
        }
        Command::Route(args) => {
            let request = match args.what {
                RouteCommand::Add(kind) => Request::RouteAdd(local_route(kind)),
                RouteCommand::Del(kind) => Request::RouteDel(local_route(kind)),
            };
            tell(&mut Client::connect(&args.socket.socket)?, &request, out)
        }
        Command::Lab(args) => {
            if let Some(conflict) = args.conflict() {
                wrong_usage("lab", ErrorKind::ArgumentConflict, conflict);
            }
            Ok(crate::lab::main(&args)?)
        }
    }
}

/// Ends this process as clap does, with the usage of that command.
fn wrong_usage(command: &str, kind: ErrorKind, message: impl fmt::Display) -> ! {
    let mut all = Cli::command();
    all.build();
    all.find_subcommand_mut(command).map_or_else(
        || Cli::command().error(kind, &message).exit(),
        |command| command.error(kind, &message).exit(),
    )
}

/// `evpnd check` of a directory of clients: all that is wrong with any of them.
fn check_clients(dir: &Path, ases: Ases, out: &mut dyn Write) -> Result<()> {
    let loaded = clients::load(dir, ases);
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    if let Some(problem) = &loaded.problem {
        eprintln!("{problem}");
    }
    if !loaded.others.is_empty() {
        let names = loaded.others.join(", ");
        eprintln!("{}: not read, since their names do not end in .json: {names}", dir.display());
    }
    if !loaded.errors.is_empty() {
        return Err(ClientErrors(loaded.errors).into());
    }
    let n = loaded.clients.len();
    Ok(writeln!(out, "{}: ok ({n} {})", dir.display(), if n == 1 { "client" } else { "clients" })?)
}

/// Problems of client files.
#[derive(Debug)]
struct ClientErrors(Vec<ConfigErrors>);

impl fmt::Display for ClientErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, errors) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            errors.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientErrors {}

/// A request that is answered in words.
fn tell(client: &mut Client, request: &Request, out: &mut dyn Write) -> Result<()> {
    match client.call(request)? {
        Reply::Done(text) => Ok(writeln!(out, "{text}")?),
        _ => Err(show::unexpected()),
    }
}

fn local_route(kind: RouteKind) -> LocalRoute {
    let (kind, common) = match kind {
        RouteKind::Imet { common } => (LocalKind::Imet, common),
        RouteKind::Mac { mac, ip, sticky, common } => (LocalKind::Mac { mac, ip, sticky }, common),
        RouteKind::Prefix { prefix, common } => (LocalKind::Prefix(prefix), common),
    };
    let RouteCommon { vni, rd, route_targets, next_hop } = common;
    LocalRoute { kind, vni, rd, route_targets, next_hop }
}
