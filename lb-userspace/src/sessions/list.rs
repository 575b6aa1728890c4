//! Pins as the operator sees them, a page at a time.
//!
//! Owns which pins are shown and how; changes nothing.

use std::{net::IpAddr, time::Duration};

use lb_common::{
    address::Address,
    layout::{Backend, Kind, Pin, PinKey},
};

use super::scopes::Scopes;
use crate::{
    control::{ids::key, snapshot::Snapshot},
    maps::{Cursor, LbMaps, MapError},
};

/// Batches that a page reads at most, so that no call takes long whatever the filter.
const BATCHES: usize = 16;

/// Which pins; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of a listener that the pin counts for.
    pub listener: Option<String>,
    /// Name of the pinned backend.
    pub backend: Option<String>,
    /// Client addresses: address, and prefix length in its own family.
    pub client: Option<(IpAddr, u8)>,
}

/// A client's pin that is in time, to a backend that honours it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The listener's or the group's name.
    pub scope: String,
    /// Is the scope a group?
    pub group: bool,
    /// Listeners that share the pin.
    pub listeners: Vec<String>,
    /// The client's address, cut to the prefix.
    pub client: IpAddr,
    /// Bits of it that count, in its own family.
    pub prefix: u8,
    /// The backend's name.
    pub backend: String,
    /// Since the pin was made.
    pub age: Duration,
    /// Since it was refreshed.
    pub idle: Duration,
    /// Until it is over, if nothing refreshes it.
    pub left: Duration,
}

/// Where the next page begins; `Default`: the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCursor {
    batch: Cursor,
    /// Pins of that batch that were dealt with.
    skip: usize,
}

impl PageCursor {
    /// As bytes, for who keeps it between two pages.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let skip = u32::try_from(self.skip).unwrap_or(u32::MAX).to_le_bytes();
        [&skip[..], &self.batch.position].concat()
    }

    /// From what [`Self::to_bytes`] gave, or from no bytes: the beginning. `None`: from neither.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (skip, position) = bytes.split_first_chunk()?;
        let skip = usize::try_from(u32::from_le_bytes(*skip)).ok()?;
        Some(Self { batch: Cursor { position: position.to_vec(), done: false }, skip })
    }
}

/// Some sessions, in no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most as many as asked for; fewer, even none, does not mean that it is the last page.
    pub sessions: Vec<Session>,
    /// Where to go on; `None`: that was the last page.
    pub next: Option<PageCursor>,
}

/// The sessions from `from` on that match, at most `limit`.
pub fn page(
    maps: &impl LbMaps,
    there: &Snapshot,
    from: &PageCursor,
    filter: &Filter,
    limit: usize,
) -> Result<Page, MapError> {
    let reader = Reader::new(there, maps.now_ns());
    let mut sessions = Vec::new();
    let mut at = from.clone();
    for _ in 0..BATCHES {
        let mut after = at.batch.clone();
        let batch = maps.scan_pins(&mut after)?;
        for (seen, (key, pin)) in batch.iter().enumerate().skip(at.skip) {
            if sessions.len() == limit {
                at.skip = seen;
                return Ok(Page { sessions, next: Some(at) });
            }
            if reader.matches(filter, key, pin) {
                sessions.extend(reader.session(key, pin));
            }
        }
        if after.done {
            return Ok(Page { sessions, next: None });
        }
        at = PageCursor { batch: after, skip: 0 };
    }
    Ok(Page { sessions, next: Some(at) })
}

/// Resolves numbers to names.
pub struct Reader<'a> {
    there: &'a Snapshot,
    scopes: Scopes,
    now_ns: u64,
}

impl<'a> Reader<'a> {
    /// Of the maps as they stand.
    #[must_use]
    pub fn new(there: &'a Snapshot, now_ns: u64) -> Self {
        Self { there, scopes: Scopes::new(there), now_ns }
    }

    /// Is it one of those pins?
    #[must_use]
    pub fn matches(&self, filter: &Filter, pin_key: &PinKey, pin: &Pin) -> bool {
        let scope = self.scopes.get(pin_key.scope);
        let listener = filter
            .listener
            .as_ref()
            .is_none_or(|name| scope.is_some_and(|scope| scope.listeners.contains(name)));
        let backend = filter.backend.as_ref().is_none_or(|name| {
            self.backend(pin).is_some_and(|(there, record)| {
                there == name && record.generation == pin.backend.generation()
            })
        });
        let client = filter.client.is_none_or(|(address, bits)| {
            let v4 = address.is_ipv4();
            let bits = if v4 { bits.saturating_add(96) } else { bits };
            // A pin for a whole network matches an address in it.
            let kept = scope.map_or(128, |scope| scope.prefix(v4));
            let mask = Address::mask(bits.min(kept));
            pin_key.client.is_v4() == v4
                && pin_key.client.masked(mask) == Address::from(address).masked(mask)
        });
        listener && backend && client
    }

    /// The session; `None` when no packet would honour the pin.
    fn session(&self, pin_key: &PinKey, pin: &Pin) -> Option<Session> {
        let scope = self.scopes.get(pin_key.scope)?;
        let (name, record) = self.backend(pin)?;
        if !record.honours_pin(pin.backend) || !scope.in_time(pin, self.now_ns) {
            return None;
        }
        let v4 = pin_key.client.is_v4();
        let since = |then: u64| Duration::from_nanos(self.now_ns.saturating_sub(then));
        Some(Session {
            scope: scope.name.clone(),
            group: scope.group,
            listeners: scope.listeners.clone(),
            client: pin_key.client.into(),
            prefix: if v4 { scope.prefix(v4).saturating_sub(96) } else { scope.prefix(v4) },
            backend: name.to_owned(),
            age: since(pin.created_ns),
            idle: since(pin.last_seen_ns),
            left: Duration::from_nanos(scope.left_ns(pin, self.now_ns)),
        })
    }

    fn backend(&self, pin: &Pin) -> Option<(&str, &Backend)> {
        let id = pin.backend.id();
        let name = self.there.identities.get(&key(Kind::Backend, id))?;
        Some((name, self.there.backends.get(&id)?))
    }
}
