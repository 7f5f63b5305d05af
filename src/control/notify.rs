//! Telling systemd how we are (`Type=notify`): one datagram a message to `$NOTIFY_SOCKET`, see sd_notify(3). Without
//! the variable nothing is said; what cannot be sent is not missed.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// How we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// Started, or done with reloading.
    Ready,
    /// Reading the configuration again.
    Reloading,
    /// Told to stop, tidying up.
    Stopping,
    /// In a few words, for `systemctl status`.
    Status(&'a str),
}

/// Tells systemd, if it wants to know.
pub fn notify(state: State<'_>) {
    if let Some(name) = env::var_os("NOTIFY_SOCKET") {
        let _ = send(name.as_bytes(), state);
    }
}

fn send(name: &[u8], state: State<'_>) -> io::Result<()> {
    let address = match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let text = match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => "RELOADING=1".to_owned(),
        State::Stopping => "STOPPING=1".to_owned(),
        State::Status(text) => format!("STATUS={}", text.replace('\n', " ")),
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_datagram_a_message() {
        let name = format!("evpnd-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        for (state, expected) in [
            (State::Ready, "READY=1"),
            (State::Reloading, "RELOADING=1"),
            (State::Stopping, "STOPPING=1"),
            (State::Status("3 of 4\nup"), "STATUS=3 of 4 up"),
        ] {
            send(format!("@{name}").as_bytes(), state).unwrap();
            let mut buffer = [0; 64];
            let n = systemd.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], expected.as_bytes());
        }
    }
}
