//! How often something may be done: a leaky bucket in one word (GCRA, ITU-T I.371, annex A).

use crate::layout::pod;

pod! {
    /// A rate.
    #[derive(Default)]
    pub struct Rate {
        /// Nanoseconds from one time to the next, in the long run.
        pub every_ns: u64,
        /// The same for as many as there may be in a row.
        pub room_ns: u64,
    }
}

impl Rate {
    /// Once every so many nanoseconds, and `burst` times in a row.
    #[must_use]
    pub const fn new(every_ns: u64, burst: u64) -> Self {
        Self { every_ns, room_ns: every_ns.saturating_mul(burst) }
    }

    /// May it be done now? The bucket's next state if so. `bucket` is 0 at first, then the time
    /// when it will be empty; both are monotonic clock, nanoseconds.
    #[inline(always)]
    #[must_use]
    pub const fn admits(self, bucket: u64, now_ns: u64) -> Option<u64> {
        let empty = if bucket > now_ns { bucket } else { now_ns };
        let filled = empty.saturating_add(self.every_ns);
        if filled.saturating_sub(now_ns) > self.room_ns { None } else { Some(filled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_at_a_time() {
        let rate = Rate::new(100, 3);
        let mut bucket = 0;
        let mut admitted = |now: u64| match rate.admits(bucket, now) {
            Some(next) => {
                bucket = next;
                true
            }
            None => false,
        };
        assert_eq!([0; 5].map(|after| admitted(1_000 + after)), [true, true, true, false, false]);
        assert_eq!(
            [99, 100, 100, 199].map(|after| admitted(1_000 + after)),
            [false, true, false, false]
        );
        // Never more than a burst is saved up.
        assert_eq!([0; 4].map(|after| admitted(9_000 + after)), [true, true, true, false]);
    }

    #[test]
    fn a_clock_that_stands_at_its_end() {
        let rate = Rate::new(100, 1);
        assert_eq!(rate.admits(u64::MAX, 0), None);
        assert!(rate.admits(0, u64::MAX).is_some());
    }
}
