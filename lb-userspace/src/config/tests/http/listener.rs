//! `[[listener]]` with protocol `http` or `https`.

use super::{BASE, accepted, check, check_in, listener, plain};
use crate::config::{
    http::{Certificate, HostPattern, HttpListener, HttpRule},
    tests::{accepted_in, parsed},
};

/// A listener for tcp beside it.
const TCP: &str = "[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \
\"203.0.113.10:80\"\n\
                   pool = \"web\"\n";

fn certificate(name: &str) -> Certificate {
    let path = |ending: &str| format!("/{name}.{ending}").into();
    Certificate { chain: path("pem"), key: path("key") }
}

#[test]
fn defaults() {
    let config = accepted("", "");
    let want = HttpListener {
        name: "shop".to_owned(),
        address: "203.0.113.11:443".parse().expect("an address"),
        certificates: vec![certificate("c")],
        https_redirect: None,
        accept_proxy: false,
        rules: vec![HttpRule {
            host: HostPattern::Any,
            path: "/".to_owned(),
            pool: 0,
            persistence: None,
        }],
    };
    assert_eq!(config.listeners, []);
    assert_eq!(config.http_listeners, [want]);
    let config = accepted("[[listener]]", &format!("{TCP}[[listener]]"));
    assert_eq!((config.listeners.len(), config.http_listeners.len()), (1, 1));
}

#[test]
fn certificates() {
    let two = "tls = [{ certificate = \"/a.pem\", key = \"/a.key\" },\n  { certificate = \
    \"/b.pem\", \
               key = \"/b.key\" }]";
    let config = accepted("tls = { certificate = \"/c.pem\", key = \"/c.key\" }", two);
    let got = &config.http_listeners[0].certificates;
    assert_eq!(got, &[certificate("a"), certificate("b")]);
    let tables = "\n[[listener.tls]]\ncertificate = \"/a.pem\"\nkey = \"/a.key\"\n";
    let text = format!("{}{tables}", plain().replace("\"http\"", "\"https\""));
    assert_eq!(parsed(&text).expect("tables").http_listeners[0].certificates, [certificate("a")]);
}

#[test]
fn redirects() {
    let redirect = |lines: &str| {
        let base = plain().replace("pool = \"web\"\n", "");
        accepted_in(&base, "", lines).http_listeners.remove(0)
    };
    let got = redirect("https_redirect = true\n");
    assert_eq!((got.https_redirect, got.rules), (Some(443), vec![]));
    assert_eq!(redirect("https_redirect = 8443\n").https_redirect, Some(8443));
    let off = accepted_in(&plain(), "", "https_redirect = false\n").http_listeners.remove(0);
    assert_eq!((off.https_redirect, off.rules.len()), (None, 1));
}

#[test]
fn proxies_in_front() {
    let lines = "accept_proxy = true\n[sidecar]\ntrusted_proxies = [\"10.0.0.1\"]\n";
    assert!(listener(lines).accept_proxy);
    assert!(!listener("accept_proxy = false\n").accept_proxy);
}

/// The pool is reached from here, so its family is its own, and its forwarding mode.
#[test]
fn any_pool_will_do() {
    accepted("pool = \"web\"", "pool = \"api\"");
    for forward in ["dsr", "tunnel"] {
        accepted("name = \"web\"", &format!("name = \"web\"\nforward = \"{forward}\""));
    }
}

