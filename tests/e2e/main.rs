//! End to end: the evpnd binary in real namespaces on the real kernel, against the real daemons.
//!
//! A test that lacks a program it needs fails and names it; none is skipped.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod badinput;
mod bytes;
mod clients;
mod discover;
mod frr;
mod gobgp;
mod lab;
mod mobility;
mod moving;
mod ovs_badinput;
mod ovs_l2;
mod ovs_l3;
mod ovs_plumbing;
mod ovs_repair;
mod ovs_spoof;
mod plan;
mod plumbing;
mod ports;
mod reload;
mod repair;
mod sessions;
