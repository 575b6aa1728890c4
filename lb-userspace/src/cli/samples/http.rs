//! Layer 7's part of the samples.

use std::collections::BTreeMap;

use super::{sample_http_config, sample_status};
use crate::{
    api::{
        convert,
        wire::{
            BackendState, Explained, ExplainedBackend, ExplainedCookie, ExplainedLimit,
            ExplainedRule, ExplainedSession, Http, HttpBackend, HttpListener, HttpPersistence,
            HttpRule, Sidecar, Status,
        },
    },
    config,
};

/// [`sample_status`] with layer 7: two listeners, a backend that leaves, and some trouble.
pub(crate) fn sample_http_status() -> Status {
    let counts =
        |all: &[(&str, u64)]| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let config = sample_http_config();
    let listener = |listener: &config::http::HttpListener| HttpListener {
        name: listener.name.clone(),
        protocol: convert::http_protocol(listener).to_owned(),
        address: listener.address,
        https_redirect: listener.https_redirect,
        rules: listener
            .rules
            .iter()
            .map(|rule| HttpRule {
                host: convert::host(&rule.host),
                path: rule.path.clone(),
                pool: config.pools[rule.pool].name.clone(),
                persistence: rule.persistence.as_ref().map(HttpPersistence::from),
            })
            .collect(),
        connections: 1_234,
        requests: 123_456,
        answers: counts(&[("1xx", 3), ("2xx", 120_000), ("3xx", 0), ("4xx", 3_000), ("5xx", 453)]),
        verdicts: BTreeMap::new(),
        refused: BTreeMap::new(),
        retries: 12,
        tunnels: 3,
    };
    let mut listeners: Vec<HttpListener> =
        config.http_listeners[..2].iter().map(listener).collect();
    listeners[0].verdicts = counts(&[("hit", 100_000), ("new", 23_000), ("drained", 7)]);
    listeners[0].refused = counts(&[("no_backend", 5), ("bad_request", 2_000)]);
    let backend = |name: &str, sessions, last_ends_in_s: Option<u64>| HttpBackend {
        name: name.to_owned(),
        pool: "web".to_owned(),
        requests: 60_000,
        active: 17,
        placed: 11_000,
        sessions,
        last_ends: last_ends_in_s.map(|in_s| 1_795_774_272 + in_s),
        last_ends_in_s,
        ..HttpBackend::default()
    };
    let mut backends = vec![
        backend("web-1", 4_321, Some(3_599)),
        backend("web-2", 0, None),
        backend("web-3", 88, Some(720)),
    ];
    backends[1].failed = counts(&[("connect", 4), ("answer_timeout", 1)]);
    let sidecar = Sidecar {
        pid: Some(4711),
        since: Some("2026-01-02T03:04:06Z".to_owned()),
        uptime_s: Some(7_499),
        crashes: 1,
        finishing: 1,
        trouble: Some("203.0.113.11:443: cannot listen".to_owned()),
        connections: 42,
        log_lost: 0,
    };
    Status { http: Some(Http { sidecar, listeners, backends }), ..sample_status() }
}

/// A cookie that is good, one that another node made, one that does not open, and a stranger.
pub(crate) fn sample_explained() -> Explained {
    let time = "2026-01-02T03:04:05Z".to_owned();
    let limit = |limit_s, left_s| Some(ExplainedLimit { limit_s, ends: time.clone(), left_s });
    let rule = |host: Option<&str>, verdict: &str, renews| ExplainedRule {
        host: host.map(str::to_owned),
        path: "/".to_owned(),
        cookie: "SERVERID".to_owned(),
        verdict: verdict.to_owned(),
        renews,
        idle: limit(3_600, 3_000),
        absolute: None,
    };
    let session = ExplainedSession {
        listener: "shop".to_owned(),
        pool: "web".to_owned(),
        key_seals: true,
        backend: Some(ExplainedBackend {
            name: "web-1".to_owned(),
            state: BackendState::Draining,
            generation: 4,
            generation_now: 4,
            same_life: Some(true),
        }),
        id: "00c0ffee00c0ffee".to_owned(),
        issued: time.clone(),
        issued_ago_s: 4_000,
        renewed: time.clone(),
        renewed_ago_s: 600,
        rules: vec![rule(None, "hit", true), rule(Some("a.example"), "hit", true)],
    };
    let reborn = ExplainedSession {
        key_seals: false,
        backend: session.backend.clone().map(|backend| ExplainedBackend {
            generation_now: 5,
            same_life: Some(false),
            state: BackendState::Ready,
            ..backend
        }),
        rules: vec![
            ExplainedRule { idle: None, absolute: limit(86_400, 0), ..rule(None, "down", false) },
            rule(Some("b.example"), "expired", false),
        ],
        ..session.clone()
    };
    let elsewhere = ExplainedSession { backend: None, rules: vec![], ..session.clone() };
    let cookie = |name: Option<&str>, rewritten, session| ExplainedCookie {
        name: name.map(str::to_owned),
        rewritten,
        key: Some(7),
        error: None,
        session: Some(session),
    };
    Explained {
        cookies: vec![
            cookie(Some("SERVERID"), false, session),
            cookie(Some("JSESSIONID"), true, reborn),
            cookie(None, false, elsewhere),
            ExplainedCookie {
                name: Some("SERVERID".to_owned()),
                rewritten: false,
                key: Some(9),
                error: Some("key 9, which it names, is not in the ring".to_owned()),
                session: None,
            },
        ],
        others: 1,
    }
}
