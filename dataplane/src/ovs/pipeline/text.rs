//! Words of a flow, in the form `ovs-ofctl` shows them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use types::MacAddr;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends words to a match or to actions. Hundreds of thousands of flows are written at a restart, and the formatting
/// machinery would take twice as long for the few kinds of words there are.
pub(super) trait Text {
    /// As it stands.
    fn text(&mut self, text: &str) -> &mut Self;
    /// A decimal number.
    fn number(&mut self, number: impl Into<u32>) -> &mut Self;
    /// A register or tunnel ID: hexadecimal, and zero is plain.
    fn hex(&mut self, number: u32) -> &mut Self;
    /// A MAC address.
    fn mac(&mut self, mac: MacAddr) -> &mut Self;
    /// An address.
    fn ip(&mut self, ip: IpAddr) -> &mut Self;
    /// An OpenFlow port.
    fn port(&mut self, port: u16) -> &mut Self;
    /// `,name=prefix`; nothing if the prefix is everything, the plain address if it is one.
    fn field(&mut self, name: &str, net: IpNet) -> &mut Self;
}

impl Text for String {
    fn text(&mut self, text: &str) -> &mut Self {
        self.push_str(text);
        self
    }

    fn number(&mut self, number: impl Into<u32>) -> &mut Self {
        digits(self, number.into(), 10);
        self
    }

    fn hex(&mut self, number: u32) -> &mut Self {
        if number > 0 {
            self.push_str("0x");
        }
        digits(self, number, 16);
        self
    }

    fn mac(&mut self, mac: MacAddr) -> &mut Self {
        for (i, octet) in mac.0.into_iter().enumerate() {
            if i > 0 {
                self.push(':');
            }
            self.push(char::from(DIGITS[usize::from(octet >> 4)]));
            self.push(char::from(DIGITS[usize::from(octet & 15)]));
        }
        self
    }

    fn ip(&mut self, ip: IpAddr) -> &mut Self {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let Some(octets) = dotted(ip) else {
                    // Writing to a string cannot fail.
                    let _ = write!(self, "{ip}");
                    return self;
                };
                self.push_str("::");
                octets
            }
        };
        for (i, octet) in octets.into_iter().enumerate() {
            if i > 0 {
                self.push('.');
            }
            digits(self, octet.into(), 10);
        }
        self
    }

    fn port(&mut self, port: u16) -> &mut Self {
        match port {
            0xfffe => self.text("LOCAL"),
            port => self.number(port),
        }
    }

    fn field(&mut self, name: &str, net: IpNet) -> &mut Self {
        if net.prefix_len() == 0 {
            return self;
        }
        self.text(",").text(name).text("=").ip(net.network());
        if net.prefix_len() < net.max_prefix_len() {
            self.text("/").number(net.prefix_len());
        }
        self
    }
}

/// A number in this base, 10 or 16.
fn digits(out: &mut String, mut number: u32, base: u32) {
    let mut text = [0; 10];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = DIGITS[(number % base) as usize];
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend(text[at..].iter().copied().map(char::from));
}

/// The last four octets of what the C library writes with dots and Rust does not: `::a.b.c.d`.
const fn dotted(ip: Ipv6Addr) -> Option<[u8; 4]> {
    let [0, 0, 0, 0, 0, 0, high, low] = ip.segments() else { return None };
    if high == 0 {
        return None;
    }
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Some([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_ovs_ofctl_writes_them() {
        let ip = |text: &str| {
            let mut out = String::new();
            out.ip(text.parse().unwrap());
            out
        };
        for same in [
            "10.0.0.1",
            "::",
            "::12",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "2001:0:0:1::1",
            "1:0:3:4:5:6:7:8",
            "fe80::1",
        ] {
            assert_eq!(ip(same), same);
        }
        let field = |net: &str| {
            let mut out = String::new();
            out.field("nw_src", net.parse().unwrap());
            out
        };
        assert_eq!(field("0.0.0.0/0"), "");
        assert_eq!(field("10.0.0.1/32"), ",nw_src=10.0.0.1");
        assert_eq!(field("10.0.0.1/24"), ",nw_src=10.0.0.0/24");
        let mut out = String::new();
        out.number(u32::MAX).text(" ").hex(u32::MAX).text(" ").number(0_u8).text(" ");
        assert_eq!(std::mem::take(&mut out), "4294967295 0xffffffff 0 ");
        out.hex(0).text(" ").hex(26).text(" ").port(0xfffe).text(" ").port(7).text(" ");
        out.mac(MacAddr([2, 0, 0x5e, 0xff, 0, 0x1a]));
        assert_eq!(out, "0 0x1a LOCAL 7 02:00:5e:ff:00:1a");
    }
}
