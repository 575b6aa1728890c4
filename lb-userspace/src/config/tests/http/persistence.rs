//! `persistence` of layer 7: modes and their keys (C1 to C3, C7, C9, C12).

use std::time::Duration;

use super::{BASE, accepted, check, check_in, persistence, plain};
use crate::config::{
    http::{CookieAttributes, CookieInsert, HttpMode, HttpPersistence, SameSite},
    tests::{accepted_in, parsed},
};

fn insert(keys: &str) -> CookieInsert {
    match persistence(keys) {
        Some(HttpPersistence { mode: HttpMode::Insert(insert), .. }) => insert,
        other => panic!("{keys}: {other:?}"),
    }
}

fn defaults() -> CookieInsert {
    CookieInsert {
        cookie: "SERVERID".to_owned(),
        timeout: Duration::from_mins(1),
        max_lifetime: None,
        attributes: CookieAttributes { secure: true, ..CookieAttributes::default() },
        insert_on_error: false,
        first_flight: Duration::from_secs(2),
    }
}

#[test]
fn inserting_is_the_default() {
    assert_eq!(insert("timeout = 60"), defaults());
    assert_eq!(insert("mode = \"cookie-insert\", timeout = 60"), defaults());
    let config = accepted_in(&plain(), "", "persistence.timeout = 60\n");
    let Some(HttpPersistence { mode: HttpMode::Insert(plain), .. }) =
        &config.http_listeners[0].rules[0].persistence
    else {
        panic!("inserted")
    };
    assert!(!plain.attributes.secure, "not by TLS");
}

#[test]
fn every_key_of_inserting() {
    let got = insert(
        "cookie = \"__Secure-a!\", timeout = 60, max_lifetime = \"30days\", path = \"/app\", \
         domain = \
         \"Shop.example\", http_only = false, secure = true, same_site = \"none\", partitioned = \
         true, insert_on_error = true, first_flight = \"60s\"",
    );
    let want = CookieInsert {
        cookie: "__Secure-a!".to_owned(),
        timeout: Duration::from_mins(1),
        max_lifetime: Some(Duration::from_hours(30 * 24)),
        attributes: CookieAttributes {
            path: "/app".to_owned(),
            domain: Some("shop.example".to_owned()),
            http_only: false,
            secure: true,
            same_site: SameSite::None,
            partitioned: true,
        },
        insert_on_error: true,
        first_flight: Duration::from_mins(1),
    };
    assert_eq!(got, want);
    assert_eq!(
        insert("timeout = 1, same_site = \"strict\"").attributes.same_site,
        SameSite::Strict
    );
    assert_eq!(insert("timeout = 1, first_flight = 0").first_flight, Duration::ZERO);
}

#[test]
fn c1_timeouts() {
    for (written, seconds) in [("1", 1), ("86399", 86_399), ("86400", 86_400), ("\"24h\"", 86_400)]
    {
        let got = insert(&format!("timeout = {written}")).timeout;
        assert_eq!(got, Duration::from_secs(seconds), "{written}");
    }
    assert_eq!(persistence("timeout = 0"), None);
    check(&[
        (
            "",
            "persistence = {}\n",
            "15:15: listener \"shop\": persistence.timeout: missing; allowed: 1s to 1day (86400 \
             seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = 86401 }\n",
            "15:27: listener \"shop\": persistence.timeout = 86401: out of range; allowed: 1s to \
             1day (86400 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = \"1500ms\" }\n",
            "15:27: listener \"shop\": persistence.timeout = \"1500ms\": not in whole seconds; \
             allowed: 1s to 1day (86400 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = -1 }\n",
            "15:27: listener \"shop\": persistence.timeout = -1: out of range; allowed: 1s to \
             1day (86400 seconds), in whole seconds; 0: no persistence",
        ),
        (
            "",
            "persistence = { timeout = 60, max_lifetime = 59 }\n",
            "15:46: listener \"shop\": persistence.max_lifetime = 59: shorter than \
             persistence.timeout; allowed: 1m to 30days (2592000 seconds), in whole seconds",
        ),
        (
            "",
            "persistence = { timeout = 60, first_flight = 61 }\n",
            "15:46: listener \"shop\": persistence.first_flight = 61: out of range; allowed: 0s \
             to 1m; 0: not at all",
        ),
        (
            "",
            "persistence = { mode = \"source-ip\", timeout = 3601 }\n",
            "15:47: listener \"shop\": persistence.timeout = 3601: out of range; allowed: 1s to \
             1h (3600 seconds), in whole seconds; 0: no persistence",
        ),
    ]);
}

#[test]
fn rewriting() {
    let got =
        persistence("mode = \"cookie-rewrite\", cookie = \"JSESSIONID\", header = \"X-Session\"");
    let mode = HttpMode::Rewrite { cookie: "JSESSIONID".to_owned() };
    assert_eq!(got, Some(HttpPersistence { mode, header: Some("X-Session".to_owned()) }));
}

