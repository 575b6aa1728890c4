//! Wall-clock time: what cookies say outlives this machine's uptime.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
