//! A 48-bit IEEE 802 MAC address.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A MAC address; prints as `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All zeros: the kernel's name for "everything unknown" in a VXLAN FDB; never a host.
    pub const ZERO: Self = Self([0; 6]);

    /// Multicast or broadcast: the group bit is set.
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// All zeros.
    #[inline]
    pub const fn is_zero(self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// Can belong to one host: neither a group nor all zeros.
    #[inline]
    pub const fn is_host(self) -> bool {
        !self.is_group() && !self.is_zero()
    }
}

impl Hash for MacAddr {
    /// As one number: MAC tables look up hundreds of thousands, and a slice hashes its length too.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f] = self.0;
        state.write_u64(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

/// Not six pairs of hexadecimal digits joined by colons or dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is written like 02:00:5e:10:00:01")
    }
}

impl std::error::Error for ParseMacError {}

impl FromStr for MacAddr {
    type Err = ParseMacError;
    fn from_str(s: &str) -> Result<Self, ParseMacError> {
        let mut mac = [0; 6];
        let mut parts = s.split([':', '-']);
        for octet in &mut mac {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(Self(mac)) }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;
    fn try_from(s: String) -> Result<Self, ParseMacError> {
        s.parse()
    }
}

impl From<MacAddr> for String {
    fn from(m: MacAddr) -> Self {
        m.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_both_ways() {
        let mac: MacAddr = "36:E7:a5:7e:0c:81".parse().unwrap();
        assert_eq!(mac.to_string(), "36:e7:a5:7e:0c:81");
        for bad in ["", "36:e7:a5:7e:0c", "36:e7:a5:7e:0c:81:00", "+6:e7:a5:7e:0c:81", "36e7a57e0c81"] {
            assert_eq!(bad.parse::<MacAddr>(), Err(ParseMacError), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_neither_group_nor_zero() {
        assert!("02:00:00:00:00:01".parse::<MacAddr>().unwrap().is_host());
        assert!(!MacAddr([0xff; 6]).is_host());
        assert!(!MacAddr::ZERO.is_host());
    }
}
