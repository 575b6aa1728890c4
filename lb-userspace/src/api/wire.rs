//! What the API says, as JSON. Apart from the agent's own types, so that those may change.
//!
//! Units stand in the names: `_s` seconds, `_ms` milliseconds. Bytes count from the Ethernet
//! header on. Counters begin when their listener or backend was first configured and outlive the
//! agent. A reader passes over fields that it does not know.

mod cookies;
mod http;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::event::{EVENTS, Event, EventKind};
use serde::{Deserialize, Serialize};

pub use self::{
    cookies::{
        ExplainRequest, Explained, ExplainedBackend, ExplainedCookie, ExplainedLimit,
        ExplainedRule, ExplainedSession, Key, Keys, Replaced, RotateRequest, Rotated,
    },
    http::{Http, HttpBackend, HttpListener, HttpPersistence, HttpRule, Sidecar},
};
use super::prefix::Prefix;
pub use crate::control::facts::Intent;

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the agent that answers.
    pub version: String,
    /// Version of the map layouts.
    pub layout: u32,
    /// When this agent started, RFC 3339 in UTC.
    pub started: String,
    /// How long ago that was.
    pub uptime_s: u64,
    /// The configuration file.
    pub config: String,
    /// The last reload; none since the start: absent or null.
    #[serde(default)]
    pub last_reload: Option<LastReload>,
    /// Where the program is attached.
    pub interfaces: Vec<Interface>,
    /// The large tables.
    pub tables: Tables,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// In the order of the configuration.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// In the order of the configuration, then removed ones that flows or pins still name.
    pub backends: Vec<Backend>,
    /// Layer 7; null: there is no listener of it.
    #[serde(default)]
    pub http: Option<Http>,
    /// What was counted over all listeners, and for none.
    pub events: Events,
}

/// How the last reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// How long ago that was.
    pub ago_s: u64,
    /// Was the file taken?
    pub ok: bool,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
}

/// An interface that packets are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// How full the large tables are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// How long ago entries were counted; null: not yet, and what is held is not known.
    #[serde(default)]
    pub counted_ms_ago: Option<u64>,
    /// Pins.
    pub pins: TableUse,
    /// Flows, as clients send them.
    pub flows: TableUse,
    /// Flows, as backends answer them (`nat`).
    pub replies: TableUse,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Entries when they were last counted, those that are over but not reclaimed included.
    pub held: u64,
    /// Entries that fit.
    pub capacity: u64,
    /// Entries that gave way to others because the table was full. Approximate.
    pub evicted: u64,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `nat`, `dsr` or `tunnel`.
    pub forward: String,
    /// Null: it has none.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
    /// `nat`: addresses that packets come from; empty: as the routes say.
    pub nat_sources: Vec<IpAddr>,
    /// `maglev`, `round-robin` or `least-connections`.
    pub scheduler: String,
    /// How long the share of a backend that comes back takes to become whole; 0: no time.
    pub slow_start_ms: u64,
}

/// How packets to a pool's backends are wrapped up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// `ipip` or `gue`.
    pub kind: String,
    /// UDP port of `gue`.
    #[serde(default)]
    pub port: Option<u16>,
    /// Network that outer sources are taken from; null: as the routes say.
    #[serde(default)]
    pub source: Option<String>,
    /// Bytes that the way to the backends carries; null: as the interfaces say.
    #[serde(default)]
    pub mtu: Option<u16>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where clients come to.
    pub address: SocketAddr,
    /// Name of its pool.
    pub pool: String,
    /// Null: each flow is balanced by itself.
    #[serde(default)]
    pub persistence: Option<Persistence>,
    /// Forwarded to backends.
    pub packets_in: u64,
    /// Forwarded to backends.
    pub bytes_in: u64,
    /// Forwarded to clients (`nat`).
    pub packets_out: u64,
    /// Forwarded to clients (`nat`).
    pub bytes_out: u64,
    /// What was counted more than zero times, by name.
    pub events: BTreeMap<String, u64>,
    /// Why it is not in the data path as configured; null: it is.
    #[serde(default)]
    pub error: Option<String>,
}

