//! Whole nodes in virtual time: sessions, RIB, EVPN, plan and a dataplane in memory, many in one thread, from a seed.
//!
//! `docs/simulation.md` says how to read it. A failing seed replays exactly:
//! `EVPND_SIM_SEED=17 cargo test --test sim random`.
#![forbid(unsafe_code)]

mod clients;
mod found;
mod model;
mod net;
mod random;
mod routing;
mod scenarios;
mod world;
