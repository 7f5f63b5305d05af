//! How long to wait before what failed is tried again.

use std::time::Duration;

/// `min`, doubled for each attempt, up to `max`.
pub(crate) fn backoff(min: Duration, max: Duration, attempts: u32) -> Duration {
    min.saturating_mul(1 << attempts.min(16)).min(max)
}
