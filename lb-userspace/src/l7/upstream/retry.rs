//! Retries: how many there may be, so that they never become the load that breaks a pool.

use std::cell::Cell;

/// What may be saved up.
const MOST: u32 = 100 * PERCENT;
const PERCENT: u32 = 100;
/// There at the beginning, so that few requests can be retried too.
const FIRST: u32 = 10 * PERCENT;

/// A share of requests; a retry takes what a hundred requests at one percent give.
#[derive(Debug)]
pub struct Budget {
    percent: u32,
    saved: Cell<u32>,
}

impl Budget {
    /// That share of requests.
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self { percent: percent.into(), saved: Cell::new(if percent == 0 { 0 } else { FIRST }) }
    }

    /// A request has come.
    pub fn earn(&self) {
        self.saved.set(MOST.min(self.saved.get() + self.percent));
    }

    /// May one be sent again?
    pub fn spend(&self) -> bool {
        let left = self.saved.get().checked_sub(PERCENT);
        if let Some(left) = left {
            self.saved.set(left);
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_requests_and_no_more() {
        let budget = Budget::new(20);
        let spent = || (0..1000).take_while(|_| budget.spend()).count();
        assert_eq!(spent(), 10);
        for _ in 0..50 {
            budget.earn();
        }
        assert_eq!(spent(), 10);
        for _ in 0..100_000 {
            budget.earn();
        }
        assert_eq!(spent(), 100);
        let none = Budget::new(0);
        none.earn();
        assert!(!none.spend());
    }
}
