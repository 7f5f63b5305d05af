//! TCP sockets as BGP wants them: bound and signed before they connect, with the TTL that the neighbour expects.

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
