//! P1, P2 and P4 of the persistence contract, as far as a file can break them.

use std::time::Duration;

use super::{accepted, check};
use crate::config::{Persistence, Refresh};

fn with_timeout(timeout: &str) -> Option<Persistence> {
    let line = format!("persistence = {{ mode = \"source-ip\", timeout = {timeout} }}\n");
    accepted("", &line).listeners[0].persistence.clone()
}

#[test]
fn p2_timeouts() {
    for (written, seconds) in [
        ("1", 1),
        ("\"1s\"", 1),
        ("\"1000ms\"", 1),
        ("3599", 3599),
        ("3600", 3600),
        ("\"1h\"", 3600),
        ("\"59m 60s\"", 3600),
        ("0xe10", 3600),
    ] {
        let persistence = with_timeout(written).expect(written);
        assert_eq!(persistence.timeout, Duration::from_secs(seconds), "{written}");
        assert_eq!(persistence.refresh, Refresh::Activity);
        assert_eq!((persistence.prefix_v4, persistence.prefix_v6), (32, 128));
        assert_eq!((persistence.group, persistence.max_lifetime), (None, None));
    }
    for off in ["0", "\"0\"", "\"0s\"", "-0"] {
        assert_eq!(with_timeout(off), None, "{off}");
    }
    assert_eq!(accepted("", "").listeners[0].persistence, None);
}

#[test]
fn p2_refused() {
    check(&[
        (
            "",
            "persistence = { timeout = 3601 }\n",
            "13:27: listener \"site\": persistence.timeout = 3601: out of range; allowed: 1s \
             to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"1h1s\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"1h1s\": out of range; allowed: \
             1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"1h 1ns\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"1h 1ns\": out of range; \
             allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"2h\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"2h\": out of range; allowed: 1s \
             to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"500ms\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"500ms\": out of range; allowed: \
             1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"1500ms\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"1500ms\": not in whole seconds; \
             allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = -1 }\n",
            "13:27: listener \"site\": persistence.timeout = -1: out of range; allowed: 1s to \
             1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"-1\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"-1\": not a time: expected \
             number at 0; allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"abc\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"abc\": not a time: expected \
             number at 0; allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"\": not a time: value was \
             empty; allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"30\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"30\": not a time: time unit \
             needed, for example 30sec or 30ms; allowed: 1s to 1h (3600 seconds), in whole \
             seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = 99999999999999999999999999999999999999999 }\n",
            "13:27: listener \"site\": persistence.timeout = \
             99999999999999999999999999999999999999999: out of range; allowed: 1s to 1h (3600 \
             seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"99999999999999999999999h\" }\n",
            "13:27: listener \"site\": persistence.timeout = \"99999999999999999999999h\": out \
             of range; allowed: 1s to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = 30.0 }\n",
            "13:27: listener \"site\": persistence.timeout = 30.0: expected a time such as \
             \"30m\", or an integer of seconds, found a float",
        ),
        (
            "",
            "persistence = { timeout = true }\n",
            "13:27: listener \"site\": persistence.timeout = true: expected a time such as \
             \"30m\", or an integer of seconds, found a boolean",
        ),
    ]);
}

#[test]
fn other_settings() {
    let text = "[listener.persistence]\ngroup = \"g\"\ntimeout = \"30m\"\nrefresh = \"never\"\n\
                max_lifetime = \"30m\"\nprefix_v4 = 24\nprefix_v6 = 56\n";
    let expected = Persistence {
        group: Some("g".to_owned()),
        timeout: Duration::from_mins(30),
        refresh: Refresh::Never,
        max_lifetime: Some(Duration::from_mins(30)),
        prefix_v4: 24,
        prefix_v6: 56,
    };
    assert_eq!(accepted("", text).listeners[0].persistence, Some(expected));

    let dotted = "persistence.timeout = 1\npersistence.refresh = \"new-connection\"\n\
                  persistence.max_lifetime = \"30d\"\n";
    let persistence = accepted("", dotted).listeners[0].persistence.clone().expect("it is on");
    assert_eq!(persistence.refresh, Refresh::NewConnection);
    assert_eq!(persistence.max_lifetime, Some(Duration::from_hours(30 * 24)));
}

