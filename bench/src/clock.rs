//! The one place of the benchmark that looks at a clock: what it measures is real time.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time; nothing here is a state machine"
)]

use std::process::Command;
use std::time::{Duration, Instant};

/// Now.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Today and the hour, for the report.
pub(crate) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Calls `probe` every `pause` until it yields something or `limit` has passed.
pub(crate) fn poll<T>(limit: Duration, pause: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(pause);
    }
}
