//! Layer 7's part of the page. Pure.

use std::collections::BTreeMap;

use super::super::{
    human::{count, duration, exact, plural},
    persistence,
    table::{
        Column::{self, Left, Right},
        printable, render,
    },
};
use crate::api::wire::{Backend, BackendState, Http, HttpBackend, Sidecar};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const VERDICTS: [&str; 6] = ["hit", "new", "expired", "forged", "drained", "down"];

/// Its sections; `all` has the backends' states.
pub(super) fn sections(http: &Http, all: &[Backend]) -> Vec<String> {
    let sections = [
        sidecar(&http.sidecar),
        listeners(http),
        rules(http),
        sessions(http),
        refused(http),
        backends(&http.backends, all),
        failed(&http.backends),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect()
}

fn sidecar(sidecar: &Sidecar) -> String {
    let since = || {
        let up = sidecar.uptime_s.map(duration)?;
        Some(format!(", up {up}, since {}", sidecar.since.as_deref()?))
    };
    let mut words = match sidecar.pid {
        None => vec!["sidecar: none runs at the moment".to_owned()],
        Some(pid) => vec![format!("sidecar: process {pid}{}", since().unwrap_or_default())],
    };
    words.push(format!("{} open", plural(sidecar.connections, "connection")));
    if sidecar.finishing > 0 {
        words.push(format!("{} more to finish what they have", exact(sidecar.finishing)));
    }
    if sidecar.crashes > 0 {
        words.push(format!(
            "{} mended",
            plural(sidecar.crashes, "crash").replace("crashs", "crashes")
        ));
    }
    if sidecar.log_lost > 0 {
        words.push(format!("{} of the access log lost", plural(sidecar.log_lost, "line")));
    }
    let trouble = match &sidecar.trouble {
        None => String::new(),
        Some(trouble) => printable(&format!("trouble: {trouble}")) + "\n",
    };
    printable(&words.join("; ")) + "\n" + &trouble
}

fn listeners(http: &Http) -> String {
    const COLUMNS: [Column; 11] = [
        Left("LISTENER"),
        Left("ADDRESS"),
        Right("CONNECTIONS"),
        Right("REQUESTS"),
        Right("1XX"),
        Right("2XX"),
        Right("3XX"),
        Right("4XX"),
        Right("5XX"),
        Right("RETRIES"),
        Right("TUNNELS"),
    ];
    let row = |listener: &crate::api::wire::HttpListener| {
        let mut row = vec![
            listener.name.clone(),
            format!("{} {}", listener.protocol, listener.address),
            count(listener.connections),
            count(listener.requests),
        ];
        row.extend(of(&listener.answers, &CLASSES));
        row.extend([count(listener.retries), count(listener.tunnels)]);
        row
    };
    render(&COLUMNS, &http.listeners.iter().map(row).collect::<Vec<_>>())
}

fn of(counts: &BTreeMap<String, u64>, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| count(counts.get(*name).copied().unwrap_or(0))).collect()
}

fn rules(http: &Http) -> String {
    let mut rows = Vec::new();
    for listener in &http.listeners {
        if let Some(port) = listener.https_redirect {
            let text = format!("redirects to https, port {port}");
            rows.push([&listener.name, "any", "/", "-", &text].map(str::to_owned).to_vec());
        }
        rows.extend(listener.rules.iter().map(|rule| {
            vec![
                listener.name.clone(),
                rule.host.clone().unwrap_or_else(|| "any".to_owned()),
                rule.path.clone(),
                rule.pool.clone(),
                persistence::http_words(rule.persistence.as_ref()),
            ]
        }));
    }
    render(&[Left("RULE OF"), Left("HOST"), Left("PATH"), Left("POOL"), Left("PERSISTENCE")], &rows)
}

/// Of listeners that have had requests with sessions.
fn sessions(http: &Http) -> String {
    let columns = [
        Left("REQUESTS OF"),
        Right("HIT"),
        Right("NEW"),
        Right("EXPIRED"),
        Right("FORGED"),
        Right("DRAINED"),
        Right("DOWN"),
    ];
    let with = http.listeners.iter().filter(|one| one.verdicts.values().any(|count| *count > 0));
    let rows = with.map(|listener| {
        let mut row = vec![listener.name.clone()];
        row.extend(of(&listener.verdicts, &VERDICTS));
        row
    });
    some(&columns, &rows.collect::<Vec<_>>())
}

fn refused(http: &Http) -> String {
    let rows = http.listeners.iter().map(|listener| (&listener.name, &listener.refused));
    some(&[Left("REFUSED BY"), Right("TIMES"), Left("WHY")], &by_name(rows))
}

fn failed(backends: &[HttpBackend]) -> String {
    let rows = backends.iter().map(|backend| (&backend.name, &backend.failed));
    some(&[Left("FAILED AT"), Right("TIMES"), Left("WHY")], &by_name(rows))
}

fn by_name<'h>(
    all: impl Iterator<Item = (&'h String, &'h BTreeMap<String, u64>)>,
) -> Vec<Vec<String>> {
    let row = |(name, (why, times)): (&String, (&String, &u64))| {
        vec![name.clone(), exact(*times), why.clone()]
    };
    all.flat_map(|(name, counts)| counts.iter().map(move |one| row((name, one)))).collect()
}

/// A table, unless it is empty.
fn some(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { render(columns, rows) }
}

fn backends(backends: &[HttpBackend], all: &[Backend]) -> String {
    const COLUMNS: [Column; 8] = [
        Left("REQUESTS TO"),
        Left("POOL"),
        Right("REQUESTS"),
        Right("ACTIVE"),
        Right("FAILED"),
        Right("SESSIONS"),
        Right("PLACED"),
        Left("LEAVING"),
    ];
    let draining = |name: &str| {
        let state = all.iter().find(|backend| backend.name == name).map(|it| it.state);
        state == Some(BackendState::Draining)
    };
    let rows: Vec<Vec<String>> = backends
        .iter()
        .map(|backend| {
            vec![
                backend.name.clone(),
                backend.pool.clone(),
                count(backend.requests),
                exact(backend.active),
                count(backend.failed.values().sum()),
                about(backend.sessions),
                count(backend.placed),
                if draining(&backend.name) { last(backend) } else { String::new() },
            ]
        })
        .collect();
    let leaving = rows.iter().any(|row| row.last().is_some_and(|cell| !cell.is_empty()));
    some(if leaving { &COLUMNS } else { &COLUMNS[..7] }, &rows)
}

fn about(sessions: u64) -> String {
    if sessions == 0 { "0".to_owned() } else { format!("~{}", count(sessions)) }
}

/// When a draining backend has no sessions any more.
pub(in crate::cli) fn last(backend: &HttpBackend) -> String {
    match (backend.last_ends_in_s, backend.own_cookies) {
        (Some(in_s), false) => format!("last session ends in {} at the latest", duration(in_s)),
        (Some(in_s), true) => {
            format!(
                "last session ends in {} at the latest, or with its own cookies",
                duration(in_s)
            )
        }
        (None, true) => "sessions end with its own cookies".to_owned(),
        (None, false) => "no session".to_owned(),
    }
}
