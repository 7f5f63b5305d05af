//! A BGP peer that says what a test wants it to, byte for byte: bash with a TCP connection.

use evpnd::lab::{Error, Node, Result};

/// A message: marker, length, type, body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN with the capabilities multiprotocol EVPN and four-octet AS.
pub(crate) fn open(asn: u32, hold_time: u16, router_id: [u8; 4]) -> Vec<u8> {
    let short = u16::try_from(asn).unwrap_or(23456);
    let capabilities = [&[1, 4, 0, 25, 0, 70, 65, 4][..], &asn.to_be_bytes()].concat();
    let mut body = vec![4];
    body.extend(short.to_be_bytes());
    body.extend(hold_time.to_be_bytes());
    body.extend(router_id);
    let length = u8::try_from(capabilities.len()).unwrap_or(u8::MAX);
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    message(1, &body)
}

/// A KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// An UPDATE from AS `asn` that announces some MACs in `vni`, with the route target `65000:vni`.
pub(crate) fn macs(asn: u32, next_hop: [u8; 4], vni: u32, macs: impl Iterator<Item = u32>) -> Vec<u8> {
    let label = &vni.to_be_bytes()[1..];
    let mut nlri = Vec::new();
    for mac in macs {
        nlri.extend([2, 33, 0, 1]);
        nlri.extend(next_hop);
        nlri.extend([0, 1]);
        nlri.extend([0; 14]);
        nlri.extend([48, 2, 0]);
        nlri.extend(mac.to_be_bytes());
        nlri.push(0);
        nlri.extend(label);
    }
    let mut reach = vec![0, 25, 70, 4];
    reach.extend(next_hop);
    reach.push(0);
    reach.extend(nlri);
    let rt = [&[0x00, 0x02, 0xfd, 0xe8][..], &vni.to_be_bytes()].concat();
    let communities = [&rt[..], &[3, 0x0c, 0, 0, 0, 0, 0, 8]].concat();
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
    attributes.extend(asn.to_be_bytes());
    attributes.extend([0xc0, 16, 16]);
    attributes.extend(communities);
    attributes.extend([0x90, 14]);
    attributes.extend(u16::try_from(reach.len()).unwrap_or(u16::MAX).to_be_bytes());
    attributes.extend(reach);
    let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
    message(2, &[&[0, 0][..], &length.to_be_bytes(), &attributes].concat())
}

/// Connects, sends, and gives what comes back until the other side closes; an error when it does not within `seconds`.
pub(crate) fn talk(node: &Node, to: &str, bytes: &[u8], seconds: u32) -> Result<Vec<u8>> {
    write(node, "/run/raw.bin", bytes)?;
    let script = r#"exec 3<>"/dev/tcp/$1/179"; cat /run/raw.bin >&3; timeout "$2" cat <&3 | od -An -v -tx1; [ "${PIPESTATUS[0]}" -ne 124 ]"#;
    let text = node.run(&["bash", "-c", script, "raw", to, &seconds.to_string()])?;
    let octet = |hex: &str| u8::from_str_radix(hex, 16).map_err(|e| Error::new(format!("od: {hex}: {e}")));
    text.split_whitespace().map(octet).collect()
}

/// Connects, sends, and goes on with keepalives, reading what comes or not, until it is stopped as the daemon `name`;
/// connects again when the other side closes.
pub(crate) fn hold(node: &Node, name: &str, to: &str, bytes: &[u8], read: bool) -> Result<()> {
    write(node, &format!("/run/{name}.bin"), bytes)?;
    write(node, "/run/keepalive.bin", &keepalive())?;
    let reader = if read { "cat <&3 >/dev/null &" } else { "" };
    let script = format!(
        r#"while :; do
            exec 3<>"/dev/tcp/$1/179" && {{ {reader} cat "/run/$0.bin" >&3 && while cat /run/keepalive.bin >&3; do sleep 1; done; }}
            exec 3>&-; sleep 1
        done"#
    );
    node.spawn(name, &["bash", "-c", &script, name, to])
}

fn write(node: &Node, path: &str, bytes: &[u8]) -> Result<()> {
    std::fs::write(node.path(path), bytes).map_err(|e| Error::new(format!("{}: {path}: {e}", node.name())))
}

/// The code and subcode of the NOTIFICATION among some messages.
pub(crate) fn notification(mut bytes: &[u8]) -> Option<(u8, u8)> {
    while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, hi, lo, kind, body @ ..] = bytes {
        if let (3, [code, subcode, ..]) = (*kind, body) {
            return Some((*code, *subcode));
        }
        bytes = bytes.get(usize::from(u16::from_be_bytes([*hi, *lo])).max(19)..)?;
    }
    None
}
