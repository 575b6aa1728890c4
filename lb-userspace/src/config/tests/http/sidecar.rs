//! `[sidecar]`.

use std::time::Duration;

use super::{accepted, check};
use crate::config::{
    Prefix,
    http::{AccessLog, HttpLimits, LogFormat, Sidecar},
};

fn sidecar(lines: &str) -> Sidecar {
    accepted("[[listener]]", &format!("[sidecar]\n{lines}\n[[listener]]")).sidecar
}

#[test]
fn every_key() {
    assert_eq!(accepted("", "").sidecar, Sidecar::default());
    assert_eq!(sidecar(""), Sidecar::default());
    let prefix = |address: &str, length| {
        let address = address.parse().expect("an address");
        Prefix { address, length }
    };
    let got = sidecar(
        "workers = 256\nuser = \"_www-data\"\naccess_log = \"/var/log/h.log\"\n\
         trusted_proxies = [\"10.0.0.0/8\", \"192.0.2.1\", \"fc00::/7\", \"127.0.0.1\"]\ndrain = 0",
    );
    let want = Sidecar {
        workers: Some(256),
        user: "_www-data".to_owned(),
        access_log: Some(AccessLog { path: "/var/log/h.log".into(), format: LogFormat::Json }),
        trusted_proxies: vec![
            prefix("10.0.0.0", 8),
            prefix("192.0.2.1", 32),
            prefix("fc00::", 7),
            prefix("127.0.0.1", 32),
        ],
        drain: Duration::ZERO,
        limits: HttpLimits::default(),
    };
    assert_eq!(got, want);
    let combined = sidecar("access_log = { path = \"/l\", format = \"combined\" }").access_log;
    assert_eq!(combined, Some(AccessLog { path: "/l".into(), format: LogFormat::Combined }));
}

#[test]
fn limits() {
    let second = Duration::from_secs(1);
    let lowest = "limits = { head_bytes = 1024, head_fields = 10, body_bytes = 1, head_timeout = \
                  \"10ms\", idle_timeout = 1, body_timeout = 2, connect_timeout = 3, \
                  answer_timeout = \"1day\", total_timeout = 0, tunnel_timeout = 0, connections = \
                  1, \
                  client_connections = 1, streams = 1, resets = 1 }";
    let want = HttpLimits {
        head_bytes: 1024,
        head_fields: 10,
        body_bytes: 1,
        head_timeout: Duration::from_millis(10),
        idle_timeout: second,
        body_timeout: 2 * second,
        connect_timeout: 3 * second,
        answer_timeout: 86_400 * second,
        total_timeout: Duration::ZERO,
        tunnel_timeout: Duration::ZERO,
        connections: 1,
        client_connections: 1,
        streams: 1,
        resets: 1,
    };
    assert_eq!(sidecar(lowest).limits, want);
    for (written, bytes) in [
        ("0", 0),
        ("\"0KiB\"", 0),
        ("\"10 MiB\"", 10 << 20),
        ("\"3GiB\"", 3 << 30),
        ("\"1024TiB\"", 1 << 50),
        ("0x400", 1024),
    ] {
        let limits = sidecar(&format!("limits.body_bytes = {written}")).limits;
        assert_eq!(limits.body_bytes, bytes, "{written}");
    }
    assert_eq!(sidecar("limits.head_bytes = \"1MiB\"").limits.head_bytes, 1 << 20);
}

#[test]
fn refused() {
    check(&[
        (
            "[[listener]]",
            "[sidecar]\nworkers = 0\n[[listener]]",
            "10:11: sidecar.workers = 0: out of range; allowed: 1 to 256",
        ),
        (
            "[[listener]]",
            "[sidecar]\nworker = 1\n[[listener]]",
            "10:1: sidecar.worker: unknown key; the nearest known one is \"workers\"; allowed: \
             workers, user, access_log, trusted_proxies, drain, limits",
        ),
        (
            "[[listener]]",
            "[sidecar]\nuser = \"root\"\n[[listener]]",
            "10:8: sidecar.user = \"root\": it serves clients without privileges; allowed: \
             another user",
        ),
        (
            "[[listener]]",
            "[sidecar]\nuser = \"0\"\n[[listener]]",
            "10:8: sidecar.user = \"0\": not the name of a user; allowed: a name of 1 to 32 \
             characters of A-Z a-z 0-9 . _ -, no number",
        ),
        (
            "[[listener]]",
            "[sidecar]\nuser = \"a b\"\n[[listener]]",
            "10:8: sidecar.user = \"a b\": not the name of a user; allowed: a name of 1 to 32 \
             characters of A-Z a-z 0-9 . _ -, no number",
        ),
        (
            "[[listener]]",
            "[sidecar]\naccess_log = \"log\"\n[[listener]]",
            "10:14: sidecar.access_log = \"log\": not an absolute path; allowed: a path that \
             starts with /, not / alone, without .., at most 3840 bytes",
        ),
        (
            "[[listener]]",
            "[sidecar]\naccess_log = 1\n[[listener]]",
            "10:14: sidecar.access_log = 1: expected a path, or a table with path and format, \
             found an integer",
        ),
        (
            "[[listener]]",
            "[sidecar]\naccess_log = { format = \"xml\" }\n[[listener]]",
            "10:14: sidecar.access_log.path: missing; allowed: a path that starts with /\n\
             10:25: sidecar.access_log.format = \"xml\": unknown; allowed: \"json\", \"combined\"",
        ),
        (
            "[[listener]]",
            "[sidecar]\ntrusted_proxies = \"10.0.0.1\"\n[[listener]]",
            "10:19: sidecar.trusted_proxies = \"10.0.0.1\": expected an array of addresses and \
             prefixes, found a string",
        ),
        (
            "[[listener]]",
            "[sidecar]\ntrusted_proxies = [\"0.0.0.0/0\", \"10.0.0.1/8\", \"::ffff:10.0.0.1\", \
             \"x\"]\n[[listener]]",
            "10:20: sidecar.trusted_proxies = \"0.0.0.0/0\": not a length of prefix; allowed: 1 \
             to 32\n\
             10:33: sidecar.trusted_proxies = \"10.0.0.1/8\": more bits than the prefix has; \
             allowed: \"10.0.0.0/8\"\n\
             10:47: sidecar.trusted_proxies = \"::ffff:10.0.0.1\": an IPv4 address written as \
             IPv6; allowed: \"10.255.0.0/16\", \"fd00:ff::/64\" or one address\n\
             10:66: sidecar.trusted_proxies = \"x\": not an address or prefix; allowed: \
             \"10.255.0.0/16\", \"fd00:ff::/64\" or one address",
        ),
        (
            "[[listener]]",
            "[sidecar]\ndrain = \"1h1s\"\n[[listener]]",
            "10:9: sidecar.drain = \"1h1s\": out of range; allowed: 0s to 1h",
        ),
    ]);
}

