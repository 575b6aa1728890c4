//! Counts test results in what the test programs print; reads no file and runs nothing.

use std::{fmt, ops::AddAssign};

/// How many tests ended how.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// Tests that were run to an end.
    pub(crate) const fn ran(self) -> u64 {
        self.passed + self.failed
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, " ({} ignored)", self.ignored)?;
        }
        Ok(())
    }
}

/// Finds the result lines in a stream that comes in parts of any length.
#[derive(Default)]
pub(crate) struct Counter {
    tally: Tally,
    line: Vec<u8>,
}

impl Counter {
    /// The next bytes of the stream.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else {
                self.line.push(*byte);
            }
        }
    }

    /// The stream is at its end.
    pub(crate) fn end(mut self) -> Tally {
        self.end_line();
        self.tally
    }

    fn end_line(&mut self) {
        if let Some(result) = parse(&String::from_utf8_lossy(&self.line)) {
            self.tally += result;
        }
        self.line.clear();
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; any other line says nothing.
fn parse(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for part in counts.split("; ") {
        let Some((Ok(number), what)) = part.split_once(' ').map(|(n, what)| (n.parse(), what))
        else {
            continue;
        };
        match what {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            "ignored" => tally.ignored = number,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, passed: u64, failed: u64, ignored: u64) {
        let wanted = Tally { passed, failed, ignored };
        for length in [1, 7, 4096] {
            let mut counter = Counter::default();
            text.as_bytes().chunks(length).for_each(|part| counter.take(part));
            assert_eq!(counter.end(), wanted, "{text} in parts of {length}");
        }
    }

    #[test]
    fn result_lines_are_summed() {
        const OK: &str = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; \
                          2 filtered out; finished in 0.00s\n";
        const BAD: &str = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; \
                           0 filtered out; finished in 1.20s";
        check("", 0, 0, 0);
        check("running 2 tests\ntest a ... ok\ntest b ... FAILED\n", 0, 0, 0);
        check(OK, 12, 0, 1);
        check(&format!("{OK}\n{OK}{BAD}"), 27, 2, 2);
        check("  a test prints: test result: ok. 9 passed; 0 failed\n", 0, 0, 0);
        check("test result: ok\n", 0, 0, 0);
    }

    #[test]
    fn the_summary_tells_of_ignored_tests_only_when_there_are_some() {
        let mut tally = Tally { passed: 7, failed: 1, ignored: 0 };
        assert_eq!(tally.to_string(), "7 passed, 1 failed");
        tally.ignored = 2;
        assert_eq!(tally.to_string(), "7 passed, 1 failed (2 ignored)");
    }
}
