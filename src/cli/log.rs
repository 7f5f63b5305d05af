//! Where log messages go: stderr, as text or JSON. Where stderr is the journal, without time (it has its own) and with
//! a priority it understands (`<4>`, sd-daemon(3)).

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
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
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(layer.json().flatten_event(true)),
        LogFormat::Text if stderr_is_journal() => {
            Box::new(layer.with_ansi(false).event_format(Journal(Format::default().without_time())))
        }
        LogFormat::Text => Box::new(layer.with_ansi(std::io::stderr().is_terminal())),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().context("logging")
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
