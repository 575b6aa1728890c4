//! What can change of layer 7. None of it needs a restart: another sidecar takes the old one's place
//! where the process itself must be another.

use std::fmt::Debug;

use crate::config::{
    Config,
    http::{HttpLimits, HttpListener, HttpRule, Sidecar},
};

/// Keys of `[sidecar]` that differ.
pub(super) fn sidecar_keys(old: &Sidecar, new: &Sidecar) -> impl Iterator<Item = &'static str> {
    // Every field by name: a new one is an error here until it is compared.
    let Sidecar { workers, user, access_log, trusted_proxies, drain, limits } = old;
    let HttpLimits {
        head_bytes,
        head_fields,
        body_bytes,
        head_timeout,
        idle_timeout,
        body_timeout,
        connect_timeout,
        answer_timeout,
        total_timeout,
        tunnel_timeout,
        connections,
        client_connections,
        streams,
        resets,
    } = limits;
    let bounds = &new.limits;
    let keys = [
        ("workers", *workers != new.workers),
        ("user", *user != new.user),
        ("access_log", *access_log != new.access_log),
        ("trusted_proxies", *trusted_proxies != new.trusted_proxies),
        ("drain", *drain != new.drain),
        ("limits.head_bytes", *head_bytes != bounds.head_bytes),
        ("limits.head_fields", *head_fields != bounds.head_fields),
        ("limits.body_bytes", *body_bytes != bounds.body_bytes),
        ("limits.head_timeout", *head_timeout != bounds.head_timeout),
        ("limits.idle_timeout", *idle_timeout != bounds.idle_timeout),
        ("limits.body_timeout", *body_timeout != bounds.body_timeout),
        ("limits.connect_timeout", *connect_timeout != bounds.connect_timeout),
        ("limits.answer_timeout", *answer_timeout != bounds.answer_timeout),
        ("limits.total_timeout", *total_timeout != bounds.total_timeout),
        ("limits.tunnel_timeout", *tunnel_timeout != bounds.tunnel_timeout),
        ("limits.connections", *connections != bounds.connections),
        ("limits.client_connections", *client_connections != bounds.client_connections),
        ("limits.streams", *streams != bounds.streams),
        ("limits.resets", *resets != bounds.resets),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
}

/// What of a listener can change. Pools by name: another one before them moves their places.
pub(super) fn listener<'c>(
    config: &'c Config,
    listener: &'c HttpListener,
) -> impl PartialEq + Debug + use<'c> {
    let HttpListener { name: _, address, certificates, https_redirect, accept_proxy, rules } =
        listener;
    let rule = |rule: &'c HttpRule| {
        let HttpRule { host, path, pool, persistence } = rule;
        (host, path, config.pools[*pool].name.as_str(), persistence)
    };
    let rules: Vec<_> = rules.iter().map(rule).collect();
    (address, certificates, https_redirect, accept_proxy, rules)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{describe, need_restart};
    use crate::config::parse;

    const BASE: &str = r#"
[agent]
interfaces = ["eth0"]
[sidecar]
user = "nobody"
[[pool]]
name = "web"
backend = [{ name = "a", address = "10.0.0.1:80" }]
[[pool]]
name = "api"
backend = [{ name = "b", address = "10.0.0.2:80" }]
[[listener]]
name = "shop"
protocol = "http"
address = "203.0.113.1:80"
pool = "web"
persistence = { timeout = "1h" }
rule = [{ host = "api.example", pool = "api" }]
"#;

    #[test]
    fn every_difference_has_a_line_and_none_takes_a_restart() {
        let path = Path::new("t.toml");
        let old = parse(BASE, path).expect("configuration");
        let check = |from: &str, to: &str, want: &[&str]| {
            assert_eq!(BASE.matches(from).count(), 1, "{from}");
            let new = parse(&BASE.replace(from, to), path).expect(to);
            assert_eq!(describe(&old, &new), want, "{to}");
            assert!(need_restart(&old.agent, &new.agent, path).is_empty(), "{to}");
        };
        check("eth0", "eth0", &[]);
        check(r#"user = "nobody""#, r#"user = "www-data""#, &["sidecar.user: changed"]);
        check(
            r#"user = "nobody""#,
            "workers = 2\ndrain = \"5s\"\naccess_log = \"/var/log/a\"\n[sidecar.limits]\nresets = 11",
            &[
                "sidecar.workers: changed",
                "sidecar.access_log: changed",
                "sidecar.drain: changed",
                "sidecar.limits.resets: changed",
            ],
        );
        check("1h", "2h", &["listener shop: changed"]);
        check("api.example", "b.example", &["listener shop: changed"]);
        check("1:80\"\npool", "1:81\"\npool", &["listener shop: changed"]);
        check("pool = \"web\"\n", "pool = \"api\"\n", &["listener shop: changed"]);
        check(
            r#"name = "shop""#,
            r#"name = "mall""#,
            &["listener mall: added", "listener shop: removed"],
        );
        check("name = \"web\"", "name = \"web\"\nhttp = { queue = 5 }", &["pool web: changed"]);
        // A pool before the others moves their places, and nothing else.
        let more =
            "[[pool]]\nname = \"new\"\nbackend = [{ name = \"n\", address = \"10.0.0.3:80\" }]\n";
        check(
            "[[pool]]\nname = \"web\"",
            &format!("{more}[[pool]]\nname = \"web\""),
            &["pool new: added", "backend n: added"],
        );
        // From one layer to the other it is still the same listener.
        let tcp =
            BASE.split("persistence").next().unwrap_or_default().replace("\"http\"", "\"tcp\"");
        let new = parse(&tcp, path).expect("configuration");
        assert_eq!(describe(&old, &new), ["listener shop: changed"]);
    }
}
