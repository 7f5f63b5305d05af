//! evpnd: one binary that makes a Linux host an EVPN VTEP and router.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod core;
pub mod evpn;
pub mod graph;
pub mod lab;
pub mod migrate;
pub mod plan;
pub mod speaker;
mod words;

/// The version, as `evpnd --version` says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
