//! One of everything, for tests.

mod http;

pub(crate) use self::http::{sample_explained, sample_http_status};

use std::time::Duration;

use lb_common::event::{EVENTS, Event};

use crate::{
    api::wire::{
        Backend, BackendState, Events, Health, Intent, Interface, LastReload, Listener,
        Persistence, Pool, Reach, Status, TableUse, Tables, Tunnel, events_by_name,
    },
    config,
};

/// An instance with two listeners, three backends, and a drop reason.
pub(crate) fn sample_status() -> Status {
    let mut counts = [0; EVENTS];
    counts[Event::Forwarded as usize] = 123_456;
    counts[Event::DropNoBackend as usize] = 1_234;
    counts[Event::PassFragment as usize] = 7;
    counts[Event::PinInsertFailed as usize] = 1;
    let persistence = Persistence {
        timeout_s: 1_800,
        refresh: "activity".to_owned(),
        group: Some("site".to_owned()),
        max_lifetime_s: None,
        prefix_v4: 24,
        prefix_v6: 128,
    };
    let listener = |name: &str, address: &str, persistence| Listener {
        name: name.to_owned(),
        protocol: "tcp".to_owned(),
        address: address.parse().expect("address"),
        pool: "web".to_owned(),
        persistence,
        packets_in: 123_456,
        bytes_in: 50_000_000,
        packets_out: 99_999,
        bytes_out: 0,
        events: events_by_name(&counts),
        error: None,
    };
    let pool = |name: &str, forward: &str, tunnel| Pool {
        name: name.to_owned(),
        forward: forward.to_owned(),
        tunnel,
        nat_sources: Vec::new(),
        scheduler: "maglev".to_owned(),
        slow_start_ms: 0,
    };
    let tunnel = Tunnel {
        kind: "gue".to_owned(),
        port: Some(6080),
        source: Some("10.0.1.0/24".to_owned()),
        mtu: None,
    };
    Status {
        version: "0.1.0".to_owned(),
        layout: 1,
        started: "2026-01-02T03:04:05Z".to_owned(),
        uptime_s: 7_500,
        config: "/etc/holdfast.toml".to_owned(),
        last_reload: Some(LastReload {
            at: "2026-01-02T05:00:00Z".to_owned(),
            ago_s: 120,
            ok: true,
            error: None,
        }),
        interfaces: vec![
            Interface { name: "eth0".to_owned(), mode: "native".to_owned() },
            Interface { name: "eth1".to_owned(), mode: "generic".to_owned() },
        ],
        tables: Tables {
            counted_ms_ago: Some(1_001),
            pins: TableUse { held: 250_000, capacity: 1_000_000, evicted: 0 },
            flows: TableUse { held: 1, capacity: 1_000_000, evicted: 3 },
            replies: TableUse { held: 1, capacity: 1_000_000, evicted: 0 },
        },
        pools: vec![
            pool("web", "nat", None),
            Pool {
                scheduler: "least-connections".to_owned(),
                slow_start_ms: 30_000,
                ..pool("far", "tunnel", Some(tunnel))
            },
        ],
        listeners: vec![
            listener("web", "203.0.113.10:80", Some(persistence)),
            listener("web6", "[2001:db8::10]:80", None),
        ],
        backends: vec![
            backend("web-1", BackendState::Ready),
            Backend {
                health: Health::Down,
                reason: Some("health: connect: connection refused".to_owned()),
                ..backend("web-2", BackendState::Down)
            },
            Backend {
                intent: Intent::Drain,
                reach: Reach { known: false, detail: "10.0.0.11 does not answer".to_owned() },
                ..backend("web-3", BackendState::Draining)
            },
        ],
        http: None,
        events: Events::of(&counts),
    }
}

fn backend(name: &str, state: BackendState) -> Backend {
    Backend {
        name: name.to_owned(),
        pool: "web".to_owned(),
        address: "10.0.0.11:8080".to_owned(),
        state,
        intent: Intent::Ready,
        health: Health::Up,
        reason: None,
        reach: Reach { known: true, detail: "eth1 02:00:00:00:00:0b".to_owned() },
        weight: 1,
        generation: 4,
        pins: 1_234,
        flows: 1,
        packets_in: 1_000_000,
        bytes_in: 123_456_789,
        packets_out: 0,
        bytes_out: 0,
        flows_placed: 4_321,
    }
}

