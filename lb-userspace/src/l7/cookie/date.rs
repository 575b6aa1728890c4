//! Dates of cookies, as browsers read them (RFC 6265, 5.1.1).

/// Seconds of Unix time; negative before 1970. `None`: a browser reads no date there.
pub(super) fn unix_seconds(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|&byte| is_delimiter(byte)).filter(|token| !token.is_empty()) {
        if let (None, Some(found)) = (time, as_time(token)) {
            time = Some(found);
        } else if let (None, Some(found)) = (day, number(token, 1, 2)) {
            day = Some(found);
        } else if let (None, Some(found)) = (month, as_month(token)) {
            month = Some(found);
        } else if let (None, Some(found)) = (year, number(token, 2, 4)) {
            year = Some(found);
        }
    }
    let ((hour, minute, second), day, month) = (time?, day?, month?);
    let year = match year? {
        short @ 0..70 => 2000 + short,
        short @ 70..100 => 1900 + short,
        long => long,
    };
    let valid = (1..=days_in(year, month)).contains(&day)
        && year >= 1601
        && hour <= 23
        && minute <= 59
        && second <= 59;
    valid.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// `at_least` to `at_most` digits, then nothing or what begins with no digit.
fn number(token: &[u8], at_least: usize, at_most: usize) -> Option<i64> {
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (at_least..=at_most)
        .contains(&digits)
        .then(|| token[..digits].iter().fold(0, |sum, &digit| sum * 10 + i64::from(digit - b'0')))
}

fn as_time(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut parts = token.splitn(3, |&byte| byte == b':');
    let mut whole = || {
        let part = parts.next()?;
        number(part, 1, 2).filter(|_| part.iter().all(u8::is_ascii_digit))
    };
    let (hour, minute) = (whole()?, whole()?);
    Some((hour, minute, number(parts.next()?, 1, 2)?))
}

/// 1 to 12.
fn as_month(token: &[u8]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let name = token.get(..3)?;
    (1..).zip(NAMES).find(|(_, known)| name.eq_ignore_ascii_case(*known)).map(|(month, _)| month)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01. Years begin in March here, so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &str, want: Option<i64>| {
            assert_eq!(unix_seconds(text.as_bytes()), want, "{text}");
        };
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Thu, 01-Jan-1970 00:00:10 GMT", Some(10));
        check("Thu, 01-Jan-70 00:00:01 GMT", Some(1));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("6 NOVEMBER 1994 8:49:37", Some(784_111_777));
        check("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199));
        check("Tue, 19 Jan 2038 03:14:08 GMT", Some(2_147_483_648));
        check("Mon, 01 Jan 1601 00:00:00 GMT", Some(-11_644_473_600));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799));
        check("Sun, 06 Nov 69 08:49:37 GMT", Some(3_150_953_377));
        check("Sun, 31 Dec 1600 23:59:59 GMT", None);
        check("Sun, 29 Feb 2023 00:00:00 GMT", None);
        check("Sun, 00 Nov 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 1994 24:00:00 GMT", None);
        check("Sun, 06 Nov 1994 23:60:00 GMT", None);
        check("Sun, 06 Nov 1994 08:49 GMT", None);
        check("Sun, 06 Nov 08:49:37 GMT", None);
        check("Sun, 06 Xxx 1994 08:49:37 GMT", None);
        check("0", None);
        check("", None);
    }
}