#[test]
fn limits_refused() {
    check(&[
        (
            "[agent]",
            "sidecar.limits.head_bytes = \"1024\"\n[agent]",
            "1:29: sidecar.limits.head_bytes = \"1024\": not a size such as \"32KiB\", with KiB, \
             MiB, GiB or TiB; allowed: 1KiB to 1MiB",
        ),
        (
            "[agent]",
            "sidecar.limits.head_bytes = 1023\n[agent]",
            "1:29: sidecar.limits.head_bytes = 1023: out of range; allowed: 1KiB to 1MiB",
        ),
        (
            "[agent]",
            "sidecar.limits.head_bytes = \"1025KiB\"\n[agent]",
            "1:29: sidecar.limits.head_bytes = \"1025KiB\": out of range; allowed: 1KiB to 1MiB",
        ),
        (
            "[agent]",
            "sidecar.limits.head_bytes = 0\n[agent]",
            "1:29: sidecar.limits.head_bytes = 0: out of range; allowed: 1KiB to 1MiB",
        ),
        (
            "[agent]",
            "sidecar.limits.body_bytes = \"1025TiB\"\n[agent]",
            "1:29: sidecar.limits.body_bytes = \"1025TiB\": out of range; allowed: 1 to 1024TiB; \
             0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.body_bytes = \"99999999999999999999999999999999999999999KiB\"\n[agent]",
            "1:29: sidecar.limits.body_bytes = \"99999999999999999999999999999999999999999KiB\": \
             out of range; allowed: 1 to 1024TiB; 0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.body_bytes = \"10MB\"\n[agent]",
            "1:29: sidecar.limits.body_bytes = \"10MB\": not a size such as \"32KiB\", with KiB, \
             MiB, GiB or TiB; allowed: 1 to 1024TiB; 0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.body_bytes = \"-1KiB\"\n[agent]",
            "1:29: sidecar.limits.body_bytes = \"-1KiB\": not a size such as \"32KiB\", with KiB, \
             MiB, GiB or TiB; allowed: 1 to 1024TiB; 0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.body_bytes = 1.5\n[agent]",
            "1:29: sidecar.limits.body_bytes = 1.5: expected a size such as \"32KiB\", or an \
             integer of bytes, found a float",
        ),
        (
            "[agent]",
            "sidecar.limits.head_fields = 9\n[agent]",
            "1:30: sidecar.limits.head_fields = 9: out of range; allowed: 10 to 1000",
        ),
        (
            "[agent]",
            "sidecar.limits.head_timeout = 0\n[agent]",
            "1:31: sidecar.limits.head_timeout = 0: out of range; allowed: 10ms to 1day",
        ),
        (
            "[agent]",
            "sidecar.limits.total_timeout = \"9ms\"\n[agent]",
            "1:32: sidecar.limits.total_timeout = \"9ms\": out of range; allowed: 10ms to 1day; \
             0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.tunnel_timeout = \"25h\"\n[agent]",
            "1:33: sidecar.limits.tunnel_timeout = \"25h\": out of range; allowed: 10ms to 1day; \
             0: no bound",
        ),
        (
            "[agent]",
            "sidecar.limits.streams = 10_001\n[agent]",
            "1:26: sidecar.limits.streams = 10_001: out of range; allowed: 1 to 10000",
        ),
        (
            "[agent]",
            "sidecar.limits.timeout = 1\n[agent]",
            "1:16: sidecar.limits.timeout: unknown key; the nearest known one is \
             \"head_timeout\"; allowed: head_bytes, head_fields, body_bytes, head_timeout, \
             idle_timeout, body_timeout, connect_timeout, answer_timeout, total_timeout, \
             tunnel_timeout, connections, client_connections, streams, resets",
        ),
    ]);
}
