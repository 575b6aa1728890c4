//! `forward = "tunnel"` and the table `tunnel`.

use std::net::IpAddr;

use super::{BASE, Config, accepted, parsed};
use crate::config::{Forward, Prefix, Tunnel, TunnelKind};

/// [`BASE`] with a tunnel before its backend, which has no port; lines before it.
fn text(lines: &str) -> String {
    BASE.replace("[[pool.backend]]", &format!("forward = \"tunnel\"\n{lines}[[pool.backend]]"))
        .replace(":8080", "")
}

fn of(lines: &str) -> Tunnel {
    let config = parsed(&text(lines)).unwrap_or_else(|errors| panic!("{lines}: {errors}"));
    tunnel(&config)
}

fn tunnel(config: &Config) -> Tunnel {
    match config.pools[0].forward {
        Forward::Tunnel(tunnel) => tunnel,
        other @ (Forward::Nat | Forward::Dsr) => panic!("{other:?}"),
    }
}

/// What is said about the table with these keys, one message a line.
#[track_caller]
fn refused(lines: &str, want: &str) {
    let said = parsed(&text(lines)).expect_err(lines).to_string().replace("h.toml:", "");
    assert_eq!(said, want);
}

#[test]
fn defaults_and_every_key() {
    let plain = Tunnel { kind: TunnelKind::IpIp, source: None, mtu: None };
    assert_eq!(of(""), plain);
    assert_eq!(of("tunnel = {}\n"), plain);
    assert_eq!(
        of("tunnel = { kind = \"ipip\", mtu = 1328 }\n"),
        Tunnel { mtu: Some(1328), ..plain }
    );
    let gue = |port| Tunnel { kind: TunnelKind::Gue { port }, ..plain };
    assert_eq!(of("tunnel = { kind = \"gue\" }\n"), gue(6080));
    assert_eq!(of("tunnel = { kind = \"gue\", port = 1 }\n"), gue(1));
    let source = |text: &str| of(&format!("tunnel.source = \"{text}\"\n")).source.expect("one");
    let prefix = |address: &str, length| {
        let address: IpAddr = address.parse().expect("an address");
        Prefix { address, length }
    };
    assert_eq!(source("10.255.0.0/16"), prefix("10.255.0.0", 16));
    assert_eq!(source("10.0.0.16/29"), prefix("10.0.0.16", 29));
    assert_eq!(source("10.0.0.1"), prefix("10.0.0.1", 32));
    let six = text("tunnel.source = \"fd00:ff::/64\"\n").replace("10.0.0.11", "fd00::11");
    let six = parsed(&six).expect("IPv4 clients, IPv6 backends");
    assert_eq!(tunnel(&six).source, Some(prefix("fd00:ff::", 64)));
}

#[test]
fn values() {
    let subject = "pool \"web\": tunnel";
    refused(
        "tunnel = { kind = \"vxlan\" }\n",
        &format!("6:19: {subject}.kind = \"vxlan\": unknown; allowed: \"ipip\", \"gue\""),
    );
    refused(
        "tunnel = { port = 6080 }\n",
        &format!(
            "6:19: {subject}.port = 6080: only with kind = \"gue\"; allowed: kind, source, mtu"
        ),
    );
    refused(
        "tunnel = { kind = \"gue\", port = 0, mtu = 1327, mode = 1 }\n",
        &format!(
            "6:33: {subject}.port = 0: out of range; allowed: 1 to 65535\n\
             6:42: {subject}.mtu = 1327: out of range; allowed: 1328 to 65535\n\
             6:48: {subject}.mode: unknown key; the nearest known one is \"source\"; allowed: \
             kind, port, source, mtu"
        ),
    );
    refused(
        "tunnel = \"gue\"\n",
        &format!("6:10: {subject} = \"gue\": expected a table, found a string"),
    );
}

#[test]
fn sources() {
    let check = |source: &str, said: &str| {
        let want = format!("6:17: pool \"web\": tunnel.source = \"{source}\": {said}");
        refused(&format!("tunnel.source = \"{source}\"\n"), &want);
    };
    let shape = "allowed: \"10.255.0.0/16\", \"fd00:ff::/64\" or one address";
    for none in ["x", "10.0.0/8", "/16", "10.0.0.0 /16"] {
        check(none, &format!("not an address or prefix; {shape}"));
    }
    for length in ["7", "33", "016", "+16", ""] {
        check(&format!("10.0.0.0/{length}"), "not a length of prefix; allowed: 8 to 32");
    }
    check("10.255.0.1/16", "more bits than the prefix has; allowed: \"10.255.0.0/16\"");
    check(
        "224.0.0.0/8",
        "a multicast address; allowed: a unicast address of one machine, IPv4 or IPv6",
    );
    check(
        "10.0.0.0/24",
        "the backend in line 9 has one of them; allowed: addresses that no backend has",
    );
    check(
        "203.0.113.0/24",
        "the listener in line 13 has one of them; allowed: addresses without listeners",
    );
    check(
        "fd00:ff::/64",
        "an IPv6 address, but the pool's first backend has IPv4; allowed: IPv4 addresses in this pool",
    );
}

#[test]
fn what_does_not_go_with_it() {
    refused(
        "nat_sources = [\"10.0.0.2\"]\n",
        "6:16: pool \"web\": nat_sources = \"10.0.0.2\": forward = \"tunnel\" has a tunnel.source in \
         its place; allowed: no nat_sources",
    );
    let port = text("").replace("10.0.0.11", "10.0.0.11:8080");
    let said = parsed(&port).expect_err("another port").to_string().replace("h.toml:", "");
    assert_eq!(
        said,
        "8:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:8080\": forward = \"tunnel\" \
         cannot change the port, 80 for the listener in line 12; allowed: the address without a \
         port, or with that one"
    );
    for other in ["forward = \"dsr\"\n", ""] {
        let lines = format!("{other}tunnel = {{ kind = \"gue\" }}\n");
        let text = BASE.replace("[[pool.backend]]", &format!("{lines}[[pool.backend]]"));
        let said = parsed(&text).expect_err(other).to_string();
        let want = "pool \"web\": tunnel: only with forward = \"tunnel\"; allowed: no tunnel";
        assert!(said.contains(want), "{said}");
    }
    // The same keys are fine in a table of their own.
    let pool = "[[pool]]\nname = \"p\"\nforward = \"tunnel\"\n[pool.tunnel]\nkind = \"gue\"\n\
                [[pool.backend]]\nname = \"b\"\naddress = \"fd00::1\"\n";
    assert_eq!(accepted("", pool).pools.len(), 2);
}
