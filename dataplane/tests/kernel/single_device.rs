//! The kernel backend with layout single-device against a real kernel: the same tests as for the other layout, but for
//! `per_vni`, in whose place stand `vlans` and `earlier_runs`. It needs a kernel that has VLAN filtering, so `.ci/vm test` runs it.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod clients;
mod devices;
mod earlier_runs;
mod events;
mod layout;
mod ports;
mod rows;
mod scale;
mod traffic;
mod vlans;

/// What all of them are about.
const LAYOUT: dataplane::kernel::Layout = dataplane::kernel::Layout::SingleDevice;
