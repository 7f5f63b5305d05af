//! Route Distinguishers (RFC 4364 §4.2) and Ethernet Segment Identifiers (RFC 7432 §5).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A Route Distinguisher: eight octets that make routes of different VRFs and nodes distinct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rd(pub [u8; 8]);

impl Rd {
    /// Type 1, `address:number`: the form RFC 7432 §7.9 asks for.
    pub fn from_ip(ip: Ipv4Addr, n: u16) -> Self {
        let mut b = [0, 1, 0, 0, 0, 0, 0, 0];
        b[2..6].copy_from_slice(&ip.octets());
        b[6..].copy_from_slice(&n.to_be_bytes());
        Self(b)
    }
}

impl fmt::Display for Rd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = self.0;
        let text = match u16::from_be_bytes([self.0[0], self.0[1]]) {
            0 => format!("{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g])),
            1 => format!("{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, g])),
            2 => format!("{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g])),
            t => format!("type{t}:{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{g:02x}"),
        };
        f.pad(&text)
    }
}

/// Not `ip:number` or `asn:number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseRdError;

impl fmt::Display for ParseRdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a route distinguisher is written 10.0.0.1:100 (0-65535), 65000:100 or 4200000000:100 (0-65535)",
        )
    }
}

impl std::error::Error for ParseRdError {}

impl FromStr for Rd {
    type Err = ParseRdError;
    fn from_str(s: &str) -> Result<Self, ParseRdError> {
        let (admin, number) = s.split_once(':').ok_or(ParseRdError)?;
        if let Ok(ip) = admin.parse::<Ipv4Addr>() {
            return number.parse().map(|n| Self::from_ip(ip, n)).map_err(|_| ParseRdError);
        }
        let mut b = [0; 8];
        if let Ok(asn) = admin.parse::<u16>() {
            let n: u32 = number.parse().map_err(|_| ParseRdError)?;
            b[2..4].copy_from_slice(&asn.to_be_bytes());
            b[4..].copy_from_slice(&n.to_be_bytes());
        } else {
            let asn: u32 = admin.parse().map_err(|_| ParseRdError)?;
            let n: u16 = number.parse().map_err(|_| ParseRdError)?;
            b[1] = 2;
            b[2..6].copy_from_slice(&asn.to_be_bytes());
            b[6..].copy_from_slice(&n.to_be_bytes());
        }
        Ok(Self(b))
    }
}

/// An Ethernet Segment Identifier; all zeros for a single-homed site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Esi(pub [u8; 10]);

impl Esi {
    /// A single-homed site.
    pub const ZERO: Self = Self([0; 10]);

    /// A single-homed site.
    pub const fn is_zero(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for Esi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<_> = self.0.iter().map(|b| format!("{b:02x}")).collect();
        f.pad(&text.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rd_text_both_ways() {
        for (text, bytes) in [
            ("10.0.0.1:100", [0, 1, 10, 0, 0, 1, 0, 100]),
            ("65000:70000", [0, 0, 0xfd, 0xe8, 0, 1, 0x11, 0x70]),
            ("4200000000:7", [0, 2, 0xfa, 0x56, 0xea, 0, 0, 7]),
        ] {
            assert_eq!(text.parse::<Rd>(), Ok(Rd(bytes)));
            assert_eq!(Rd(bytes).to_string(), text);
        }
        for bad in ["", "1", "10.0.0.1:65536", "4200000000:65536", "a:b"] {
            assert_eq!(bad.parse::<Rd>(), Err(ParseRdError), "{bad:?}");
        }
    }
}