#[test]
fn other_settings_refused() {
    check(&[
        (
            "",
            "persistence = { timeout = 60, refresh = \"always\" }\n",
            "13:41: listener \"site\": persistence.refresh = \"always\": unknown; allowed: \
             \"activity\", \"new-connection\", \"never\"",
        ),
        (
            "",
            "persistence = { timeout = 60, max_lifetime = 59 }\n",
            "13:46: listener \"site\": persistence.max_lifetime = 59: shorter than \
             persistence.timeout; allowed: 1m to 30days (2592000 seconds), in whole seconds",
        ),
        (
            "",
            "persistence = { timeout = 60, max_lifetime = \"30d 1s\" }\n",
            "13:46: listener \"site\": persistence.max_lifetime = \"30d 1s\": out of range; \
             allowed: 1s to 30days (2592000 seconds), in whole seconds",
        ),
        (
            "",
            "persistence = { timeout = 60, max_lifetime = \"60s 1ms\" }\n",
            "13:46: listener \"site\": persistence.max_lifetime = \"60s 1ms\": not in whole \
             seconds; allowed: 1s to 30days (2592000 seconds), in whole seconds",
        ),
        (
            "",
            "persistence = { timeout = 0, max_lifetime = 0 }\n",
            "13:45: listener \"site\": persistence.max_lifetime = 0: out of range; allowed: 1s \
             to 30days (2592000 seconds), in whole seconds",
        ),
        (
            "",
            "persistence = { timeout = 60, prefix_v4 = 0, prefix_v6 = 0 }\n",
            "13:43: listener \"site\": persistence.prefix_v4 = 0: out of range; allowed: 1 to \
             32\n\
             13:58: listener \"site\": persistence.prefix_v6 = 0: out of range; allowed: 1 to \
             128",
        ),
        (
            "",
            "persistence = { timeout = 60, prefix_v4 = 33, prefix_v6 = 129 }\n",
            "13:43: listener \"site\": persistence.prefix_v4 = 33: out of range; allowed: 1 to \
             32\n\
             13:59: listener \"site\": persistence.prefix_v6 = 129: out of range; allowed: 1 \
             to 128",
        ),
        (
            "",
            "persistence = { timeout = 60, group = \"a b\" }\n",
            "13:39: listener \"site\": persistence.group = \"a b\": not a name; allowed: 1 to \
             63 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "",
            "persistence = { timeout = 60, mode = \"hash\" }\n",
            "13:38: listener \"site\": persistence.mode = \"hash\": unknown; allowed: \
             \"source-ip\"",
        ),
        // A wrong timeout does not make a wrong max_lifetime.
        (
            "",
            "persistence = { timeout = 9999, max_lifetime = 60 }\n",
            "13:27: listener \"site\": persistence.timeout = 9999: out of range; allowed: 1s \
             to 1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
    ]);
}

const TWO: &str = "persistence = { group = \"g\", timeout = 60, max_lifetime = 70 }\n[[listener]]\n\
                   name = \"tls\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:443\"\n";

#[test]
fn groups() {
    let same = "pool = \"web\"\n\
                persistence = { max_lifetime = \"70s\", timeout = \"1m\", group = \"g\" }\n";
    let config = accepted("", &format!("{TWO}{same}"));
    assert_eq!(config.listeners[0].persistence, config.listeners[1].persistence);
    let other = "pool = \"web\"\npersistence = { group = \"h\", timeout = 61 }\n";
    assert_eq!(accepted("", &format!("{TWO}{other}")).listeners.len(), 2);

    let pool = "[[pool]]\nname = \"app\"\nbackend = [{ name = \"a\", address = \"10.0.0.9\" }]\n";
    for (second, differing) in [
        (
            "pool = \"web\"\npersistence = { group = \"g\", timeout = 61 }\n",
            "timeout, max_lifetime",
        ),
        (
            "pool = \"app\"\npersistence = { group = \"g\", timeout = 60, max_lifetime = 70 }\n",
            "pool",
        ),
        (
            "pool = \"web\"\npersistence = { group = \"g\", timeout = 0, max_lifetime = 70 }\n",
            "timeout",
        ),
        (
            "pool = \"app\"\npersistence = { group = \"g\", timeout = 60, max_lifetime = 70, \
             refresh = \"never\", prefix_v4 = 24, prefix_v6 = 64 }\n",
            "pool, refresh, prefix_v4, prefix_v6",
        ),
    ] {
        let text = super::changed("", &format!("{TWO}{second}{pool}"));
        let errors = super::parsed(&text).expect_err(second);
        let expected = format!(
            "h.toml:19:25: listener \"tls\": persistence.group = \"g\": differs from the group's \
             listener in line 13: {differing}; allowed: one pool and the same persistence in all \
             listeners of a group"
        );
        assert_eq!(errors.to_string(), expected);
    }
}
