//! When to try again, and when not to.
//!
//! There is one policy. What fails is of a class: passing faults are tried again, refusals are not.
//! Each thing (a request, a blob) has a number of attempts, with pauses that double and are spread,
//! and with what the server asks for in `Retry-After`; what all requests to a host share (its wish to
//! be left alone, how long it has been failing) is in its [`Gate`](super::gate::Gate).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use tokio::time::Instant;

use super::{
    error::{ConnectionFault, RegistryError},
    gate::Gate,
};

/// Longest pause that a server can impose.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Longest pause that we impose on ourselves.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Attempts for a host that has never answered: more likely it is not there at all.
const FIRST_CONTACT: u32 = 4;
/// Codes with which registries say that what arrived is not what was announced.
const DAMAGED: [&str; 2] = ["DIGEST_INVALID", "SIZE_INVALID"];

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
            Self::Status { status, .. } => {
                // What is sent was hashed on its way out, so it was damaged behind us.
                is_transient(*status) || self.code().is_some_and(|code| DAMAGED.contains(&code))
            }
            Self::Token { status, .. } => status.is_some_and(is_transient),
            // Damage on the way: the bytes may arrive whole next time.
            Self::DigestMismatch { .. } | Self::UploadLost { .. } => true,
            _ => false,
        }
    }
}

/// The attempts that one thing still has.
#[derive(Debug)]
pub(crate) struct Attempts {
    total: u32,
    failed: u32,
    backoff: Duration,
    budget: Duration,
}

impl Attempts {
    /// `total` attempts, the first included; at least one. `budget` is how long a host may fail
    /// everything before it is given up on, and the longest pause that it may ask for.
    pub(crate) fn new(total: u32, backoff: Duration, budget: Duration) -> Self {
        Self {
            total: total.max(1),
            failed: 0,
            backoff,
            budget,
        }
    }

    /// Fewer, as they are for a host that has never answered.
    pub(crate) fn for_first_contact(mut self) -> Self {
        self.total = self.total.min(FIRST_CONTACT);
        self
    }

    /// Forgets earlier failures, because something was achieved since.
    pub(crate) fn renew(&mut self) {
        self.failed = 0;
    }

    /// Notes a failure and pauses before the next attempt.
    ///
    /// # Errors
    /// The error itself, when trying again makes no sense, was done often enough, or would take
    /// longer than the host may go on failing.
    pub(crate) async fn pause(
        &mut self,
        error: RegistryError,
        gate: &Gate,
    ) -> Result<(), RegistryError> {
        self.failed += 1;
        if !error.is_transient() {
            return Err(error);
        }
        let failing = gate.failed();
        let own = jitter(backoff(self.backoff, self.failed));
        let pause = error.retry_after().map_or(own, |asked| asked.max(own));
        if self.failed >= self.total || failing.max(pause) > self.budget {
            return Err(error.after(self.failed));
        }
        match error.status().map(|status| status.as_u16()) {
            Some(429) => gate.throttle(pause),
            Some(503) => gate.close_for(pause),
            _ => {}
        }
        gate.tell(&error, pause);
        tokio::time::sleep_until(Instant::now() + pause).await;
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn q76_retry_after_is_read_in_both_forms_and_capped() {
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

    proptest! {
        #[test]
        fn any_retry_after_is_a_pause_within_the_cap_or_none(
            text in "[ -~]{0,40}", date in "[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{2,5} [0-9:]{8} GMT",
            seconds in any::<u64>(),
        ) {
            let now = UNIX_EPOCH + Duration::from_secs(seconds % 4_000_000_000);
            for value in [text, date, seconds.to_string()] {
                let pause = retry_after(&value, now);
                prop_assert!(pause.is_none_or(|p| !p.is_zero() && p <= MAX_RETRY_AFTER));
            }
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
}
