//! Timers as a table of moments, and the pauses between attempts.
//!
//! RFC 4271 §8.1.1 and §10 (jitter). No heap and nothing to cancel: a timer is an `Option<Time>` in a fixed array, and
//! the session's deadline is the smallest.

use std::time::Duration;

use types::Time;

/// A timer. The first two belong to the session, the others to each of its connections.
///
/// Of several that are due the first in this order goes first: a connection whose hold time is over sends no keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Time for the next connection attempt, or to give the running one up.
    ConnectRetry,
    /// The end of a pause in Idle.
    IdleHold,
    /// The neighbour has been silent for too long.
    Hold,
    /// The neighbour has not taken our octets for too long (RFC 9687).
    SendHold,
    /// Time to say that we are here.
    Keepalive,
}

impl Timer {
    const ALL: [Self; 5] = [Self::ConnectRetry, Self::IdleHold, Self::Hold, Self::SendHold, Self::Keepalive];
}

/// When each timer goes off, if it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct TimerTable([Option<Time>; Timer::ALL.len()]);

impl TimerTable {
    pub(super) const fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) const fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) const fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// When the next one goes off.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Stops and returns one that is due.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|&t| self.get(t).is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }
}

/// Random numbers for jitter only: splitmix64, the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between three quarters of `d` and all of it (RFC 4271 §10).
    pub(super) fn jitter(&mut self, d: Duration) -> Duration {
        let quarter = u64::try_from(d.as_micros() / 4).unwrap_or(u64::MAX);
        d.saturating_sub(Duration::from_micros(self.next() % quarter.saturating_add(1)))
    }
}

/// Pauses that double with every failure in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and says how long to wait, before jitter.
    pub(super) fn fail(&mut self, first: Duration, longest: Duration) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        first.saturating_mul(factor).min(longest)
    }

    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_one_by_one_in_order() {
        let mut t = TimerTable::default();
        let at = Time::from_micros;
        t.set(Timer::Keepalive, at(5));
        t.set(Timer::Hold, at(9));
        t.set(Timer::SendHold, at(20));
        assert_eq!(t.next(), Some(at(5)));
        assert_eq!(t.take_due(at(4)), None);
        assert_eq!(t.take_due(at(10)), Some(Timer::Hold));
        assert_eq!(t.take_due(at(10)), Some(Timer::Keepalive));
        assert_eq!(t.take_due(at(10)), None);
        assert_eq!(t.next(), Some(at(20)));
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_never_overflow() {
        let mut b = Backoff::default();
        let mut next = || b.fail(Duration::from_secs(1), Duration::from_secs(60)).as_secs();
        assert_eq!(
            [next(), next(), next(), next(), next(), next(), next(), next()],
            [1, 2, 4, 8, 16, 32, 60, 60]
        );
        for _ in 0..100 {
            assert_eq!(next(), 60);
        }
        b.reset();
        assert_eq!(b.fail(Duration::from_secs(1), Duration::MAX).as_secs(), 1);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter_and_repeats_for_a_seed() {
        let run = |seed| {
            let mut rng = Rng::new(seed);
            (0..1000).map(|_| rng.jitter(Duration::from_secs(4))).collect::<Vec<_>>()
        };
        let a = run(7);
        assert!(a.iter().all(|d| (3_000_000..=4_000_000).contains(&d.as_micros())));
        assert!(a.iter().any(|d| d.as_millis() < 3050) && a.iter().any(|d| d.as_millis() > 3950));
        assert_eq!(a, run(7));
        assert_ne!(a, run(8));
        assert_eq!(Rng::new(1).jitter(Duration::ZERO), Duration::ZERO);
    }
}
