//! Where log messages go: stderr, as text or JSON. Where stderr is the journal, without time (it has its own) and with
//! a priority it understands (`<4>`, sd-daemon(3)).
//!
//! Whoever reads stderr may stop reading; a thread of its own then waits, and not the sessions. What does not fit into its
//! queue is dropped, and counted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::args::LogFormat;

/// Messages that may wait for whoever reads the log.
const QUEUE: usize = 4096;
/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts logging, once; [`Log::flush`] before the end waits for the last messages. `verbose` is how often `-v` was given;
/// without it $EVPND_LOG decides.
pub(super) fn init(verbose: u8, format: LogFormat) -> Result<Log> {
    let filter = match (verbose, std::env::var("EVPND_LOG")) {
        (0, Ok(text)) => {
            text.parse::<Targets>().context("EVPND_LOG: expected error, warn, info, debug or trace")?
        }
        (0, Err(_)) => Targets::new().with_default(Level::INFO),
        (1, _) => Targets::new().with_default(Level::DEBUG),
        _ => Targets::new().with_default(Level::TRACE),
    };
    let log = Log::start(io::stderr()).context("logging")?;
    let writer = log.clone();
    let layer = layer(format, stderr_is_journal(), move || writer.clone());
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().context("logging")?;
    Ok(log)
}

enum Line {
    /// A message, with its end of line.
    Text(Vec<u8>),
    /// All before it is written: let this go.
    Flush(#[expect(dead_code, reason = "dropped, that is all")] SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone)]
pub(super) struct Log {
    queue: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Log {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new().name("log".into()).spawn(move || write_lines(out, &lines, &counted))?;
        Ok(Self { queue, lost })
    }

    /// Waits until what was logged is written, or a second.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(0);
        if self.queue.try_send(Line::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

/// A message comes in one piece.
impl Write for Log {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Line::Text(message.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(mut out: impl Write, lines: &Receiver<Line>, lost: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        // A full disk or a closed pipe is no reason to stop: perhaps the next one fits.
        if let Line::Text(text) = line {
            let _ = out.write_all(&text);
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "evpnd: {lost} log messages dropped: nobody read them fast enough");
        }
    }
}

fn layer<W>(format: LogFormat, journal: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => Box::new(layer.json().flatten_event(true)),
        LogFormat::Text if journal => {
            Box::new(layer.with_ansi(false).event_format(Journal(Format::default().without_time())))
        }
        LogFormat::Text => Box::new(layer.with_ansi(std::io::stderr().is_terminal())),
    }
}

/// $JOURNAL_STREAM names the device and inode of the journal; it is inherited also by what writes elsewhere.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|m| stream == format!("{}:{}", m.dev(), m.ino()))
}

struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Somebody who reads nothing until the sender is gone.
    struct Stalled(std::sync::mpsc::Receiver<()>, Shared);

    impl io::Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up() {
        let shared = Shared::default();
        let (go, wait) = sync_channel(0);
        let mut log = Log::start(Stalled(wait, shared.clone())).unwrap();
        for _ in 0..2 * QUEUE {
            log.write_all(b"line\n").unwrap();
        }
        drop(go);
        let until = crate::clock::now() + Duration::from_secs(10);
        let text = loop {
            Log::flush(&log);
            let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
            if text.matches("line\n").count() >= QUEUE || crate::clock::now() > until {
                break text;
            }
        };
        assert!(text.matches("line\n").count() >= QUEUE, "{text}");
        assert!(text.contains("log messages dropped"), "{text}");
    }

    fn logged(format: LogFormat, journal: bool) -> String {
        let shared = Shared::default();
        let writer = shared.clone();
        let layer = layer(format, journal, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(neighbor = "10.0.0.10", "session down");
        });
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn for_the_journal_a_priority_and_no_time() {
        let line = logged(LogFormat::Text, true);
        assert_eq!(line, "<4> WARN evpnd::cli::log::tests: session down neighbor=\"10.0.0.10\"\n");
    }

    #[test]
    fn as_json_one_object_a_line() {
        let line = logged(LogFormat::Json, false);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["level"], &json["message"]), (&"WARN".into(), &"session down".into()));
        assert_eq!(json["neighbor"], "10.0.0.10");
    }
}
