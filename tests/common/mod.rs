//! What the end-to-end tests share: labs that run this build's evpnd, and small networks in one line.

use std::time::Duration;

pub(crate) use evpnd::lab::{Error, Lab, Result};

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An empty lab that runs the evpnd under test.
pub(crate) fn lab() -> Result<Lab> {
    Lab::with_binary(env!("CARGO_BIN_EXE_evpnd"))
}

/// An error unless `good`.
pub(crate) fn ensure(good: bool, or: impl FnOnce() -> String) -> Result<()> {
    if good { Ok(()) } else { Err(Error::new(or())) }
}
