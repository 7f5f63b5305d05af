//! One run of a command: what goes in and what comes out flows at the same time, so that nobody waits for the other
//! in a circle; what comes out is bounded, and a command that makes no progress is ended.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A command that neither takes nor gives anything for so long is ended. (The tools end themselves before that, by
/// their own `--timeout`; this is for what hangs in a way of its own.)
const STALLED: Duration = Duration::from_secs(70);
/// What is kept of the error output.
const STDERR: usize = 16 * 1024;
/// A longer line cannot be one of ours, and is skipped.
const LINE: usize = 1024 * 1024;
/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It could not be started.
    Start(io::Error),
    /// It was given up, by itself or by us.
    TimedOut,
    /// It ended with an error, and said this.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// Ends the child whatever happens.
#[derive(Debug)]
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Puts what comes in pieces together to lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    skip: bool,
}

impl Lines {
    /// Takes a piece, and gives every line that it completes.
    pub(crate) fn push(&mut self, mut piece: &[u8], line: &mut dyn FnMut(&str)) {
        while let Some(end) = piece.iter().position(|b| *b == b'\n') {
            let (head, rest) = (&piece[..end], &piece[end + 1..]);
            piece = rest;
            if std::mem::take(&mut self.skip) {
                continue;
            }
            if self.begun.is_empty() {
                line(&String::from_utf8_lossy(head));
            } else {
                self.begun.extend_from_slice(head);
                line(&String::from_utf8_lossy(&self.begun));
                self.begun.clear();
            }
        }
        if self.begun.len() + piece.len() > LINE {
            self.begun = Vec::new();
            self.skip = true;
        } else if !self.skip {
            self.begun.extend_from_slice(piece);
        }
    }

    /// The last line, if it had no end.
    pub(crate) fn finish(self, line: &mut dyn FnMut(&str)) {
        if !self.begun.is_empty() && !self.skip {
            line(&String::from_utf8_lossy(&self.begun));
        }
    }
}

/// The pipes of a child; each is dropped once it is done with.
#[derive(Debug)]
struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    lines: Lines,
    errors: Vec<u8>,
}

impl Pipes {
    /// Waits until something can be done, and does it. False when nothing could for too long.
    fn turn(&mut self, input: &mut &[u8], buffer: &mut [u8], line: &mut dyn FnMut(&str)) -> io::Result<bool> {
        let mut fds = Vec::with_capacity(3);
        let feed = self.stdin.as_ref().filter(|_| !input.is_empty());
        fds.extend(feed.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)));
        let feeds = feed.is_some();
        fds.extend(self.stdout.as_ref().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        fds.extend(self.stderr.as_ref().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        let timeout = Timespec::try_from(STALLED).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut is_ready = |open: bool| open && ready.next().unwrap_or(false);
        let write = is_ready(feeds);
        let out = is_ready(self.stdout.is_some());
        let err = is_ready(self.stderr.is_some());
        drop(ready);

        if write && let Some(stdin) = &mut self.stdin {
            match stdin.write(input) {
                Ok(n) => *input = &input[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It does not want the rest; its exit code says why.
                Err(_) => *input = &[],
            }
        }
        if out && let Some(stdout) = &mut self.stdout {
            match read(stdout, buffer)? {
                Some(0) => self.stdout = None,
                Some(n) => self.lines.push(&buffer[..n], line),
                None => {}
            }
        }
        if err && let Some(stderr) = &mut self.stderr {
            match read(stderr, buffer)? {
                Some(0) => self.stderr = None,
                Some(n) => {
                    let room = STDERR.saturating_sub(self.errors.len());
                    self.errors.extend_from_slice(&buffer[..n.min(room)]);
                }
                None => {}
            }
        }
        Ok(true)
    }
}

/// Reads what there is; `None`: nothing now.
pub(crate) fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match from.read(buffer) {
            Ok(n) => return Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// A command that runs. Dropped before it has ended, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Guard,
    pipes: Pipes,
    buffer: Vec<u8>,
}

impl Running {
    /// Starts a command and gives it this input, but not the end of it: a tool that reads everything before it does
    /// anything has then done all of its reading, and waits. What it prints meanwhile goes to `line`.
    pub(crate) fn start(
        command: &mut Command,
        mut input: &[u8],
        line: &mut dyn FnMut(&str),
    ) -> Result<Self, Trouble> {
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().map_err(Trouble::Start)?);
        let pipes = Pipes {
            stdin: child.0.stdin.take(),
            stdout: child.0.stdout.take(),
            stderr: child.0.stderr.take(),
            lines: Lines::default(),
            errors: Vec::new(),
        };
        if let Some(stdin) = &pipes.stdin {
            rustix::io::ioctl_fionbio(stdin, true).map_err(|e| Trouble::Start(e.into()))?;
        }
        let mut running = Self { child, pipes, buffer: vec![0; CHUNK] };
        while !input.is_empty() {
            running.turn(&mut input, line)?;
        }
        Ok(running)
    }

    fn turn(&mut self, input: &mut &[u8], line: &mut dyn FnMut(&str)) -> Result<(), Trouble> {
        match self.pipes.turn(input, &mut self.buffer, line) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Trouble::TimedOut),
            Err(error) => Err(Trouble::Failed(error.to_string())),
        }
    }

    /// The input ends here.
    pub(crate) fn release(&mut self) {
        self.pipes.stdin = None;
    }

    /// Ends the input and waits for the command to end; what it said on stderr if it succeeded.
    pub(crate) fn finish(mut self, line: &mut dyn FnMut(&str)) -> Result<String, Trouble> {
        self.release();
        while self.pipes.stdout.is_some() || self.pipes.stderr.is_some() {
            self.turn(&mut &[][..], line)?;
        }
        std::mem::take(&mut self.pipes.lines).finish(line);
        let status = self.child.0.wait().map_err(|error| Trouble::Failed(error.to_string()))?;
        let errors = String::from_utf8_lossy(&self.pipes.errors).trim().to_owned();
        if status.success() {
            return Ok(errors);
        }
        if status.signal() == Some(14) {
            return Err(Trouble::TimedOut); // SIGALRM: the tool's own --timeout.
        }
        Err(Trouble::Failed(if errors.is_empty() { status.to_string() } else { errors }))
    }
}