/// How a listener keeps clients on their backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// A pin is void when it was last refreshed so long ago.
    pub timeout_s: u64,
    /// `activity`, `new-connection` or `never`.
    pub refresh: String,
    /// Listeners of one group share pins.
    #[serde(default)]
    pub group: Option<String>,
    /// Bound on a pin's whole life.
    #[serde(default)]
    pub max_lifetime_s: Option<u64>,
    /// Bits of an IPv4 client address that make the pin.
    pub prefix_v4: u8,
    /// Bits of an IPv6 client address that make the pin.
    pub prefix_v6: u8,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Name of its pool.
    pub pool: String,
    /// With the port, if it has one of its own: `10.0.0.11:8080`, `10.0.0.11`, `[2001:db8::1]:80`.
    pub address: String,
    /// What it is for the data path: intent, health and configuration together.
    pub state: BackendState,
    /// What the operator wants of it.
    pub intent: Intent,
    /// What its health check says.
    pub health: Health,
    /// Why it is in no better state or health; null: there is nothing to say but what `reach` does.
    #[serde(default)]
    pub reason: Option<String>,
    /// The way to it; why it is `down` where there is none.
    pub reach: Reach,
    /// Share of new clients against the pool's others.
    pub weight: u16,
    /// Counts its lives.
    pub generation: u32,
    /// Pins on it in this life, when they were last counted; while it is down, none hold.
    pub pins: u64,
    /// Flows on it that are not known to be over, when they were last counted; while it is down, only
    /// with `on_down = "keep"`.
    pub flows: u64,
    /// Forwarded to it.
    pub packets_in: u64,
    /// Forwarded to it.
    pub bytes_in: u64,
    /// Of its replies (`nat`).
    pub packets_out: u64,
    /// Of its replies (`nat`).
    pub bytes_out: u64,
    /// Flows ever placed on it.
    pub flows_placed: u64,
}

/// Whether a backend is in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// In service.
    Ready,
    /// No new clients; pinned clients and running flows go on.
    Draining,
    /// No new connections; running flows go on.
    Evacuating,
    /// Out of service.
    Down,
    /// In the configuration no more.
    Removed,
}

/// What a health check last found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// In order, or not checked.
    Up,
    /// Not in order.
    Down,
}

/// Whether the way to a backend is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Can packets be sent to it?
    pub known: bool,
    /// By which interface to which link-layer address; or what is waited for.
    pub detail: String,
}

/// Events by what became of their packets; those that never happened are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Sent on.
    pub sent: Vec<EventCount>,
    /// Passed to the kernel's own stack.
    pub passed: Vec<EventCount>,
    /// Dropped.
    pub dropped: Vec<EventCount>,
    /// Something else that happened on the way.
    pub noted: Vec<EventCount>,
}

/// How often something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// Its name, the same in metrics.
    pub name: String,
    /// How often.
    pub count: u64,
    /// What it means.
    pub description: String,
}

/// Answer of `GET /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsPage {
    /// In no order. While pins come and go, a scan may miss or repeat one of them.
    pub sessions: Vec<Session>,
    /// What to hand back as `cursor` for the next page; null: this was the last.
    pub next: Option<String>,
    /// Pins when they were last counted, without those that are void, whatever the filter; null: not
    /// counted yet.
    pub held: Option<u64>,
    /// How long ago that was.
    #[serde(default)]
    pub counted_ms_ago: Option<u64>,
}

/// A pin that is valid now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The client's address, or the prefix that it is cut to.
    pub client: Prefix,
    /// Name of the group of listeners or of the one listener whose pin this is.
    pub scope: String,
    /// The listeners that share it.
    pub listeners: Vec<String>,
    /// Name of the backend.
    pub backend: String,
    /// Since it was made.
    pub age_s: u64,
    /// Since it was last refreshed.
    pub idle_s: u64,
    /// Until it is void unless refreshed; rounded up.
    pub left_s: u64,
}

