//! `status`: one page about an instance. Pure.

mod http;

pub(super) use self::http::last;

use super::{
    human::{bytes, count, duration, exact},
    persistence, pool,
    table::{
        Column::{self, Left, Right},
        printable, render,
    },
};
use crate::api::wire::{Backend, BackendState, EventCount, Health, Pool, Status, Tables};

/// The page.
pub(super) fn page(status: &Status) -> String {
    let mut sections =
        vec![instance(status), listeners(status), pools(&status.pools), backends(&status.backends)];
    if let Some(http) = &status.http {
        sections.extend(http::sections(http, &status.backends));
    }
    sections.push(tables(&status.tables));
    let events = &status.events;
    sections.push(if events.dropped.is_empty() {
        "Nothing was dropped.\n".to_owned()
    } else {
        counted(Left("DROPPED"), Right("PACKETS"), &events.dropped)
    });
    for (heading, number, list) in
        [("PASSED ON", "PACKETS", &events.passed), ("NOTED", "TIMES", &events.noted)]
    {
        if !list.is_empty() {
            sections.push(counted(Left(heading), Right(number), list));
        }
    }
    sections.join("\n")
}

fn instance(status: &Status) -> String {
    let interfaces: Vec<String> =
        status.interfaces.iter().map(|at| format!("{} ({})", at.name, at.mode)).collect();
    let reload = match &status.last_reload {
        None => String::new(),
        Some(reload) if reload.ok => format!(", reloaded {} ago", duration(reload.ago_s)),
        Some(reload) => format!(
            "; the reload {} ago was refused, nothing changed: {}",
            duration(reload.ago_s),
            reload.error.as_deref().unwrap_or("no reason given")
        ),
    };
    [
        format!(
            "holdfast {}, up {}, since {}; map layout {}",
            status.version,
            duration(status.uptime_s),
            status.started,
            status.layout
        ),
        format!("on {}", interfaces.join(", ")),
        format!("configuration {}{reload}", status.config),
    ]
    .iter()
    .map(|line| printable(line) + "\n")
    .collect()
}

