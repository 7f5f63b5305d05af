//! The Open vSwitch backend against a real ovs-vswitchd with the userspace datapath, in namespaces of its own.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod engine;
mod flows;
mod paths;
mod scale;
