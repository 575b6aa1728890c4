//! Mistakes in keys, tables and types.

use super::check;

#[test]
fn missing_tables_and_keys() {
    check(&[
        (
            "",
            "[[pool]]",
            "13:1: pool number 2: name: missing; allowed: 1 to 63 characters of A-Z a-z 0-9 . \
             _ -\n\
             13:1: pool number 2: backend: missing; allowed: at least one [[pool.backend]] \
             with name and address",
        ),
        (
            "[[pool]]\nname = \"web\"",
            "[[pool]]",
            "3:1: pool number 1: name: missing; allowed: 1 to 63 characters of A-Z a-z 0-9 . _ \
             -",
        ),
        (
            "[agent]\ninterfaces = [\"eth0\"]\n",
            "",
            "1:1: agent: missing; allowed: a table [agent] with interfaces = [\"eth0\"]",
        ),
        (
            "interfaces = [\"eth0\"]\n",
            "",
            "1:1: agent.interfaces: missing; allowed: a list of interface names, such as \
             [\"eth0\"]",
        ),
        (
            "name = \"web-1\"\n",
            "",
            "5:1: pool \"web\": backend number 1: name: missing; allowed: 1 to 63 characters \
             of A-Z a-z 0-9 . _ -",
        ),
        (
            "address = \"10.0.0.11:8080\"\n",
            "",
            "5:1: pool \"web\": backend \"web-1\": address: missing; allowed: \
             \"10.0.0.11:8080\", \"10.0.0.11\", \"[fd00::11]:8080\" or \"fd00::11\"; port 1 to \
             65535",
        ),
        (
            "[[pool.backend]]\nname = \"web-1\"\naddress = \"10.0.0.11:8080\"\n",
            "",
            "3:1: pool \"web\": backend: missing; allowed: at least one [[pool.backend]] with \
             name and address",
        ),
        (
            "[[pool.backend]]\nname = \"web-1\"\naddress = \"10.0.0.11:8080\"\n",
            "backend = []\n",
            "5:11: pool \"web\": backend: empty; allowed: at least one [[pool.backend]] with \
             name and address",
        ),
        (
            "name = \"site\"\n",
            "",
            "8:1: listener number 1: name: missing; allowed: 1 to 63 characters of A-Z a-z 0-9 \
             . _ -",
        ),
        (
            "protocol = \"tcp\"\n",
            "",
            "8:1: listener \"site\": protocol: missing; allowed: \"tcp\", \"udp\", \
             \"http\", \"https\"",
        ),
        (
            "address = \"203.0.113.10:80\"\n",
            "",
            "8:1: listener \"site\": address: missing; allowed: \"203.0.113.10:80\" or \
             \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "pool = \"web\"\n",
            "",
            "8:1: listener \"site\": pool: missing; allowed: the name of a [[pool]]",
        ),
        (
            "[[pool.backend]]",
            "health = {}\n[[pool.backend]]",
            "5:10: pool \"web\": health.kind: missing; allowed: \"tcp\", \"http\"",
        ),
        (
            "",
            "persistence = {}\n",
            "13:15: listener \"site\": persistence.timeout: missing; allowed: 1s to 1h (3600 \
             seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence.refresh = \"never\"\n",
            "13:1: listener \"site\": persistence.timeout: missing; allowed: 1s to 1h (3600 \
             seconds), in whole seconds; 0: no persistence",
        ),
    ]);
}

#[test]
fn empty_file() {
    for (text, expected) in [
        (
            "",
            "h.toml:1:1: agent: missing; allowed: a table [agent] with interfaces = [\"eth0\"]\n\
             h.toml:1:1: pool: missing; allowed: at least one [[pool]]\n\
             h.toml:1:1: listener: missing; allowed: at least one [[listener]]",
        ),
        (
            "agent = 1\npool = []\n[listener]",
            "h.toml:1:9: agent = 1: expected a table, found an integer\n\
             h.toml:2:8: pool: empty; allowed: at least one [[pool]]\n\
             h.toml:3:1: listener: expected an array of tables ([[listener]]), found a table",
        ),
    ] {
        let errors = super::parsed(text).expect_err(text);
        assert_eq!(errors.to_string(), expected);
    }
}

