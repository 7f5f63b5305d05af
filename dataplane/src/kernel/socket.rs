//! Two netlink sockets: one for requests, one that listens.
//!
//! Requests go out in batches, many messages to a `sendto`, only the last acknowledged; errors of the others come
//! before that acknowledgement and are told by their number. The kernel has done all of it when `sendto` returns,
//! so nothing here waits for anybody. Listening has its own socket: its overruns must not cost replies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockFilter, SockRef};

use super::wire::{
    Batch, HEADER, Message, Messages, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NTF_EXT_LEARNED, RTM_NEWNEIGH,
};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NEIGH: u32 = 3;
/// The kernel fills 32 KiB of a dump of links at once, but as much as the largest link could need if that is more: 112 kB
/// with 4000 mappings on one VXLAN port, whether they are shown or not. The news of such a port are as long. There are no
/// more than 4094.
pub(super) const RECEIVE: usize = 256 * 1024;

/// Why the kernel refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// The kernel's own words (extended ACK).
    pub(super) text: Option<String>,
}

impl Refusal {
    fn of(message: &Message<'_>) -> Option<Self> {
        let (code, text) = message.error()?;
        (code != 0).then(|| Self { errno: Errno::from_raw_os_error(code), text })
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}

/// The socket for requests.
pub(super) struct Requests {
    socket: Socket,
    number: u32,
    /// Messages sent and received.
    count: u64,
    reply: Vec<u8>,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Only with strict checking does the kernel filter a dump as asked. Before Linux 4.20: not there.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, number: 0, count: 0, reply: vec![0; RECEIVE] })
    }

    /// Messages sent and received so far.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Sends a batch and empties it. `answer` hears, by their place in the batch, what messages came to: an answer,
    /// or a refusal. The error returned is one of the socket itself: then nothing is known of any message.
    pub(super) fn batch(
        &mut self,
        batch: &mut Batch,
        answer: &mut dyn FnMut(usize, Result<&Message<'_>, Refusal>),
    ) -> Result<(), Errno> {
        if batch.is_empty() {
            return Ok(());
        }
        let (first, len) = self.send(batch)?;
        let last = first.wrapping_add(len as u32 - 1);
        batch.clear();
        loop {
            let n = receive(&self.socket, &mut self.reply, RecvFlags::empty())?;
            for message in Messages(&self.reply[..n]) {
                self.count += 1;
                let place = message.number.wrapping_sub(first) as usize;
                if place >= len {
                    continue;
                }
                if message.kind != NLMSG_ERROR {
                    answer(place, Ok(&message));
                    continue;
                }
                if let Some(refusal) = Refusal::of(&message) {
                    answer(place, Err(refusal));
                }
                if message.number == last {
                    return Ok(());
                }
            }
        }
    }

    /// Sends one message and hands every answer to `each`; used for dumps, lookups and single changes alike.
    pub(super) fn ask(
        &mut self,
        batch: &mut Batch,
        each: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Complete, Refusal> {
        let (number, _) = self.send(batch)?;
        batch.clear();
        let mut complete = Complete::Yes;
        loop {
            let n = receive(&self.socket, &mut self.reply, RecvFlags::empty())?;
            for message in Messages(&self.reply[..n]).filter(|m| m.number == number) {
                self.count += 1;
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    complete = Complete::Interrupted;
                }
                match message.kind {
                    // A dump that fails on the way says so in the end: what came until then is not all.
                    NLMSG_ERROR | NLMSG_DONE => return Refusal::of(&message).map_or(Ok(complete), Err),
                    _ => each(&message),
                }
            }
        }
    }

    fn send(&mut self, batch: &mut Batch) -> Result<(u32, usize), Errno> {
        let first = self.number.wrapping_add(1);
        let len = batch.len();
        self.number = self.number.wrapping_add(len as u32);
        self.count += len as u64;
        let bytes = batch.sealed(first);
        debug_assert!(bytes.len() > HEADER);
        loop {
            match rustix::net::send(&self.socket, bytes, SendFlags::empty()) {
                Ok(_) => return Ok((first, len)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Was a dump one consistent view?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complete {
    Yes,
    /// Something changed in the course of it.
    Interrupted,
}

fn receive(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(&socket, &mut *buffer, flags) {
            Ok((n, _)) => return Ok(n),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The socket that listens to links and neighbours.
pub(super) struct Monitor {
    socket: Socket,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// What a read of the monitor came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes of messages; there may be more.
    Bytes(usize),
    /// Nothing (more) for now.
    Nothing,
    /// The buffer was full: some are lost.
    Lost,
}

impl Monitor {
    /// Opens it with a receive buffer of that size, or the nearest the system allows. `groups` it listens to as well,
    /// where the kernel has them.
    pub(super) fn open(buffer: usize, groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Past rmem_max only with CAP_NET_ADMIN.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
            SockRef::from(&socket).set_recv_buffer_size(buffer)?;
        }
        SockRef::from(&socket).attach_filter(&deaf_to_our_own())?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.add_membership(RTNLGRP_NEIGH)?;
        for group in groups {
            let _ = socket.add_membership(*group);
        }
        Ok(Self { socket })
    }

    /// Reads a datagram, if there is one.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Heard {
        match receive(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok(n) => Heard::Bytes(n),
            Err(Errno::NOBUFS) => Heard::Lost,
            Err(_) => Heard::Nothing,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket filter that drops the news of new externally learned rows. Nearly all of them are echoes of our own
/// writes, two to a MAC: unfiltered they would wake us, and fill the buffer, exactly when we are busiest. Should
/// somebody else write such a row, the next resync finds it. Removals pass.
fn deaf_to_our_own() -> [SockFilter; 6] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    // A half-word is loaded as big-endian; the message has it in host order.
    let new_neigh = u32::from(u16::from_be_bytes(RTM_NEWNEIGH.to_ne_bytes()));
    [
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(JUMP_EQUAL, 0, 2, new_neigh),
        SockFilter::new(LOAD_BYTE, 0, 0, HEADER as u32 + 10),
        SockFilter::new(JUMP_SET, 1, 0, u32::from(NTF_EXT_LEARNED)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::wire::{AF_BRIDGE, NDA_MASTER, NLM_F_DUMP, RTM_GETNEIGH};
    use super::*;

    /// The kernel itself: of a bridge that is not there it lists nothing, and says why only at the end of that list.
    #[test]
    fn a_dump_that_fails_is_no_empty_list() {
        let mut requests = Requests::open().unwrap();
        let mut batch = Batch::default();
        let mut dump = |bridge: u32| {
            batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
            batch.neigh(AF_BRIDGE, 0, 0, 0);
            batch.attr(NDA_MASTER, &bridge.to_ne_bytes());
            requests.ask(&mut batch, &mut |_| {}).map_err(|refusal| refusal.errno)
        };
        assert_eq!(dump(i32::MAX.cast_unsigned()), Err(Errno::NODEV));
        assert_eq!(dump(0), Ok(Complete::Yes));
    }
}
