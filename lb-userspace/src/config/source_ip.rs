//! `persistence` with `mode = "source-ip"`, which listeners of both layers can have.
//!
//! Owns its keys, ranges and defaults: P1, P2 and P4 of the persistence contract.

use std::time::Duration;

use super::{
    Persistence, Refresh,
    error::Read,
    raw::{Found, Table, Value},
    value::Times,
};

/// The mode's keys.
pub(super) const KEYS: [&str; 6] =
    ["timeout", "group", "refresh", "max_lifetime", "prefix_v4", "prefix_v6"];

/// A persistence as written; `timeout` 0 is still in it, for groups to be compared.
pub(super) struct PersistenceDraft {
    pub(super) group: Read<Option<Found<String>>>,
    pub(super) timeout: Read<Duration>,
    pub(super) refresh: Read<Refresh>,
    pub(super) max_lifetime: Read<Option<Duration>>,
    pub(super) prefix_v4: Read<u8>,
    pub(super) prefix_v6: Read<u8>,
}

impl PersistenceDraft {
    /// The persistence itself, if every part of it could be read; `None` where it is off (P2).
    pub(super) fn build(&self) -> Read<Option<Persistence>> {
        let persistence = Persistence {
            group: self.group.as_ref().map_err(|&r| r)?.as_ref().map(|group| group.value.clone()),
            timeout: self.timeout?,
            refresh: self.refresh?,
            max_lifetime: self.max_lifetime?,
            prefix_v4: self.prefix_v4?,
            prefix_v6: self.prefix_v6?,
        };
        Ok(Some(persistence).filter(|persistence| !persistence.timeout.is_zero()))
    }
}

/// Reads the mode's keys.
pub(super) fn source_ip(table: &mut Table<'_>) -> PersistenceDraft {
    let refreshes = [
        ("activity", Refresh::Activity),
        ("new-connection", Refresh::NewConnection),
        ("never", Refresh::Never),
    ];
    let timeout = timeout(table, &TIMEOUTS);
    PersistenceDraft {
        group: table.optional("group", Value::name),
        refresh: table.or("refresh", Refresh::Activity, |value| value.choice(&refreshes)),
        max_lifetime: max_lifetime(table, timeout),
        timeout,
        prefix_v4: table.or("prefix_v4", 32, |value| value.number(1..=32)),
        prefix_v6: table.or("prefix_v6", 128, |value| value.number(1..=128)),
    }
}

/// P2.
const TIMEOUTS: Times = Times {
    min: Duration::from_secs(1),
    max: Duration::from_hours(1),
    whole_seconds: true,
    zero: Some("no persistence"),
};

/// Reads `timeout`, which must be there.
pub(super) fn timeout(table: &mut Table<'_>, times: &Times) -> Read<Duration> {
    let found = table.required("timeout", &times.allowed(), |value| value.time(times))?;
    Ok(found.value)
}

/// Reads `max_lifetime`: at least `timeout`, so that it bounds something.
pub(super) fn max_lifetime(
    table: &mut Table<'_>,
    timeout: Read<Duration>,
) -> Read<Option<Duration>> {
    let shortest = Duration::from_secs(1);
    // Where the timeout is 0, or wrong and reported, the bound is judged without it.
    let min = timeout.unwrap_or_default().max(shortest);
    let max = Duration::from_hours(30 * 24);
    let times = Times { min, max, whole_seconds: true, zero: None };
    let found = table.optional("max_lifetime", |value| {
        let lifetime = value.time(&Times { min: shortest, ..times })?;
        if lifetime < min {
            return Err(value.refuse("shorter than persistence.timeout", times.allowed()));
        }
        Ok(lifetime)
    })?;
    Ok(found.map(|found| found.value))
}