#[test]
fn refused() {
    check(&[
        (
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }\n",
            "",
            "9:1: listener \"shop\": tls: missing; allowed: tls = { certificate = \"/path\", key \
             = \"/path\" }, or an array of such",
        ),
        (
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }",
            "tls = []",
            "13:7: listener \"shop\": tls: empty; allowed: tls = { certificate = \"/path\", key = \
             \"/path\" }, or an array of such",
        ),
        (
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }",
            "tls = { cert = \"/c.pem\", key = \"c.key\" }",
            "13:7: listener \"shop\": tls.certificate: missing; allowed: the path of a PEM file, \
             from /\n\
             13:9: listener \"shop\": tls.cert: unknown key; the nearest known one is \
             \"certificate\"; allowed: certificate, key\n\
             13:32: listener \"shop\": tls.key = \"c.key\": not an absolute path; allowed: a path \
             that starts with /, not / alone, without .., at most 3840 bytes",
        ),
        (
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }",
            "tls = true",
            "13:7: listener \"shop\": tls = true: expected a table with certificate and key, or \
             an array of such, found a boolean",
        ),
        (
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }",
            "tls = [{ certificate = \"/c.pem\" }, 1]",
            "13:8: listener \"shop\": tls.key: missing; allowed: the path of a PEM file, from /\n\
             13:36: listener \"shop\": tls = 1: expected a table, found an integer",
        ),
        (
            "pool = \"web\"\n",
            "",
            "9:1: listener \"shop\": pool: missing; allowed: the name of a [[pool]]",
        ),
        (
            "pool = \"web\"",
            "pool = \"wbe\"",
            "14:8: listener \"shop\": pool = \"wbe\": no such pool; the nearest is \"web\"; \
             allowed: the name of a [[pool]]",
        ),
        (
            "pool = \"web\"",
            "rule = []",
            "9:1: listener \"shop\": no pool and no rule: every request would be answered with \
             404; allowed: pool, or at least one [[listener.rule]]",
        ),
        (
            "",
            "https_redirect = true\n",
            "15:1: listener \"shop\": https_redirect: only with protocol = \"http\"; allowed: \
             name, protocol, address, pool, tls, accept_proxy, persistence, rule",
        ),
        (
            "",
            "accept_proxy = true\n",
            "15:16: listener \"shop\": accept_proxy = true: nobody's PROXY header would be \
             believed: sidecar.trusted_proxies is empty; allowed: false, or the proxies' addresses \
             there",
        ),
        (
            "",
            "accept_proxy = 1\n",
            "15:16: listener \"shop\": accept_proxy = 1: expected true or false, found an integer",
        ),
        (
            "",
            "certificate = \"/c.pem\"\n",
            "15:1: listener \"shop\": certificate: unknown key; the nearest known one is \
             \"persistence\"; allowed: name, protocol, address, pool, tls, accept_proxy, \
             persistence, rule",
        ),
    ]);
}

#[test]
fn refused_of_http() {
    check_in(
        &plain(),
        &[
            (
                "",
                "tls = { certificate = \"/c.pem\", key = \"/c.key\" }\n",
                "14:1: listener \"shop\": tls: only with protocol = \"https\"; allowed: name, \
             protocol, address, pool, https_redirect, accept_proxy, persistence, rule",
            ),
            (
                "",
                "https_redirect = 0\n",
                "14:18: listener \"shop\": https_redirect = 0: out of range; allowed: 1 to 65535",
            ),
            (
                "",
                "https_redirect = \"yes\"\n",
                "14:18: listener \"shop\": https_redirect = \"yes\": expected true, or the port of \
             https, found a string",
            ),
            (
                "pool = \"web\"\n",
                "https_redirect = false\n",
                "9:1: listener \"shop\": no pool and no rule: every request would be answered with \
             404; allowed: pool, or at least one [[listener.rule]]",
            ),
            (
                "",
                "https_redirect = true\npersistence = { timeout = 1 }\nrule = [{ host = \"a\" }]\n",
                "13:8: listener \"shop\": pool = \"web\": https_redirect leaves no request for it; \
                 allowed: one of the two\n\
                 15:15: listener \"shop\": persistence: https_redirect leaves no request for it; \
                 allowed: one of the two\n\
                 16:8: listener \"shop\": rule: https_redirect leaves no request for it; \
                 allowed: one of the two",
            ),
        ],
    );
}

