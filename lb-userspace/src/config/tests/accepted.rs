//! Good configurations: the example, the defaults, and files.

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use super::{BASE, EXAMPLE, accepted, parsed};
use crate::config::{
    Agent, Backend, Config, Flood, FlowTimeouts, Forward, Health, Limits, Listener, OnDown,
    Persistence, Pool, Prefix, Probe, Protocol, Refresh, Scheduler, Tunnel, TunnelKind, XdpMode,
    http::{HttpMode, PoolHttp, Sidecar},
    load,
};

fn defaults() -> Config {
    let second = Duration::from_secs(1);
    Config {
        agent: Agent {
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            admin: PathBuf::from("/run/holdfast/admin.sock"),
            bpffs: PathBuf::from("/sys/fs/bpf/holdfast"),
            state: PathBuf::from("/var/lib/holdfast"),
            manage_addresses: true,
            echo: true,
            packet_events: false,
            flow_timeouts: FlowTimeouts {
                tcp_established: 7440 * second,
                tcp_transitory: 240 * second,
                tcp_time_wait: 60 * second,
                udp: 300 * second,
            },
        },
        limits: Limits {
            pins: 1_000_000,
            flows: 1_000_000,
            listeners: 512,
            backends: 4096,
            pools: 64,
            maglev_slots: 65_537,
        },
        flood: Flood {
            flows_per_second: 100_000,
            network_flows_per_second: 5_000,
            network_v4: 24,
            network_v6: 56,
        },
        pools: vec![Pool {
            name: "web".to_owned(),
            forward: Forward::Nat,
            on_down: OnDown::Reset,
            scheduler: Scheduler::Maglev,
            slow_start: Duration::ZERO,
            nat_sources: vec![],
            health: None,
            http: PoolHttp::default(),
            backends: vec![backend("web-1", "10.0.0.11", Some(8080), 1)],
        }],
        listeners: vec![Listener {
            name: "site".to_owned(),
            protocol: Protocol::Tcp,
            address: "203.0.113.10:80".parse().expect("an address"),
            pool: 0,
            persistence: None,
        }],
        sidecar: Sidecar::default(),
        http_listeners: vec![],
    }
}

fn backend(name: &str, address: &str, port: Option<u16>, weight: u16) -> Backend {
    let address = address.parse().expect("an address");
    Backend { name: name.to_owned(), address, port, weight }
}

#[test]
fn the_base_has_all_defaults() {
    assert_eq!(parsed(BASE), Ok(defaults()));
}

/// The example shows the defaults: its values must be what leaving them away gives.
#[test]
fn the_example() {
    let Config { agent, limits, flood, pools, listeners, sidecar, http_listeners } =
        match parsed(EXAMPLE) {
            Ok(config) => config,
            Err(errors) => panic!("{errors}"),
        };
    let default = defaults();
    assert_eq!((agent, limits, flood), (default.agent, default.limits, default.flood));
    assert_eq!(sidecar, default.sidecar);

    let [web, dns, far, shop, _api] = &pools[..] else { panic!("five pools, not {pools:?}") };
    let plain = &default.pools[0];
    assert_eq!((web.forward, web.on_down), (plain.forward, plain.on_down));
    assert_eq!((web.scheduler, web.slow_start), (plain.scheduler, plain.slow_start));
    assert_eq!(web.backends[..1], plain.backends);
    assert_eq!(dns.backends[1], backend("dns-2", "10.0.0.54", None, 2));
    let short = "health.kind = \"http\"\n[[pool.backend]]";
    assert_eq!(web.health, accepted("[[pool.backend]]", short).pools[0].health);

    let Forward::Tunnel(tunnel) = far.forward else { panic!("{:?}", far.forward) };
    let kind = TunnelKind::Gue { port: 6080 };
    assert_eq!(tunnel, Tunnel { kind, source: None, mtu: None });
    assert_eq!(shop.http, plain.http);
    assert_eq!(listeners.len(), 3);
    let persistence = |timeout| Persistence {
        group: None,
        timeout: Duration::from_secs(timeout),
        refresh: Refresh::Activity,
        max_lifetime: None,
        prefix_v4: 32,
        prefix_v6: 128,
    };
    assert_eq!(listeners[0].persistence, Some(persistence(1800)));
    assert_eq!((listeners[1].protocol, listeners[1].pool), (Protocol::Udp, 1));
    assert_eq!(listeners[1].persistence, Some(persistence(300)));

    let [shop, redirect] = &http_listeners[..] else { panic!("two, not {http_listeners:?}") };
    assert_eq!((shop.accept_proxy, shop.certificates.len()), (false, 1));
    let [api, images, own] = &shop.rules[..] else { panic!("three rules, not {:?}", shop.rules) };
    assert_eq!((api.pool, images.pool, own.pool), (4, 3, 3));
    assert_eq!(images.persistence, None);
    let short = "[[listener]]\nname = \"x\"\nprotocol = \"https\"\naddress = \"203.0.113.1:443\"\n\
                 tls = { certificate = \"/c\", key = \"/k\" }\npool = \"web\"\npersistence.timeout = \
                 \"1h\"\n";
    assert_eq!(own.persistence, accepted("", short).http_listeners[0].rules[0].persistence);
    assert_eq!((redirect.https_redirect, redirect.rules.len()), (Some(443), 0));
}

