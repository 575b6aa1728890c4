//! How many different sessions there are, without a list of them. Pure.
//!
//! Owns sketches of sessions by when they end: one for each eighth, about, of an idle time. A session
//! that is seen again is in a later sketch as well, which does not matter: together they are counted
//! once. So workers and sidecars can be put together too.
//!
//! A sketch is a `HyperLogLog` (Flajolet, Fusy, Gandouet and Meunier 2007, "the analysis of a
//! near-optimal cardinality estimation algorithm") of 256 registers: its standard error is
//! 1.04 / sqrt(256), 6.5 %. Hashes have 64 bits, so large numbers need no correction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pick::mix;

const REGISTERS: usize = 256;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = REGISTERS.ilog2();
/// The paper's, for as many registers.
const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / 256.0);
/// No session lasts longer from one request to the next; a sketch that ends later is of a clock that
/// was set back.
const AHEAD_MS: u64 = 2 * 24 * 3600 * 1000;

/// Of each register the longest run of zeros, and one, of the hashes that chose it; below 64.
type Registers = Box<[u8; REGISTERS]>;

/// Sessions, by when they end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Seen {
    /// By Unix time, milliseconds: then all of its sessions are over, unless they are seen again.
    sketches: BTreeMap<u64, Registers>,
}

impl Seen {
    /// A session is seen that has been given `idle_s` seconds, and ends at `ends_ms` if it is not seen
    /// again; it is counted for up to a quarter of `idle_s` longer. Both times are Unix time.
    pub fn note(&mut self, session: u64, idle_s: u64, ends_ms: u64, now_ms: u64) {
        // A power of two, so that sessions of all idle times share few sketches.
        let grain_ms = (idle_s.saturating_mul(1000) / 8).clamp(1, 1 << 40).next_power_of_two();
        let ends_ms = ends_ms.checked_next_multiple_of(grain_ms).unwrap_or(u64::MAX);
        if !self.sketches.contains_key(&ends_ms) {
            self.forget(now_ms);
        }
        let registers = self.sketches.entry(ends_ms).or_insert_with(empty);
        let hash = mix(session);
        // The bit behind the hash ends the run.
        let run = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() + 1;
        let register = usize::try_from(hash >> (u64::BITS - INDEX_BITS)).unwrap_or(0);
        let run = u8::try_from(run).unwrap_or(u8::MAX);
        registers[register] = registers[register].max(run);
    }

    /// Those that another has seen, too.
    pub fn add(&mut self, other: &Self) {
        for (ends_ms, registers) in &other.sketches {
            add(self.sketches.entry(*ends_ms).or_insert_with(empty), registers);
        }
    }

    /// Lets go of what is over.
    pub fn forget(&mut self, now_ms: u64) {
        let last = now_ms.saturating_add(AHEAD_MS);
        self.sketches.retain(|&ends_ms, _| now_ms < ends_ms && ends_ms <= last);
    }

    /// Makes one sketch of all that is not over, which lasts as long as the last of them: for a message.
    pub fn collapse(&mut self, now_ms: u64) {
        self.forget(now_ms);
        let Some((last, mut sum)) = self.sketches.pop_last() else { return };
        for registers in self.sketches.values() {
            add(&mut sum, registers);
        }
        self.sketches = BTreeMap::from([(last, sum)]);
    }

    /// How many sessions are not over, about.
    #[must_use]
    pub fn estimate(&self, now_ms: u64) -> u64 {
        let mut one = self.clone();
        one.collapse(now_ms);
        one.sketches.values().next().map_or(0, estimate)
    }
}

fn empty() -> Registers {
    Box::new([0; REGISTERS])
}

fn add(sum: &mut Registers, more: &Registers) {
    for (sum, more) in sum.iter_mut().zip(more.iter()) {
        *sum = (*sum).max(*more);
    }
}

fn estimate(registers: &Registers) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "256 fits")]
    let count = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|&run| (-f64::from(run)).exp2()).sum();
    let raw = ALPHA * count * count / sum;
    let unused: u16 = registers.iter().map(|&run| u16::from(run == 0)).sum();
    // Few: by how many registers are unused.
    let estimate = if raw <= 2.5 * count && unused > 0 {
        count * (count / f64::from(unused)).ln()
    } else {
        raw
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to some 2^60")]
    let estimate = estimate.round() as u64;
    estimate
}

/// Registers as text: of each register one of 64 characters.
#[derive(Serialize, Deserialize)]
struct Written(BTreeMap<u64, String>);

const FIRST: u8 = b'0';

impl From<Seen> for Written {
    fn from(seen: Seen) -> Self {
        let text =
            |registers: Registers| registers.iter().map(|&run| char::from(FIRST + run)).collect();
        Self(seen.sketches.into_iter().map(|(ends_ms, it)| (ends_ms, text(it))).collect())
    }
}

