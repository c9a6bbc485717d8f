//! Tells the user why nothing moves, while a registry is waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::output::Output;
use crate::registry::{OnPause, Pause};

/// Shorter pauses are not worth a line.
const SHORT: Duration = Duration::from_secs(3);

/// Writes a line for each long pause; one line where many requests wait for the same host.
pub(super) fn tell_pauses(output: &Arc<Output>) -> OnPause {
    let output = Arc::clone(output);
    let told: Mutex<HashMap<String, Instant>> = Mutex::default();
    Arc::new(move |pause: &Pause<'_>| {
        let text = format!(
            "{}; again in {} s",
            pause.error,
            pause.pause.as_secs_f32().ceil()
        );
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let quiet = told.get(pause.host).is_some_and(|until| *until > now);
        if pause.pause < SHORT || quiet {
            output.detail(&text);
        } else {
            told.insert(pause.host.to_owned(), now + pause.pause);
            output.warn(&text);
        }
    })
}
