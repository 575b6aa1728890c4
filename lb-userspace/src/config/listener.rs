//! `[[listener]]` with `persistence`.
//!
//! Owns their keys, ranges and defaults, with P1, P2 and P4 of the persistence contract. What
//! listeners and pools must agree on is [`super::check`]'s.

use std::{net::SocketAddr, time::Duration};

use super::{
    Listener, Persistence, Protocol, Refresh,
    error::Read,
    raw::{Found, Table, Value},
    value::{NAME, Times},
};

/// A listener whose values are fine each by itself.
pub(super) struct ListenerDraft {
    pub(super) itself: Found<()>,
    pub(super) name: Read<Found<String>>,
    pub(super) protocol: Read<Protocol>,
    pub(super) address: Read<Found<SocketAddr>>,
    pub(super) pool: Read<Found<String>>,
    pub(super) persistence: Read<Option<PersistenceDraft>>,
}

/// A persistence as written; `timeout` 0 is still in it, for groups to be compared.
pub(super) struct PersistenceDraft {
    pub(super) group: Read<Option<Found<String>>>,
    pub(super) timeout: Read<Duration>,
    pub(super) refresh: Read<Refresh>,
    pub(super) max_lifetime: Read<Option<Duration>>,
    pub(super) prefix_v4: Read<u8>,
    pub(super) prefix_v6: Read<u8>,
}

impl ListenerDraft {
    /// The listener itself, if every part of it could be read.
    pub(super) fn build(self, pool: usize) -> Read<Listener> {
        let persistence = self.persistence?.map(PersistenceDraft::build).transpose()?;
        Ok(Listener {
            name: self.name?.value,
            protocol: self.protocol?,
            address: self.address?.value,
            pool,
            // P2: 0 is off.
            persistence: persistence.filter(|persistence| !persistence.timeout.is_zero()),
        })
    }
}

impl PersistenceDraft {
    fn build(self) -> Read<Persistence> {
        Ok(Persistence {
            group: self.group?.map(|group| group.value),
            timeout: self.timeout?,
            refresh: self.refresh?,
            max_lifetime: self.max_lifetime?,
            prefix_v4: self.prefix_v4?,
            prefix_v6: self.prefix_v6?,
        })
    }
}

/// Reads one `[[listener]]`.
pub(super) fn listener(table: Table<'_>) -> ListenerDraft {
    table.scan(&["tls", "rule"], |table| ListenerDraft {
        itself: table.itself(),
        name: table.required("name", NAME, Value::name),
        protocol: protocol(table),
        address: table.required("address", super::address::LISTENER, Value::listener_address),
        pool: table.required("pool", "the name of a [[pool]]", |value| {
            value.text("the name of a [[pool]]").map(str::to_owned)
        }),
        persistence: persistence(table),
    })
}

fn protocol(table: &mut Table<'_>) -> Read<Protocol> {
    let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let read = |value: &Value<'_>| value.choice(&words, &["http", "https"]);
    Ok(table.required("protocol", "\"tcp\", \"udp\"", read)?.value)
}

fn persistence(table: &mut Table<'_>) -> Read<Option<PersistenceDraft>> {
    let Some(value) = table.value("persistence") else { return Ok(None) };
    value.table()?.scan(&["cookie", "insert_on_error"], |table| {
        let mode = table.or("mode", (), |value| {
            value.choice(&[("source-ip", ())], &["cookie-insert", "cookie-rewrite"])
        });
        let refreshes = [
            ("activity", Refresh::Activity),
            ("new-connection", Refresh::NewConnection),
            ("never", Refresh::Never),
        ];
        let timeout = timeout(table);
        let draft = PersistenceDraft {
            group: table.optional("group", Value::name),
            refresh: table.or("refresh", Refresh::Activity, |value| value.choice(&refreshes, &[])),
            max_lifetime: max_lifetime(table, timeout),
            timeout,
            prefix_v4: table.or("prefix_v4", 32, |value| value.number(1..=32)),
            prefix_v6: table.or("prefix_v6", 128, |value| value.number(1..=128)),
        };
        mode.map(|()| Some(draft))
    })
}

/// P2.
const TIMEOUTS: Times = Times {
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
    whole_seconds: true,
    zero: Some("no persistence"),
};

fn timeout(table: &mut Table<'_>) -> Read<Duration> {
    let found = table.required("timeout", &TIMEOUTS.allowed(), |value| value.time(&TIMEOUTS))?;
    Ok(found.value)
}

/// At least `timeout`, so that it bounds something.
fn max_lifetime(table: &mut Table<'_>, timeout: Read<Duration>) -> Read<Option<Duration>> {
    // Where the timeout is 0, or wrong and reported, the bound is judged without it.
    let min = timeout.unwrap_or_default().max(TIMEOUTS.min);
    let max = Duration::from_hours(30 * 24);
    let times = Times { min, max, whole_seconds: true, zero: None };
    let found = table.optional("max_lifetime", |value| {
        let lifetime = value.time(&Times { min: TIMEOUTS.min, ..times })?;
        if lifetime < min {
            return Err(value.refuse("shorter than persistence.timeout", times.allowed()));
        }
        Ok(lifetime)
    })?;
    Ok(found.map(|found| found.value))
}
