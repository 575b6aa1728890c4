//! Cookies of `persistence`: names, and all that the sidecar's own says (`mode = "cookie-insert"`).
//!
//! Owns their keys, ranges and defaults: C1, C7, C9 and C12 of the persistence contract, and what
//! browsers demand of attributes that go together.

use std::time::Duration;

use super::{
    super::{
        error::Read,
        raw::{Found, Table, Value},
        source_ip::{max_lifetime, timeout},
        value::Times,
    },
    CookieAttributes, CookieInsert, SameSite,
};

/// The keys of `mode = "cookie-insert"`.
pub(in crate::config) const KEYS: [&str; 11] = [
    "cookie",
    "timeout",
    "max_lifetime",
    "path",
    "domain",
    "http_only",
    "secure",
    "same_site",
    "partitioned",
    "insert_on_error",
    "first_flight",
];

/// What a cookie's name may be made of.
pub(super) const COOKIE: &str =
    "1 to 128 characters of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~ (a token)";

const DEFAULT_NAME: &str = "SERVERID";

impl Default for CookieAttributes {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            domain: None,
            http_only: true,
            secure: false,
            same_site: SameSite::Lax,
            partitioned: false,
        }
    }
}

/// A cookie of the sidecar's own, as written; `timeout` 0 is still in it.
pub(in crate::config) struct InsertDraft {
    cookie: Read<String>,
    timeout: Read<Duration>,
    max_lifetime: Read<Option<Duration>>,
    pub(in crate::config) path: Read<Option<Found<String>>>,
    pub(in crate::config) domain: Read<Option<Found<String>>>,
    http_only: Read<bool>,
    secure: Read<bool>,
    same_site: Read<SameSite>,
    partitioned: Read<bool>,
    insert_on_error: Read<bool>,
    first_flight: Read<Duration>,
}

impl InsertDraft {
    /// The cookie of a rule with that path, if every part of it could be read; `None` where it is
    /// off (C1).
    pub(in crate::config) fn build(&self, rule_path: &str) -> Read<Option<CookieInsert>> {
        let plain = |found: &Read<Option<Found<String>>>| match found {
            Ok(found) => Ok(found.as_ref().map(|found| found.value.clone())),
            Err(reported) => Err(*reported),
        };
        let cookie = self.cookie.as_ref().map_err(|&r| r)?.clone();
        let default_path = if has_prefix(&cookie, HOST) { "/" } else { rule_path };
        let insert = CookieInsert {
            timeout: self.timeout?,
            max_lifetime: self.max_lifetime?,
            attributes: CookieAttributes {
                path: plain(&self.path)?.unwrap_or_else(|| default_path.to_owned()),
                domain: plain(&self.domain)?,
                http_only: self.http_only?,
                secure: self.secure?,
                same_site: self.same_site?,
                partitioned: self.partitioned?,
            },
            insert_on_error: self.insert_on_error?,
            first_flight: self.first_flight?,
            cookie,
        };
        Ok(Some(insert).filter(|insert| !insert.timeout.is_zero()))
    }
}

/// C1.
const TIMEOUTS: Times = Times {
    min: Duration::from_secs(1),
    max: Duration::from_hours(24),
    whole_seconds: true,
    zero: Some("no persistence"),
};

/// C12.
const FIRST_FLIGHTS: Times = Times {
    min: Duration::ZERO,
    max: Duration::from_mins(1),
    whole_seconds: false,
    zero: Some("not at all"),
};

/// Reads the mode's keys. `https`: whether clients come by TLS.
pub(super) fn insert(table: &mut Table<'_>, https: bool) -> InsertDraft {
    let cookie = table.optional("cookie", cookie_name);
    let timeout = timeout(table, &TIMEOUTS);
    let max_lifetime = max_lifetime(table, timeout);
    let path = table.optional("path", cookie_path);
    let domain = table.optional("domain", Value::host_name);
    let http_only = table.or("http_only", true, Value::flag);
    let secure = table.or("secure", https, Value::flag);
    let same_site = table.optional("same_site", |value| value.choice(&SameSite::WORDS));
    let partitioned = table.optional("partitioned", Value::flag);
    let insert_on_error = table.or("insert_on_error", false, Value::flag);
    let first_flight =
        table.or("first_flight", Duration::from_secs(2), |value| value.time(&FIRST_FLIGHTS));

    let report = table.report();
    if let Ok(false) = secure {
        let problem = "browsers take that with secure = true only";
        if let Ok(Some(found @ Found { value: SameSite::None, .. })) = &same_site {
            found.refuse(report, problem, "\"lax\", \"strict\", or secure = true");
        }
        if let Ok(Some(found @ Found { value: true, .. })) = &partitioned {
            found.refuse(report, problem, "false, or secure = true");
        }
    }
    if let Ok(Some(name)) = &cookie {
        let missing = missing_attributes(&name.value, secure, &domain, &path);
        if !missing.is_empty() {
            let prefix = if has_prefix(&name.value, HOST) { HOST } else { SECURE };
            let missing = missing.join(", ");
            let problem = format!("browsers take a name that begins with {prefix} only {missing}");
            name.refuse(report, problem, format!("another name, or a cookie {missing}"));
        }
    }
    let or_default = |name: Option<Found<String>>| match name {
        Some(name) => name.value,
        None => DEFAULT_NAME.to_owned(),
    };
    InsertDraft {
        cookie: cookie.map(or_default),
        timeout,
        max_lifetime,
        path,
        domain,
        http_only,
        secure,
        same_site: same_site.map(|found| found.map_or(SameSite::Lax, |found| found.value)),
        partitioned: partitioned.map(|found| found.is_some_and(|found| found.value)),
        insert_on_error,
        first_flight,
    }
}

/// Prefixes of names that demand attributes (RFC 6265bis, 4.1.3).
const SECURE: &str = "__Secure-";
const HOST: &str = "__Host-";

/// Browsers do not look at its case.
fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

/// What a name with a prefix demands and the cookie has not.
fn missing_attributes(
    name: &str,
    secure: Read<bool>,
    domain: &Read<Option<Found<String>>>,
    path: &Read<Option<Found<String>>>,
) -> Vec<&'static str> {
    let host = has_prefix(name, HOST);
    let mut missing = Vec::new();
    if (host || has_prefix(name, SECURE)) && matches!(secure, Ok(false)) {
        missing.push("with secure = true");
    }
    if host && matches!(domain, Ok(Some(_))) {
        missing.push("without domain");
    }
    if host && matches!(path, Ok(Some(path)) if path.value != "/") {
        missing.push("with path = \"/\"");
    }
    missing
}

/// A token (RFC 9110, 5.6.2), as names of cookies and fields are.
pub(super) fn is_token(text: &str, longest: usize) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=longest).contains(&text.len()) && text.bytes().all(known)
}

/// The name of a cookie (RFC 6265, 4.1.1).
pub(super) fn cookie_name(value: &Value<'_>) -> Read<String> {
    let text = value.text("the name of a cookie")?;
    if is_token(text, 128) {
        return Ok(text.to_owned());
    }
    Err(value.refuse("not the name of a cookie", COOKIE))
}

/// `Path`: nothing that could end it (RFC 6265, 4.1.1), and no longer than browsers take.
fn cookie_path(value: &Value<'_>) -> Read<String> {
    let text = value.text("a path")?;
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if text.starts_with('/') && text.bytes().all(fine) && text.len() <= 1024 {
        return Ok(text.to_owned());
    }
    let allowed = "/ and up to 1023 visible ASCII characters, no space, no ;";
    Err(value.refuse("not the path of a cookie", allowed))
}
