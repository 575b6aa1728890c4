//! What is made of measured values. Pure.

/// Where the values of many rounds lie. What disturbs a round makes it longer, so of times the lower
/// end is the quiet machine; of ratios of what was disturbed alike it is the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub minimum: f64,
    /// A quarter lies below.
    pub lower_quartile: f64,
    /// Half lies below.
    pub median: f64,
    /// A quarter lies above.
    pub upper_quartile: f64,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The least.
    Minimum,
    /// A quarter lies below.
    LowerQuartile,
    /// Half lies below.
    Median,
    /// A quarter lies above.
    UpperQuartile,
}

impl Place {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::LowerQuartile => "lower quartile",
            Self::Median => "median",
            Self::UpperQuartile => "upper quartile",
        }
    }
}

impl Spread {
    /// Of those values that are numbers; `None` when there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> =
            values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            minimum: *sorted.first()?,
            lower_quartile: quantile(&sorted, 1, 4)?,
            median: quantile(&sorted, 1, 2)?,
            upper_quartile: quantile(&sorted, 3, 4)?,
        })
    }

    /// The value there.
    #[must_use]
    pub const fn at(&self, place: Place) -> f64 {
        match place {
            Place::Minimum => self.minimum,
            Place::LowerQuartile => self.lower_quartile,
            Place::Median => self.median,
            Place::UpperQuartile => self.upper_quartile,
        }
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
pub enum Target {
    /// A cost.
    AtMost(f64),
    /// A rate.
    AtLeast(f64),
}

impl Target {
    /// Is it, by this value?
    #[must_use]
    pub fn reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_spread(values: &[f64], want: [f64; 4]) {
        let spread = Spread::of(values).expect("values");
        let got = [spread.minimum, spread.lower_quartile, spread.median, spread.upper_quartile];
        let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9);
        assert!(near, "{values:?}: {got:?}, not {want:?}");
    }

    #[test]
    fn quartiles() {
        check_spread(&[3.0], [3.0, 3.0, 3.0, 3.0]);
        check_spread(&[4.0, 2.0], [2.0, 2.5, 3.0, 3.5]);
        check_spread(&[5.0, 1.0, 4.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]);
        check_spread(&[8.0, 1.0, 4.0, 2.0], [1.0, 1.75, 3.0, 5.0]);
        // One round that was disturbed moves neither.
        check_spread(&[1.0, 1.0, 1.0, 1.0, 900.0], [1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn values_that_are_none() {
        check_spread(&[f64::NAN, 2.0, f64::INFINITY, 2.0], [2.0, 2.0, 2.0, 2.0]);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[f64::NAN]), None);
    }

    #[test]
    fn reached_or_not() {
        for (target, want) in [
            (Target::AtMost(0.35), true),
            (Target::AtMost(0.349), false),
            (Target::AtLeast(0.35), true),
            (Target::AtLeast(0.36), false),
        ] {
            assert_eq!(target.reached(0.35), want, "{target:?}");
        }
    }
}
