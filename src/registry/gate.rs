//! What all requests to one host share: its wish to be left alone, how many of them it takes at a
//! time, and how long it has been failing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::error::RegistryError;

/// Answers after a throttled one until one more request may run at the same time.
const GROWTH: u32 = 16;

/// Is told when a request is going to wait before it is made again.
pub type OnPause = Arc<dyn Fn(&Pause<'_>) + Send + Sync>;

/// A pause before another attempt.
#[derive(Clone, Copy, Debug)]
pub struct Pause<'a> {
    /// The registry, `HOST[:PORT]`.
    pub host: &'a str,
    /// What made it necessary.
    pub error: &'a RegistryError,
    /// How long it is.
    pub pause: Duration,
}

/// The way in to one host.
#[derive(Default)]
pub(crate) struct Gate {
    host: String,
    on_pause: Option<OnPause>,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed_until: Option<Instant>,
    failing_since: Option<Instant>,
    /// Requests that are under way.
    inside: usize,
    /// How many there may be, once the host has said that there were too many.
    width: Option<usize>,
    /// Answers since the width was last changed.
    answers: u32,
}

/// The right to have a request under way; given back when it is dropped. Whoever holds one must not
/// wait for another.
pub(crate) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.left.notify_one();
    }
}

impl Gate {
    pub(crate) fn new(host: &str, on_pause: Option<OnPause>) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            on_pause,
            ..Self::default()
        })
    }

    /// Waits until the host may be asked again.
    pub(crate) async fn wait(&self) {
        loop {
            let until = self.lock().closed_until;
            match until {
                // The gate may have been pushed back while we slept, so look again.
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Waits until the host may be asked and has room for one more.
    pub(crate) async fn enter(self: &Arc<Self>) -> Pass {
        loop {
            self.wait().await;
            // Before the look, so that nobody leaves unseen in between.
            let left = self.left.notified();
            {
                let mut state = self.lock();
                let open = state.closed_until.is_none_or(|u| u <= Instant::now());
                if open && state.width.is_none_or(|width| state.inside < width) {
                    state.inside += 1;
                    return Pass(Arc::clone(self));
                }
                if !open {
                    continue;
                }
            }
            left.await;
        }
    }

    /// The host gave an answer that is not a passing fault.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        state.failing_since = None;
        if let Some(width) = state.width {
            state.answers += 1;
            if state.answers >= GROWTH {
                state.answers = 0;
                state.width = Some(width + 1);
                drop(state);
                self.left.notify_one();
            }
        }
    }

    /// Notes a failure; returns how long the host has been failing everything.
    pub(crate) fn failed(&self) -> Duration {
        let now = Instant::now();
        now - *self.lock().failing_since.get_or_insert(now)
    }

    /// Closes for everybody.
    pub(crate) fn close_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        if state.closed_until.is_none_or(|old| old < until) {
            state.closed_until = Some(until);
        }
    }

    /// The host takes no more requests for a while, and only half as many at a time afterwards.
    /// Those that it refuses together count as one.
    pub(crate) fn throttle(&self, pause: Duration) {
        let mut state = self.lock();
        if state.closed_until.is_none_or(|u| u <= Instant::now()) {
            let together = state.width.unwrap_or(usize::MAX).min(state.inside + 1);
            state.width = Some((together / 2).max(1));
            state.answers = 0;
        }
        drop(state);
        self.close_for(pause);
    }

    /// Tells whoever listens about a pause.
    pub(crate) fn tell(&self, error: &RegistryError, pause: Duration) {
        if let Some(on_pause) = &self.on_pause {
            on_pause(&Pause {
                host: &self.host,
                error,
                pause,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(gate: &Gate) -> Option<usize> {
        gate.lock().width
    }

    #[tokio::test]
    async fn a_closed_gate_holds_everybody() {
        let gate = Gate::new("r", None);
        gate.close_for(Duration::from_millis(60));
        gate.close_for(Duration::from_millis(10));
        let start = Instant::now();
        gate.wait().await;
        assert!(start.elapsed() >= Duration::from_millis(55));
        drop(gate.enter().await);
    }

    #[tokio::test]
    async fn throttling_halves_what_is_under_way_and_answers_widen_it_again() {
        let gate = Gate::new("r", None);
        let mut inside = Vec::new();
        for _ in 0..8 {
            inside.push(gate.enter().await);
        }
        // Eight are refused together: the one that is dealt with has left already.
        for _ in 0..8 {
            inside.pop();
            gate.throttle(Duration::from_millis(200));
        }
        assert_eq!(width(&gate), Some(4));
        tokio::time::sleep(Duration::from_millis(210)).await;
        let passes: Vec<_> = [
            gate.enter().await,
            gate.enter().await,
            gate.enter().await,
            gate.enter().await,
        ]
        .into();
        let fifth = gate.enter();
        tokio::pin!(fifth);
        let waits = tokio::time::timeout(Duration::from_millis(20), &mut fifth).await;
        assert!(waits.is_err());
        drop(passes);
        drop(fifth.await);
        for _ in 0..GROWTH {
            gate.answered();
        }
        assert_eq!(width(&gate), Some(5));
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            gate.throttle(Duration::from_millis(1));
        }
        assert_eq!(width(&gate), Some(1));
    }

    #[tokio::test]
    async fn a_host_fails_from_its_first_failure_to_its_next_answer() {
        let gate = Gate::new("r", None);
        assert_eq!(gate.failed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(gate.failed() >= Duration::from_millis(10));
        gate.answered();
        assert_eq!(gate.failed(), Duration::ZERO);
    }
}
