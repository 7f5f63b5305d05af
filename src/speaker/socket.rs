//! TCP sockets as BGP wants them: bound and signed before they connect, with the TTL that the neighbour expects.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::sockopt;

/// What a neighbour's connections need beyond an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Source address of connections we open.
    pub local: Option<IpAddr>,
    /// TCP MD5 password.
    pub md5: Option<Vec<u8>>,
    /// TTL (hop limit) of what we send; the system's default when absent.
    pub ttl: Option<u8>,
    /// What arrives with less is dropped (RFC 5082).
    pub min_ttl: Option<u8>,
}

/// Opens a connection.
///
/// # Errors
/// The operating system's, with the step that failed.
pub async fn connect(remote: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    set_ttl(&socket, remote.ip(), options)?;
    if let Some(key) = &options.md5 {
        sockopt::set_md5(&socket, IpNet::from(remote.ip()), key, remote.is_ipv6())
            .map_err(|e| step("TCP MD5", &e))?;
    }
    if let Some(local) = options.local {
        socket
            .bind(&SocketAddr::new(local, 0).into())
            .map_err(|e| step(&format!("local address {local}"), &e))?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Readies a connection that a neighbour opened.
///
/// # Errors
/// The operating system's, with the step that failed.
pub fn accepted(stream: &TcpStream, remote: IpAddr, options: &SocketOptions) -> io::Result<()> {
    stream.set_nodelay(true)?;
    set_ttl(&SockRef::from(stream), remote, options)
}

/// Listens on an address. IPv6 sockets take IPv6 only, so that `0.0.0.0` and `::` stand side by side.
///
/// # Errors
/// The operating system's, with the step that failed.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // The SYN-ACK goes out with the listener's TTL, before we know who it is for: a neighbour with ttl-security
    // wants 255, and no other minds.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(255)?;
    } else {
        socket.set_ttl_v4(255)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// TCP MD5 keys by whom they are for.
pub type Keys = BTreeMap<IpNet, Vec<u8>>;

/// Makes the MD5 keys of a listening socket, which are `from`, those of `to`; keys of the other family are not for it.
///
/// # Errors
/// The operating system's, with the peer whose key it was. To go back, sign from `to` to `from`: that is right
/// however far it got.
pub fn sign(listener: &TcpListener, ipv6: bool, from: &Keys, to: &Keys) -> io::Result<()> {
    let ours = |peer: &&IpNet| peer.addr().is_ipv6() == ipv6;
    // What goes first makes room: the kernel has a limit (net.core.optmem_max) for all keys of a socket.
    for peer in from.keys().filter(ours).filter(|peer| !to.contains_key(*peer)) {
        sockopt::set_md5(listener, *peer, b"", ipv6).map_err(|e| step(&format!("TCP MD5 for {peer}"), &e))?;
    }
    for (peer, key) in to.iter().filter(|(peer, _)| ours(peer)) {
        if from.get(peer) != Some(key) {
            sockopt::set_md5(listener, *peer, key, ipv6).map_err(|e| {
                let hint = if e.kind() == io::ErrorKind::OutOfMemory {
                    " (too many passwords for one socket: raise net.core.optmem_max)"
                } else {
                    ""
                };
                step(&format!("TCP MD5 for {peer}{hint}"), &e)
            })?;
        }
    }
    Ok(())
}

fn set_ttl(socket: &Socket, remote: IpAddr, options: &SocketOptions) -> io::Result<()> {
    if let Some(ttl) = options.ttl {
        if remote.is_ipv6() {
            socket.set_unicast_hops_v6(u32::from(ttl))
        } else {
            socket.set_ttl_v4(u32::from(ttl))
        }
        .map_err(|e| step("TTL", &e))?;
    }
    if let Some(min) = options.min_ttl {
        sockopt::set_min_ttl(socket, remote, min).map_err(|e| step("ttl-security", &e))?;
    }
    Ok(())
}

fn step(what: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keys(keys: &[(&str, &[u8])]) -> Keys {
        keys.iter().map(|(peer, key)| (peer.parse().unwrap(), key.to_vec())).collect()
    }

    #[tokio::test]
    async fn keys_that_cannot_all_be_set_are_taken_back() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let old = keys(&[("127.0.0.1/32", b"old"), ("fd00::1/128", b"not for this one")]);
        sign(&listener, false, &Keys::new(), &old).unwrap();
        let too_long = [b'x'; 81];
        let new = keys(&[("127.0.0.1/32", b"new"), ("127.0.0.2/32", &too_long)]);
        let error = sign(&listener, false, &old, &new).unwrap_err();
        assert!(error.to_string().contains("127.0.0.2/32"), "{error}");
        let signed = |key: &[u8]| SocketOptions { md5: Some(key.to_vec()), ..SocketOptions::default() };
        connect(address, &signed(b"new")).await.expect("it got as far as that");
        sign(&listener, false, &new, &old).unwrap();
        connect(address, &signed(b"old")).await.expect("the old key is back");
        let wrong = signed(b"new");
        let refused = tokio::time::timeout(Duration::from_millis(300), connect(address, &wrong)).await;
        assert!(!matches!(refused, Ok(Ok(_))), "the new key is gone");
    }
}
