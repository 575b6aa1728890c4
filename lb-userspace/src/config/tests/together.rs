//! Mistakes that only several values make together.

use std::fmt::Write as _;

use super::{BASE, accepted, check, parsed};

const POOL_V6: &str =
    "[[pool]]\nname = \"six\"\nbackend = [{ name = \"s\", address = \"fd00::1\" }]\n";

#[test]
fn duplicates() {
    check(&[
        (
            "",
            "[[pool]]\nname = \"web\"\nbackend = [{ name = \"x\", address = \"10.0.0.1\" }]\n",
            "14:8: pool \"web\": name = \"web\": name already used in line 4; allowed: one \
             pool of a name",
        ),
        (
            "",
            "[[pool]]\nname = \"p2\"\nbackend = [{ name = \"web-1\", address = \"10.0.0.1\" }]\n",
            "15:21: pool \"p2\": backend \"web-1\": name = \"web-1\": name already used in \
             line 6; allowed: one backend of a name, over all pools",
        ),
        (
            "[[listener]]",
            "[[pool.backend]]\nname = \"web-2\"\naddress = \"10.0.0.11:8080\"\n[[listener]]",
            "10:11: pool \"web\": backend \"web-2\": address = \"10.0.0.11:8080\": address \
             already used in line 7; allowed: each address once in a pool",
        ),
        (
            "",
            "[[listener]]\nname = \"site\"\nprotocol = \"tcp\"\n\
             address = \"203.0.113.10:81\"\npool = \"web\"\n",
            "14:8: listener \"site\": name = \"site\": name already used in line 9; allowed: \
             one listener of a name",
        ),
        (
            "",
            "[[listener]]\nname = \"two\"\nprotocol = \"tcp\"\n\
             address = \"203.0.113.10:80\"\npool = \"web\"\n",
            "16:11: listener \"two\": address = \"203.0.113.10:80\": address already used in \
             line 11; allowed: each address and port once for udp, and \
             once for tcp, http and https",
        ),
        (
            "[[pool.backend]]",
            "nat_sources = [\"10.0.0.2\", \"10.0.0.2\"]\n[[pool.backend]]",
            "5:28: pool \"web\": nat_sources = \"10.0.0.2\": address already used in line 5; \
             allowed: each source address once in a pool",
        ),
    ]);
}

#[test]
fn one_address_with_and_without_a_port() {
    check(&[
        (
            "[[listener]]",
            "[[pool.backend]]\nname = \"web-2\"\naddress = \"10.0.0.11\"\n[[listener]]",
            "10:11: pool \"web\": backend \"web-2\": address = \"10.0.0.11\": without a port \
             it is every port, that of the backend in line 7 too; allowed: one address with \
             ports, or once without",
        ),
        (
            "[[pool.backend]]",
            "[[pool.backend]]\nname = \"web-2\"\naddress = \"10.0.0.11\"\n[[pool.backend]]",
            "10:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:8080\": the backend \
             in line 7 has this address with every port; allowed: one address with ports, or \
             once without",
        ),
    ]);
    let other_port = "[[pool.backend]]\nname = \"web-2\"\naddress = \"10.0.0.11:8081\"\n";
    accepted("[[listener]]", &format!("{other_port}[[listener]]"));
    // Of two pools each knows its own, also in different modes.
    let direct = "[[pool]]\nname = \"direct\"\nforward = \"dsr\"\n\
                  backend = [{ name = \"b\", address = \"10.0.0.11\" }]\n";
    assert_eq!(accepted("", direct).pools.len(), 2);
}

#[test]
fn source_addresses_are_of_this_machine_alone() {
    check(&[
        (
            "[[pool.backend]]",
            "nat_sources = [\"10.0.0.2\", \"203.0.113.10\"]\n[[pool.backend]]",
            "5:28: pool \"web\": nat_sources = \"203.0.113.10\": this is the address of the \
             listener in line 12; allowed: an address of this machine without listeners",
        ),
        (
            "[[pool.backend]]",
            "nat_sources = [\"10.0.0.11\"]\n[[pool.backend]]",
            "5:16: pool \"web\": nat_sources = \"10.0.0.11\": this is the address of the \
             backend in line 8; allowed: an address of this machine",
        ),
        // Of another pool's backend too.
        (
            "[[pool.backend]]",
            "nat_sources = [\"10.0.0.12\"]\nbackend = [{ name = \"a\", address = \"10.0.0.1\" }]\n\
             [[pool]]\nname = \"p2\"\n[[pool.backend]]\nname = \"b\"\naddress = \
             \"10.0.0.12:1\"\n[[pool.backend]]",
            "5:16: pool \"web\": nat_sources = \"10.0.0.12\": this is the address of the \
             backend in line 11; allowed: an address of this machine",
        ),
    ]);
}

