//! What `check` says about layer 7.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{
        human, persistence,
        table::{
            Column::{Left, Right},
            render,
        },
    },
    pool_name,
};
use crate::{
    api::{convert::http_protocol, wire},
    config::{
        Config, Pool,
        http::{
            CookieInsert, HostPattern, HttpListener, HttpMode, HttpPersistence, HttpRule,
            HttpScheduler, HttpVersion, LogFormat, PoolHttp, ProxyVersion, SameSite,
        },
    },
};

/// The process that serves it, if there is something to serve.
pub(super) fn settings(config: &Config) -> Option<(&'static str, String)> {
    let sidecar = &config.sidecar;
    let mut words = vec![format!("as {}", sidecar.user)];
    words.push(match sidecar.workers {
        Some(1) => "1 worker".to_owned(),
        Some(workers) => format!("{workers} workers"),
        None => "a worker for each CPU".to_owned(),
    });
    if let Some(log) = &sidecar.access_log {
        words.push(format!("log {} ({})", log.path.display(), word(&LogFormat::WORDS, log.format)));
    }
    if !sidecar.trusted_proxies.is_empty() {
        let trusted: Vec<String> =
            sidecar.trusted_proxies.iter().map(ToString::to_string).collect();
        words.push(format!("trusts {}", trusted.join(" ")));
    }
    (!config.http_listeners.is_empty()).then(|| ("sidecar", words.join(", ")))
}

/// Rows of the table of all listeners.
pub(super) fn listeners(config: &Config) -> impl Iterator<Item = Vec<String>> {
    config.http_listeners.iter().map(|listener| {
        let (pool, persistence) = match (own(listener), listener.https_redirect) {
            (_, Some(port)) => ("-".to_owned(), format!("redirects to https, port {port}")),
            (Some(rule), None) => (pool_name(config, rule.pool), persistence_words(rule)),
            (None, None) => ("by rule".to_owned(), "by rule".to_owned()),
        };
        let address = format!("{} {}", http_protocol(listener), listener.address);
        vec![listener.name.clone(), address, pool, persistence]
    })
}

fn persistence_words(rule: &HttpRule) -> String {
    persistence::http_words(rule.persistence.as_ref().map(wire::HttpPersistence::from).as_ref())
}

/// A table of the rules, where there are some.
pub(super) fn rules(config: &Config) -> Option<String> {
    let rows: Vec<Vec<String>> = config
        .http_listeners
        .iter()
        .flat_map(|listener| rules_of(listener).iter().map(move |rule| (listener, rule)))
        .map(|(listener, rule)| {
            vec![
                listener.name.clone(),
                rule.host.to_string(),
                rule.path.clone(),
                pool_name(config, rule.pool),
                persistence_words(rule),
            ]
        })
        .collect();
    let columns = [Left("RULE OF"), Left("HOST"), Left("PATH"), Left("POOL"), Left("PERSISTENCE")];
    (!rows.is_empty()).then(|| render(&columns, &rows))
}

/// A table of the pools that it uses, where it does.
pub(super) fn pools(config: &Config) -> Option<String> {
    let used = |index: usize| {
        let mut rules = config.http_listeners.iter().flat_map(|listener| &listener.rules);
        rules.any(|rule| rule.pool == index)
    };
    let rows: Vec<Vec<String>> = config
        .pools
        .iter()
        .enumerate()
        .filter(|(index, _)| used(*index))
        .map(|(_, Pool { name, http, .. })| {
            vec![
                name.clone(),
                spoken(http),
                word(&HttpScheduler::WORDS, http.scheduler).to_owned(),
                human::exact(http.connections.into()),
                human::exact(http.queue.into()),
                humantime::format_duration(http.queue_timeout).to_string(),
                format!("{} %", http.retry_percent),
            ]
        })
        .collect();
    let columns = [
        Left("POOL"),
        Left("HTTP"),
        Left("SCHEDULER"),
        Right("CONNECTIONS"),
        Right("QUEUE"),
        Right("WAIT"),
        Right("RETRIES"),
    ];
    (!rows.is_empty()).then(|| render(&columns, &rows))
}

/// `1.1, TLS as shop.internal, PROXY 2`.
fn spoken(http: &PoolHttp) -> String {
    let mut words = vec![word(&HttpVersion::WORDS, http.version).to_owned()];
    if let Some(tls) = &http.tls {
        words.push(match (&tls.name, tls.verify) {
            (Some(name), true) => format!("TLS as {name}"),
            (_, true) => "TLS".to_owned(),
            (_, false) => "TLS unverified".to_owned(),
        });
    }
    if let Some(version) = http.send_proxy {
        words.push(format!("PROXY {}", number(version)));
    }
    words.join(", ")
}

