//! `[pool.http]`.

use std::time::Duration;

use super::{accepted, check};
use crate::config::http::{BackendTls, HttpScheduler, HttpVersion, PoolHttp, ProxyVersion};

fn http(keys: &str) -> PoolHttp {
    let lines = format!("name = \"web\"\nhttp = {{ {keys} }}");
    accepted("name = \"web\"", &lines).pools[0].http.clone()
}

#[test]
fn every_key() {
    assert_eq!(http(""), PoolHttp::default());
    let got = http(
        "version = \"2\", scheduler = \"least-requests\", tls = { name = \"App.internal\", ca = \
         \"/ca.pem\" }, send_proxy = 2, connections = 100_000, queue = 0, queue_timeout = \
         \"10ms\", \
         retry_percent = 100",
    );
    let tls = BackendTls {
        name: Some("app.internal".to_owned()),
        ca: Some("/ca.pem".into()),
        verify: true,
    };
    let want = PoolHttp {
        version: HttpVersion::Two,
        scheduler: HttpScheduler::LeastRequests,
        tls: Some(tls.clone()),
        send_proxy: Some(ProxyVersion::V2),
        connections: 100_000,
        queue: 0,
        queue_timeout: Duration::from_millis(10),
        retry_percent: 100,
    };
    assert_eq!(got, want);
    assert_eq!(http("version = \"1.1\", send_proxy = 1").send_proxy, Some(ProxyVersion::V1));
    assert_eq!(http("scheduler = \"hash\"").scheduler, HttpScheduler::Hash);
    let blind = BackendTls { name: None, ca: None, verify: false };
    assert_eq!(http("tls = { verify = false }").tls, Some(blind.clone()));
    let asked = BackendTls { name: Some("a".to_owned()), ..blind };
    assert_eq!(http("tls = { verify = false, name = \"a\" }").tls, Some(asked));
    let address = BackendTls { name: Some("fd00::1".to_owned()), ca: None, verify: true };
    assert_eq!(http("tls = { name = \"FD00::1\" }").tls, Some(address));
}

#[test]
fn a_pool_that_no_http_listener_uses() {
    let config = accepted("name = \"api\"", "name = \"api\"\nhttp.version = \"2\"");
    assert_eq!(config.pools[1].http.version, HttpVersion::Two);
}

#[test]
fn refused() {
    check(&[
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { version = \"3\" }",
            "5:20: pool \"web\": http.version = \"3\": unknown; allowed: \"1.1\", \"2\"",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { version = 1.1 }",
            "5:20: pool \"web\": http.version = 1.1: expected one of \"1.1\", \"2\", found a float",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { scheduler = \"maglev\" }",
            "5:22: pool \"web\": http.scheduler = \"maglev\": unknown; allowed: \"round-robin\", \
             \"least-requests\", \"hash\"",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { send_proxy = 3 }",
            "5:23: pool \"web\": http.send_proxy = 3: out of range; allowed: 1 to 2",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { send_proxy = true }",
            "5:23: pool \"web\": http.send_proxy = true: expected an integer from 1 to 2, found a \
             boolean",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { connections = 0, queue = 100_001 }",
            "5:24: pool \"web\": http.connections = 0: out of range; allowed: 1 to 100000\n\
             5:35: pool \"web\": http.queue = 100_001: out of range; allowed: 0 to 100000",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { queue_timeout = \"61s\" }",
            "5:26: pool \"web\": http.queue_timeout = \"61s\": out of range; allowed: 10ms to 1m",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { retry_percent = 101, retries = 1 }",
            "5:26: pool \"web\": http.retry_percent = 101: out of range; allowed: 0 to 100\n\
             5:31: pool \"web\": http.retries: unknown key; the nearest known one is \
             \"retry_percent\"; allowed: version, scheduler, tls, send_proxy, connections, queue, \
             queue_timeout, retry_percent",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { tls = true }",
            "5:16: pool \"web\": http.tls = true: expected a table, found a boolean",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { tls = {} }",
            "5:16: pool \"web\": http.tls.name: missing; allowed: the name in the backends' \
             certificates, or verify = false",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { tls = { name = \"a b\", ca = \"ca.pem\" } }",
            "5:25: pool \"web\": http.tls.name = \"a b\": not the name of a host; allowed: a name \
             such as \"www.example.com\", of A-Z a-z 0-9 _ - and dots\n\
             5:37: pool \"web\": http.tls.ca = \"ca.pem\": not an absolute path; allowed: a path \
             that starts with /, not / alone, without .., at most 3840 bytes",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { tls = { verify = false, ca = \"/ca.pem\" } }",
            "5:34: pool \"web\": http.tls.ca: nothing is asked of certificates with verify = \
             false; allowed: verify, name",
        ),
        (
            "name = \"web\"",
            "name = \"web\"\nhttp = { tls = { verify = 1 } }",
            "5:27: pool \"web\": http.tls.verify = 1: expected true or false, found an integer",
        ),
    ]);
}
