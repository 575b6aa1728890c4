//! From the controller's types to those of the wire, and back. Pure.

pub(super) mod http;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use lb_common::{
    event::EVENTS,
    layout::{BackendState, ListenerCounters},
    maps::LAYOUT_VERSION,
};

use crate::{
    api::{self, Prefix, convert, wire},
    control::{
        facts::{Health, Reach},
        status::{BackendStatus, ListenerStatus, Status, TableUse},
    },
    sessions::list::{self, Session},
};

/// What the agent knows of itself.
#[derive(Debug)]
pub struct About<'a> {
    /// When it started.
    pub started: SystemTime,
    /// The configuration file.
    pub config: &'a Path,
    /// The last reload: when, and why it was refused.
    pub last_reload: Option<&'a (SystemTime, Result<(), String>)>,
    /// Names and modes of the interfaces.
    pub interfaces: Vec<wire::Interface>,
    /// Layer 7, if there is.
    pub http: Option<wire::Http>,
}

/// `GET /v1/status`.
#[must_use]
pub fn status(status: &Status, about: About<'_>) -> wire::Status {
    let mut events = status.other.events;
    for listener in &status.listeners {
        for (total, count) in events.iter_mut().zip(listener.counters.events) {
            *total += count;
        }
    }
    wire::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        started: humantime::format_rfc3339_seconds(about.started).to_string(),
        uptime_s: since(about.started).as_secs(),
        config: about.config.display().to_string(),
        last_reload: about.last_reload.map(|(at, outcome)| wire::LastReload {
            at: humantime::format_rfc3339_seconds(*at).to_string(),
            ago_s: since(*at).as_secs(),
            ok: outcome.is_ok(),
            error: outcome.as_ref().err().cloned(),
        }),
        interfaces: about.interfaces,
        tables: wire::Tables {
            counted_ms_ago: status
                .counted_ns
                .map(|counted| status.now_ns.saturating_sub(counted) / 1_000_000),
            pins: table(status.pins),
            flows: table(status.flows),
            replies: table(status.replies),
        },
        listeners: status.listeners.iter().map(listener).collect(),
        pools: status.pools.iter().map(wire::Pool::from).collect(),
        backends: status.backends.iter().map(backend).collect(),
        http: about.http,
        events: wire::Events::of(&events),
    }
}

fn since(then: SystemTime) -> Duration {
    then.elapsed().unwrap_or_default()
}

fn table(table: TableUse) -> wire::TableUse {
    wire::TableUse {
        held: table.held.unwrap_or(0),
        capacity: u64::from(table.capacity),
        evicted: table.evicted.unwrap_or(0),
    }
}

fn count(counters: &ListenerCounters, event: lb_common::event::Event) -> u64 {
    counters.events.get(event as usize).copied().unwrap_or(0)
}

fn listener(status: &ListenerStatus) -> wire::Listener {
    use lb_common::event::Event::{Forwarded, IcmpForwarded, IcmpReplied, Replied};
    let counters = &status.counters;
    let events: &[u64; EVENTS] = &counters.events;
    wire::Listener {
        name: status.listener.name.clone(),
        protocol: convert::protocol(status.listener.protocol).to_owned(),
        address: status.listener.address,
        pool: status.pool.clone(),
        persistence: status.listener.persistence.as_ref().map(wire::Persistence::from),
        packets_in: count(counters, Forwarded) + count(counters, IcmpForwarded),
        bytes_in: counters.bytes_in,
        packets_out: count(counters, Replied) + count(counters, IcmpReplied),
        bytes_out: counters.bytes_out,
        events: wire::events_by_name(events),
        error: None,
    }
}

/// A backend.
#[must_use]
pub fn backend(status: &BackendStatus) -> wire::Backend {
    let (health, failure) = match &status.health {
        None | Some(Health::Up) => (wire::Health::Up, None),
        Some(Health::Unknown) => (wire::Health::Unknown, None),
        Some(Health::Down(reason)) => (wire::Health::Down, Some(reason.clone())),
    };
    let reach = match &status.reach {
        Reach::Known { hop, .. } => wire::Reach {
            known: true,
            detail: format!("{} by interface {}", mac(hop.to), hop.interface),
        },
        Reach::Pending(what) | Reach::Lost(what) => {
            wire::Reach { known: false, detail: what.clone() }
        }
    };
    let state = if status.removed {
        wire::BackendState::Removed
    } else {
        match status.state {
            // Without a way to it, it is in no table.
            BackendState::Ready if !status.takes_clients && status.weight > 0 => {
                wire::BackendState::Down
            }
            BackendState::Ready => wire::BackendState::Ready,
            BackendState::Draining => wire::BackendState::Draining,
            BackendState::Evacuating => wire::BackendState::Evacuating,
            BackendState::Down | BackendState::Unset => wire::BackendState::Down,
        }
    };
    let reason = failure.or_else(|| why_no_clients(status));
    wire::Backend {
        name: status.name.clone(),
        pool: status.pool.clone(),
        address: convert::backend_address(status.address, status.port),
        state,
        intent: status.intent,
        health,
        reason,
        reach,
        weight: status.weight,
        generation: status.generation,
        pins: status.pins.unwrap_or(0),
        flows: status.flows.unwrap_or(0),
        packets_in: status.counters.packets_in,
        bytes_in: status.counters.bytes_in,
        packets_out: status.counters.packets_out,
        bytes_out: status.counters.bytes_out,
        flows_placed: status.counters.flows,
    }
}

/// Why a backend whose probes go well gets no new clients, if it is neither what the operator wants
/// nor for want of a way to it.
fn why_no_clients(status: &BackendStatus) -> Option<String> {
    let reached = matches!(status.reach, Reach::Known { .. });
    (!status.removed && reached && status.weight == 0).then(|| "weight 0".to_owned())
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// The API's filter as the session list takes it.
#[must_use]
pub fn filter(filter: &api::Filter) -> list::Filter {
    list::Filter {
        listener: filter.listener.clone(),
        backend: filter.backend.clone(),
        client: filter.client.map(|prefix| (prefix.address(), prefix.bits())),
    }
}

/// A pin.
#[must_use]
pub fn session(session: &Session) -> wire::Session {
    let client =
        Prefix::new(session.client, session.prefix).unwrap_or_else(|| Prefix::host(session.client));
    let up = u64::from(session.left.subsec_nanos() > 0);
    wire::Session {
        client,
        scope: session.scope.clone(),
        listeners: session.listeners.clone(),
        backend: session.backend.clone(),
        age_s: session.age.as_secs(),
        idle_s: session.idle.as_secs(),
        left_s: session.left.as_secs() + up,
    }
}