/// Runs a command with this input, gives its output line by line, and gives back what it said on stderr if it
/// succeeded.
pub(crate) fn run(
    command: &mut Command,
    input: &[u8],
    line: &mut dyn FnMut(&str),
) -> Result<String, Trouble> {
    Running::start(command, input, line)?.finish(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8]) -> (Result<String, Trouble>, Vec<String>) {
        let mut lines = Vec::new();
        let result = run(Command::new("sh").args(["-c", script]), input, &mut |l| lines.push(l.to_owned()));
        (result, lines)
    }

    #[test]
    fn much_goes_in_while_much_comes_out() {
        let input: Vec<u8> = (0..200_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
        let (result, lines) = sh("tee /dev/stderr", &input);
        assert_eq!(lines.len(), 200_000);
        assert_eq!(lines[199_999], "line 199999");
        let errors = result.unwrap();
        assert!(errors.len() <= STDERR && errors.starts_with("line 0\nline 1\n"), "bounded");
    }

    #[test]
    fn what_a_command_says_when_it_fails_is_told() {
        let (result, lines) = sh("echo out; printf end; echo 'ovs-x: no' >&2; exit 3", &vec![b'x'; 1 << 20]);
        assert_eq!(lines, ["out", "end"]);
        assert_eq!(result.unwrap_err().to_string(), "ovs-x: no");
        assert_eq!(sh("exit 3", b"").0.unwrap_err().to_string(), "exit status: 3");
        assert!(matches!(sh("kill -14 $$", b"").0, Err(Trouble::TimedOut)));
        let missing = run(&mut Command::new("/nonexistent/ovs-vsctl"), b"", &mut |_| {});
        assert!(matches!(missing, Err(Trouble::Start(e)) if e.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn a_line_without_end_is_no_burden() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for _ in 0..64 {
            lines.push(&vec![b'x'; CHUNK], &mut |l| seen.push(l.to_owned()));
        }
        assert!(lines.begun.capacity() <= 2 * LINE);
        lines.push(b"y\nand ", &mut |l| seen.push(l.to_owned()));
        lines.push(b"then\n", &mut |l| seen.push(l.to_owned()));
        assert_eq!(seen, ["and then"]);
    }
}