#[test]
fn unknown_keys() {
    check(&[
        (
            "[agent]",
            "[agnet]\n[agent]",
            "1:2: agnet: unknown key; the nearest known one is \"agent\"; allowed: agent, \
             limits, flood, sidecar, pool, listener",
        ),
        (
            "[agent]",
            "[agent]\nxdpmode = \"auto\"",
            "2:1: agent.xdpmode: unknown key; the nearest known one is \"xdp_mode\"; allowed: \
             interfaces, xdp_mode, admin, bpffs, state, manage_addresses, echo, packet_events, \
             flow_timeouts",
        ),
        (
            "[[pool]]",
            "[agent.flow_timeouts]\ntcp = 1\n[[pool]]",
            "4:1: agent.flow_timeouts.tcp: unknown key; the nearest known one is \
             \"tcp_time_wait\"; allowed: tcp_established, tcp_transitory, tcp_time_wait, udp",
        ),
        (
            "[[pool]]",
            "[limits]\nslots = 251\n[[pool]]",
            "4:1: limits.slots: unknown key; the nearest known one is \"flows\"; allowed: \
             pins, flows, listeners, backends, pools, maglev_slots",
        ),
        (
            "name = \"web\"\n",
            "name = \"web\"\nmode = \"nat\"\n",
            "5:1: pool \"web\": mode: unknown key; the nearest known one is \"on_down\"; \
             allowed: name, forward, tunnel, on_down, scheduler, slow_start, nat_sources, health, \
             http, backend",
        ),
        (
            "name = \"web-1\"\n",
            "name = \"web-1\"\n\"we\\u0007ght\" = 1\n",
            "7:1: pool \"web\": backend \"web-1\": \"we\\u0007ght\": unknown key; the nearest \
             known one is \"weight\"; allowed: name, address, weight",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", uri = \"/\" }\n[[pool.backend]]",
            "5:27: pool \"web\": health.uri: unknown key; the nearest known one is \"rise\"; \
             allowed: kind, path, host, expect, port, interval, timeout, rise, fall",
        ),
        (
            "protocol = \"tcp\"\n",
            "proto = \"tcp\"\n",
            "8:1: listener \"site\": protocol: missing; allowed: \"tcp\", \"udp\", \
             \"http\", \"https\"\n\
             10:1: listener \"site\": proto: unknown key; the nearest known one is \
             \"protocol\"; allowed: name, protocol, address, pool, persistence, tls, https_redirect, \
             accept_proxy, rule",
        ),
        (
            "",
            "persistence = { timout = 5, timeout = 5 }\n",
            "13:17: listener \"site\": persistence.timout: unknown key; the nearest known one \
             is \"timeout\"; allowed: mode, timeout, group, refresh, max_lifetime, prefix_v4, \
             prefix_v6",
        ),
    ]);
}

#[test]
fn keys_of_other_versions() {
    check(&[(
        "[agent]",
        "[agent]\nhttp = \"127.0.0.1:9900\"",
        "2:1: agent.http: not in this version; allowed: interfaces, xdp_mode, admin, \
             bpffs, state, manage_addresses, echo, packet_events, flow_timeouts",
    )]);
}

#[test]
fn wrong_types() {
    check(&[
        (
            "[\"eth0\"]",
            "\"eth0\"",
            "2:14: agent.interfaces = \"eth0\": expected an array of interface names, found a \
             string",
        ),
        (
            "[\"eth0\"]",
            "[1]",
            "2:15: agent.interfaces = 1: expected an interface name, found an integer",
        ),
        (
            "[[pool]]",
            "manage_addresses = \"yes\"\n[[pool]]",
            "3:20: agent.manage_addresses = \"yes\": expected true or false, found a string",
        ),
        (
            "[[pool]]",
            "admin = 1979-05-27\n[[pool]]",
            "3:9: agent.admin = 1979-05-27: expected a path, found a date or time of day",
        ),
        (
            "[[pool]]",
            "xdp_mode = 1.5\n[[pool]]",
            "3:12: agent.xdp_mode = 1.5: expected one of \"auto\", \"native\", \"generic\", \
             found a float",
        ),
        (
            "[[pool]]",
            "[limits]\npins = \"many\"\n[[pool]]",
            "4:8: limits.pins = \"many\": expected an integer from 1024 to 100000000, found a \
             string",
        ),
        ("[agent]", "limits = 1\n[agent]", "1:10: limits = 1: expected a table, found an integer"),
        (
            "\"web-1\"",
            "[\"web-1\"]",
            "6:8: pool \"web\": backend number 1: name: expected a name, found an array",
        ),
        (
            "\"10.0.0.11:8080\"",
            "{ ip = 1 }",
            "7:11: pool \"web\": backend \"web-1\": address: expected an address, found a table",
        ),
        (
            "\"203.0.113.10:80\"",
            "80",
            "11:11: listener \"site\": address = 80: expected an address with its port, found \
             an integer",
        ),
        (
            "pool = \"web\"",
            "pool = true",
            "12:8: listener \"site\": pool = true: expected the name of a [[pool]], found a \
             boolean",
        ),
        (
            "",
            "persistence = \"30m\"\n",
            "13:15: listener \"site\": persistence = \"30m\": expected a table, found a string",
        ),
        (
            "",
            "persistence.timeout = 1.5\n",
            "13:23: listener \"site\": persistence.timeout = 1.5: expected a time such as \
             \"30m\", or an integer of seconds, found a float",
        ),
        (
            "[[pool.backend]]",
            "nat_sources = \"10.0.0.2\"\n[[pool.backend]]",
            "5:15: pool \"web\": nat_sources = \"10.0.0.2\": expected an array of addresses, \
             found a string",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = 2.0 }\n[[pool.backend]]",
            "5:36: pool \"web\": health.expect = 2.0: expected a status such as 200, or \
             statuses such as \"200-399\", found a float",
        ),
    ]);
}

#[test]
fn syntax() {
    check(&[
        ("[agent]", "[agent", "1:7: not TOML: unclosed table, expected `]`"),
        (
            "pool = \"web\"",
            "pool = web",
            "12:8: not TOML: string values must be quoted, expected literal string, at `web`",
        ),
        ("pool = \"web\"", "pool = \"web", "12:12: not TOML: invalid basic string, expected `\"`"),
        (
            "pool = \"web\"",
            "pool = \"web\"\npool = \"web\"",
            "13:1: not TOML: duplicate key, at `pool`",
        ),
        ("[agent]", "[agent]\n[agent]", "2:2: not TOML: duplicate key, at `agent`"),
        (
            "name = \"site\"",
            "\u{e9}\u{e9} = 1\nname = \"site\"",
            "9:1: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`, at `éé`",
        ),
    ]);
}