/// Body of `POST /v1/sessions/flush`: a filter, or `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushRequest {
    /// Of the scope that this listener is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// To this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Of clients in this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Prefix>,
    /// Every one; excludes the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// Answer of `POST /v1/sessions/flush`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Pins that were there and are no more.
    pub removed: u64,
}

/// Body of `POST /v1/backends/NAME/intent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRequest {
    /// What is wanted.
    pub intent: Intent,
}

/// Answer of `POST /v1/backends/NAME/intent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentSet {
    /// What was wanted before.
    pub previous: Intent,
    /// The backend now.
    pub backend: Backend,
    /// Its requests, if its pool serves layer 7.
    #[serde(default)]
    pub http: Option<HttpBackend>,
    /// How long ago its pins and flows were counted; null: not yet.
    #[serde(default)]
    pub counted_ms_ago: Option<u64>,
}

/// Answer of `POST /v1/reload` when the file was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The configuration file.
    pub config: String,
    /// What is different now, a line each; empty: nothing.
    pub changes: Vec<String>,
}

/// Answer of `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The agent takes commands.
    pub ok: bool,
    /// Its version.
    pub version: String,
}

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What is wrong and what is allowed.
    pub error: String,
    /// One by one, where there are several; a refused configuration's errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Events {
    /// From counters by event code.
    #[must_use]
    pub fn of(counts: &[u64; EVENTS]) -> Self {
        let mut events = Self::default();
        for (event, count) in non_zero(counts) {
            let list = match event.kind() {
                EventKind::Sent => &mut events.sent,
                EventKind::Passed => &mut events.passed,
                EventKind::Dropped => &mut events.dropped,
                EventKind::Noted => &mut events.noted,
            };
            list.push(EventCount {
                name: event.name().to_owned(),
                count,
                description: event.description().to_owned(),
            });
        }
        events
    }
}

/// Counters by event code, by name, for [`Listener::events`].
#[must_use]
pub fn events_by_name(counts: &[u64; EVENTS]) -> BTreeMap<String, u64> {
    non_zero(counts).map(|(event, count)| (event.name().to_owned(), count)).collect()
}

fn non_zero(counts: &[u64; EVENTS]) -> impl Iterator<Item = (Event, u64)> {
    Event::ALL.into_iter().zip(*counts).filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_by_kind_and_zeros_are_left_out() {
        let mut counts = [0; EVENTS];
        for (event, count) in [
            (Event::Forwarded, 7),
            (Event::PassFragment, 2),
            (Event::DropNoBackend, 3),
            (Event::PinMade, 1),
        ] {
            counts[event as usize] = count;
        }
        let events = Events::of(&counts);
        let names = |list: &[EventCount]| -> Vec<(String, u64)> {
            list.iter().map(|event| (event.name.clone(), event.count)).collect()
        };
        assert_eq!(names(&events.sent), [("forwarded".to_owned(), 7)]);
        assert_eq!(names(&events.passed), [("pass_fragment".to_owned(), 2)]);
        assert_eq!(names(&events.dropped), [("drop_no_backend".to_owned(), 3)]);
        assert_eq!(names(&events.noted), [("pin_made".to_owned(), 1)]);
        assert_eq!(events_by_name(&counts).len(), 4);
    }

    #[test]
    fn a_reader_passes_over_what_it_does_not_know() {
        let page: SessionsPage =
            serde_json::from_str(r#"{"sessions": [], "next": null, "held": 3, "new": {"x": 1}}"#)
                .expect("page");
        assert_eq!(page.held, Some(3));
    }

    #[test]
    fn a_request_does_not() {
        let error = serde_json::from_str::<FlushRequest>(r#"{"listner": "web"}"#)
            .expect_err("unknown field");
        assert!(error.to_string().contains("`listener`, `backend`, `client`, `all`"), "{error}");
    }
}
