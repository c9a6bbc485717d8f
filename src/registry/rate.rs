//! How fast bytes move: not faster than the user permits, not slower than a server may be.

use std::{num::NonZeroU64, sync::Mutex, time::Duration};

use tokio::time::{Instant, sleep_until};

/// The most that may move at once after a pause, as time at the permitted rate.
const BURST: Duration = Duration::from_millis(100);

/// A limit in bytes a second that many transfers share.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_a_second: NonZeroU64,
    /// When everything that was taken so far will have moved at the permitted rate.
    paid_until: Mutex<Instant>,
}

impl RateLimit {
    pub(crate) fn new(bytes_a_second: NonZeroU64) -> Self {
        Self {
            bytes_a_second,
            paid_until: Mutex::new(Instant::now()),
        }
    }

    /// Takes the right to move so many bytes, and waits until they may.
    pub(crate) async fn take(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_a_second.get() as f64);
        let until = {
            let mut paid = self.paid_until.lock().unwrap_or_else(|e| e.into_inner());
            *paid = (*paid).max(Instant::now()) + cost;
            *paid
        };
        if let Some(until) = until.checked_sub(BURST) {
            sleep_until(until).await;
        }
    }
}

/// Measures how fast a body comes in. Only the time counts in which the server is waited for: that a
/// disk is slow, or a rate limited, is not its fault.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes that so many bytes came after a wait; whether that is too slow. It is measured over
    /// `window`, at `min_rate` bytes a second.
    pub(crate) fn is_too_slow(
        &mut self,
        bytes: usize,
        waited: Duration,
        window: Duration,
        min_rate: u64,
    ) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < window {
            return false;
        }
        let slow = (self.bytes as f64) < self.waited.as_secs_f64() * min_rate as f64;
        *self = Self::default();
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takers_share_the_rate() {
        let limit = RateLimit::new(NonZeroU64::new(1_000_000).unwrap());
        let start = Instant::now();
        tokio::join!(limit.take(150_000), limit.take(150_000));
        // 300 ms of bytes, a tenth of a second of them at once.
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn a_trickle_is_too_slow_and_a_slow_reader_is_not() {
        let window = Duration::from_secs(60);
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        let slow = (0..60).map(|_| pace.is_too_slow(1023, second, window, 1024));
        assert_eq!(slow.filter(|slow| *slow).count(), 1);
        for _ in 0..600 {
            assert!(!pace.is_too_slow(1024, second, window, 1024));
        }
        // A thousand pieces that were there when they were wanted.
        for _ in 0..1000 {
            assert!(!pace.is_too_slow(1, Duration::ZERO, window, 1024));
        }
    }
}
