//! When results in a row change the verdict on a backend. Pure: no clock, no sockets.

use crate::control::facts::Health;

/// The verdict on one backend, and what speaks against it.
///
/// The first result decides at once, so that start-up is quick; after that it takes `rise`
/// successes in a row to bring a backend up and `fall` failures in a row to take it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    verdict: Health,
    /// Results in a row that contradict the verdict.
    against: u8,
}

impl Default for State {
    fn default() -> Self {
        Self { verdict: Health::Unknown, against: 0 }
    }
}

impl State {
    /// What is held of the backend now.
    #[must_use]
    pub const fn verdict(&self) -> &Health {
        &self.verdict
    }

    /// Takes one result, a failure with its reason. True when [`Self::verdict`] is another than
    /// before; a new reason for being down counts as another.
    pub fn record(&mut self, result: Result<(), String>, rise: u8, fall: u8) -> bool {
        let next = match (&self.verdict, result) {
            (Health::Unknown, Ok(())) => Some(Health::Up),
            (Health::Unknown, Err(reason)) => Some(Health::Down(reason)),
            (Health::Up, Ok(())) => None,
            (Health::Up, Err(reason)) => {
                self.against = self.against.saturating_add(1);
                if self.against < fall {
                    return false;
                }
                Some(Health::Down(reason))
            }
            (Health::Down(_), Ok(())) => {
                self.against = self.against.saturating_add(1);
                if self.against < rise {
                    return false;
                }
                Some(Health::Up)
            }
            (Health::Down(before), Err(reason)) => {
                (*before != reason).then_some(Health::Down(reason))
            }
        };
        self.against = 0;
        match next {
            Some(verdict) => {
                self.verdict = verdict;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `script`: `+` is a success, any other character a failure with that character as its
    /// reason. `want`: the verdict after each, `+` for up, else the reason.
    fn check(rise: u8, fall: u8, script: &str, want: &str) {
        let mut state = State::default();
        let mut got = String::new();
        for result in script.chars() {
            let before = state.verdict().clone();
            let outcome = if result == '+' { Ok(()) } else { Err(result.to_string()) };
            let changed = state.record(outcome, rise, fall);
            assert_eq!(changed, before != *state.verdict(), "{script} after {got}");
            match state.verdict() {
                Health::Unknown => got.push('?'),
                Health::Up => got.push('+'),
                Health::Down(reason) => got.push_str(reason),
            }
        }
        assert_eq!(got, want, "rise {rise}, fall {fall}, {script}");
    }

    #[test]
    fn results_in_a_row_decide() {
        // The first result decides at once, whatever `rise` and `fall` are.
        check(2, 3, "+", "+");
        check(2, 3, "a", "a");
        check(100, 100, "a", "a");
        // One below, at and above the thresholds.
        check(2, 3, "+aa+", "++++");
        check(2, 3, "+aaa", "+++a");
        check(2, 3, "+aaaa", "+++aa");
        check(2, 3, "a+a", "aaa");
        check(2, 3, "a++", "aa+");
        // A result that agrees with the verdict starts the count anew.
        check(2, 3, "+aa+aa+aa", "+++++++++");
        check(2, 3, "a+a+a+", "aaaaaa");
        check(1, 1, "+a+a", "+a+a");
        // The newest reason is shown, the count for the way up goes on from zero.
        check(2, 3, "ab+b++", "abbbb+");
        // The reason is that of the failure that decided.
        check(2, 3, "+abc", "+++c");
    }

    #[test]
    fn thresholds_may_change_on_the_way() {
        let mut state = State::default();
        assert!(state.record(Ok(()), 2, 3));
        assert!(!state.record(Err("x".into()), 2, 3));
        assert!(state.record(Err("x".into()), 2, 2), "two failures, and two suffice now");
    }
}
