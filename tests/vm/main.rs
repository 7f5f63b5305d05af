//! What needs a kernel that not every machine has: run by `.ci/vm test` in a virtual machine with Debian's own, all in one
//! boot. Elsewhere these tests fail, so `cargo test` leaves them out unless they are asked for.
//!
//! Few and dense, for everything takes its time there. A file of `tests/e2e` can be named here, too: what is for Open vSwitch
//! takes the datapath from the environment.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "made for the tests of tests/e2e")]
mod common;

mod kernel;
mod lab;
mod ovs;
mod single;
