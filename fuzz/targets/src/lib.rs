//! What each fuzz target does with its octets and what must then be true. libFuzzer calls these functions through the
//! crate `fuzz`, and a test of this crate runs them over the committed corpora, with the stable compiler.
//!
//! Every target panics where something is wrong and returns where nothing is, whatever the octets are.
#![forbid(unsafe_code)]

mod choices;
mod codec;
mod message;
mod nlri;
mod reference;
#[path = "../../../bgp/tests/common/session_events.rs"]
mod session_events;
#[path = "../../../bgp/tests/rib_support/mod.rs"]
mod support;
mod update;

/// A target by its name, which is also that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] =
    &[("message", message), ("nlri", nlri), ("session", session), ("update", update)];

pub use message::message;
pub use nlri::nlri;
pub use update::update;

/// Random event sequences on one session, with the model of the bgp crate's own property test.
pub fn session(data: &[u8]) {
    session_events::run(data);
}
