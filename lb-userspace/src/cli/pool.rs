//! A pool in a few words, for `status` and `check`.

use std::time::Duration;

use crate::api::wire::Pool;

/// `nat from 10.0.0.1`, `dsr` or `tunnel, gue to port 6080 from 10.0.1.0/24`.
pub(super) fn forward(pool: &Pool) -> String {
    if let Some(tunnel) = &pool.tunnel {
        let port = tunnel.port.map_or_else(String::new, |port| format!(" to port {port}"));
        let source = &tunnel.source;
        let source = source.as_ref().map_or_else(String::new, |source| format!(" from {source}"));
        return format!("{}, {}{port}{source}", pool.forward, tunnel.kind);
    }
    if pool.nat_sources.is_empty() {
        return pool.forward.clone();
    }
    let sources: Vec<String> = pool.nat_sources.iter().map(ToString::to_string).collect();
    format!("{} from {}", pool.forward, sources.join(", "))
}

/// `maglev`, or `round-robin, slow start 30s`.
pub(super) fn scheduler(pool: &Pool) -> String {
    if pool.slow_start_ms == 0 {
        return pool.scheduler.clone();
    }
    let slow_start = Duration::from_millis(pool.slow_start_ms);
    format!("{}, slow start {}", pool.scheduler, humantime::format_duration(slow_start))
}