impl TryFrom<Written> for Seen {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let registers = |text: String| -> Result<Registers, Self::Error> {
            let bytes = text.into_bytes();
            let mut registers: Registers =
                bytes.try_into().map_err(|_wrong| "a sketch has 256 registers")?;
            for run in registers.iter_mut() {
                *run = run.checked_sub(FIRST).filter(|run| *run < 64).ok_or("no register")?;
            }
            Ok(registers)
        };
        let sketches = written.0.into_iter().map(|(ends_ms, text)| Ok((ends_ms, registers(text)?)));
        Ok(Self { sketches: sketches.collect::<Result<_, Self::Error>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_774_272_000;
    const IDLE_S: u64 = 3600;
    const END: u64 = NOW + IDLE_S * 1000;

    /// Sessions have random ids; these are the same each time.
    fn sessions(series: u64, count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |number| mix(mix(series) ^ number))
    }

    fn seen(series: u64, count: u64) -> Seen {
        let mut seen = Seen::default();
        sessions(series, count).for_each(|session| seen.note(session, IDLE_S, END, NOW));
        seen
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a test's numbers are small")]
    fn the_error_is_that_of_the_paper() {
        for count in [1, 10, 100, 300, 700, 1000, 10_000, 100_000] {
            let errors: Vec<f64> = (0..24)
                .map(|series| seen(series, count).estimate(NOW) as f64 / count as f64 - 1.0)
                .collect();
            let mean = errors.iter().sum::<f64>() / 24.0;
            let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / 24.0).sqrt();
            // 24 series: 1.3 is two deviations of a deviation.
            assert!(deviation < 0.065 * 1.3, "{count}: {deviation}");
            assert!(mean.abs() < 0.065 * 3.0 / 24_f64.sqrt(), "{count}: {mean}");
            assert!(errors.iter().all(|error| error.abs() < 0.065 * 4.0), "{count}: {errors:?}");
        }
        assert_eq!(seen(1, 0).estimate(NOW), 0);
        assert_eq!(seen(1, 1).estimate(NOW), 1);
    }

    #[test]
    fn who_is_seen_twice_counts_once_and_ends_later() {
        let mut seen = seen(1, 500);
        let once = seen.estimate(NOW);
        let later = NOW + 1_800_000;
        sessions(1, 500).for_each(|session| seen.note(session, IDLE_S, later + 3_600_000, later));
        assert_eq!(seen.estimate(later), once);
        assert_eq!(seen.estimate(later + 3_599_999), once);
        assert_eq!(seen.estimate(later + 3_600_000 + 900_000), 0);
    }

    #[test]
    fn a_session_counts_until_it_ends_and_not_much_longer() {
        for idle_s in [1, 10, 600, 3600, 86_400] {
            let mut seen = Seen::default();
            let end = NOW + idle_s * 1000;
            seen.note(7, idle_s, end, NOW);
            assert_eq!(seen.estimate(end - 1), 1, "{idle_s}");
            assert_eq!(seen.estimate(end + idle_s * 250), 0, "{idle_s}");
        }
    }

    #[test]
    fn sketches_are_few_however_long_it_goes_on() {
        let mut seen = Seen::default();
        for (step, session) in (0..).zip(sessions(1, 20_000)) {
            let now = NOW + step * 10_000;
            seen.note(session, IDLE_S, now + 3_600_000, now);
            assert!(seen.sketches.len() <= 9, "{}", seen.sketches.len());
        }
        // The clock is set back by a month: what is of then is let go.
        let now = NOW - 30 * 86_400_000;
        seen.note(1, IDLE_S, now + 3_600_000, now);
        assert_eq!(seen.estimate(now), 1);
    }

    #[test]
    fn workers_see_the_same_sessions_together() {
        let (mut sum, other) = (seen(1, 600), seen(1, 1000));
        sum.add(&other);
        assert_eq!(sum.estimate(NOW), other.estimate(NOW));
        sum.add(&seen(2, 1000));
        let both = sum.estimate(NOW);
        assert!((1750..2250).contains(&both), "{both}");
    }

    #[test]
    fn what_is_sent_is_one_sketch_that_says_the_same() {
        let mut seen = seen(1, 300);
        sessions(2, 300).for_each(|session| seen.note(session, IDLE_S, END + 1_000_000, NOW));
        let text = serde_json::to_string(&seen).expect("JSON");
        assert_eq!(serde_json::from_str::<Seen>(&text).expect("the same"), seen);
        let before = seen.estimate(NOW);
        seen.collapse(NOW);
        assert_eq!((seen.estimate(NOW), seen.sketches.len()), (before, 1));
        let text = serde_json::to_string(&seen).expect("JSON");
        assert!(text.len() < 300, "{text}");
        for registers in ["00".to_owned(), "/".repeat(256), "p".repeat(256)] {
            let wrong = format!(r#"{{"1": "{registers}"}}"#);
            assert!(serde_json::from_str::<Seen>(&wrong).is_err(), "{wrong}");
        }
    }
}
