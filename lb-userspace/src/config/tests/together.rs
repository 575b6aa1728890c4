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
            "",
        ),
        (
            "",
            "[[pool]]\nname = \"p2\"\nbackend = [{ name = \"web-1\", address = \"10.0.0.1\" }]\n",
            "",
        ),
        (
            "[[listener]]",
            "[[pool.backend]]\nname = \"web-2\"\naddress = \"10.0.0.11:8080\"\n[[listener]]",
            "",
        ),
        (
            "",
            "[[listener]]\nname = \"site\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:81\"\npool = \"web\"\n",
            "",
        ),
        (
            "",
            "[[listener]]\nname = \"two\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:80\"\npool = \"web\"\n",
            "",
        ),
        ("[[pool.backend]]", "nat_sources = [\"10.0.0.2\", \"10.0.0.2\"]\n[[pool.backend]]", ""),
    ]);
}

#[test]
fn not_duplicates() {
    let pool =
        "[[pool]]\nname = \"site\"\nbackend = [{ name = \"b\", address = \"10.0.0.11:8080\" }]\n";
    assert_eq!(accepted("", pool).pools.len(), 2, "an unused pool, an address in two pools");
    let udp = "[[listener]]\nname = \"web\"\nprotocol = \"udp\"\naddress = \"203.0.113.10:80\"\npool = \"web\"\n";
    assert_eq!(accepted("", udp).listeners.len(), 2, "one address for tcp and udp");
}

#[test]
fn pool_of_a_listener() {
    check(&[
        ("pool = \"web\"", "pool = \"wbe\"", ""),
        ("pool = \"web\"", "pool = \"\"", ""),
        // Which pool is meant cannot be told.
        ("name = \"web\"", "name = \"w b\"", ""),
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
            "",
        ),
        ("\"203.0.113.10:80\"", "\"[2001:db8::10]:80\"", ""),
        ("[[pool.backend]]", "nat_sources = [\"fd00::2\"]\n[[pool.backend]]", ""),
        (
            "[[pool.backend]]",
            "forward = \"dsr\"\nnat_sources = [\"10.0.0.2\"]\n[[pool.backend]]",
            "",
        ),
    ]);
    let six = BASE.replace("10.0.0.11", "[fd00::11]").replace("203.0.113.10", "[2001:db8::10]");
    assert!(parsed(&six).is_ok());
}

#[test]
fn direct_server_return() {
    check(&[
        ("[[pool.backend]]", "forward = \"dsr\"\n[[pool.backend]]", ""),
        // Said once, however many listeners.
        (
            "[[pool.backend]]",
            "forward = \"dsr\"\n[[listener]]\nname = \"x\"\nprotocol = \"udp\"\naddress = \"203.0.113.10:81\"\npool = \"web\"\n[[pool.backend]]",
            "",
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
        ("\"10.0.0.11:8080\"", "\"203.0.113.10:8080\"", ""),
        ("\"web-1\"", "\"web-1\"\nweight = 0", ""),
        (
            "\"web-1\"\naddress = \"10.0.0.11:8080\"",
            "\"web-1\"\naddress = \"10.0.0.11\"\n[pool.health]\nkind = \"tcp\"",
            "",
        ),
    ]);
    let one_weight = "\nweight = 0\n[[pool.backend]]\nname = \"x\"\naddress = \"10.0.0.9\"\n";
    accepted(
        "\naddress = \"10.0.0.11:8080\"\n",
        &format!("\naddress = \"10.0.0.11:8080\"{one_weight}"),
    );
    let port = "\naddress = \"10.0.0.11\"\nhealth.kind = \"tcp\"";
    let text = BASE
        .replace("name = \"web\"\n", "name = \"web\"\nhealth = { kind = \"tcp\", port = 80 }\n");
    assert!(parsed(&text.replace("11:8080", "11")).is_ok(), "{port}");
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
    for (limits, count, expected) in
        [("limits.maglev_slots = 251", 26, ""), ("limits.backends = 25", 26, ""), ("", 4097, "")]
    {
        let errors = parsed(&with_backends(limits, count)).expect_err(limits);
        assert_eq!(errors.to_string(), expected);
    }
    check(&[
        ("[[pool]]", &*format!("[limits]\npools = 1\n{POOL_V6}[[pool]]").leak(), ""),
        (
            "[[pool]]",
            "[limits]\nlisteners = 1\n[[listener]]\nname = \"x\"\nprotocol = \"udp\"\naddress = \"203.0.113.10:81\"\npool = \"web\"\n[[pool]]",
            "",
        ),
    ]);
}

#[test]
fn every_mistake_is_told() {
    let text = BASE
        .replace("\"eth0\"", "")
        .replace("10.0.0.11:8080", "10.0.0.11:0")
        .replace("\"tcp\"", "\"tpc\"")
        .replace("pool = \"web\"", "pol = \"web\"\npersistence.timeout = \"1d\"");
    let errors = parsed(&text).expect_err("six mistakes");
    assert_eq!(errors.as_slice().len(), 6, "{errors}");
    assert_eq!(errors.to_string(), "");
}
