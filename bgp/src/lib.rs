//! A BGP-4 speaker for L2VPN EVPN (AFI 25, SAFI 70), sans-IO: bytes, events and the time go in; bytes, events and the
//! next deadline come out. No sockets, no clock, no async runtime.
//!
//! - [`wire`]: bytes ↔ messages (RFC 4271, 4760, 7432, 9136, 7606)
//! - [`session`]: one neighbour's finite state machine (RFC 4271 §8)
//! - [`rib`]: Adj-RIB-In, Loc-RIB with best path, Adj-RIB-Out (RFC 4271 §9, 4456)
#![forbid(unsafe_code)]

pub mod rib;
pub mod session;
pub mod wire;
