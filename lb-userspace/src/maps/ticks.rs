//! The clock that flows are judged by, as the agent knows it: by the kernel's jiffies at one moment,
//! since their number grows with the monotonic clock (`kernel/time/tick-sched.c`).

use lb_common::ticks;
use nix::time::{ClockId, clock_getres, clock_gettime};

/// A moment, and how long jiffies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    /// Jiffies then.
    jiffies: u64,
    /// The monotonic clock then, nanoseconds.
    then_ns: u64,
    jiffy_ns: u64,
}

impl Ticks {
    /// Jiffies were so many at `then_ns` of the monotonic clock.
    #[must_use]
    pub fn new(jiffies: u64, then_ns: u64) -> Self {
        Self { jiffies, then_ns, jiffy_ns: jiffy_ns() }
    }

    /// The tick at `now_ns`, as entries hold it.
    #[must_use]
    pub fn at(&self, now_ns: u64) -> u32 {
        let passed = now_ns.saturating_sub(self.then_ns) / self.jiffy_ns;
        ticks::short((self.jiffies + passed) >> ticks::shift(self.jiffy_ns))
    }

    /// How long a tick is, nanoseconds.
    #[must_use]
    pub fn tick_ns(&self) -> u64 {
        self.jiffy_ns << ticks::shift(self.jiffy_ns)
    }
}

/// How long a jiffy is, nanoseconds: the resolution of the coarse clock (`kernel/time/posix-timers.c`:
/// `KTIME_LOW_RES`).
#[must_use]
pub fn jiffy_ns() -> u64 {
    nanoseconds(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)).max(1)
}

/// The monotonic clock, nanoseconds. The data path reads the coarse one too.
#[must_use]
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE))
}

fn nanoseconds(time: nix::Result<nix::sys::time::TimeSpec>) -> u64 {
    time.map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_with_the_clock() {
        let clock = Ticks { jiffies: 1 << 40, then_ns: 7, jiffy_ns: 4_000_000 };
        assert_eq!(clock.tick_ns(), 64_000_000);
        let then = clock.at(7);
        assert_eq!(clock.at(7 + 63_999_999), then);
        assert_eq!(clock.at(7 + 64_000_000), then + 1);
        assert_eq!(clock.at(7 + 6_400_000_000), then + 100);
        assert_eq!(clock.at(0), then, "the data path's time does not go back");
    }

    #[test]
    fn jiffies_of_this_kernel() {
        assert!((1_000_000..=10_000_000).contains(&jiffy_ns()), "{}", jiffy_ns());
    }
}
