//! Where log messages go: stderr, as text or JSON. Where stderr is the journal, without time (it has its own) and with
//! a priority it understands (`<4>`, sd-daemon(3)).

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

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

/// Starts logging, once. `verbose` is how often `-v` was given; without it $EVPND_LOG decides.
pub(super) fn init(verbose: u8, format: LogFormat) -> Result<()> {
    let filter = match (verbose, std::env::var("EVPND_LOG")) {
        (0, Ok(text)) => {
            text.parse::<Targets>().context("EVPND_LOG: expected error, warn, info, debug or trace")?
        }
        (0, Err(_)) => Targets::new().with_default(Level::INFO),
        (1, _) => Targets::new().with_default(Level::DEBUG),
        _ => Targets::new().with_default(Level::TRACE),
    };
    let layer = layer(format, stderr_is_journal(), std::io::stderr);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().context("logging")
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
    use std::io;
    use std::sync::{Arc, Mutex};

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
