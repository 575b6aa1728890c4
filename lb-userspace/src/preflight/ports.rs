//! The ports that `nat` gives to flows, against those that this machine's own connections take.
//!
//! The settings are called `net.ipv4`, and hold for IPv6 too.

use std::{fs::File, io, io::Read as _};

use lb_common::nat::{FIRST_PORT, LAST_PORT};

use super::{Problem, unknown};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Looks whether the two stay apart; `pool` is the first one that forwards by `nat`.
pub(super) fn check(pool: usize) -> Option<Problem> {
    let read = |path: &str| setting(path).map_err(|error| unknown(path, &error));
    let judged = read(RANGE).and_then(|range| overlap(&range, &read(RESERVED)?));
    match judged {
        Ok(None) => None,
        Ok(Some((low, high))) => Some(Problem::LocalPorts { pool, low, high }),
        Err(problem) => Some(problem),
    }
}

/// Reads a setting of the kernel at once: it gives no more of it to a second read, and a first one
/// by `fs::read_to_string` is for a few bytes.
fn setting(path: &str) -> io::Result<String> {
    // 65,536 ports, a comma and at most five digits for every second one.
    let mut bytes = vec![0; 6 * 32_768];
    let length = File::open(path)?.read(&mut bytes)?;
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// `range`: text of `net.ipv4.ip_local_port_range`; `reserved`: of
/// `net.ipv4.ip_local_reserved_ports`, which are never taken of themselves. The range, if it has a
/// port of `nat` that is not reserved.
fn overlap(range: &str, reserved: &str) -> Result<Option<(u16, u16)>, Problem> {
    let not = |name: &str, text: &str, what: &str| {
        let error = format!("`{}` is not {what}", text.trim());
        Problem::Unknown { what: format!("net.ipv4.{name}"), error }
    };
    let mut numbers = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (numbers.next(), numbers.next()) else {
        return Err(not("ip_local_port_range", range, "two ports"));
    };
    let reserved = reserved_ports(reserved)
        .ok_or_else(|| not("ip_local_reserved_ports", reserved, "a list of ports"))?;
    let shared = low.max(FIRST_PORT)..=high.min(LAST_PORT);
    let taken = |port: u16| !reserved.iter().any(|(first, last)| (*first..=*last).contains(&port));
    Ok(shared.into_iter().any(taken).then_some((low, high)))
}

/// `1024-32767,40000`: first and last of each range.
fn reserved_ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let ranges = text.trim().split(',').filter(|range| !range.is_empty());
    ranges
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        let check = |range: &str, reserved: &str, want: Option<(u16, u16)>| {
            assert_eq!(overlap(range, reserved), Ok(want), "{range} {reserved}");
        };
        check("32768\t60999\n", "\n", None);
        check("32767\t60999\n", "\n", Some((32767, 60999)));
        check("1024\t65535\n", "\n", Some((1024, 65535)));
        check("100\t1023\n", "\n", None);
        check("100\t1024\n", "\n", Some((100, 1024)));
        // Reserved ones are not taken.
        check("1024\t65535\n", "1024-32767\n", None);
        check("1024\t65535\n", "80,1000-20000,20001-40000,50000\n", None);
        check("1024\t65535\n", "1025-32767\n", Some((1024, 65535)));
        check("1024\t65535\n", "1024-32766\n", Some((1024, 65535)));
        check("1024\t65535\n", "1024-20000,20002-32767\n", Some((1024, 65535)));
        check("20000\t60999\n", "20000-32767\n", None);
        check("32767\t60999\n", "32767\n", None);
        check("100\t1024\n", "1024\n", None);
    }

    #[test]
    fn what_is_said() {
        let problem = Problem::LocalPorts { pool: 0, low: 1024, high: 65535 };
        assert_eq!(
            problem.to_string(),
            "pool.forward: `nat` gives flows the ports 1024 to 32767, but this machine's own \
             connections take theirs from 1024 to 65535; keep them apart with `sysctl -w \
             net.ipv4.ip_local_port_range=\"32768 60999\"`, or with `sysctl -w \
             net.ipv4.ip_local_reserved_ports=1024-32767`"
        );
        let unknown = |range: &str, reserved: &str, want: &str| {
            let problem = overlap(range, reserved).expect_err(want);
            assert_eq!(problem.to_string(), format!("cannot find out net.ipv4.{want}"));
        };
        unknown("x", "", "ip_local_port_range: `x` is not two ports");
        unknown("1 2", "3-\n", "ip_local_reserved_ports: `3-` is not a list of ports");
    }
}
