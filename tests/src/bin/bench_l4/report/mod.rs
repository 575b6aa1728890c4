//! Results as people and programs read them.

pub(crate) mod json;
pub(crate) mod svg;
pub(crate) mod table;

use std::{fs, time::SystemTime};

/// What was measured on, and when.
pub(crate) struct Machine {
    /// Year, month and day, UTC.
    pub(crate) date: String,
    /// As `uname -r` says it.
    pub(crate) kernel: String,
    /// The processor's name.
    pub(crate) processor: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let model = model.map_or("unknown", |text| text.trim_matches([' ', '\t', ':']));
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            date: date(seconds / 86_400),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: format!("{model}, {count} CPUs"),
        }
    }
}

/// The day, that many after 1970-01-01, as ISO 8601 writes it.
fn date(days: u64) -> String {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(58), "1970-02-28");
        assert_eq!(date(59), "1970-03-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn numbers() {
        assert_eq!([0.345, 9.5, 41.26, 338.4].map(number), ["0.34", "9.50", "41.3", "338"]);
    }
}
