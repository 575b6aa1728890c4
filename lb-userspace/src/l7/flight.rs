//! First flights (C12): where the first request of a client without a cookie went, for those that
//! follow it before an answer came.
//!
//! Owns a table of fixed size that all workers share. A choice that another client's takes the place
//! of is forgotten early, no more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Choices that fit: 512 KiB.
const PLACES: usize = 1 << 16;
/// Entries: tag (upper 24 bits), time (24 bits, in [`TICK_MS`]), backend (lower 16 bits).
const TICK_MS: u64 = 64;
const TICKS: u64 = 1 << 24;
/// Workers have clocks of their own, which jump some ten times a second: a choice may have been made
/// a little later than now.
const AHEAD: u64 = 16;

/// The table.
#[derive(Debug)]
pub struct Flights(Box<[AtomicU64]>);

impl Default for Flights {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Flights {
    /// The choice for `client` (a hash of address and rule), made less than `window_ms` before
    /// `now_ms`; a place in the pool.
    #[must_use]
    pub fn find(&self, client: u64, now_ms: u64, window_ms: u64) -> Option<usize> {
        let entry = self.0[place(client)].load(Relaxed);
        let age = ticks(now_ms).wrapping_sub(entry >> 16) % TICKS;
        let age = if age >= TICKS - AHEAD { 0 } else { age };
        let holds = entry != 0 && entry >> 40 == tag(client) && age * TICK_MS < window_ms;
        holds.then(|| usize::from((entry & 0xffff) as u16))
    }

    /// Notes a choice; the one to follow, which another worker may have made a moment before.
    #[must_use]
    pub fn note(&self, client: u64, backend: usize, now_ms: u64, window_ms: u64) -> usize {
        let Ok(short) = u16::try_from(backend) else { return backend };
        let place = &self.0[place(client)];
        let there = place.load(Relaxed);
        if let Some(other) = self.find(client, now_ms, window_ms) {
            return other;
        }
        let entry = tag(client) << 40 | (ticks(now_ms) % TICKS) << 16 | u64::from(short);
        match place.compare_exchange(there, entry, Relaxed, Relaxed) {
            Ok(_) => backend,
            Err(_) => self.find(client, now_ms, window_ms).unwrap_or(backend),
        }
    }

    /// Forgets a choice that cannot be followed.
    pub fn forget(&self, client: u64) {
        let place = &self.0[place(client)];
        let there = place.load(Relaxed);
        if there >> 40 == tag(client) {
            let _changed = place.compare_exchange(there, 0, Relaxed, Relaxed);
        }
    }
}

fn place(client: u64) -> usize {
    usize::from((client & 0xffff) as u16)
}

/// Never 0, so that no entry is.
fn tag(client: u64) -> u64 {
    (client >> 40).max(1)
}

/// The present; never the time of an empty place.
fn ticks(now_ms: u64) -> u64 {
    now_ms / TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_followed_for_their_window() {
        let flights = Flights::default();
        let (one, other) = (0x1234_5678_9abc_0001, 0x9999_5678_9abc_0001);
        let now = 1_000_000 * TICK_MS;
        assert_eq!(flights.find(one, now, 2000), None);
        assert_eq!(flights.note(one, 7, now, 2000), 7);
        assert_eq!(flights.note(one, 8, now + 100, 2000), 7);
        assert_eq!(flights.find(one, now + 1900, 2000), Some(7));
        // By a clock that is behind.
        assert_eq!(flights.note(one, 8, now - 500, 2000), 7);
        assert_eq!(flights.find(one, now - 2000, 2000), None);
        assert_eq!(flights.find(one, now + 2048, 2000), None);
        assert_eq!(flights.note(one, 8, now + 2048, 2000), 8);
        assert_eq!(flights.find(one, now + 2048, 0), None);
        // Another client of the same place.
        assert_eq!(flights.find(other, now + 2048, 2000), None);
        assert_eq!(flights.note(other, 3, now + 2048, 2000), 3);
        assert_eq!(flights.find(one, now + 2048, 2000), None);
        flights.forget(one);
        assert_eq!(flights.find(other, now + 2048, 2000), Some(3));
        flights.forget(other);
        assert_eq!(flights.find(other, now + 2048, 2000), None);
    }

    #[test]
    fn a_choice_of_all_workers_is_one() {
        let flights = Flights::default();
        for client in 0..2000_u64 {
            let client = client << 40 | client;
            let barrier = std::sync::Barrier::new(2);
            let choose = |backend| {
                barrier.wait();
                flights.note(client, backend, 64_000, 2000)
            };
            let (a, b) = std::thread::scope(|scope| {
                let other = scope.spawn(|| choose(1));
                (choose(2), other.join().expect("ended"))
            });
            assert_eq!(a, b, "{client}");
        }
    }
}
