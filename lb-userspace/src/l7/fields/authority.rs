//! The host and port that a request is for. Pure.

use std::{borrow::Cow, net::Ipv6Addr};

/// The longest name that DNS has, with a dot at its end.
const HOST_BYTES_MAX: usize = 254;

/// A host and a port: the value of Host (RFC 9110, 7.2), or a target's authority without userinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As written; IPv6 addresses with their brackets.
    pub host: &'a str,
    /// If there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads it strictly: letters, digits and `-._~` in labels that are not empty, or an IPv6
    /// address in brackets; a port has 1 to 5 digits. Names with other bytes of RFC 3986's reg-name
    /// are in no DNS, and are read differently by everybody.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let end = if value.first() == Some(&b'[') {
            let close = value.iter().position(|byte| *byte == b']')?;
            let address = std::str::from_utf8(value.get(1..close)?).ok()?;
            let _: Ipv6Addr = address.parse().ok()?;
            close + 1
        } else {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            let name = value.get(..end)?;
            if !is_name(name) {
                return None;
            }
            end
        };
        let (host, rest) = value.split_at_checked(end)?;
        let port = match rest.split_first() {
            None => None,
            Some((b':', digits)) => Some(port(digits)?),
            Some(_) => return None,
        };
        Some(Self { host: std::str::from_utf8(host).ok()?, port })
    }

    /// The host to route by: lower case, no dot at the end. Allocates only if something changes.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        }
    }

    /// Do both mean the same, where no port means that one?
    #[must_use]
    pub fn same(&self, other: &Authority<'_>, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn is_name(name: &[u8]) -> bool {
    let mut last = b'.';
    for byte in name {
        let fine = match byte {
            b'.' => last != b'.',
            b'-' | b'_' | b'~' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if !fine {
            return false;
        }
        last = *byte;
    }
    !name.is_empty() && name.len() <= HOST_BYTES_MAX
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    digits.iter().try_fold(0u16, |port, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        port.checked_mul(10)?.checked_add(digit.into())
    })
}

impl std::fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, wanted: Option<(&str, Option<u16>)>) {
        let parsed = Authority::parse(value.as_bytes());
        let got = parsed.as_ref().map(|authority| (authority.name(), authority.port));
        let got = got.as_ref().map(|(name, port)| (&**name, *port));
        assert_eq!(got, wanted, "{value:?}");
    }

    #[test]
    fn hosts() {
        check("example.com", Some(("example.com", None)));
        check("Example.COM.:8080", Some(("example.com", Some(8080))));
        check("a_b~c-d.e", Some(("a_b~c-d.e", None)));
        check("192.0.2.1:0", Some(("192.0.2.1", Some(0))));
        check("[2001:DB8::1]:65535", Some(("[2001:db8::1]", Some(65535))));
        check("[::1]", Some(("[::1]", None)));
        for bad in [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a:",
            "a:65536",
            "a:000080",
            "a:+1",
            "a:8o",
            "a:80:80",
            "u@a",
            "u:p@a",
            "a b",
            "a/b",
            "a,b",
            "a%2e",
            "a?",
            "a#",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "a\t",
            "a\0",
            "\u{e9}",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(254), Some((&"a".repeat(254), None)));
        check(&"a".repeat(255), None);
    }

    #[test]
    fn a_missing_port_is_the_scheme_s() {
        let parse = |value: &'static str| Authority::parse(value.as_bytes()).expect("valid");
        assert!(parse("a.b:80").same(&parse("A.B"), 80));
        assert!(!parse("a.b:80").same(&parse("A.B"), 443));
        assert!(!parse("a.b").same(&parse("a.b."), 80));
    }
}