#[test]
fn not_duplicates() {
    let pool =
        "[[pool]]\nname = \"site\"\nbackend = [{ name = \"b\", address = \"10.0.0.11:8080\" }]\n";
    assert_eq!(accepted("", pool).pools.len(), 2, "an unused pool, an address in two pools");
    let udp = "[[listener]]\nname = \"web\"\nprotocol = \"udp\"\n\
             address = \"203.0.113.10:80\"\npool = \"web\"\n";
    assert_eq!(accepted("", udp).listeners.len(), 2, "one address for tcp and udp");
}

#[test]
fn pool_of_a_listener() {
    check(&[
        (
            "pool = \"web\"",
            "pool = \"wbe\"",
            "12:8: listener \"site\": pool = \"wbe\": no such pool; the nearest is \"web\"; \
             allowed: the name of a [[pool]]",
        ),
        (
            "pool = \"web\"",
            "pool = \"\"",
            "12:8: listener \"site\": pool = \"\": no such pool; the nearest is \"web\"; \
             allowed: the name of a [[pool]]",
        ),
        // Which pool is meant cannot be told.
        (
            "name = \"web\"",
            "name = \"w b\"",
            "4:8: pool \"w b\": name = \"w b\": not a name; allowed: 1 to 63 characters of A-Z \
             a-z 0-9 . _ -",
        ),
    ]);
    let config = accepted("[[pool]]", &format!("{POOL_V6}[[pool]]"));
    assert_eq!(config.listeners[0].pool, 1);
}

#[test]
fn families() {
    check(&[
        (
            "[[listener]]",
            "[[pool.backend]]\nname = \"six\"\naddress = \"[fd00::1]:80\"\n[[listener]]",
            "10:11: pool \"web\": backend \"six\": address = \"[fd00::1]:80\": an IPv6 \
             address, but the pool's first backend has IPv4; allowed: IPv4 addresses in this \
             pool",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[2001:db8::10]:80\"",
            "11:11: listener \"site\": address = \"[2001:db8::10]:80\": an IPv6 address, but \
             the backends of its pool have IPv4; allowed: an IPv4 address, or a pool with IPv6",
        ),
        (
            "[[pool.backend]]",
            "nat_sources = [\"fd00::2\"]\n[[pool.backend]]",
            "5:16: pool \"web\": nat_sources = \"fd00::2\": an IPv6 address, but the pool's \
             first backend has IPv4; allowed: IPv4 addresses in this pool",
        ),
        (
            "[[pool.backend]]",
            "forward = \"dsr\"\nnat_sources = [\"10.0.0.2\"]\n[[pool.backend]]",
            "6:16: pool \"web\": nat_sources = \"10.0.0.2\": forward = \"dsr\" sends from the \
             client's own address; allowed: no nat_sources\n\
             9:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:8080\": forward = \
             \"dsr\" cannot change the port, 80 for the listener in line 13; allowed: the \
             address without a port, or with that one",
        ),
    ]);
    let six = BASE.replace("10.0.0.11", "[fd00::11]").replace("203.0.113.10", "[2001:db8::10]");
    assert!(parsed(&six).is_ok());
}

#[test]
fn direct_server_return() {
    check(&[
        (
            "[[pool.backend]]",
            "forward = \"dsr\"\n[[pool.backend]]",
            "8:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:8080\": forward = \
             \"dsr\" cannot change the port, 80 for the listener in line 12; allowed: the \
             address without a port, or with that one",
        ),
        // Said once, however many listeners.
        (
            "[[pool.backend]]",
            "forward = \"dsr\"\n[[listener]]\nname = \"x\"\nprotocol = \"udp\"\n\
             address = \"203.0.113.10:81\"\npool = \"web\"\n[[pool.backend]]",
            "13:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:8080\": forward = \
             \"dsr\" cannot change the port, 81 for the listener in line 9; allowed: the \
             address without a port, or with that one",
        ),
    ]);
    for port in ["", ":80"] {
        let text = BASE
            .replace("[[pool.backend]]", "forward = \"dsr\"\n[[pool.backend]]")
            .replace("10.0.0.11:8080", &format!("10.0.0.11{port}"));
        assert!(parsed(&text).is_ok(), "port {port:?}");
    }
}

