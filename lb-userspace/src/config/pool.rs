//! `[[pool]]` with `[[pool.backend]]` and `health`.
//!
//! Owns their keys, ranges and defaults. What several of them must agree on is [`super::check`]'s.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use super::{
    Backend, Forward, Health, OnDown, Pool, Prefix, Probe, Scheduler,
    error::Read,
    http::{self, PoolHttp},
    raw::{Found, Table, Value},
    value::Times,
};

/// A pool whose values are fine each by itself.
pub(super) struct PoolDraft {
    pub(super) itself: Found<()>,
    pub(super) name: Read<Found<String>>,
    pub(super) forward: Read<Forward>,
    /// `tunnel.source`, which `forward` has as well, with its place.
    pub(super) tunnel_source: Option<Found<Prefix>>,
    pub(super) on_down: Read<OnDown>,
    pub(super) scheduler: Read<Scheduler>,
    pub(super) slow_start: Read<Duration>,
    pub(super) nat_sources: Read<Vec<Found<IpAddr>>>,
    pub(super) health: Read<Option<Health>>,
    pub(super) http: Read<PoolHttp>,
    pub(super) backends: Vec<Read<BackendDraft>>,
}

/// A backend whose values are fine each by itself.
pub(super) struct BackendDraft {
    pub(super) itself: Found<()>,
    pub(super) name: Read<Found<String>>,
    pub(super) address: Read<Found<(IpAddr, Option<u16>)>>,
    pub(super) weight: Read<u16>,
}

impl PoolDraft {
    /// Its backends with what could be read of their addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Found<(IpAddr, Option<u16>)>> {
        self.backends.iter().flatten().filter_map(|backend| backend.address.as_ref().ok())
    }

    /// The pool itself, if every part of it could be read.
    pub(super) fn build(self) -> Read<Pool> {
        let backends: Read<_> = self.backends.into_iter().map(|backend| backend?.build()).collect();
        Ok(Pool {
            name: self.name?.value,
            forward: self.forward?,
            on_down: self.on_down?,
            scheduler: self.scheduler?,
            slow_start: self.slow_start?,
            nat_sources: self.nat_sources?.into_iter().map(|source| source.value).collect(),
            health: self.health?,
            http: self.http?,
            backends: backends?,
        })
    }
}

impl BackendDraft {
    fn build(self) -> Read<Backend> {
        let (address, port) = self.address?.value;
        Ok(Backend { name: self.name?.value, address, port, weight: self.weight? })
    }
}

/// Reads one `[[pool]]`.
pub(super) fn pool(table: Table<'_>) -> PoolDraft {
    table.scan(|table| {
        let itself = table.itself();
        let name = table.required("name", super::value::NAME, Value::name);
        let (forward, tunnel_source) = super::tunnel::forward(table);
        let on_down = table.or("on_down", OnDown::Reset, |value| {
            value.choice(&[("reset", OnDown::Reset), ("keep", OnDown::Keep)])
        });
        let scheduler =
            table.or("scheduler", Scheduler::Maglev, |value| value.choice(&Scheduler::WORDS));
        let slow_start = table.or("slow_start", Duration::ZERO, |value| value.time(&SLOW_START));
        let nat_sources = table.or("nat_sources", Vec::new(), nat_sources);
        let health = table.optional("health", health).map(|found| found.map(|found| found.value));
        let http = http::pool::http(table);
        let backends = backends(table);
        PoolDraft {
            itself,
            name,
            forward,
            tunnel_source,
            on_down,
            scheduler,
            slow_start,
            nat_sources,
            health,
            http,
            backends,
        }
    })
}

const SLOW_START: Times = Times {
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
    whole_seconds: false,
    zero: Some("no slow start"),
};

fn nat_sources(value: &Value<'_>) -> Read<Vec<Found<IpAddr>>> {
    let items = value.items("an array of addresses")?;
    let read: Vec<Read<_>> =
        items.iter().map(|item| Ok(item.found(item.source_address()?))).collect();
    read.into_iter().collect()
}

