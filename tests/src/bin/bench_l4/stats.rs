//! What is made of measured values. Pure.

/// Where the values of many rounds lie. What disturbs a round makes it longer, so the lower end is
/// the quiet machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) minimum: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) median: f64,
}

impl Spread {
    /// Of those values that are numbers; `None` when there is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> =
            values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            minimum: *sorted.first()?,
            lower_quartile: quantile(&sorted, 1, 4)?,
            median: quantile(&sorted, 1, 2)?,
        })
    }
}

/// The value below which `part` of `parts` lie, between two values in proportion (Hyndman and Fan,
/// "Sample quantiles in statistical packages", 1996, definition 7).
fn quantile(sorted: &[f64], part: usize, parts: usize) -> Option<f64> {
    let steps = sorted.len().checked_sub(1)? * part;
    let (at, rest) = (steps / parts, steps % parts);
    let low = *sorted.get(at)?;
    let high = sorted.get(at + 1).copied().unwrap_or(low);
    let share = f64::from(u32::try_from(rest).ok()?) / f64::from(u32::try_from(parts).ok()?);
    Some(low + (high - low) * share)
}

/// What a row is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    /// Is it reached? By the lower quartile: for a cost the quiet value, for a rate the careful
    /// one.
    pub(crate) fn reached(self, spread: &Spread) -> bool {
        match self {
            Self::AtMost(most) => spread.lower_quartile <= most,
            Self::AtLeast(least) => spread.lower_quartile >= least,
        }
    }
}

/// What one round found, in the same unit each, less is better: ours, what it is compared with, and
/// the empty program, which is in both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Round {
    pub(crate) ours: f64,
    pub(crate) against: f64,
    pub(crate) empty: f64,
}

impl Round {
    /// Ours net of the empty program.
    pub(crate) fn net(&self) -> f64 {
        self.ours - self.empty
    }

    /// The ratio of the net costs; no number when the other one's cost was lost in noise.
    pub(crate) fn ratio(&self) -> f64 {
        let against = self.against - self.empty;
        if against > 0.0 { self.net() / against } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_spread(values: &[f64], want: [f64; 3]) {
        let spread = Spread::of(values).expect("values");
        let got = [spread.minimum, spread.lower_quartile, spread.median];
        let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9);
        assert!(near, "{values:?}: {got:?}, not {want:?}");
    }

    #[test]
    fn quartiles() {
        check_spread(&[3.0], [3.0, 3.0, 3.0]);
        check_spread(&[4.0, 2.0], [2.0, 2.5, 3.0]);
        check_spread(&[5.0, 1.0, 4.0, 2.0, 3.0], [1.0, 2.0, 3.0]);
        check_spread(&[8.0, 1.0, 4.0, 2.0], [1.0, 1.75, 3.0]);
        // One round that was disturbed moves neither.
        check_spread(&[1.0, 1.0, 1.0, 1.0, 900.0], [1.0, 1.0, 1.0]);
    }

    #[test]
    fn values_that_are_none() {
        check_spread(&[f64::NAN, 2.0, f64::INFINITY, 2.0], [2.0, 2.0, 2.0]);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[f64::NAN]), None);
    }

    #[test]
    fn ratios_are_net_of_the_empty_program() {
        let ratio = |ours, against, empty| Round { ours, against, empty }.ratio();
        assert!((ratio(30.0, 50.0, 10.0) - 0.5).abs() < 1e-9);
        assert!((ratio(10.0, 50.0, 10.0) - 0.0).abs() < 1e-9);
        // Noise: faster than the empty program.
        assert!(ratio(30.0, 10.0, 10.0).is_nan());
        assert!(ratio(30.0, 9.0, 10.0).is_nan());
    }

    #[test]
    fn reached_or_not() {
        let spread = Spread { minimum: 0.2, lower_quartile: 0.35, median: 0.9 };
        for (target, want) in [
            (Target::AtMost(0.35), true),
            (Target::AtMost(0.349), false),
            (Target::AtMost(0.2), false),
            (Target::AtLeast(0.35), true),
            (Target::AtLeast(0.36), false),
            (Target::AtLeast(0.2), true),
        ] {
            assert_eq!(target.reached(&spread), want, "{target:?}");
        }
    }
}
