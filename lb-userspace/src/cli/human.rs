//! Numbers as people read them. Pure.

/// With a comma every three digits.
pub(super) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a decimal prefix from 100,000 on: `99,999`, `1.23 M`.
pub(super) fn count(number: u64) -> String {
    if number < 100_000 { exact(number) } else { scaled(number, 1_000, &["", "k", "M", "G", "T"]) }
}

/// Three digits and a binary unit: `999 B`, `1.23 GiB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(number, 1_024, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// The two largest units: `59 s`, `2 h 5 min`, `3 d`.
pub(super) fn duration(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(parts.len() - 1);
    let text = |(number, unit): &(u64, &str)| format!("{number} {unit}");
    match parts.get(first + 1).filter(|(number, _)| *number > 0) {
        Some(second) => format!("{} {}", text(&parts[first]), text(second)),
        None => text(&parts[first]),
    }
}

/// `1 pin`, `2 pins`.
pub(super) fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", exact(number), if number == 1 { "" } else { "s" })
}

fn scaled(number: u64, step: u64, units: &[&str]) -> String {
    let mut unit = 0;
    let mut divisor = 1;
    // 999.5 would be written as four digits.
    while unit + 1 < units.len() && u128::from(number) * 2 >= u128::from(divisor) * 1_999 {
        unit += 1;
        divisor *= step;
    }
    let [number, divisor] = [u128::from(number), u128::from(divisor)];
    let (mut digits, mut power) = (0, 1);
    while divisor > 1 && digits < 2 && (number * 2 * power * 10) < divisor * 1_999 {
        digits += 1;
        power *= 10;
    }
    let rounded = (number * power * 2 + divisor) / (divisor * 2);
    let (whole, fraction) = (rounded / power, rounded % power);
    let text = if digits == 0 { whole.to_string() } else { format!("{whole}.{fraction:0digits$}") };
    format!("{text} {}", units[unit]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |write: fn(u64) -> String, number: u64, want: &str| {
            assert_eq!(write(number), want, "{number}");
        };
        check(exact, 0, "0");
        check(exact, 999, "999");
        check(exact, 1_000, "1,000");
        check(exact, 1_234_567, "1,234,567");
        check(count, 99_999, "99,999");
        check(count, 100_000, "100 k");
        check(count, 999_499, "999 k");
        check(count, 999_500, "1.00 M");
        check(count, 12_345_678, "12.3 M");
        check(count, u64::MAX, "18446744 T");
        check(bytes, 0, "0 B");
        check(bytes, 999, "999 B");
        check(bytes, 1_000, "0.98 KiB");
        check(bytes, 1_024, "1.00 KiB");
        check(bytes, 112 * 1_024 * 1_024, "112 MiB");
        check(bytes, 1_260_000_000, "1.17 GiB");
        check(duration, 0, "0 s");
        check(duration, 59, "59 s");
        check(duration, 60, "1 min");
        check(duration, 1_799, "29 min 59 s");
        check(duration, 7_500, "2 h 5 min");
        check(duration, 86_400 * 3 + 59, "3 d");
    }
}
