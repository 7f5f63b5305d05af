//! The few words every part of evpnd shares: [`Vni`], [`MacAddr`], [`Time`].
//!
//! `bgp` and `dataplane` know nothing of each other; these types are the vocabulary both use, and nothing else
//! belongs here.
#![forbid(unsafe_code)]

mod mac;
mod time;
mod vni;

pub use mac::{MacAddr, ParseMacError};
pub use time::Time;
pub use vni::{Vni, VniRangeError};