fn listeners(status: &Status) -> String {
    const COLUMNS: [Column; 9] = [
        Left("LISTENER"),
        Left("ADDRESS"),
        Left("POOL"),
        Left("PERSISTENCE"),
        Right("PACKETS IN"),
        Right("BYTES IN"),
        Right("PACKETS OUT"),
        Right("BYTES OUT"),
        Left("ERROR"),
    ];
    let rows: Vec<Vec<String>> = status
        .listeners
        .iter()
        .map(|listener| {
            vec![
                listener.name.clone(),
                format!("{} {}", listener.protocol, listener.address),
                listener.pool.clone(),
                persistence::words(listener.persistence.as_ref()),
                count(listener.packets_in),
                bytes(listener.bytes_in),
                count(listener.packets_out),
                bytes(listener.bytes_out),
                listener.error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let errors = status.listeners.iter().any(|listener| listener.error.is_some());
    render(if errors { &COLUMNS } else { &COLUMNS[..8] }, &rows)
}

fn pools(pools: &[Pool]) -> String {
    let rows: Vec<Vec<String>> = pools
        .iter()
        .map(|pool| vec![pool.name.clone(), pool::forward(pool), pool::scheduler(pool)])
        .collect();
    render(&[Left("POOL"), Left("FORWARD"), Left("SCHEDULER")], &rows)
}

fn backends(backends: &[Backend]) -> String {
    const COLUMNS: [Column; 13] = [
        Left("BACKEND"),
        Left("POOL"),
        Left("ADDRESS"),
        Left("STATE"),
        Right("WEIGHT"),
        Left("HEALTH"),
        Right("PINS"),
        Right("FLOWS"),
        Right("PACKETS IN"),
        Right("BYTES IN"),
        Right("PACKETS OUT"),
        Right("BYTES OUT"),
        Left("REASON"),
    ];
    let rows: Vec<Vec<String>> = backends
        .iter()
        .map(|backend| {
            vec![
                backend.name.clone(),
                backend.pool.clone(),
                backend.address.clone(),
                state(backend.state).to_owned(),
                backend.weight.to_string(),
                health(backend.health).to_owned(),
                exact(backend.pins),
                exact(backend.flows),
                count(backend.packets_in),
                bytes(backend.bytes_in),
                count(backend.packets_out),
                bytes(backend.bytes_out),
                reasons(backend),
            ]
        })
        .collect();
    let reasons = rows.iter().any(|row| row.last().is_some_and(|reason| !reason.is_empty()));
    render(if reasons { &COLUMNS } else { &COLUMNS[..12] }, &rows)
}

/// Why a backend is in no better state, and why nothing can be sent to it.
pub(super) fn reasons(backend: &Backend) -> String {
    let mut reasons: Vec<String> = backend.reason.iter().cloned().collect();
    if !backend.reach.known && backend.state != BackendState::Removed {
        reasons.push(format!("no way to it: {}", backend.reach.detail));
    }
    reasons.join("; ")
}

pub(super) const fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Ready => "ready",
        BackendState::Draining => "draining",
        BackendState::Evacuating => "evacuating",
        BackendState::Down => "down",
        BackendState::Removed => "removed",
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}

fn tables(tables: &Tables) -> String {
    const COLUMNS: [Column; 5] =
        [Left("TABLE"), Right("HELD"), Right("CAPACITY"), Right("FULL"), Right("EVICTED")];
    let rows: Vec<Vec<String>> =
        [("pins", tables.pins), ("flows", tables.flows), ("replies", tables.replies)]
            .into_iter()
            .map(|(name, table)| {
                let (held, full) = if tables.counted_ms_ago.is_some() {
                    let percent = table.held.saturating_mul(100) / table.capacity.max(1);
                    (exact(table.held), format!("{percent} %"))
                } else {
                    ("?".to_owned(), "?".to_owned())
                };
                vec![name.to_owned(), held, exact(table.capacity), full, exact(table.evicted)]
            })
            .collect();
    let note = match tables.counted_ms_ago {
        None => "pins and flows are not counted yet\n".to_owned(),
        Some(ms) => format!("pins and flows as counted {} ago\n", duration(ms.div_ceil(1_000))),
    };
    render(&COLUMNS, &rows) + &note
}

fn counted(heading: Column, number: Column, events: &[EventCount]) -> String {
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| vec![event.name.clone(), exact(event.count), event.description.clone()])
        .collect();
    render(&[heading, number, Left("MEANING")], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::wire::{Events, LastReload, Sidecar},
        cli::{sample_status, samples::sample_http_status},
    };

    #[test]
    fn a_page() {
        let got = page(&sample_status());
        assert_eq!(got, include_str!("golden/status.txt"), "\n{got}");
    }

    #[test]
    fn a_page_with_layer_7() {
        let got = page(&sample_http_status());
        assert_eq!(got, include_str!("golden/status_http.txt"), "\n{got}");
    }

    #[test]
    fn layer_7_without_requests_takes_little_room() {
        let mut status = sample_http_status();
        let http = status.http.as_mut().expect("it is on");
        http.sidecar = Sidecar::default();
        http.backends.clear();
        for listener in &mut http.listeners {
            listener.verdicts.clear();
            listener.refused.clear();
        }
        let page = page(&status);
        assert!(page.contains("sidecar: none runs at the moment; 0 connections open\n"), "{page}");
        for left_out in
            ["trouble", "REFUSED BY", "FAILED AT", "REQUESTS OF", "REQUESTS TO", "crash"]
        {
            assert!(!page.contains(left_out), "{left_out}\n{page}");
        }
    }

    #[test]
    fn what_is_not_there_takes_no_room() {
        let mut status = sample_status();
        status.events = Events::default();
        status.tables.counted_ms_ago = None;
        status.backends.truncate(1);
        let page = page(&status);
        for left_out in ["REASON", "DROPPED", "PASSED ON", "NOTED", "ERROR", "250,000"] {
            assert!(!page.contains(left_out), "{left_out}\n{page}");
        }
        assert!(page.contains("Nothing was dropped."), "{page}");
        assert!(page.contains("not counted yet"), "{page}");
    }

    #[test]
    fn trouble_is_said() {
        let mut status = sample_status();
        status.last_reload = Some(LastReload {
            at: String::new(),
            ago_s: 5,
            ok: false,
            error: Some("line 3:\x1b[2J".to_owned()),
        });
        status.listeners[0].error = Some("write VIPS: no space".to_owned());
        let page = page(&status);
        let reload = "the reload 5 s ago was refused, nothing changed: line 3:\u{fffd}[2J\n";
        assert!(page.contains(reload), "{page}");
        assert!(page.contains("ERROR\n"), "{page}");
        assert!(page.contains("write VIPS: no space\n"), "{page}");
    }
}
