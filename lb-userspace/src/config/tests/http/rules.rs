//! `[[listener.rule]]`.

use super::{accepted, check, listener};
use crate::config::http::{HostPattern, HttpMode, HttpRule};

fn rules(lines: &str) -> Vec<HttpRule> {
    listener(lines).rules
}

#[test]
fn in_the_order_of_the_file() {
    let got = rules(
        "[[listener.rule]]\nhost = \"API.shop.example\"\npool = \"api\"\n[[listener.rule]]\n\
         host = \"*.Shop.example\"\npath = \"/a/b%2F\"\n[[listener.rule]]\npath = \"/img\"\n",
    );
    let rule =
        |host, path: &str, pool| HttpRule { host, path: path.to_owned(), pool, persistence: None };
    let want = [
        rule(HostPattern::Exact("api.shop.example".to_owned()), "/", 1),
        rule(HostPattern::Below("shop.example".to_owned()), "/a/b%2F", 0),
        rule(HostPattern::Any, "/img", 0),
        rule(HostPattern::Any, "/", 0),
    ];
    assert_eq!(got, want);
}

#[test]
fn without_a_pool_of_the_listener() {
    let lines = "rule = [{ host = \"a.example\", pool = \"api\" }]\n";
    let config = accepted("pool = \"web\"\n", lines);
    let [rule] = &config.http_listeners[0].rules[..] else { panic!("one rule") };
    assert_eq!(rule.pool, 1);
}

/// C3: each has its own persistence, or none, or the listener's.
#[test]
fn persistence_of_rules() {
    let got = rules(
        "persistence = { timeout = 60 }\nrule = [{ host = \"a\", persistence = { mode = \
         \"cookie-rewrite\", cookie = \"S\" } }, { host = \"b\", persistence = { timeout = 0 } }, \
         { path = \"/c\" }]\n",
    );
    let modes: Vec<_> =
        got.iter().map(|rule| rule.persistence.as_ref().map(|one| &one.mode)).collect();
    let [
        Some(HttpMode::Rewrite { cookie }),
        None,
        Some(HttpMode::Insert(c)),
        Some(HttpMode::Insert(own)),
    ] = &modes[..]
    else {
        panic!("{modes:?}")
    };
    assert_eq!(cookie, "S");
    assert_eq!((&*c.attributes.path, &*own.attributes.path), ("/c", "/"));
    assert_eq!(c.timeout, own.timeout);
}

#[test]
fn hosts() {
    check(&[
        (
            "",
            "rule = [{ host = \"\" }, { host = \"*\" }, { host = \"a.*.example\" }]\n",
            "15:18: listener \"shop\": rule number 1: host = \"\": not the name of a host; \
             allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key\n\
             15:33: listener \"shop\": rule number 2: host = \"*\": not the name of a host; \
             allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key\n\
             15:49: listener \"shop\": rule number 3: host = \"a.*.example\": not the name of a \
             host; allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key",
        ),
        (
            "",
            "rule = [{ host = \"a.example:443\" }]\n",
            "15:18: listener \"shop\": rule number 1: host = \"a.example:443\": a host and a \
             port; requests are told apart by host alone; allowed: \"www.example.com\" or \
             \"*.example.com\"; any host: no host key",
        ),
        (
            "",
            "rule = [{ host = \"a.example.\" }]\n",
            "15:18: listener \"shop\": rule number 1: host = \"a.example.\": not the name of a \
             host; allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key",
        ),
        (
            "",
            "rule = [{ host = \"b\u{fc}cher.example\" }]\n",
            "15:18: listener \"shop\": rule number 1: host = \"bücher.example\": not the name of \
             a host; allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key",
        ),
        (
            "",
            "rule = [{ host = \"https://a.example\" }]\n",
            "15:18: listener \"shop\": rule number 1: host = \"https://a.example\": not the name \
             of a host; allowed: \"www.example.com\" or \"*.example.com\"; any host: no host key",
        ),
        (
            "",
            "rule = [{ host = [\"a\", \"b\"] }]\n",
            "15:18: listener \"shop\": rule number 1: host: expected the name of a host, found an \
             array",
        ),
    ]);
}

