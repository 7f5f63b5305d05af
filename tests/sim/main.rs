//! Whole nodes in virtual time: sessions, RIB, EVPN, plan and a dataplane in memory, many in one thread, from a seed.
//!
//! A failing seed of the random test replays exactly: `EVPND_SIM_SEED=17 cargo test --test sim random`.
#![forbid(unsafe_code)]

mod model;
mod net;
mod random;
mod scenarios;
