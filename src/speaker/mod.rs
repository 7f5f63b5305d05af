//! The sockets around the speaker: listeners, connections, and their tasks. Bytes in, bytes out; what they mean is
//! `bgp`'s business.

pub mod connection;
pub mod socket;
pub mod sockopt;
