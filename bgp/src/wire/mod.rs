//! Bytes ↔ values: every message of BGP-4 and every EVPN route type evpnd speaks.
//!
//! The way in: [`Framer`] cuts a byte stream into messages, [`decode_update`] checks one UPDATE as RFC 7606 wants and
//! hands out its attributes and the two runs of NLRI, [`NlriIter`] walks a run. The way out: [`encode_attributes`]
//! once per attribute set, [`nlri::encode`] once per route, [`encode_reach`] once per message.
//!
//! Nothing here panics or allocates without bound on any input, and nothing depends on an earlier message.

pub mod as_path;
pub mod attr;
mod attr_decode;
mod attr_encode;
pub mod capability;
pub mod community;
mod fault;
pub mod message;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod rd;
mod read;
pub mod refresh;
pub mod update;

pub use as_path::{AsPath, AsSegment};
pub use attr::{Attributes, Origin, Pmsi, PmsiTunnel, RawAttr};
pub use attr_encode::{EncodeContext, encode_attributes};
pub use capability::Capabilities;
pub use community::{ExtCommunity, RouteTarget};
pub use fault::{Problem, Reason};
pub use message::{Frame, Framer, MessageType};
pub use nlri::{Nlri, NlriBody, NlriDiscard, NlriIter, RouteKey};
pub use notification::Notification;
pub use open::Open;
pub use rd::{Esi, Rd};
pub use refresh::{RefreshKind, RouteRefresh};
pub use update::{
    DecodeContext, Disposition, TooLong, Update, decode_update, encode_eor, encode_reach, encode_unreach,
    reach_room, unreach_room,
};

/// The address family of EVPN: L2VPN.
pub const AFI_L2VPN: u16 = 25;
/// The subsequent address family of EVPN.
pub const SAFI_EVPN: u8 = 70;
/// What a four-octet AS number looks like in a two-octet field (RFC 6793 §9).
pub const AS_TRANS: u16 = 23456;
/// The largest message without the extended-message capability (RFC 4271 §4.1).
pub const MAX_MESSAGE: usize = 4096;
/// The largest message with it (RFC 8654 §3).
pub const MAX_EXTENDED_MESSAGE: usize = 65535;
