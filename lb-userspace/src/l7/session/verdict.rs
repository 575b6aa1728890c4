//! What happened to a request's session: one list of code and name (C14).

/// Declares the verdicts.
macro_rules! verdicts {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)+) => {
        /// What happened to a request's session. The greater one explains more: of several values
        /// of one name, the greatest is the request's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Verdict {
            $($(#[$doc])* $variant = $code,)+
        }

        impl Verdict {
            /// All of them, by code.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$variant),+];

            /// Its name in the answer's field, the access log and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its place in [`Self::ALL`].
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }
        }
    };
}

verdicts! {
    /// It brought no pin.
    New = 0, "new";
    /// What it brought was not made by our keys, or not for this listener and rule.
    Forged = 1, "forged";
    /// Its pin is over its idle time or its life.
    Expired = 2, "expired";
    /// Its backend is down or removed, or has been since the pin was made.
    Down = 3, "down";
    /// Its backend is being evacuated.
    Drained = 4, "drained";
    /// It is on its backend.
    Hit = 5, "hit";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places() {
        for (place, verdict) in (0..).zip(Verdict::ALL) {
            assert_eq!(verdict.code(), place);
        }
    }

    #[test]
    fn names_are_those_of_the_contract() {
        let mut names = Verdict::ALL.map(Verdict::name);
        names.sort_unstable();
        assert_eq!(names, ["down", "drained", "expired", "forged", "hit", "new"]);
    }
}
