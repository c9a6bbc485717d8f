//! How far a transfer is, how fast, and how long it will take. Knows no clock: it is told the time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::human;

/// The rate is that of this much time before now, so that it follows a slow medium.
const WINDOW: Duration = Duration::from_secs(30);

/// Counts the bytes of one transfer.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    total: u64,
    done: u64,
    /// What was done when, oldest first; the first is the start or about a window ago.
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(super) fn new(total: u64, now: Instant) -> Self {
        Self {
            total,
            done: 0,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
    }

    /// `total      1.21 / 1.62 GiB   75 %   96.0 MiB/s   4 s left   3 in flight`. Takes a sample
    /// for the rate, so it should be asked at even intervals.
    pub(super) fn line(&mut self, now: Instant, in_flight: usize) -> String {
        // What was sent twice after a broken connection has been counted twice.
        let done = self.done.min(self.total);
        let mut line = format!("{:<10} {}", "total", human::part_of(done, self.total));
        if let Some(percent) = (u128::from(done) * 100).checked_div(self.total.into()) {
            line.push_str(&format!("   {percent} %"));
        }
        let rate = self.rate(now);
        line.push_str(&format!("   {}", human::rate(rate)));
        let left = (self.total - done) as f64 / rate;
        if let Ok(left) = Duration::try_from_secs_f64(left) {
            line.push_str(&format!("   {} left", human::time_left(left)));
        }
        if in_flight > 0 {
            line.push_str(&format!("   {in_flight} in flight"));
        }
        line
    }

    /// Bytes per second over the window.
    fn rate(&mut self, now: Instant) -> f64 {
        while self.samples.len() > 1 && now.duration_since(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        self.samples.push_back((now, self.done));
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 {
            (self.done - before) as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = Meter::new(1000 * MIB, start);
        meter.advance(200 * MIB);
        assert_eq!(
            meter.line(at(10), 3),
            "total      200 / 1000 MiB   20 %   20.0 MiB/s   40 s left   3 in flight"
        );
        meter.advance(50 * MIB);
        assert_eq!(
            meter.line(at(20), 1),
            "total      250 / 1000 MiB   25 %   12.5 MiB/s   1 min 0 s left   1 in flight"
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute_and_a_stall_has_no_end() {
        let start = Instant::now();
        let mut meter = Meter::new(1000 * MIB, start);
        meter.advance(300 * MIB);
        let mut line = String::new();
        for seconds in (10..=100).step_by(10) {
            line = meter.line(start + Duration::from_secs(seconds), 0);
        }
        assert_eq!(line, "total      300 / 1000 MiB   30 %   0 B/s");
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let start = Instant::now();
        let mut empty = Meter::new(0, start);
        assert_eq!(empty.line(start, 0), "total      0 / 0 B   0 B/s");
        let mut twice = Meter::new(10, start);
        twice.advance(u64::MAX);
        twice.advance(u64::MAX);
        let line = twice.line(start + Duration::from_secs(1), 0);
        assert!(line.starts_with("total      10 / 10 B   100 %"), "{line}");
        let mut huge = Meter::new(u64::MAX, start);
        huge.advance(u64::MAX - 1);
        assert!(
            huge.line(start + Duration::from_secs(1), 0)
                .contains(" 99 %")
        );
    }
}