#[test]
fn paths() {
    check(&[
        (
            "",
            "rule = [{ path = \"api\" }, { path = \"/a b\" }, { path = \"/a?b\" }]\n",
            "15:18: listener \"shop\": rule number 1: path = \"api\": not the begin of a path; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path\n\
             15:36: listener \"shop\": rule number 2: path = \"/a b\": not the begin of a path; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path\n\
             15:55: listener \"shop\": rule number 3: path = \"/a?b\": not the begin of a path; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path",
        ),
        (
            "",
            "rule = [{ path = \"/api/\" }, { path = \"//\" }]\n",
            "15:18: listener \"shop\": rule number 1: path = \"/api/\": ends in /, but counts by \
             whole segments; allowed: \"/api\"\n\
             15:38: listener \"shop\": rule number 2: path = \"//\": an empty, . or .. segment; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path",
        ),
        (
            "",
            "rule = [{ path = \"/a/../b\" }, { path = \"/a//b\" }, { path = \"/.\" }]\n",
            "15:18: listener \"shop\": rule number 1: path = \"/a/../b\": an empty, . or .. \
             segment; allowed: \"/api\" for /api and all below it; up to 1024 characters of a \
             URL's path\n\
             15:40: listener \"shop\": rule number 2: path = \"/a//b\": an empty, . or .. segment; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path\n\
             15:60: listener \"shop\": rule number 3: path = \"/.\": an empty, . or .. segment; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path",
        ),
        (
            "",
            "rule = [{ path = \"/%4\" }, { path = \"/%zz\" }]\n",
            "15:18: listener \"shop\": rule number 1: path = \"/%4\": a % without two hexadecimal \
             digits; allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's \
             path\n\
             15:36: listener \"shop\": rule number 2: path = \"/%zz\": a % without two hexadecimal \
             digits; allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's \
             path",
        ),
        (
            "",
            "rule = [{ path = \"/a*\" }, { path = \"/b\\u00e4\" }]\n",
            "15:18: listener \"shop\": rule number 1: path = \"/a*\": not the begin of a path; \
             allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's path\n\
             15:36: listener \"shop\": rule number 2: path = \"/b\\u00e4\": not the begin of a \
             path; allowed: \"/api\" for /api and all below it; up to 1024 characters of a URL's \
             path",
        ),
    ]);
}

#[test]
fn together() {
    check(&[
        // The listener itself.
        (
            "",
            "rule = [{ pool = \"api\" }, { path = \"/\" }]\n",
            "15:9: listener \"shop\": rule number 1: neither a host nor a path: every request is \
             the listener itself; allowed: host, path, or both\n\
             15:27: listener \"shop\": rule number 2: neither a host nor a path: every request is \
             the listener itself; allowed: host, path, or both",
        ),
        (
            "",
            "rule = [{ host = \"a\", pool = \"apj\" }]\n",
            "15:30: listener \"shop\": rule number 1: pool = \"apj\": no such pool; the nearest \
             is \"api\"; allowed: the name of a [[pool]]",
        ),
        (
            "",
            "rule = [{ host = \"a\", pol = \"api\" }]\n",
            "15:23: listener \"shop\": rule number 1: pol: unknown key; the nearest known one is \
             \"pool\"; allowed: host, path, pool, persistence",
        ),
        (
            "",
            "rule = { host = \"a\" }\n",
            "15:8: listener \"shop\": rule: expected an array of tables ([[rule]]), found a table",
        ),
        // Twice; in another case too.
        (
            "",
            "rule = [{ host = \"a\", path = \"/b\" }, { host = \"A\", path = \"/b\" }]\n",
            "15:38: listener \"shop\": rule number 2: host and path already used in line 15; \
             allowed: each host with a path once in a listener",
        ),
        (
            "",
            "rule = [{ host = \"a\" }, { host = \"a\", path = \"/\" }]\n",
            "15:25: listener \"shop\": rule number 2: host and path already used in line 15; \
             allowed: each host with a path once in a listener",
        ),
        // No pool anywhere.
        (
            "pool = \"web\"\n",
            "rule = [{ host = \"a\" }, { host = \"b\", pool = \"web\" }]\n",
            "14:9: listener \"shop\": rule number 1: no pool, and the listener has none; allowed: \
             the name of a [[pool]], here or in the listener",
        ),
    ]);
}
