//! The socket options that no safe crate offers: TCP MD5 signatures (RFC 2385), the generalised TTL security mechanism
//! (RFC 5082). The only file of evpnd with `unsafe` in it: one call of `setsockopt`.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use zerocopy::{Immutable, IntoBytes};

/// Longest TCP MD5 key, in octets (Linux `TCP_MD5SIG_MAXKEYLEN`).
pub const MD5_KEY_MAX: usize = 80;

const TCP_MD5SIG: libc::c_int = 14;
const TCP_MD5SIG_EXT: libc::c_int = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
const IPV6_MINHOPCOUNT: libc::c_int = 73;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct TcpMd5Sig {
    address: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: i32,
    key: [u8; MD5_KEY_MAX],
}

/// Signs and checks segments to and from every address of `peer` with `key`; an empty key ends that.
///
/// `ipv6_socket`: the socket is of the IPv6 family, so an IPv4 peer is named by its mapped address.
///
/// # Errors
/// `InvalidInput` for a key past [`MD5_KEY_MAX`]; whatever the kernel says otherwise (`ENOPROTOOPT`: built without it).
pub fn set_md5(socket: &impl AsRawFd, peer: IpNet, key: &[u8], ipv6_socket: bool) -> io::Result<()> {
    if key.len() > MD5_KEY_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a TCP MD5 password has at most 80 octets"));
    }
    let (address, mut prefix_len) = (peer.addr(), peer.prefix_len());
    let host = prefix_len == peer.max_prefix_len();
    let address = match (address, ipv6_socket) {
        (IpAddr::V4(v4), true) => {
            prefix_len += 96;
            IpAddr::V6(v4.to_ipv6_mapped())
        }
        (other, _) => other,
    };
    let mut sig = TcpMd5Sig {
        address: sockaddr(address),
        flags: if host { 0 } else { TCP_MD5SIG_FLAG_PREFIX },
        prefix_len: if host { 0 } else { prefix_len },
        key_len: key.len() as u16,
        ifindex: 0,
        key: [0; MD5_KEY_MAX],
    };
    sig.key[..key.len()].copy_from_slice(key);
    let option = if host { TCP_MD5SIG } else { TCP_MD5SIG_EXT };
    match set(socket, libc::IPPROTO_TCP, option, sig.as_bytes()) {
        // Taking away a key that is not there is what was asked for.
        Err(e) if key.is_empty() && e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Drops segments that arrive with a TTL or hop limit below `min` (RFC 5082 §3).
///
/// # Errors
/// Whatever the kernel says.
pub fn set_min_ttl(socket: &impl AsRawFd, peer: IpAddr, min: u8) -> io::Result<()> {
    let value = libc::c_int::from(min);
    match peer {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, value.as_bytes()),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, value.as_bytes()),
    }
}

/// A `sockaddr_storage` with the address filled in and port 0.
fn sockaddr(address: IpAddr) -> [u8; 128] {
    let mut storage = [0; 128];
    let (family, at, octets): (libc::sa_family_t, usize, Vec<u8>) = match address {
        IpAddr::V4(a) => (libc::AF_INET as u16, 4, a.octets().to_vec()),
        IpAddr::V6(a) => (libc::AF_INET6 as u16, 8, Ipv6Addr::octets(&a).to_vec()),
    };
    storage[..2].copy_from_slice(&family.to_ne_bytes());
    storage[at..at + octets.len()].copy_from_slice(&octets);
    storage
}

fn set(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `value` is a live slice of `len` octets for the whole call, which only reads it; the descriptor is
    // borrowed from its owner for the same time.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_kernel_takes_each_option() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        set_md5(&v4, "127.0.0.9/32".parse().unwrap(), b"secret", false).unwrap();
        set_md5(&v4, "127.0.0.0/8".parse().unwrap(), b"secret", false).unwrap();
        set_md5(&v4, "127.0.0.9/32".parse().unwrap(), b"", false).unwrap();
        set_md5(&v4, "127.0.0.77/32".parse().unwrap(), b"", false).unwrap();
        set_min_ttl(&v4, "127.0.0.9".parse().unwrap(), 255).unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        set_md5(&v6, "::9/128".parse().unwrap(), b"secret", true).unwrap();
        set_md5(&v6, "fd00::/16".parse().unwrap(), b"secret", true).unwrap();
        set_min_ttl(&v6, "::9".parse().unwrap(), 255).unwrap();
    }

    #[test]
    fn a_refusal_is_an_error() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let too_long = set_md5(&v4, "127.0.0.9/32".parse().unwrap(), &[b'x'; 81], false).unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::InvalidInput);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(set_md5(&udp, "127.0.0.9/32".parse().unwrap(), b"secret", false).is_err());
    }
}
