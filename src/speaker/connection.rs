//! One TCP connection: a task that reads and a task that writes, each joined to the core by a bounded channel.
//!
//! Back-pressure runs both ways: the reader stops reading when the core does not take its chunks, and the core stops
//! asking the RIB for more when the writer's channel holds enough.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::io_text;

/// Octets asked of the kernel in one read.
const READ_CHUNK: usize = 128 * 1024;
/// Pieces that may wait for the writer. The core stops far below, counting octets (256 KiB); this is the last bound. A
/// trickle of changes makes small pieces, none below 50 octets.
const WRITE_QUEUE: usize = 16 * 1024;
/// How long a closed connection may take to flush its last words (a NOTIFICATION) to a neighbour that does not read.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection tells the core.
#[derive(Debug)]
pub enum Event {
    /// Octets arrived.
    Received(Bytes),
    /// So many octets went to the kernel.
    Written(usize),
    /// The connection ended; why, in words.
    Closed(String),
}

/// The core's end of a connection. Dropping it flushes what is queued, then closes.
#[derive(Debug)]
pub struct Handle {
    queue: mpsc::Sender<Bytes>,
    /// Never written to: both tasks see it go.
    open: watch::Sender<()>,
    writer: JoinHandle<()>,
}

impl Handle {
    /// Queues octets; `false` when the queue is full or the connection gone.
    pub fn send(&self, data: Bytes) -> bool {
        self.queue.try_send(data).is_ok()
    }

    /// Closes the connection. What it gives ends when all that is queued is flushed, or two seconds are over.
    pub fn close(self) -> JoinHandle<()> {
        let Self { queue, open, writer } = self;
        drop((queue, open));
        writer
    }
}

/// Starts both tasks. `tell` wraps an [`Event`] for the core's channel.
pub fn spawn<E, F>(stream: TcpStream, core: mpsc::Sender<E>, tell: F) -> Handle
where
    E: Send + 'static,
    F: Fn(Event) -> E + Clone + Send + Sync + 'static,
{
    let (read, write) = stream.into_split();
    let (queue, queued) = mpsc::channel(WRITE_QUEUE);
    let (open, closing) = watch::channel(());
    tokio::spawn(reader(read, core.clone(), tell.clone(), closing.clone()));
    let writer = tokio::spawn(async move {
        tokio::select! {
            () = writer(write, queued, core, tell) => {}
            () = lingered(closing) => {}
        }
    });
    Handle { queue, open, writer }
}

async fn reader<E, F>(
    mut half: OwnedReadHalf,
    core: mpsc::Sender<E>,
    tell: F,
    mut closing: watch::Receiver<()>,
) where
    F: Fn(Event) -> E,
{
    let mut buffer = BytesMut::new();
    let why = loop {
        // Small reads share one allocation, and an idle connection holds none.
        if buffer.capacity() < 4096 {
            buffer = BytesMut::with_capacity(4096);
        }
        let read = tokio::select! {
            read = half.read_buf(&mut buffer) => read,
            _ = closing.changed() => return,
        };
        match read {
            Ok(0) => break "closed by the neighbour".to_owned(),
            Ok(_) => {}
            Err(e) => break io_text(&e),
        }
        // A full buffer means more is waiting: take it in large pieces.
        while buffer.len() == buffer.capacity() && buffer.len() < READ_CHUNK {
            buffer.reserve(READ_CHUNK - buffer.len());
            match half.try_read_buf(&mut buffer) {
                Ok(n) if n > 0 => {}
                _ => break,
            }
        }
        if core.send(tell(Event::Received(buffer.split().freeze()))).await.is_err() {
            return;
        }
    };
    let _ = core.send(tell(Event::Closed(why))).await;
}

/// Ends a while after the core let go of the connection.
async fn lingered(mut closing: watch::Receiver<()>) {
    // Nobody ever writes to it, so this ends when the sender is gone.
    while closing.changed().await.is_ok() {}
    tokio::time::sleep(LINGER).await;
}

async fn writer<E, F>(
    mut half: OwnedWriteHalf,
    mut queued: mpsc::Receiver<Bytes>,
    core: mpsc::Sender<E>,
    tell: F,
) where
    F: Fn(Event) -> E,
{
    while let Some(data) = queued.recv().await {
        if let Err(e) = write(&mut half, data, &core, &tell).await {
            let _ = core.send(tell(Event::Closed(io_text(&e)))).await;
            return;
        }
    }
    let _ = half.shutdown().await;
}

/// Writes it all, telling of each piece the kernel took: a send-hold timer wants to know of the slightest progress.
async fn write<E, F>(
    half: &mut OwnedWriteHalf,
    mut data: Bytes,
    core: &mpsc::Sender<E>,
    tell: &F,
) -> io::Result<()>
where
    F: Fn(Event) -> E,
{
    while !data.is_empty() {
        let n = half.write_buf(&mut data).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // Also when the core has gone: a message cut off would spoil the NOTIFICATION that follows it.
        let _ = core.send(tell(Event::Written(n))).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
