//! What a `[[listener]]` with protocol `http` or `https` has, and its rules.
//!
//! Owns their keys, ranges and defaults. What rules, listeners and pools must agree on is
//! [`super::super::check`]'s.

use super::{
    super::{
        error::Read,
        listener::pool_name,
        raw::{Found, Table, Value},
    },
    Certificate, HostPattern,
    persistence::{HttpPersistenceDraft, persistence},
    sidecar::file,
};

/// What layer 7 has, fine each by itself.
pub(in crate::config) struct HttpDraft {
    /// Empty: `http`.
    pub(in crate::config) certificates: Read<Vec<Certificate>>,
    pub(in crate::config) https_redirect: Read<Option<u16>>,
    pub(in crate::config) accept_proxy: Read<Option<Found<bool>>>,
    pub(in crate::config) persistence: Read<Option<HttpPersistenceDraft>>,
    pub(in crate::config) rules: Vec<Read<RuleDraft>>,
}

/// A rule whose values are fine each by itself.
pub(in crate::config) struct RuleDraft {
    pub(in crate::config) itself: Found<()>,
    pub(in crate::config) host: Read<HostPattern>,
    pub(in crate::config) path: Read<String>,
    /// `None`: the listener's.
    pub(in crate::config) pool: Read<Option<Found<String>>>,
    /// `None`: the listener's.
    pub(in crate::config) persistence: Read<Option<HttpPersistenceDraft>>,
}

/// Reads the keys that `http` and `https` have.
pub(in crate::config) fn http(table: &mut Table<'_>, https: bool) -> HttpDraft {
    let certificates = certificates(table, https);
    let https_redirect = if https {
        table.elsewhere(&["https_redirect"], "only with protocol = \"http\"");
        Ok(None)
    } else {
        let found = table.optional("https_redirect", https_redirect);
        found.map(|found| found.and_then(|found| found.value))
    };
    let accept_proxy = table.optional("accept_proxy", Value::flag);
    if let Ok(Some(_)) = https_redirect {
        let why = "https_redirect leaves no request for it";
        for key in ["pool", "persistence", "rule"] {
            if let Some(value) = table.value(key) {
                value.refuse(why, "one of the two");
            }
        }
        let (persistence, rules) = (Ok(None), Vec::new());
        return HttpDraft { certificates, https_redirect, accept_proxy, persistence, rules };
    }
    let persistence = persistence(table, https);
    let rules = rules(table, https);
    HttpDraft { certificates, https_redirect, accept_proxy, persistence, rules }
}

fn certificates(table: &mut Table<'_>, https: bool) -> Read<Vec<Certificate>> {
    const ALLOWED: &str = "tls = { certificate = \"/path\", key = \"/path\" }, or an array of such";
    if !https {
        table.elsewhere(&["tls"], "only with protocol = \"https\"");
        return Ok(Vec::new());
    }
    let Some(value) = table.value("tls") else { return Err(table.missing("tls", ALLOWED)) };
    if value.toml.is_table() {
        return Ok(vec![certificate(&value)?]);
    }
    let items = value.items("a table with certificate and key, or an array of such")?;
    if items.is_empty() {
        return Err(value.refuse("empty", ALLOWED));
    }
    let read: Vec<Read<_>> = items.iter().map(certificate).collect();
    read.into_iter().collect()
}

fn certificate(value: &Value<'_>) -> Read<Certificate> {
    value.table()?.scan(|table| {
        let allowed = "the path of a PEM file, from /";
        let chain = table.required("certificate", allowed, file);
        let key = table.required("key", allowed, file);
        Ok(Certificate { chain: chain?.value, key: key?.value })
    })
}

/// `true`, or the port of https where it is another than 443.
fn https_redirect(value: &Value<'_>) -> Read<Option<u16>> {
    if value.toml.is_integer() {
        return value.number(1..=u16::MAX).map(Some);
    }
    match value.toml.as_bool() {
        Some(on) => Ok(on.then_some(443)),
        None => Err(value.refuse_type("true, or the port of https")),
    }
}

fn rules(table: &mut Table<'_>, https: bool) -> Vec<Read<RuleDraft>> {
    let Some(value) = table.value("rule") else { return Vec::new() };
    match value.tables("rule") {
        Err(reported) => vec![Err(reported)],
        Ok(tables) => tables.into_iter().map(|one| one.map(|one| rule(one, https))).collect(),
    }
}

fn rule(table: Table<'_>, https: bool) -> RuleDraft {
    table.scan(|table| {
        let itself = table.itself();
        let host = table.optional("host", Value::host_pattern);
        let path = table.optional("path", rule_path);
        let pool = table.optional("pool", pool_name);
        let persistence = persistence(table, https);
        let host = host.map(|host| host.map_or(HostPattern::Any, |host| host.value));
        let path = path.map(|path| path.map_or_else(|| "/".to_owned(), |path| path.value));
        if let (Ok(HostPattern::Any), Ok("/")) = (&host, path.as_deref()) {
            let problem = "neither a host nor a path: every request is the listener itself";
            itself.refuse(table.report(), problem, "host, path, or both");
        }
        RuleDraft { itself, host, path, pool, persistence }
    })
}

/// The begin of a path, by whole segments (RFC 3986, 3.3), as it can stand in requests.
fn rule_path(value: &Value<'_>) -> Read<String> {
    let text = value.text("the begin of a path")?;
    let allowed = "\"/api\" for /api and all below it; up to 1024 characters of a URL's path";
    let fine = |byte: u8| byte.is_ascii_graphic() && !b"?#;*\"<>\\^`{|}".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(fine) || text.len() > 1024 {
        return Err(value.refuse("not the begin of a path", allowed));
    }
    if text == "/" {
        return Ok(text.to_owned());
    }
    let without = text.trim_end_matches('/');
    if text.ends_with('/') && !without.is_empty() {
        let problem = "ends in /, but counts by whole segments";
        return Err(value.refuse(problem, format!("{without:?}")));
    }
    if text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(value.refuse("an empty, . or .. segment", allowed));
    }
    let hexadecimal =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(hexadecimal) {
        return Err(value.refuse("a % without two hexadecimal digits", allowed));
    }
    Ok(text.to_owned())
}
