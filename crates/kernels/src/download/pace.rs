//! Rate, time left, and when a server is too slow.

use std::time::{Duration, Instant};

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there, those of earlier requests included.
    pub done: u64,
    /// Bytes in all, where the server tells.
    pub total: Option<u64>,
    /// Bytes a second of this request.
    pub rate: u64,
}

impl Progress {
    /// The time left at this rate; None while nobody can tell.
    pub fn left(&self) -> Option<Duration> {
        let bytes = self.total?.checked_sub(self.done)?;
        Some(Duration::from_secs(bytes.checked_div(self.rate)?))
    }
}

/// Watches the bytes of a request.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    bytes: u64,
    /// The stretch that is measured now.
    window: Instant,
    in_window: u64,
    slow: u64,
    slow_over: Duration,
}

impl Pace {
    pub(super) fn new(slow: u64, slow_over: Duration) -> Pace {
        let now = Instant::now();
        Pace { start: now, bytes: 0, window: now, in_window: 0, slow, slow_over }
    }

    /// Counts bytes; whether they come too slowly is the answer.
    pub(super) fn is_slow(&mut self, bytes: u64, now: Instant) -> bool {
        self.bytes += bytes;
        self.in_window += bytes;
        let spent = now.duration_since(self.window);
        if spent < self.slow_over {
            return false;
        }
        let slow = rate(self.in_window, spent) < self.slow;
        (self.window, self.in_window) = (now, 0);
        slow
    }

    pub(super) fn rate(&self, now: Instant) -> u64 {
        rate(self.bytes, now.duration_since(self.start))
    }
}

fn rate(bytes: u64, spent: Duration) -> u64 {
    let millis = spent.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left() {
        let check = |done, total, rate, wanted: Option<u64>| {
            let left = Progress { done, total, rate }.left();
            assert_eq!(left.map(|left| left.as_secs()), wanted);
        };
        check(100, Some(1100), 100, Some(10));
        check(100, Some(1100), 0, None);
        check(100, None, 100, None);
        check(100, Some(90), 100, None);
    }

    #[test]
    fn slow_servers() {
        let mut pace = Pace::new(1000, Duration::from_secs(10));
        let at = |seconds| pace_start(&pace) + Duration::from_secs(seconds);
        let (five, ten, fifteen, twenty, later) = (at(5), at(10), at(15), at(20), at(31));
        assert!(!pace.is_slow(9_000, five));
        assert_eq!(pace.rate(five), 1800);
        assert!(!pace.is_slow(1_000, ten));
        assert!(!pace.is_slow(1, fifteen));
        assert!(pace.is_slow(9_000, twenty));
        assert!(!pace.is_slow(11_000, later));
    }

    fn pace_start(pace: &Pace) -> Instant {
        pace.start
    }
}