fn backends(table: &mut Table<'_>) -> Vec<Read<BackendDraft>> {
    let allowed = "at least one [[pool.backend]] with name and address";
    let Some(value) = table.value("backend") else {
        return vec![Err(table.missing("backend", allowed))];
    };
    match value.tables("backend") {
        Err(reported) => vec![Err(reported)],
        Ok(tables) if tables.is_empty() => vec![Err(value.refuse("empty", allowed))],
        Ok(tables) => tables.into_iter().map(|table| table.map(backend)).collect(),
    }
}

fn backend(table: Table<'_>) -> BackendDraft {
    table.scan(|table| BackendDraft {
        itself: table.itself(),
        name: table.required("name", super::value::NAME, Value::name),
        address: table.required("address", super::address::BACKEND, Value::backend_address),
        weight: table.or("weight", 1, |value| value.number(0..=1000)),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
}

/// Keys that only an HTTP probe has.
const HTTP_KEYS: [&str; 3] = ["path", "host", "expect"];

/// What a TCP probe has.
const TCP_KEYS: &str = "kind, port, interval, timeout, rise, fall";

fn health(value: &Value<'_>) -> Read<Health> {
    value.table()?.scan(|table| {
        let kinds = [("tcp", Kind::Tcp), ("http", Kind::Http)];
        let kind = table.required("kind", "\"tcp\", \"http\"", |value| value.choice(&kinds));
        let probe = probe(table, kind.map(|kind| kind.value));
        let port = table.optional("port", |value| value.number(1..=u16::MAX));

        let second = Duration::from_secs(1);
        let times = Times::between(Duration::from_millis(100), Duration::from_hours(1));
        let interval = table.or("interval", 2 * second, |value| value.time(&times));
        // Whatever was wrong with the interval was said; the timeout is then judged without it.
        let longest = interval.unwrap_or(times.max);
        let shortest = Duration::from_millis(10);
        let timeout = table.or("timeout", second.min(longest), |value| {
            let timeout = value.time(&Times::between(shortest, times.max))?;
            if timeout > longest {
                let allowed = Times::between(shortest, longest).allowed();
                return Err(value.refuse("longer than health.interval", allowed));
            }
            Ok(timeout)
        });

        let mut count = |key, default| table.or(key, default, |value| value.number(1..=100));
        let rise = count("rise", 2);
        let fall = count("fall", 3);
        Ok(Health {
            probe: probe?,
            port: port?.map(|port| port.value),
            interval: interval?,
            timeout: timeout?,
            rise: rise?,
            fall: fall?,
        })
    })
}

fn probe(table: &mut Table<'_>, kind: Read<Kind>) -> Read<Probe> {
    if let Ok(Kind::Tcp) = kind {
        let mut probe = Ok(Probe::Tcp);
        for key in HTTP_KEYS {
            if let Some(value) = table.value(key) {
                probe = Err(value.refuse("only with kind = \"http\"", TCP_KEYS));
            }
        }
        return probe;
    }
    let path = table.or("path", "/".to_owned(), request_target);
    let host = table.optional("host", host);
    let expect = table.or("expect", (200, 399), statuses);
    kind?;
    Ok(Probe::Http { path: path?, host: host?.map(|host| host.value), expect: expect? })
}

/// Goes into a request line: nothing that could end it.
fn request_target(value: &Value<'_>) -> Read<String> {
    let text = value.text("a request target")?;
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(fine) && text.len() <= 1024 {
        return Ok(text.to_owned());
    }
    let allowed = "/ and up to 1023 visible ASCII characters, no space, no #";
    Err(value.refuse("not a request target", allowed))
}

/// Goes into a header field: nothing that could end it.
fn host(value: &Value<'_>) -> Read<String> {
    let text = value.text("a host name")?;
    let fine = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'[' | b']')
    };
    if (1..=255).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(text.to_owned());
    }
    Err(value.refuse("not a host", "1 to 255 characters of A-Z a-z 0-9 . _ - : [ ]"))
}

/// `200`, `"200"` or `"200-399"`.
fn statuses(value: &Value<'_>) -> Read<(u16, u16)> {
    const STATUSES: RangeInclusive<u16> = 100..=599;
    if value.toml.is_integer() {
        return value.number(STATUSES).map(|status| (status, status));
    }
    let text = value.text("a status such as 200, or statuses such as \"200-399\"")?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|status| digits && STATUSES.contains(status))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(value.refuse("not a range of statuses", "\"200\", or \"200-399\"; 100 to 599")),
    }
}