#[test]
fn backends_of_a_pool() {
    check(&[
        (
            "\"10.0.0.11:8080\"",
            "\"203.0.113.10:8080\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"203.0.113.10:8080\": this is \
             the address of the listener in line 11; allowed: an address of another machine",
        ),
        (
            "\"web-1\"",
            "\"web-1\"\nweight = 0",
            "3:1: pool \"web\": every backend has weight 0: no client could be placed; \
             allowed: at least one backend with weight 1 to 1000",
        ),
        (
            "\"web-1\"\naddress = \"10.0.0.11:8080\"",
            "\"web-1\"\naddress = \"10.0.0.11\"\n[pool.health]\nkind = \"tcp\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11\": no port to probe; \
             allowed: a port here, or health.port in the pool",
        ),
    ]);
    let one_weight = "\nweight = 0\n[[pool.backend]]\nname = \"x\"\naddress = \"10.0.0.9\"\n";
    accepted(
        "\naddress = \"10.0.0.11:8080\"\n",
        &format!("\naddress = \"10.0.0.11:8080\"{one_weight}"),
    );
    let probed = "name = \"web\"\nhealth = { kind = \"tcp\", port = 80 }\n";
    let text = BASE.replace("name = \"web\"\n", probed).replace(".11:8080", ".11");
    assert!(parsed(&text).is_ok(), "a port to probe, none to forward to");
}

fn with_backends(limits: &str, count: usize) -> String {
    let mut text =
        format!("{limits}\n[agent]\ninterfaces = [\"eth0\"]\n[[pool]]\nname = \"web\"\n");
    for number in 0..count {
        let (high, low) = (number / 256, number % 256);
        writeln!(text, "[[pool.backend]]\nname = \"b{number}\"\naddress = \"10.0.{high}.{low}\"")
            .expect("strings take everything");
    }
    text + &BASE[BASE.find("[[listener]]").expect("there is one")..]
}

#[test]
fn sizes() {
    assert!(parsed(&with_backends("limits.maglev_slots = 251", 25)).is_ok());
    assert!(parsed(&with_backends("limits.backends = 25", 25)).is_ok());
    for (limits, count, expected) in [
        (
            "limits.maglev_slots = 251",
            26,
            "4:1: pool \"web\": 26 backends, too many for limits.maglev_slots = 251; allowed: \
             limits.maglev_slots from 263, 10 for each backend",
        ),
        (
            "limits.backends = 25",
            26,
            "81:1: pool \"web\": backend \"b25\": the file has 26 of them, limits.backends is \
             25; allowed: up to limits.backends, which goes up to 65535",
        ),
        (
            "",
            4097,
            "12294:1: pool \"web\": backend \"b4096\": the file has 4097 of them, \
             limits.backends is 4096; allowed: up to limits.backends, which goes up to 65535",
        ),
        (
            "limits = { backends = 65535, maglev_slots = 5000011 }",
            65_536,
            "196611:1: pool \"web\": backend \"b65535\": the file has 65536 of them, \
             limits.backends is 65535; allowed: up to limits.backends, which goes up to 65535",
        ),
    ] {
        let errors = parsed(&with_backends(limits, count)).expect_err(limits);
        assert_eq!(errors.to_string().replace("h.toml:", ""), expected);
    }
    check(&[
        (
            "[[pool]]",
            "[limits]\npools = 1\n[[pool]]\nname = \"six\"\n\
             backend = [{ name = \"s\", address = \"fd00::1\" }]\n[[pool]]",
            "8:1: pool \"web\": the file has 2 of them, limits.pools is 1; allowed: up to \
             limits.pools, which goes up to 4096",
        ),
        (
            "[[pool]]",
            "[limits]\nlisteners = 1\n[[listener]]\nname = \"x\"\nprotocol = \"udp\"\n\
             address = \"203.0.113.10:81\"\npool = \"web\"\n[[pool]]",
            "15:1: listener \"site\": the file has 2 of them, limits.listeners is 1; allowed: \
             up to limits.listeners, which goes up to 32767",
        ),
    ]);
}

#[test]
fn every_mistake_is_told() {
    let text = BASE
        .replace("\"eth0\"", "")
        .replace("10.0.0.11:8080\"", "10.0.0.11:0\"\nweight = 1001")
        .replace("pool = \"web\"", "pol = \"web\"\npersistence.timeout = \"1d\"");
    let errors = parsed(&text).expect_err("six mistakes");
    let subjects: Vec<_> = errors
        .as_slice()
        .iter()
        .map(|error| (error.position.map_or(0, |position| position.line), &*error.subject))
        .collect();
    let expected = [
        (2, "agent.interfaces"),
        (7, "pool \"web\": backend \"web-1\": address = \"10.0.0.11:0\""),
        (8, "pool \"web\": backend \"web-1\": weight = 1001"),
        (9, "listener \"site\": pool"),
        (13, "listener \"site\": pol"),
        (14, "listener \"site\": persistence.timeout = \"1d\""),
    ];
    assert_eq!(subjects, expected);
    assert_eq!(errors.to_string().lines().count(), 6, "one line each");
}
