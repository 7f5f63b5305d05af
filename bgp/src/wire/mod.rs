//! Bytes ↔ values: every message of BGP-4 and every EVPN route type evpnd speaks.

pub mod attr;
pub mod community;
pub mod nlri;
pub mod rd;

pub use attr::{AsPath, AsSegment, Attributes, Origin, Pmsi, RawAttr};
pub use community::{ExtCommunity, RouteTarget};
pub use nlri::{NlriBody, RouteKey};
pub use rd::{Esi, Rd};
