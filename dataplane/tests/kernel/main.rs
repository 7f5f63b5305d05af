//! The kernel backend against a real kernel: bridges, VXLAN devices, FDB and neighbours in network namespaces. Layout
//! device-per-vni; `single_device.rs` beside this is the same for the other one.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod clients;
mod devices;
mod events;
mod layout;
mod per_vni;
mod ports;
mod rows;
mod scale;
mod traffic;

/// What all of them are about.
const LAYOUT: dataplane::kernel::Layout = dataplane::kernel::Layout::DevicePerVni;
