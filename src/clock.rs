//! The one place that looks at a clock. Everything else is handed a [`Time`].

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use types::Time;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn origin() -> Instant {
    *ORIGIN.get_or_init(Instant::now)
}

/// Now, counted from the first call of the process.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Time {
    let origin = origin();
    Time::ZERO + Instant::now().saturating_duration_since(origin)
}

/// The runtime's idea of the same moment, for sleeping until it.
pub fn instant(at: Time) -> tokio::time::Instant {
    tokio::time::Instant::from_std(origin() + at.since(Time::ZERO))
}

/// The date, for what people read.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
