//! When to try again, and when not to.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::StatusCode;
use tokio::time::Instant;

use super::error::{ConnectionFault, RegistryError};

/// Longest pause that a server can impose.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Longest pause that we impose on ourselves.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Whether a status says "not now" rather than "no": overload, rate limits, faults of proxies.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524
    )
}

impl RegistryError {
    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection { fault, .. } => {
                use ConnectionFault::{Certificate, ClientCertificate, Tls};
                !matches!(fault, Tls | Certificate | ClientCertificate)
            }
            Self::Status { status, .. } => is_transient(*status),
            Self::Token { status, .. } => status.is_some_and(is_transient),
            // Damage on the way: the bytes may arrive whole next time.
            Self::DigestMismatch { .. } | Self::UploadLost { .. } => true,
            _ => false,
        }
    }

    /// Whether the whole host is to be left alone, not only this request.
    fn is_throttling(&self) -> bool {
        matches!(self.status().map(|s| s.as_u16()), Some(429 | 503))
    }
}

/// The pause that a host asked for, shared by everything that talks to it.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Waits until the host may be asked again.
    pub(crate) async fn wait(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(|e| e.into_inner());
            match until {
                // The gate may have been pushed back while we slept, so look again.
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn close_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut gate = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if gate.is_none_or(|old| old < until) {
            *gate = Some(until);
        }
    }
}

/// The attempts that one thing still has.
#[derive(Debug)]
pub(crate) struct Attempts {
    total: u32,
    failed: u32,
    backoff: Duration,
}

impl Attempts {
    /// `total` attempts, the first included; at least one.
    pub(crate) fn new(total: u32, backoff: Duration) -> Self {
        Self {
            total: total.max(1),
            failed: 0,
            backoff,
        }
    }

    /// Forgets earlier failures, because something was achieved since.
    pub(crate) fn renew(&mut self) {
        self.failed = 0;
    }

    /// Notes a failure and pauses before the next attempt.
    ///
    /// # Errors
    /// The error itself, when trying again makes no sense or was done often enough.
    pub(crate) async fn pause(
        &mut self,
        error: RegistryError,
        gate: &Gate,
    ) -> Result<(), RegistryError> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.total {
            return Err(error);
        }
        let own = jitter(backoff(self.backoff, self.failed));
        let pause = error.retry_after().map_or(own, |asked| asked.max(own));
        if error.is_throttling() {
            gate.close_for(pause);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

fn backoff(first: Duration, failed: u32) -> Duration {
    let factor = 1 << (failed - 1).min(16);
    first.saturating_mul(factor).min(MAX_BACKOFF)
}

/// Half of the pause for certain, the other half by chance, so that many clients spread out.
fn jitter(pause: Duration) -> Duration {
    // Without randomness the pause is merely not spread.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Reads a `Retry-After` header (RFC 9110, section 10.2.3): seconds or a date. What makes no sense,
/// zero or lies in the past is nothing; more than five minutes is five minutes.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let pause = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number are still "long".
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let then = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(value)
            .ok()?
            .as_second();
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Duration::from_secs(u64::try_from(then).ok()?.checked_sub(now)?)
    };
    (!pause.is_zero()).then_some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("1", Some(1)),
            (" 120 ", Some(120)),
            ("1000000000", Some(300)),
            ("99999999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sat, 06 Nov 2094 08:50:00 GMT", Some(300)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", None),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_cap_and_are_spread() {
        let first = Duration::from_millis(500);
        assert_eq!(backoff(first, 1), first);
        assert_eq!(backoff(first, 3), first * 4);
        assert_eq!(backoff(first, 40), MAX_BACKOFF);
        for _ in 0..100 {
            let pause = jitter(first);
            assert!(pause >= first / 2 && pause <= first, "{pause:?}");
        }
    }

    #[test]
    fn only_faults_that_pass_are_retried() {
        let status = |code| is_transient(StatusCode::from_u16(code).unwrap());
        for code in [408, 429, 499, 500, 502, 503, 504, 522] {
            assert!(status(code), "{code}");
        }
        for code in [200, 400, 401, 403, 404, 409, 413, 416, 501, 507] {
            assert!(!status(code), "{code}");
        }
    }

    #[tokio::test]
    async fn a_closed_gate_holds_everybody() {
        let gate = Gate::default();
        gate.close_for(Duration::from_millis(60));
        gate.close_for(Duration::from_millis(10));
        let start = Instant::now();
        gate.wait().await;
        assert!(start.elapsed() >= Duration::from_millis(55));
    }
}
