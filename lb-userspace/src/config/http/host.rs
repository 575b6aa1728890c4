//! Names of hosts: how they are written, and which lie below which.
//!
//! Owns the spelling. Never resolves a name.

use std::fmt;

use super::{
    super::{error::Read, raw::Value},
    HostPattern,
};

/// What a rule's host may look like.
const PATTERN: &str = "\"www.example.com\" or \"*.example.com\"; any host: no host key";
/// What a name may look like.
const NAME: &str = "a name such as \"www.example.com\", of A-Z a-z 0-9 _ - and dots";

impl Value<'_> {
    /// `rule.host`.
    pub(super) fn host_pattern(&self) -> Read<HostPattern> {
        let text = self.text("the name of a host")?;
        let (name, wrap): (_, fn(String) -> HostPattern) = match text.strip_prefix("*.") {
            Some(name) => (name, HostPattern::Below),
            None => (text, HostPattern::Exact),
        };
        host_name(name).map(wrap).ok_or_else(|| {
            let port = name.rsplit_once(':').filter(|(host, port)| {
                host_name(host).is_some() && port.bytes().all(|byte| byte.is_ascii_digit())
            });
            let problem = match port {
                Some(_) => "a host and a port; requests are told apart by host alone",
                None => "not the name of a host",
            };
            self.refuse(problem, PATTERN)
        })
    }

    /// A name of a host, in lower case.
    pub(super) fn host_name(&self) -> Read<String> {
        let text = self.text("the name of a host")?;
        host_name(text).ok_or_else(|| self.refuse("not the name of a host", NAME))
    }
}

/// `text` in lower case (RFC 9110, 4.2.3), if it is a name: labels of up to 63 characters, 253
/// together (RFC 1035, 2.3.4).
fn host_name(text: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let right = text.len() <= 253 && text.split('.').all(label);
    right.then(|| text.to_ascii_lowercase())
}

/// Is `name` that domain, or does it lie below it (RFC 6265, 5.1.3)?
fn within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl HostPattern {
    /// May a cookie from each of these hosts name that domain? Of any host that is not known.
    pub(in crate::config) fn may_set_for(&self, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) | Self::Below(name) => within(name, domain),
        }
    }

    /// The patterns that all of its hosts have as well, itself first, the widest last.
    pub(in crate::config) fn wider(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        if let Self::Exact(name) | Self::Below(name) = self {
            let dots = name.match_indices('.').map(|(at, _)| at + 1);
            all.extend(dots.map(|at| Self::Below(name[at..].to_owned())));
            all.push(Self::Any);
        }
        all
    }
}

/// As in the file; `any` for what has no key there.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPattern::*, *};

    #[test]
    fn names() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for good in
            ["a", "www.Example.com", "_x.a-b", "10.0.0.1", "xn--bcher-kva.example", &longest]
        {
            assert_eq!(host_name(good), Some(good.to_ascii_lowercase()), "{good}");
        }
        let label = "a".repeat(64);
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-.b", "a b", "bücher", "*", &label] {
            assert_eq!(host_name(bad), None, "{bad}");
        }
        assert_eq!(host_name(&format!("{longest}b")), None);
    }

    #[test]
    fn domains_of_hosts() {
        let check = |host: HostPattern, domain: &str, may: bool| {
            assert_eq!(host.may_set_for(domain), may, "{host} {domain}");
        };
        check(Any, "example.com", true);
        check(Exact("example.com".into()), "example.com", true);
        check(Exact("a.example.com".into()), "example.com", true);
        check(Exact("aexample.com".into()), "example.com", false);
        check(Exact("com".into()), "example.com", false);
        check(Exact("b.example.com".into()), "a.example.com", false);
        check(Below("example.com".into()), "example.com", true);
        check(Below("com".into()), "example.com", false);
    }

    #[test]
    fn wider_patterns() {
        assert_eq!(Any.wider(), [Any]);
        let below = |name: &str| Below(name.into());
        let exact = Exact("a.b.c".into());
        assert_eq!(exact.wider(), [exact.clone(), below("b.c"), below("c"), Any]);
        assert_eq!(below("b.c").wider(), [below("b.c"), below("c"), Any]);
    }
}