/// A configuration with both protocols, families and forwarding modes.
pub(super) fn sample_config() -> config::Config {
    let backend = |name: &str, address: &str, port| config::Backend {
        name: name.to_owned(),
        address: address.parse().expect("address"),
        port,
        weight: 1,
    };
    config::Config {
        agent: config::Agent {
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: config::XdpMode::Auto,
            admin: "/run/holdfast/admin.sock".into(),
            bpffs: "/sys/fs/bpf/holdfast".into(),
            state: "/var/lib/holdfast".into(),
            manage_addresses: true,
            echo: true,
            packet_events: false,
            flow_timeouts: config::FlowTimeouts::default(),
        },
        limits: config::Limits::default(),
        flood: config::Flood::default(),
        pools: vec![
            config::Pool {
                name: "web".to_owned(),
                forward: config::Forward::Nat,
                on_down: config::OnDown::Reset,
                scheduler: config::Scheduler::Maglev,
                slow_start: Duration::ZERO,
                nat_sources: vec!["10.0.0.1".parse().expect("address")],
                health: Some(config::Health {
                    probe: config::Probe::Http {
                        path: "/healthz".to_owned(),
                        host: None,
                        expect: (200, 399),
                    },
                    port: Some(81),
                    interval: Duration::from_secs(2),
                    timeout: Duration::from_millis(500),
                    rise: 2,
                    fall: 3,
                }),
                http: config::http::PoolHttp::default(),
                backends: vec![
                    backend("web-1", "10.0.0.11", Some(8080)),
                    backend("web-2", "10.0.0.12", None),
                ],
            },
            config::Pool {
                name: "dns".to_owned(),
                forward: config::Forward::Dsr,
                on_down: config::OnDown::Keep,
                scheduler: config::Scheduler::RoundRobin,
                slow_start: Duration::from_secs(30),
                nat_sources: vec![],
                health: None,
                http: config::http::PoolHttp::default(),
                backends: vec![backend("dns-1", "2001:db8::1", None)],
            },
        ],
        listeners: vec![
            config::Listener {
                name: "web".to_owned(),
                protocol: config::Protocol::Tcp,
                address: "203.0.113.10:80".parse().expect("address"),
                pool: 0,
                persistence: Some(config::Persistence {
                    group: None,
                    timeout: Duration::from_mins(30),
                    refresh: config::Refresh::NewConnection,
                    max_lifetime: Some(Duration::from_hours(24)),
                    prefix_v4: 32,
                    prefix_v6: 64,
                }),
            },
            config::Listener {
                name: "dns".to_owned(),
                protocol: config::Protocol::Udp,
                address: "[2001:db8::53]:53".parse().expect("address"),
                pool: 1,
                persistence: None,
            },
        ],
        sidecar: config::http::Sidecar::default(),
        http_listeners: vec![],
    }
}

/// [`sample_config`] with layer 7: rules of all modes, and a listener that redirects.
pub(super) fn sample_http_config() -> config::Config {
    use config::http::{
        AccessLog, BackendTls, Certificate, CookieAttributes, CookieInsert, HostPattern,
        HttpListener, HttpMode, HttpPersistence, HttpRule, LogFormat, ProxyVersion,
    };
    let mut sample = sample_config();
    sample.sidecar.access_log =
        Some(AccessLog { path: "/var/log/access.log".into(), format: LogFormat::Combined });
    sample.sidecar.trusted_proxies =
        vec![config::Prefix { address: "10.0.0.0".parse().expect("address"), length: 8 }];
    sample.pools[0].http.tls =
        Some(BackendTls { name: Some("shop.internal".to_owned()), ca: None, verify: true });
    sample.pools[0].http.send_proxy = Some(ProxyVersion::V2);
    let by_address = sample.listeners[0].persistence.clone().expect("it is on");
    let insert = CookieInsert {
        cookie: "SERVERID".to_owned(),
        timeout: Duration::from_hours(1),
        max_lifetime: Some(Duration::from_hours(24)),
        attributes: CookieAttributes { secure: true, ..CookieAttributes::default() },
        insert_on_error: false,
        first_flight: Duration::from_secs(2),
    };
    let rule = |host, path: &str, mode: Option<HttpMode>| HttpRule {
        host,
        path: path.to_owned(),
        pool: 0,
        persistence: mode.map(|mode| HttpPersistence { mode, header: None }),
    };
    let rewrite = HttpMode::Rewrite { cookie: "JSESSIONID".to_owned() };
    let rules = vec![
        rule(HostPattern::Exact("api.shop.example".to_owned()), "/v1", Some(rewrite)),
        rule(HostPattern::Any, "/img", Some(HttpMode::SourceIp(by_address))),
        rule(HostPattern::Below("shop.example".to_owned()), "/", None),
        rule(HostPattern::Any, "/", Some(HttpMode::Insert(insert))),
    ];
    let listener = HttpListener {
        name: "shop".to_owned(),
        address: "203.0.113.11:443".parse().expect("address"),
        certificates: vec![Certificate {
            chain: "/etc/shop.pem".into(),
            key: "/etc/shop.key".into(),
        }],
        https_redirect: None,
        accept_proxy: true,
        rules,
    };
    let by_rule = HttpListener {
        name: "api".to_owned(),
        address: "203.0.113.12:443".parse().expect("address"),
        rules: listener.rules[..1].to_vec(),
        ..listener.clone()
    };
    let redirect = HttpListener {
        name: "shop-plain".to_owned(),
        address: "203.0.113.11:80".parse().expect("address"),
        certificates: vec![],
        https_redirect: Some(443),
        accept_proxy: false,
        rules: vec![],
    };
    sample.http_listeners = vec![listener, redirect, by_rule];
    sample
}
