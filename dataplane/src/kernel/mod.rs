//! The kernel as a dataplane: bridges, VXLAN devices, their FDB and neighbour tables, over rtnetlink.
//!
//! [`Kernel`] is the layout `device-per-vni` (`per_vni`), [`SingleDevice`] the layout `single-device` (`single`). What is
//! the same in every layout is in `base`; see `marks` for whose a device is, `rows` for rows. All of it is blocking, on the
//! thread of the reconciler ([`crate::thread::spawn`]): the kernel does what a message says within the `sendto`, so there
//! is nothing to wait for. It needs CAP_NET_ADMIN in its network namespace.

use std::io;

use rustix::io::Errno;

use crate::backend::{Backend, Error, ErrorKind};

mod base;
mod config;
mod events;
#[cfg(test)]
mod fixtures;
mod links;
mod marks;
mod observe;
mod per_vni;
mod ports;
mod rows;
mod single;
mod socket;
mod wire;
mod write;

pub use config::{KernelConfig, Layout};
pub use per_vni::Kernel;
pub use rows::PROTOCOL;
pub use single::SingleDevice;

use socket::Refusal;

/// Messages to a `sendto`. Measured: 16 to 64 are best, larger batches are slower.
const BATCH: usize = 64;
/// And bytes: well below the send buffer.
const BATCH_BYTES: usize = 32 * 1024;
/// Rounds of plan and execution for the devices of one VNI.
const ROUNDS: usize = 4;

/// Opens the backend of the layout configured.
pub fn open(config: KernelConfig) -> io::Result<Box<dyn Backend + Send>> {
    Ok(match config.layout {
        Layout::DevicePerVni => Box::new(Kernel::open(config)?),
        Layout::SingleDevice => Box::new(SingleDevice::open(config)?),
    })
}

/// What the kernel said, in words that help.
fn refused(action: String, refusal: Refusal) -> Error {
    let (kind, reason) = match refusal.errno {
        Errno::PERM | Errno::ACCESS => (
            ErrorKind::Permission,
            "permission denied: needs CAP_NET_ADMIN in this network namespace".to_owned(),
        ),
        errno => {
            let kind = match errno {
                // A VXLAN device that is no bridge port (any longer) does not take rows for its bridge.
                Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP | Errno::NOENT => ErrorKind::NoDevice,
                _ => ErrorKind::Other,
            };
            let system = io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
            (kind, refusal.text.map_or(system.clone(), |text| format!("{text} ({system})")))
        }
    };
    Error::new(kind, action, reason)
}
