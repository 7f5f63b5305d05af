//! Values for the tests of both layouts.

use super::links::{Kind, Link};
pub(in crate::kernel) use crate::fixtures::{l2, vni};

pub(in crate::kernel) fn link(index: u32, name: &str, kind: Kind) -> Link {
    Link { index, name: name.into(), kind, master: None, up: true, alias: None, group: 0, port: None }
}
