//! The daemon's end of the control socket: clients in, [`Call`]s out.
//!
//! Everything is bounded: how many clients there are, how long a request may be, how long a client may say nothing, how
//! long it may take to read a reply. The core is never waited for by more than one request a client, and never waits.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Reply, Request};

/// So many clients at the same time.
const MAX_CLIENTS: usize = 64;
/// The longest request, in octets.
const MAX_REQUEST: u64 = 64 * 1024;
/// A client that says nothing for so long is sent away; so is one that does not read for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Replies on their way to one client; only one that follows events ever has more than one.
const REPLIES: usize = 16;

/// One request on its way to the core.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes: one, with `try_send`, which never finds it full. For [`Request::Events`] with `follow`
    /// this is kept and every batch is `try_send`ed: closed means the client has gone, full that it reads too slowly
    /// and misses this batch. Dropping it ends the client's stream.
    pub reply: mpsc::Sender<Reply>,
}

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the control socket, mode 0660. A socket that a dead evpnd left behind is replaced; one that somebody answers
/// on is not ([`io::ErrorKind::AddrInUse`]). Must be called within a tokio runtime.
pub fn bind(path: &Path) -> io::Result<Listener> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    }
    let inner = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    let listener = Listener { inner, path: path.to_owned() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another evpnd is running on it")),
        Err(error) => Err(error),
    }
}

/// Serves clients until the core has gone (its end of `core` is dropped). Dropping the future ends all clients.
pub async fn serve(listener: Listener, core: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.inner.accept() => accepted,
            Some(_) = clients.join_next() => continue,
            () = core.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let core = core.clone();
                    clients.spawn(async move {
                        if let Err(error) = client(stream, &core).await {
                            debug!(%error, "control client");
                        }
                        drop(place);
                    });
                }
                Err(_) => refuse(&stream),
            },
            Err(error) => {
                // Out of file descriptors, most likely: nothing but time will help.
                warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn refuse(stream: &UnixStream) {
    let reply = Reply::Error(format!("evpnd has {MAX_CLIENTS} clients already; try again later"));
    if let Ok(line) = encode(&reply) {
        let _ = stream.try_write(&line);
    }
}

/// One client, from its first request to its last.
async fn client(stream: UnixStream, core: &mpsc::Sender<Call>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_REQUEST);
        match timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await {
            Err(_) | Ok(Ok(0)) => return Ok(()),
            Ok(result) => result?,
        };
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_REQUEST {
            let message = format!("a request has at most {MAX_REQUEST} octets");
            return write(&mut writer, Reply::Error(message)).await;
        }
        let request: Request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("this evpnd does not understand the request: {error}");
                write(&mut writer, Reply::Error(message)).await?;
                continue;
            }
        };
        let follow = matches!(&request, Request::Events(query) if query.follow);
        let (reply, mut replies) = mpsc::channel(REPLIES);
        if core.send(Call { request, reply }).await.is_err() {
            return write(&mut writer, stopping()).await;
        }
        if follow {
            return follow_events(&mut reader, &mut writer, replies).await;
        }
        let reply = replies.recv().await.unwrap_or_else(stopping);
        write(&mut writer, reply).await?;
    }
}

/// Passes on what comes, until the core ends it or the client says anything or hangs up.
async fn follow_events(
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    mut replies: mpsc::Receiver<Reply>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            _ = reader.fill_buf() => return Ok(()),
            reply = replies.recv() => match reply {
                Some(reply) => write(writer, reply).await?,
                None => return Ok(()),
            },
        }
    }
}

fn stopping() -> Reply {
    Reply::Error("evpnd is stopping".to_owned())
}

fn encode(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends a reply; its rows are gone before the first octet is.
async fn write(writer: &mut OwnedWriteHalf, reply: Reply) -> io::Result<()> {
    let line = encode(&reply)?;
    drop(reply);
    match timeout(PATIENCE, writer.write_all(&line)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")),
    }
}
