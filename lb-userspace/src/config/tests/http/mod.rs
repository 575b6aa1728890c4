//! Layer 7: what is accepted, and the exact words about what is not.

mod cookies;
mod listener;
mod persistence;
mod pool;
mod replaced;
mod rules;
mod sidecar;

use super::{Case, Config, accepted_in, check_in};
use crate::config::http::{HttpListener, HttpPersistence};

/// The smallest configuration, which the cases change; they name its lines.
const BASE: &str = r#"[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
backend = [{ name = "web-1", address = "10.0.0.11:8080" }]
[[pool]]
name = "api"
backend = [{ name = "api-1", address = "fd00::11" }]
[[listener]]
name = "shop"
protocol = "https"
address = "203.0.113.11:443"
tls = { certificate = "/c.pem", key = "/c.key" }
pool = "web"
"#;

/// [`BASE`] with `http` for `https`; lines from the 13th on are those of [`BASE`] less one.
fn plain() -> String {
    let without = BASE.replace("tls = { certificate = \"/c.pem\", key = \"/c.key\" }\n", "");
    without.replace("\"https\"", "\"http\"").replace(":443", ":80")
}

fn accepted(from: &str, to: &str) -> Config {
    accepted_in(BASE, from, to)
}

fn check(cases: &[Case]) {
    check_in(BASE, cases);
}

/// The listener with these lines behind it.
fn listener(lines: &str) -> HttpListener {
    accepted("", lines).http_listeners.remove(0)
}

/// The listener's own persistence with these keys.
fn persistence(keys: &str) -> Option<HttpPersistence> {
    let mut listener = listener(&format!("persistence = {{ {keys} }}\n"));
    listener.rules.pop().expect("its own").persistence
}
