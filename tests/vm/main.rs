//! What needs a kernel that not every machine has: run by `.ci/vm test` in a virtual machine with Debian's own, all in one
//! boot. Elsewhere these tests fail, so `cargo test` leaves them out unless they are asked for.
//!
//! Tests of `tests/e2e` that are told about Open vSwitch's datapath by the environment come along, to be run with the
//! kernel's, and one that tells something about the kernel rather than evpnd.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "made for the tests of tests/e2e")]
mod common;

mod kernel;
#[path = "../e2e/ovs_plumbing.rs"]
mod ovs_plumbing;
#[path = "../e2e/plumbing.rs"]
mod plumbing;