#[test]
fn not_for_layer_4() {
    super::super::check(&[
        (
            "",
            "tls = { certificate = \"/c.pem\", key = \"/c.key\" }\n",
            "13:1: listener \"site\": tls: only with protocol = \"https\"; allowed: name, \
             protocol, address, pool, persistence",
        ),
        (
            "",
            "https_redirect = true\naccept_proxy = true\n",
            "13:1: listener \"site\": https_redirect: only with protocol = \"http\"; allowed: \
             name, protocol, address, pool, persistence\n\
             14:1: listener \"site\": accept_proxy: only with protocol = \"http\" or \"https\"; \
             allowed: name, protocol, address, pool, persistence",
        ),
        (
            "",
            "[[listener.rule]]\nhost = \"a.example\"\n",
            "13:12: listener \"site\": rule: only with protocol = \"http\" or \"https\"; allowed: \
             name, protocol, address, pool, persistence",
        ),
        (
            "",
            "persistence = { mode = \"cookie-insert\", timeout = 5 }\n",
            "13:24: listener \"site\": persistence.mode = \"cookie-insert\": only with protocol = \
             \"http\" or \"https\"; allowed: \"source-ip\"",
        ),
        (
            "",
            "persistence = { mode = \"cookie-rewrite\", cookie = \"S\", timeout = 5 }\n",
            "13:24: listener \"site\": persistence.mode = \"cookie-rewrite\": only with protocol \
             = \"http\" or \"https\"; allowed: \"source-ip\"",
        ),
        (
            "",
            "persistence = { timeout = 5, cookie = \"S\", header = \"X-S\" }\n",
            "13:30: listener \"site\": persistence.cookie: only with protocol = \"http\" or \
             \"https\"; allowed: mode, timeout, group, refresh, max_lifetime, prefix_v4, \
             prefix_v6\n\
             13:44: listener \"site\": persistence.header: only with protocol = \"http\" or \
             \"https\"; allowed: mode, timeout, group, refresh, max_lifetime, prefix_v4, prefix_v6",
        ),
        (
            "pool = \"web\"\n",
            "rule = [{ host = \"a.example\", pool = \"web\" }]\n",
            "8:1: listener \"site\": pool: missing; allowed: the name of a [[pool]]\n\
             12:1: listener \"site\": rule: only with protocol = \"http\" or \"https\"; allowed: \
             name, protocol, address, pool, persistence",
        ),
    ]);
}

#[test]
fn of_both_layers() {
    check(&[
        // A name.
        (
            "",
            "[[listener]]\nname = \"shop\"\nprotocol = \"tcp\"\naddress = \"203.0.113.10:80\"\n\
             pool = \"web\"\n",
            "16:8: listener \"shop\": name = \"shop\": name already used in line 10; allowed: one \
             listener of a name",
        ),
        // An address.
        (
            "",
            "[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"203.0.113.11:443\"\n\
             pool = \"web\"\n",
            "18:11: listener \"tcp\": address = \"203.0.113.11:443\": address already used in \
             line 12; allowed: each address and port once for udp, and once for tcp, http and \
             https",
        ),
        (
            "",
            "[[listener]]\nname = \"b\"\nprotocol = \"http\"\naddress = \"203.0.113.11:443\"\n\
             pool = \"web\"\n",
            "18:11: listener \"b\": address = \"203.0.113.11:443\": address already used in line \
             12; allowed: each address and port once for udp, and once for tcp, http and https",
        ),
        // A backend there.
        (
            "10.0.0.11:8080",
            "203.0.113.11:8080",
            "5:40: pool \"web\": backend \"web-1\": address = \"203.0.113.11:8080\": this is the \
             address of the listener in line 12; allowed: an address of another machine",
        ),
        // How many.
        (
            "[[listener]]",
            "[limits]\nlisteners = 1\n[[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\n\
             address = \"203.0.113.10:80\"\npool = \"web\"\n[[listener]]",
            "16:1: listener \"shop\": the file has 2 of them, limits.listeners is 1; allowed: up \
             to limits.listeners, which goes up to 32767",
        ),
    ]);
    let udp = "[[listener]]\nname = \"udp\"\nprotocol = \"udp\"\naddress = \"203.0.113.11:443\"\n\
               pool = \"web\"\n";
    assert_eq!(accepted("", udp).listeners.len(), 1, "one address for https and udp");
    assert!(parsed(BASE).is_ok());
}
