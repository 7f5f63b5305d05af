//! What this host should forward ([`intent`]), and the backends that make it so.
//!
//! Nothing here knows BGP. The street: [`intent`] → [`plan`] (intent × observed → ops, a pure function) → a
//! [`backend`]: [`memory`] or the kernel. A [`Reconciler`] walks it, again and again, until what is equals what
//! should be; to the rest of the world it is a [`plane::Dataplane`].
#![forbid(unsafe_code)]

pub mod backend;
mod backoff;
#[cfg(test)]
mod fixtures;
pub mod intent;
pub mod kernel;
pub mod memory;
pub mod ovs;
pub mod plan;
pub mod plane;
pub mod reconciler;
pub mod rows;
pub mod thread;

pub use plane::{Dataplane, Standing};
pub use reconciler::{Event, Output, Reconciler, Status};
