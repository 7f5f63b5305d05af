//! What this host should forward ([`intent`]), and the backends that make it so.
//!
//! Nothing here knows BGP. The street: intent → plan (intent × observed → ops, a pure function) → a backend.
#![forbid(unsafe_code)]

pub mod intent;
