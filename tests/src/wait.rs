//! Waiting for something to come true, with an end to patience.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often it is looked.
const STEP: Duration = Duration::from_millis(20);

/// Asks `look` until it has an answer, and returns that.
///
/// # Panics
///
/// When there is none within `patience`; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain until {what}");
        thread::sleep(STEP);
    }
}
