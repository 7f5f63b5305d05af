//! Ethernet frames that no honest host sends, and how to send them: perl with a packet socket (it is in every Debian).

use std::net::{Ipv4Addr, Ipv6Addr};

use evpnd::lab::{Node, Result};

/// Everybody.
pub(crate) const BROADCAST: Mac = [0xff; 6];
/// The MAC of no one in particular.
pub(crate) type Mac = [u8; 6];

/// A MAC from its text.
pub(crate) fn mac(text: &str) -> Mac {
    let mut octets = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap_or(0));
    std::array::from_fn(|_| octets.next().unwrap_or(0))
}

/// Sends frames from a node's `eth0`, as they are.
pub(crate) fn inject(node: &Node, frames: &[Vec<u8>]) -> Result<()> {
    inject_on(node, "eth0", frames)
}

/// The same on another device.
pub(crate) fn inject_on(node: &Node, device: &str, frames: &[Vec<u8>]) -> Result<()> {
    const SEND: &str = r#"use Socket; socket(my $s, 17, 3, 0) or die "socket: $!"; my $r = pack("a16x24", shift);
ioctl($s, 0x8933, $r) or die "ioctl: $!"; my $i = unpack("x16 i", $r);
for (@ARGV) { send($s, pack("H*", $_), 0, pack("S n i S C C a8", 17, 0, $i, 0, 0, 6, "")) or die "send: $!" }"#;
    let hex = |frame: &Vec<u8>| frame.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat();
    let frames: Vec<String> = frames.iter().map(hex).collect();
    let mut argv = vec!["perl", "-e", SEND, device];
    argv.extend(frames.iter().map(String::as_str));
    node.run(&argv).map(drop)
}

fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An ARP message (RFC 826): operation 1 asks, 2 answers.
pub(crate) fn arp(
    to: Mac,
    from: Mac,
    operation: u8,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, ip) in [sender, target] {
        body.extend(mac);
        body.extend(ip.octets());
    }
    ethernet(to, from, 0x0806, &body)
}

/// An ICMP echo request with an identifier to know it by.
pub(crate) fn ping4(to: Mac, from: Mac, src: Ipv4Addr, dst: Ipv4Addr, ttl: u8, id: u16) -> Vec<u8> {
    let mut echo = [&[8, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1], b"evpnd test"].concat();
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum);
    let length = (20 + echo.len()) as u16;
    let mut header = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 0, 0, 0, ttl, 1, 0, 0]].concat();
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    ethernet(to, from, 0x0800, &[header, echo].concat())
}

fn icmp6(to: Mac, from: Mac, src: Ipv6Addr, dst: Ipv6Addr, hops: u8, mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u16;
    let pseudo = [&src.octets()[..], &dst.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
    let sum = checksum(&[&pseudo[..], &message].concat());
    message[2..4].copy_from_slice(&sum);
    let mut packet = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[58, hops]].concat();
    packet.extend(src.octets());
    packet.extend(dst.octets());
    ethernet(to, from, 0x86dd, &[packet, message].concat())
}

/// An ICMPv6 echo request with an identifier to know it by.
pub(crate) fn ping6(to: Mac, from: Mac, src: Ipv6Addr, dst: Ipv6Addr, id: u16) -> Vec<u8> {
    let echo = [&[128, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1], b"evpnd test"].concat();
    icmp6(to, from, src, dst, 64, echo)
}

/// A neighbour advertisement (RFC 4861 §4.4): `target` is at `lladdr`, and whoever thought otherwise was wrong.
pub(crate) fn advertisement(to: Mac, from: Mac, src: Ipv6Addr, target: Ipv6Addr, lladdr: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &lladdr].concat();
    icmp6(to, from, src, all_nodes, 255, message)
}

/// A neighbour solicitation (RFC 4861 §4.3) for `target`, sent to everybody.
pub(crate) fn solicitation(to: Mac, from: Mac, src: Ipv6Addr, target: Ipv6Addr, lladdr: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &lladdr].concat();
    icmp6(to, from, src, all_nodes, 255, message)
}