const fn number(version: ProxyVersion) -> u8 {
    match version {
        ProxyVersion::V1 => 1,
        ProxyVersion::V2 => 2,
    }
}

/// The listener's own pool and persistence, for what no rule is for.
fn own(listener: &HttpListener) -> Option<&HttpRule> {
    let itself = |rule: &&HttpRule| rule.host == HostPattern::Any && rule.path == "/";
    listener.rules.last().filter(itself)
}

fn rules_of(listener: &HttpListener) -> &[HttpRule] {
    let count = listener.rules.len() - usize::from(own(listener).is_some());
    &listener.rules[..count]
}

fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], meaning: T) -> &'static str {
    words.iter().find(|(_, one)| *one == meaning).map_or("", |(word, _)| word)
}

/// For `listeners`, behind those of layer 4.
pub(super) fn listener_documents(config: &Config) -> impl Iterator<Item = Value> {
    config.http_listeners.iter().map(|listener| {
        let own = own(listener);
        let rule = |rule: &HttpRule| {
            json!({
                "host": (rule.host != HostPattern::Any).then(|| rule.host.to_string()),
                "path": rule.path,
                "pool": pool_name(config, rule.pool),
                "persistence": rule.persistence.as_ref().map(persistence_document),
            })
        };
        let certificates: Vec<Value> = listener
            .certificates
            .iter()
            .map(|one| json!({ "certificate": one.chain, "key": one.key }))
            .collect();
        json!({
            "name": listener.name,
            "protocol": http_protocol(listener),
            "address": listener.address,
            "tls": certificates,
            "https_redirect": listener.https_redirect,
            "accept_proxy": listener.accept_proxy,
            "pool": own.map(|own| pool_name(config, own.pool)),
            "persistence": own.and_then(|own| own.persistence.as_ref()).map(persistence_document),
            "rules": rules_of(listener).iter().map(rule).collect::<Vec<_>>(),
        })
    })
}

fn persistence_document(persistence: &HttpPersistence) -> Value {
    let mut document = match &persistence.mode {
        HttpMode::Insert(insert) => insert_document(insert),
        HttpMode::Rewrite { cookie } => json!({ "mode": "cookie-rewrite", "cookie": cookie }),
        HttpMode::SourceIp(by_address) => {
            let mut document = json!(wire::Persistence::from(by_address));
            document["mode"] = json!("source-ip");
            document
        }
    };
    document["header"] = json!(persistence.header);
    document
}

fn insert_document(insert: &CookieInsert) -> Value {
    let attributes = &insert.attributes;
    json!({
        "mode": "cookie-insert",
        "cookie": insert.cookie,
        "timeout_s": insert.timeout.as_secs(),
        "max_lifetime_s": insert.max_lifetime.map(|time| time.as_secs()),
        "path": attributes.path,
        "domain": attributes.domain,
        "http_only": attributes.http_only,
        "secure": attributes.secure,
        "same_site": word(&SameSite::WORDS, attributes.same_site),
        "partitioned": attributes.partitioned,
        "insert_on_error": insert.insert_on_error,
        "first_flight_ms": millis(insert.first_flight),
    })
}

/// `[pool.http]`.
pub(super) fn pool_document(http: &PoolHttp) -> Value {
    let tls = http.tls.as_ref();
    json!({
        "version": word(&HttpVersion::WORDS, http.version),
        "scheduler": word(&HttpScheduler::WORDS, http.scheduler),
        "tls": tls.map(|tls| json!({ "name": tls.name, "ca": tls.ca, "verify": tls.verify })),
        "send_proxy": http.send_proxy.map(number),
        "connections": http.connections,
        "queue": http.queue,
        "queue_timeout_ms": millis(http.queue_timeout),
        "retry_percent": http.retry_percent,
    })
}

/// `[sidecar]`, but for its limits.
pub(super) fn sidecar_document(config: &Config) -> Value {
    let sidecar = &config.sidecar;
    let log = sidecar.access_log.as_ref();
    let trusted: Vec<String> = sidecar.trusted_proxies.iter().map(ToString::to_string).collect();
    json!({
        "workers": sidecar.workers,
        "user": sidecar.user,
        "access_log": log.map(|log| {
            json!({ "path": log.path, "format": word(&LogFormat::WORDS, log.format) })
        }),
        "trusted_proxies": trusted,
        "drain_ms": millis(sidecar.drain),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
