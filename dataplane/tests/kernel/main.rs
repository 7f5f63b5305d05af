//! The kernel backend against a real kernel: bridges, VXLAN devices, FDB and neighbours in network namespaces.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod clients;
mod devices;
mod events;
mod rows;
mod scale;
mod traffic;
