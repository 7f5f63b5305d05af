//! The VXLAN Network Identifier: 24 bits (RFC 7348 §5), carried unshifted in EVPN label fields (RFC 8365 §5.1.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A VXLAN Network Identifier, 0 ..= 16 777 215.
///
/// On the wire it fills all 24 bits of an EVPN label field; it is never shifted like an MPLS label. Zero is
/// representable, since peers send it where a label carries no meaning; configuration refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The largest VNI, 2^24 - 1.
    pub const MAX: Self = Self(0x00ff_ffff);
    /// Zero: "no VNI" in label fields that carry no meaning.
    pub const ZERO: Self = Self(0);

    /// A VNI from a number, or `None` past 24 bits.
    pub const fn new(vni: u32) -> Option<Self> {
        if vni <= Self::MAX.0 { Some(Self(vni)) } else { None }
    }

    /// The three octets of a label field, as they stand.
    #[inline]
    pub const fn from_be_bytes(b: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, b[0], b[1], b[2]]))
    }

    /// The three octets of a label field.
    #[inline]
    pub const fn to_be_bytes(self) -> [u8; 3] {
        let b = self.0.to_be_bytes();
        [b[1], b[2], b[3]]
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A number past 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VniRangeError;

impl fmt::Display for VniRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a VNI is a number from 0 to 16777215")
    }
}

impl std::error::Error for VniRangeError {}

impl TryFrom<u32> for Vni {
    type Error = VniRangeError;
    fn try_from(v: u32) -> Result<Self, VniRangeError> {
        Self::new(v).ok_or(VniRangeError)
    }
}

impl From<Vni> for u32 {
    fn from(v: Vni) -> Self {
        v.0
    }
}

impl FromStr for Vni {
    type Err = VniRangeError;
    fn from_str(s: &str) -> Result<Self, VniRangeError> {
        s.parse::<u32>().ok().and_then(Self::new).ok_or(VniRangeError)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_all_24_bits_unshifted() {
        for (vni, bytes) in [(100, [0, 0, 0x64]), (16_777_215, [0xff; 3]), (4096, [0, 0x10, 0])] {
            let v = Vni::new(vni).unwrap();
            assert_eq!(v.to_be_bytes(), bytes);
            assert_eq!(Vni::from_be_bytes(bytes), v);
        }
        assert_eq!(Vni::new(1 << 24), None);
        assert_eq!("16777216".parse::<Vni>(), Err(VniRangeError));
    }
}
