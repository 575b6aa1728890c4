//! Layer 7's part of the status. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    agent::sidecar::Standing,
    api::{convert, wire},
    config::{
        Config, Pool,
        http::{HttpListener, HttpMode, HttpRule},
    },
    l7::messages::{BackendCounts, Totals},
};

/// Layer 7, if there are listeners of it; `now` is wall-clock time.
pub(in crate::agent) fn http(
    config: &Config,
    standing: &Standing,
    now: SystemTime,
) -> Option<wire::Http> {
    let totals = &standing.totals;
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    (!config.http_listeners.is_empty()).then(|| wire::Http {
        sidecar: sidecar(standing, now),
        listeners: config.http_listeners.iter().map(|one| listener(config, one, totals)).collect(),
        backends: backends.filter_map(|one| backend(config, totals, &one.name, now)).collect(),
    })
}

/// A backend's requests, if its pool serves layer 7.
pub(in crate::agent) fn backend(
    config: &Config,
    totals: &Totals,
    name: &str,
    now: SystemTime,
) -> Option<wire::HttpBackend> {
    let has = |pool: &Pool| pool.backends.iter().any(|backend| backend.name == name);
    let index = config.pools.iter().position(has)?;
    let rules = || rules(config).filter(|rule| rule.pool == index);
    let _one = rules().next()?;
    let rewrites = |rule: &HttpRule| {
        let mode = rule.persistence.as_ref().map(|persistence| &persistence.mode);
        matches!(mode, Some(HttpMode::Rewrite { .. }))
    };
    let none = BackendCounts::default();
    let counts = totals.backends.get(name).unwrap_or(&none);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let left_s = counts.last_ends.checked_sub(now.as_secs()).filter(|left_s| *left_s > 0);
    Some(wire::HttpBackend {
        name: name.to_owned(),
        pool: config.pools[index].name.clone(),
        requests: counts.requests,
        active: counts.active,
        failed: counts.failed.clone(),
        placed: counts.placed,
        sessions: counts.seen.estimate(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        last_ends: left_s.map(|_| counts.last_ends),
        last_ends_in_s: left_s,
        own_cookies: rules().any(rewrites),
    })
}

fn rules(config: &Config) -> impl Iterator<Item = &HttpRule> {
    config.http_listeners.iter().flat_map(|listener| &listener.rules)
}

fn sidecar(standing: &Standing, now: SystemTime) -> wire::Sidecar {
    let since = standing.since.filter(|_| standing.pid.is_some());
    let uptime = |since| now.duration_since(since).unwrap_or(Duration::ZERO).as_secs();
    wire::Sidecar {
        pid: standing.pid,
        since: since.map(|since| humantime::format_rfc3339_seconds(since).to_string()),
        uptime_s: since.map(uptime),
        crashes: standing.crashes,
        finishing: standing.finishing as u64,
        trouble: standing.trouble.clone(),
        connections: standing.totals.connections,
        log_lost: standing.totals.log_lost,
    }
}

fn listener(config: &Config, listener: &HttpListener, totals: &Totals) -> wire::HttpListener {
    let counts = totals.listeners.get(&listener.name).cloned().unwrap_or_default();
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(str::to_owned);
    wire::HttpListener {
        name: listener.name.clone(),
        protocol: convert::http_protocol(listener).to_owned(),
        address: listener.address,
        https_redirect: listener.https_redirect,
        rules: listener.rules.iter().map(|rule| self::rule(config, rule)).collect(),
        connections: counts.connections,
        requests: counts.requests,
        answers: classes.into_iter().zip(counts.statuses).collect(),
        verdicts: counts.verdicts,
        refused: counts.refused,
        retries: counts.retries,
        tunnels: counts.tunnels,
    }
}

fn rule(config: &Config, rule: &HttpRule) -> wire::HttpRule {
    wire::HttpRule {
        host: convert::host(&rule.host),
        path: rule.path.clone(),
        pool: config.pools[rule.pool].name.clone(),
        persistence: rule.persistence.as_ref().map(wire::HttpPersistence::from),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::l7::counts::Counts;

    const FILE: &str = r#"
[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
backend = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
[[pool]]
name = "l4"
backend = [{ name = "c", address = "10.0.0.3:80" }]
[[listener]]
name = "l4"
protocol = "tcp"
address = "203.0.113.1:81"
pool = "l4"
"#;

    const SHOP: &str = r#"
[[listener]]
name = "shop"
protocol = "http"
address = "203.0.113.1:80"
pool = "web"
persistence = { timeout = "10m" }
rule = [{ host = "a.example", pool = "web", persistence = { mode = "cookie-rewrite", cookie = "J" } }]
"#;

    fn parse(text: &str) -> Config {
        crate::config::parse(text, Path::new("t.toml")).expect("configuration")
    }

    #[test]
    fn there_is_nothing_to_say_without_listeners() {
        let now = SystemTime::now();
        assert_eq!(http(&parse(FILE), &Standing::default(), now), None);
        assert_eq!(backend(&parse(FILE), &Totals::default(), "a", now), None);
    }

    #[test]
    fn what_was_counted_stands_where_it_belongs() {
        let config = parse(&format!("{FILE}{SHOP}"));
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut counts = BackendCounts { requests: 7, last_ends: 1_000_600, ..Default::default() };
        for session in 0..3 {
            counts.seen.note(session, 600, 1_000_600_000, 1_000_000_000);
        }
        let gone = BackendCounts { last_ends: 999_999, ..Default::default() };
        let listener = Counts { requests: 9, statuses: [0, 5, 1, 2, 0], ..Counts::default() };
        let totals = Totals {
            listeners: [("shop".to_owned(), listener)].into(),
            backends: [("a".to_owned(), counts), ("b".to_owned(), gone)].into(),
            connections: 4,
            log_lost: 0,
        };
        let standing = Standing {
            pid: Some(77),
            since: Some(now - Duration::from_mins(1)),
            totals,
            ..Standing::default()
        };
        let got = http(&config, &standing, now).expect("there is a listener");
        assert_eq!((got.sidecar.pid, got.sidecar.uptime_s), (Some(77), Some(60)));
        assert_eq!(got.sidecar.connections, 4);
        let shop = &got.listeners[0];
        assert_eq!((shop.protocol.as_str(), shop.requests, shop.answers["2xx"]), ("http", 9, 5));
        let rules: Vec<_> = shop.rules.iter().map(|rule| rule.host.as_deref()).collect();
        assert_eq!(rules, [Some("a.example"), None]);
        let names: Vec<_> = got.backends.iter().map(|backend| backend.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let (a, b) = (&got.backends[0], &got.backends[1]);
        assert_eq!((a.requests, a.sessions, a.own_cookies), (7, 3, true));
        assert_eq!((a.last_ends, a.last_ends_in_s), (Some(1_000_600), Some(600)));
        assert_eq!((b.sessions, b.last_ends, b.last_ends_in_s), (0, None, None));
    }
}