/// The same keys and ranges as at layer 4.
#[test]
fn by_address() {
    let keys =
        "mode = \"source-ip\", timeout = 3600, refresh = \"never\", prefix_v4 = 24, group = \"g\"";
    let Some(HttpPersistence { mode: HttpMode::SourceIp(got), header: None }) = persistence(keys)
    else {
        panic!("by address")
    };
    let tcp = "[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:80\"\n\
               pool = \"web\"\n";
    let config = accepted("", &format!("{tcp}persistence = {{ {keys} }}\n"));
    assert_eq!(config.listeners[0].persistence, Some(got));
    assert_eq!(persistence("mode = \"source-ip\", timeout = 0"), None);
}

#[test]
fn modes_and_their_keys() {
    check(&[
        (
            "",
            "persistence = { mode = \"cookie\", timeout = 5, cookie = \"S\", tmeout = 5 }\n",
            "15:24: listener \"shop\": persistence.mode = \"cookie\": unknown; allowed: \
             \"cookie-insert\", \"cookie-rewrite\", \"source-ip\"\n\
             15:61: listener \"shop\": persistence.tmeout: unknown key; the nearest known one is \
             \"timeout\"; allowed: mode, cookie, timeout, max_lifetime, path, domain, http_only, \
             secure, same_site, partitioned, insert_on_error, first_flight, group, refresh, \
             prefix_v4, prefix_v6, header",
        ),
        (
            "",
            "persistence = { timeout = 5, group = \"g\", refresh = \"never\" }\n",
            "15:30: listener \"shop\": persistence.group: only with mode = \"source-ip\"; \
             allowed: mode, cookie, timeout, max_lifetime, path, domain, http_only, secure, \
             same_site, partitioned, insert_on_error, first_flight, header\n\
             15:43: listener \"shop\": persistence.refresh: only with mode = \"source-ip\"; \
             allowed: mode, cookie, timeout, max_lifetime, path, domain, http_only, secure, \
             same_site, partitioned, insert_on_error, first_flight, header",
        ),
        (
            "",
            "persistence = { mode = \"cookie-rewrite\", cookie = \"S\", timeout = 5 }\n",
            "15:56: listener \"shop\": persistence.timeout: only with mode = \"cookie-insert\" or \
             \"source-ip\"; allowed: mode, cookie, header",
        ),
        (
            "",
            "persistence = { mode = \"cookie-rewrite\", secure = true }\n",
            "15:15: listener \"shop\": persistence.cookie: missing; allowed: 1 to 128 characters \
             of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~ (a token)\n\
             15:42: listener \"shop\": persistence.secure: only with mode = \"cookie-insert\"; \
             allowed: mode, cookie, header",
        ),
        (
            "",
            "persistence = { mode = \"source-ip\", timeout = 5, cookie = \"S\" }\n",
            "15:50: listener \"shop\": persistence.cookie: only with mode = \"cookie-insert\" or \
             \"cookie-rewrite\"; allowed: mode, timeout, group, refresh, max_lifetime, prefix_v4, \
             prefix_v6, header",
        ),
        (
            "",
            "persistence = { timeout = 5, http_onyl = true }\n",
            "15:30: listener \"shop\": persistence.http_onyl: unknown key; the nearest known one \
             is \"http_only\"; allowed: mode, cookie, timeout, max_lifetime, path, domain, \
             http_only, secure, same_site, partitioned, insert_on_error, first_flight, header",
        ),
        (
            "",
            "persistence = { timeout = 5, header = \"Set-Cookie\" }\n",
            "15:39: listener \"shop\": persistence.header = \"Set-Cookie\": that field has a \
             meaning of its own; allowed: 1 to 64 letters, digits, - and _, such as \"X-Session\"",
        ),
        (
            "",
            "persistence = { timeout = 5, header = \"Sec-X\" }\n",
            "15:39: listener \"shop\": persistence.header = \"Sec-X\": that field has a meaning \
             of its own; allowed: 1 to 64 letters, digits, - and _, such as \"X-Session\"",
        ),
        (
            "",
            "persistence = { timeout = 5, header = \"X Y\" }\n",
            "15:39: listener \"shop\": persistence.header = \"X Y\": not the name of a field; \
             allowed: 1 to 64 letters, digits, - and _, such as \"X-Session\"",
        ),
    ]);
}

