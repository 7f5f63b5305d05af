//! The command line's end of the control socket. A command asks, waits and prints: blocking is all it needs.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Reply, Request};

/// The longest reply: a page of routes, each with more attributes than is decent.
const MAX_REPLY: u64 = 256 << 20;
/// A daemon that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the running daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why a request got no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody to talk to.
    Unreachable(PathBuf, io::Error),
    /// The connection broke.
    Broken(PathBuf, io::Error),
    /// What came makes no sense.
    Confused(String),
    /// evpnd answered, and this is why not.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(path, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "no permission to talk to evpnd on {}; try as root", path.display())
            }
            Self::Unreachable(path, error) => {
                let why = crate::config::io_text(error);
                let path = path.display();
                write!(
                    f,
                    "evpnd is not running on {path} ({why}); start it with `evpnd run -c evpnd.toml`, or name its \
                     socket with --socket"
                )
            }
            Self::Broken(path, error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    write!(f, "evpnd on {} has not answered for {} s", path.display(), PATIENCE.as_secs())
                }
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    write!(f, "evpnd on {} hung up without an answer", path.display())
                }
                _ => write!(f, "evpnd on {}: {}", path.display(), crate::config::io_text(error)),
            },
            Self::Confused(what) => {
                write!(f, "cannot understand what evpnd answers ({what}); is it of another version?")
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// Connects to the daemon on this socket.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(BufReader::new(stream))
        });
        match stream {
            Ok(stream) => Ok(Self { stream, path: path.to_owned() }),
            Err(error) => Err(ClientError::Unreachable(path.to_owned(), error)),
        }
    }

    /// One request, one reply; [`Reply::Error`] is an error.
    pub fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        match self.receive()? {
            Some(reply) => Ok(reply),
            None => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// A request with as many replies as there are ([`Request::Events`] with `follow`), each handed to `each`, until
    /// the daemon ends it or `each` says `false`.
    pub fn follow(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Reply) -> bool,
    ) -> Result<(), ClientError> {
        self.send(request)?;
        self.stream.get_ref().set_read_timeout(None).map_err(|e| self.broken(e))?;
        while let Some(reply) = self.receive()? {
            if !each(reply) {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Confused(e.to_string()))?;
        line.push(b'\n');
        match self.stream.get_mut().write_all(&line) {
            // One client too many is told so before it says anything.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.broken(error)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self) -> Result<Option<Reply>, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(MAX_REPLY).read_until(b'\n', &mut line);
        read.map_err(|e| self.broken(e))?;
        if line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(Reply::Error(why)) => Err(ClientError::Refused(why)),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(ClientError::Confused(error.to_string())),
        }
    }

    fn broken(&self, error: io::Error) -> ClientError {
        ClientError::Broken(self.path.clone(), error)
    }
}