#[test]
fn schedulers() {
    let check = |lines: &str, scheduler: Scheduler, seconds: u64| {
        let pool =
            accepted("[[pool.backend]]", &format!("{lines}\n[[pool.backend]]")).pools.remove(0);
        assert_eq!((pool.scheduler, pool.slow_start), (scheduler, Duration::from_secs(seconds)));
    };
    check("scheduler = \"maglev\"", Scheduler::Maglev, 0);
    check("scheduler = \"round-robin\"\nslow_start = \"1h\"", Scheduler::RoundRobin, 3600);
    check("scheduler = \"least-connections\"\nslow_start = 1", Scheduler::LeastConnections, 1);
    check("slow_start = 0", Scheduler::Maglev, 0);
}

/// Keys that the example shows behind a `#` are keys.
#[test]
fn the_example_with_its_optional_keys() {
    let mut shown = 0;
    let all: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| {
            let key = line
                .strip_prefix("# ")
                .filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
            shown += usize::from(key.is_some());
            key.unwrap_or(line)
        })
        .collect();
    assert_eq!(
        shown, 15,
        "7 of layer 4; workers, access_log, tls, send_proxy, max_lifetime, path, \
                            domain, header"
    );
    let config = parsed(&all.join("\n")).expect("the example with all keys");
    assert_eq!(config.pools[0].nat_sources.len(), 1);
    let source = Prefix { address: IpAddr::from([10, 255, 0, 0]), length: 16 };
    let kind = TunnelKind::Gue { port: 6080 };
    let tunnel = Tunnel { kind, source: Some(source), mtu: Some(1500) };
    assert_eq!(config.pools[2].forward, Forward::Tunnel(tunnel));
    let persistence = config.listeners[0].persistence.clone().expect("it is on");
    assert_eq!(persistence.group.as_deref(), Some("site"));

    assert_eq!(config.sidecar.workers, Some(4));
    assert!(config.pools[3].http.tls.as_ref().is_some_and(|tls| tls.verify && tls.ca.is_some()));
    let own = config.http_listeners[0].rules[2].persistence.clone().expect("it is on");
    assert_eq!(own.header.as_deref(), Some("X-Session"));
    let HttpMode::Insert(insert) = own.mode else { panic!("{own:?}") };
    assert_eq!(insert.attributes.domain.as_deref(), Some("shop.example"));
}

#[test]
fn health() {
    let health = |text: &str| {
        let text = format!("health = {{ {text} }}\n[[pool.backend]]");
        accepted("[[pool.backend]]", &text).pools[0].health.clone().expect("it is on")
    };
    let defaults = Health {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    assert_eq!(health("kind = \"tcp\""), defaults);
    let quick = health("kind = \"tcp\", interval = \"500ms\"");
    assert_eq!(quick.timeout, Duration::from_millis(500), "never above the interval");
    let http = |path: &str, host: Option<&str>, expect| Probe::Http {
        path: path.to_owned(),
        host: host.map(str::to_owned),
        expect,
    };
    assert_eq!(health("kind = \"http\"").probe, http("/", None, (200, 399)));
    let full = "kind = \"http\", path = \"/a?b=%20\", host = \"[fd00::1]:80\", expect = \"204\"";
    assert_eq!(health(full).probe, http("/a?b=%20", Some("[fd00::1]:80"), (204, 204)));
    assert_eq!(health("kind = \"http\", expect = 200").probe, http("/", None, (200, 200)));
    assert_eq!(health("kind = \"http\", expect = \"100-599\"").probe, http("/", None, (100, 599)));
    let edge = "kind = \"tcp\", port = 65535, interval = \"100ms\", \
                timeout = \"10ms\", rise = 1, fall = 100";
    let expected = Health {
        port: Some(65_535),
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(10),
        rise: 1,
        fall: 100,
        ..defaults
    };
    assert_eq!(health(edge), expected);
}

#[test]
fn bounds_are_allowed() {
    for (from, to) in [
        (
            "[[pool]]",
            "[limits]\npins = 1024\nflows = 32_000_000\nlisteners = 1\n\
             backends = 65535\npools = 4096\nmaglev_slots = 251\n[[pool]]",
        ),
        ("[[pool]]", "[limits]\nmaglev_slots = 5000011\npools = 1\nbackends = 1\n[[pool]]"),
        ("[[pool]]", "[agent.flow_timeouts]\nudp = 1\ntcp_established = \"7d\"\n[[pool]]"),
        ("[\"eth0\"]", "[\"eth0.100\", \"fifteen-bytes-x\"]"),
        ("\"web-1\"", "\"123456789_123456789_123456789_123456789_123456789_123456789_123\""),
        ("\"web-1\"", "\"web-1\"\nweight = 1000"),
        ("10.0.0.11:8080", "10.0.0.11:65535"),
        ("203.0.113.10:80", "203.0.113.10:1"),
    ] {
        accepted(from, to);
    }
}

#[test]
fn files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("h.toml");
    let refused = |wanted: &str| {
        let said = load(&path).expect_err(wanted).to_string();
        assert_eq!(said, format!("{}:{wanted}", path.display()));
    };
    refused(" configuration: cannot be read: No such file or directory (os error 2)");
    fs::write(&path, BASE).expect("written");
    assert_eq!(load(&path), Ok(defaults()));
    fs::write(&path, b"[agent]\nx = \"\xc3\xa9\xff\"").expect("written");
    refused("2:7: configuration: not UTF-8 text");
    fs::write(&path, format!("{BASE}pools = 1\n")).expect("written");
    assert!(load(&path).is_err());
}
