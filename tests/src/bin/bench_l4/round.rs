//! One round of packets, as it is measured. Pure.

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

    #[test]
    fn ratios_are_net_of_the_empty_program() {
        let ratio = |ours, against, empty| Round { ours, against, empty }.ratio();
        assert!((ratio(30.0, 50.0, 10.0) - 0.5).abs() < 1e-9);
        assert!((ratio(10.0, 50.0, 10.0) - 0.0).abs() < 1e-9);
        // Noise: faster than the empty program.
        assert!(ratio(30.0, 10.0, 10.0).is_nan());
        assert!(ratio(30.0, 9.0, 10.0).is_nan());
    }
}