#[test]
fn cookies() {
    check(&[
        (
            "",
            "persistence = { timeout = 5, cookie = \"\" }\n",
            "15:39: listener \"shop\": persistence.cookie = \"\": not the name of a cookie; \
             allowed: 1 to 128 characters of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~ (a token)",
        ),
        (
            "",
            "persistence = { timeout = 5, cookie = \"a=b\" }\n",
            "15:39: listener \"shop\": persistence.cookie = \"a=b\": not the name of a cookie; \
             allowed: 1 to 128 characters of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~ (a token)",
        ),
        (
            "",
            "persistence = { mode = \"cookie-rewrite\", cookie = \"a;b\" }\n",
            "15:51: listener \"shop\": persistence.cookie = \"a;b\": not the name of a cookie; \
             allowed: 1 to 128 characters of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~ (a token)",
        ),
        (
            "",
            "persistence = { timeout = 5, path = \"x\" }\n",
            "15:37: listener \"shop\": persistence.path = \"x\": not the path of a cookie; \
             allowed: / and up to 1023 visible ASCII characters, no space, no ;",
        ),
        (
            "",
            "persistence = { timeout = 5, path = \"/a;b\" }\n",
            "15:37: listener \"shop\": persistence.path = \"/a;b\": not the path of a cookie; \
             allowed: / and up to 1023 visible ASCII characters, no space, no ;",
        ),
        (
            "",
            "persistence = { timeout = 5, domain = \".shop.example\" }\n",
            "15:39: listener \"shop\": persistence.domain = \".shop.example\": not the name of a \
             host; allowed: a name such as \"www.example.com\", of A-Z a-z 0-9 _ - and dots",
        ),
        (
            "",
            "persistence = { timeout = 5, same_site = \"Lax\" }\n",
            "15:42: listener \"shop\": persistence.same_site = \"Lax\": unknown; allowed: \
             \"lax\", \"strict\", \"none\"",
        ),
    ]);
}

#[test]
fn what_browsers_demand() {
    check_in(
        &plain(),
        &[
            (
                "",
                "persistence = { timeout = 5, same_site = \"none\" }\n",
                "14:42: listener \"shop\": persistence.same_site = \"none\": browsers take that \
                 with \
             secure = true only; allowed: \"lax\", \"strict\", or secure = true",
            ),
            (
                "",
                "persistence = { timeout = 5, partitioned = true }\n",
                "14:44: listener \"shop\": persistence.partitioned = true: browsers take that with \
             secure = true only; allowed: false, or secure = true",
            ),
            (
                "",
                "persistence = { timeout = 5, cookie = \"__Secure-S\" }\n",
                "14:39: listener \"shop\": persistence.cookie = \"__Secure-S\": browsers take a \
                 name \
             that begins with __Secure- only with secure = true; allowed: another name, or a \
             cookie with secure = true",
            ),
            (
                "",
                "persistence = { timeout = 5, cookie = \"__host-S\", domain = \"a\", path = \
                 \"/b\" }\n",
                "14:39: listener \"shop\": persistence.cookie = \"__host-S\": browsers take a name \
             that begins with __Host- only with secure = true, without domain, with path = \"/\"; \
             allowed: another name, or a cookie with secure = true, without domain, with path = \
             \"/\"",
            ),
        ],
    );
    for keys in [
        "same_site = \"none\", secure = true",
        "partitioned = true, secure = true",
        "cookie = \"__Secure-S\", secure = true, domain = \"a.example\"",
        "cookie = \"__Host-S\", secure = true, path = \"/\"",
        "cookie = \"__HostS\"",
        "cookie = \"S\u{2d}__Host-\"",
    ] {
        accepted_in(&plain(), "", &format!("persistence = {{ timeout = 5, {keys} }}\n"));
    }
    // Its path is not the rule's.
    let host = "persistence = { timeout = 5, cookie = \"__Host-S\" }\nrule = [{ path = \"/b\" }]\n";
    let config = accepted("", host);
    let paths = config.http_listeners[0].rules.iter().map(|rule| match &rule.persistence {
        Some(HttpPersistence { mode: HttpMode::Insert(insert), .. }) => &*insert.attributes.path,
        other => panic!("{other:?}"),
    });
    assert_eq!(paths.collect::<Vec<_>>(), ["/", "/"]);
}

/// P1, over both layers.
#[test]
fn groups() {
    const SHOP: &str = "persistence = { mode = \"source-ip\", timeout = 60, group = \"g\" }\n";
    const DIFFERS: &str = "differs from the group's listener in line 15: ";
    let tcp = |pool: &str, timeout: u32| {
        format!(
            "[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"203.0.113.11:80\"\n\
             pool = {pool:?}\npersistence = {{ timeout = {timeout}, group = \"g\" }}\n"
        )
    };
    let refused = |lines: &str, place: &str, differing: &str| {
        let said = parsed(&format!("{BASE}{SHOP}{lines}")).expect_err(lines).to_string();
        let allowed = "one pool and the same persistence in all listeners of a group";
        assert_eq!(said, format!("h.toml:{place}: {DIFFERS}{differing}; allowed: {allowed}"));
    };
    accepted("", &format!("{SHOP}{}", tcp("web", 60)));
    let group = "listener \"tcp\": persistence.group = \"g\"";
    refused(&tcp("web", 61), &format!("21:39: {group}"), "timeout");
    let other = "[[pool]]\nname = \"p\"\nbackend = [{ name = \"b\", address = \"10.0.0.1\" }]\n";
    refused(&format!("{}{other}", tcp("p", 60)), &format!("21:39: {group}"), "pool");
    // A rule that has it from its listener, for another pool.
    let rule = "rule = [{ path = \"/a\", pool = \"api\" }, { path = \"/b\" }]\n";
    refused(rule, "16:31: listener \"shop\": rule number 1: pool = \"api\"", "pool");
    // Each for itself without a group.
    accepted("", &format!("{}{rule}", SHOP.replace(", group = \"g\"", "")));
}
