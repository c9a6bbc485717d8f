//! SIGINT and SIGTERM: the first ends the command in an orderly way, the second at once.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    flag, low_level,
};
use tokio::sync::Notify;

use super::exit::Exit;

/// How long the first signal waits for a prompt to put the terminal in order again.
const PATIENCE: Duration = Duration::from_millis(300);

/// What happens at the first signal.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Set by the first signal.
    received: Arc<AtomicBool>,
    /// Set by a command that ends by itself when it is told to.
    handled: AtomicBool,
    /// How many prompts have changed the terminal.
    held: AtomicUsize,
    notify: Notify,
}

/// While it lives, the first signal waits a moment before it ends the program.
#[derive(Debug)]
pub struct Hold<'a>(&'a Shared);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Interrupt {
    /// Installs the handlers. `first` is called at the first signal, on a thread of its own,
    /// unless the command has said with [`received`](Self::received) that it sees to that itself.
    /// The second signal ends the process at once with the exit code of an interruption.
    ///
    /// # Errors
    /// When the system refuses a handler, a socket pair or a thread.
    pub fn install(first: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let interrupt = Self::default();
        let (mut awake, wake) = UnixStream::pair()?;
        // A file that grows beyond the limit of the process is an error like a full disk, and not a
        // reason to be killed.
        flag::register(SIGXFSZ, Arc::default())?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the condition is still false when the first signal comes.
            let received = &interrupt.shared.received;
            let code = i32::from(Exit::Interrupted.code());
            flag::register_conditional_shutdown(signal, code, Arc::clone(received))?;
            flag::register(signal, Arc::clone(received))?;
            low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        let waiting = interrupt.clone();
        let wait = move || {
            if awake.read_exact(&mut [0]).is_ok() {
                waiting.fire(first);
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)?;
        Ok(interrupt)
    }

    /// Waits for the first signal. A command that calls this has to come to an end by itself
    /// then; the program no longer ends it.
    pub fn received(&self) -> impl Future<Output = ()> + Send + 'static {
        // From the call on, whenever the waiting begins.
        self.shared.handled.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        async move {
            let notified = shared.notify.notified();
            if !shared.received.load(Ordering::SeqCst) {
                notified.await;
            }
        }
    }

    /// Whether a signal has come.
    pub fn was_received(&self) -> bool {
        self.shared.received.load(Ordering::SeqCst)
    }

    /// For a prompt that has switched the echo of the terminal off: gives it the time to switch
    /// it on again.
    pub fn hold(&self) -> Hold<'_> {
        self.shared.held.fetch_add(1, Ordering::SeqCst);
        Hold(&self.shared)
    }

    pub(super) fn fire(&self, first: impl FnOnce()) {
        self.shared.received.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        while self.shared.held.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if self.shared.handled.load(Ordering::SeqCst) {
            self.shared.notify.notify_waiters();
        } else {
            first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_waits_for_the_signal_is_told_and_not_ended() {
        let interrupt = Interrupt::default();
        let waiter = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.received().await }
        });
        while !interrupt.shared.handled.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        interrupt.fire(|| panic!("the command handles it"));
        waiter.await.unwrap();
        assert!(interrupt.was_received());
        // Whoever asks later is not left waiting.
        interrupt.received().await;
    }

    #[test]
    fn a_prompt_is_waited_for_but_not_for_ever() {
        let interrupt = Interrupt::default();
        let hold = interrupt.hold();
        let start = Instant::now();
        let mut ended = false;
        interrupt.fire(|| ended = true);
        assert!(ended && start.elapsed() >= PATIENCE);
        drop(hold);
        let start = Instant::now();
        interrupt.fire(|| ());
        assert!(start.elapsed() < PATIENCE);
    }

    #[test]
    fn any_other_command_is_ended() {
        let mut ended = false;
        Interrupt::default().fire(|| ended = true);
        assert!(ended);
    }
}
