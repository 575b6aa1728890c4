//! `[sidecar]`.
//!
//! Owns its keys, ranges and defaults. Never looks at pools or listeners.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{
        Prefix,
        error::Read,
        raw::{Found, Table, Value},
        size::Sizes,
        value::Times,
    },
    AccessLog, HttpLimits, LogFormat, Sidecar,
};

/// Below `PATH_MAX`.
const LONGEST_PATH: usize = 3840;

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            workers: None,
            user: "nobody".to_owned(),
            access_log: None,
            trusted_proxies: Vec::new(),
            drain: Duration::from_secs(30),
            limits: HttpLimits::default(),
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_bytes: 32 << 10,
            head_fields: 100,
            body_bytes: 0,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_mins(1),
            total_timeout: Duration::ZERO,
            tunnel_timeout: Duration::from_hours(1),
            connections: 50_000,
            client_connections: 1000,
            streams: 100,
            resets: 20,
        }
    }
}

/// Reads `[sidecar]`.
pub(in crate::config) fn sidecar(root: &mut Table<'_>) -> Read<Sidecar> {
    root.or("sidecar", Sidecar::default(), |value| value.table()?.scan(table))
}

fn table(table: &mut Table<'_>) -> Read<Sidecar> {
    let default = Sidecar::default();
    let workers = table.optional("workers", |value| value.number(1..=256));
    let user = table.or("user", default.user, user);
    let access_log = table.optional("access_log", access_log);
    let trusted_proxies = table.or("trusted_proxies", default.trusted_proxies, prefixes);
    let drains = Times::between(Duration::ZERO, Duration::from_hours(1));
    let drain = table.or("drain", default.drain, |value| value.time(&drains));
    let limits = table.or("limits", default.limits, |value| value.table()?.scan(limits));
    let plain = |found: Option<Found<_>>| found.map(|found| found.value);
    Ok(Sidecar {
        workers: workers?.map(|workers| workers.value),
        user: user?,
        access_log: plain(access_log?),
        trusted_proxies: trusted_proxies?,
        drain: drain?,
        limits: limits?,
    })
}

/// A name as `useradd` takes it.
fn user(value: &Value<'_>) -> Read<String> {
    let text = value.text("the name of a user")?;
    if text == "root" {
        return Err(value.refuse("it serves clients without privileges", "another user"));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    if (1..=32).contains(&text.len())
        && text.bytes().all(known)
        && !text.starts_with('-')
        && !number
    {
        return Ok(text.to_owned());
    }
    let allowed = "a name of 1 to 32 characters of A-Z a-z 0-9 . _ -, no number";
    Err(value.refuse("not the name of a user", allowed))
}

/// A path, or a table with one.
fn access_log(value: &Value<'_>) -> Read<AccessLog> {
    if value.toml.is_str() {
        let path = value.path(LONGEST_PATH)?;
        return Ok(AccessLog { path, format: LogFormat::Json });
    }
    if !value.toml.is_table() {
        return Err(value.refuse_type("a path, or a table with path and format"));
    }
    value.table()?.scan(|table| {
        let path = table.required("path", "a path that starts with /", |value| file(value));
        let format = table.or("format", LogFormat::Json, |value| value.choice(&LogFormat::WORDS));
        Ok(AccessLog { path: path?.value, format: format? })
    })
}

/// The path of a file.
pub(super) fn file(value: &Value<'_>) -> Read<PathBuf> {
    value.path(LONGEST_PATH)
}

fn prefixes(value: &Value<'_>) -> Read<Vec<Prefix>> {
    let items = value.items("an array of addresses and prefixes")?;
    let read: Vec<Read<_>> = items.iter().map(Value::peer_prefix).collect();
    read.into_iter().collect()
}

fn limits(table: &mut Table<'_>) -> Read<HttpLimits> {
    const MOST: u32 = 10_000_000;
    let default = HttpLimits::default();
    let heads = Sizes { min: 1 << 10, max: 1 << 20, zero: None };
    let bodies = Sizes { min: 1, max: 1 << 50, zero: Some("no bound") };
    let head_bytes = table.or("head_bytes", default.head_bytes, |value| {
        // Within the range, so within `u32`.
        value.size(&heads).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
    });
    let head_fields = table.or("head_fields", default.head_fields, |value| value.number(10..=1000));
    let body_bytes = table.or("body_bytes", default.body_bytes, |value| value.size(&bodies));

    let bounded = Times::between(Duration::from_millis(10), Duration::from_hours(24));
    let unbounded = Times { zero: Some("no bound"), ..bounded };
    let mut time = |key, default, times| table.or(key, default, |value| value.time(times));
    let head_timeout = time("head_timeout", default.head_timeout, &bounded);
    let idle_timeout = time("idle_timeout", default.idle_timeout, &bounded);
    let body_timeout = time("body_timeout", default.body_timeout, &bounded);
    let connect_timeout = time("connect_timeout", default.connect_timeout, &bounded);
    let answer_timeout = time("answer_timeout", default.answer_timeout, &bounded);
    let total_timeout = time("total_timeout", default.total_timeout, &unbounded);
    let tunnel_timeout = time("tunnel_timeout", default.tunnel_timeout, &unbounded);

    let mut number = |key, default, most| table.or(key, default, |value| value.number(1..=most));
    let connections = number("connections", default.connections, MOST);
    let client_connections = number("client_connections", default.client_connections, MOST);
    let streams = number("streams", default.streams, 10_000);
    let resets = number("resets", default.resets, 10_000);
    Ok(HttpLimits {
        head_bytes: head_bytes?,
        head_fields: head_fields?,
        body_bytes: body_bytes?,
        head_timeout: head_timeout?,
        idle_timeout: idle_timeout?,
        body_timeout: body_timeout?,
        connect_timeout: connect_timeout?,
        answer_timeout: answer_timeout?,
        total_timeout: total_timeout?,
        tunnel_timeout: tunnel_timeout?,
        connections: connections?,
        client_connections: client_connections?,
        streams: streams?,
        resets: resets?,
    })
}
