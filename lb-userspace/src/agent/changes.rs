//! What is different between two configurations, in words; and what only a restart can change.

mod http;

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    path::Path,
};

use crate::{
    config::{Agent, Backend, Config, Flood, FlowTimeouts, Forward, Listener, Pool, Step, placed},
    loader::LoadError,
};

/// Settings that differ and that a running agent cannot take on, with their places in `file`, from
/// which `new` was read.
#[must_use]
pub fn need_restart(old: &Agent, new: &Agent, file: &Path) -> Vec<String> {
    let refuse = |key: &'static str, differs: bool| {
        let text =
            || format!("agent.{key} cannot change while the agent runs: restart it for that");
        differs.then(|| placed(file, &[Step::Key("agent"), Step::Key(key)], &text()))
    };
    [
        refuse("admin", old.admin != new.admin),
        refuse("bpffs", old.bpffs != new.bpffs),
        refuse("state", old.state != new.state),
        refuse("xdp_mode", old.xdp_mode != new.xdp_mode),
        refuse("packet_events", old.packet_events != new.packet_events),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Why the program could not be put on an interface, with the interface's place in `file`, from
/// which `agent` was read.
#[must_use]
pub fn refused_attach(error: &LoadError, agent: &Agent, file: &Path) -> String {
    let named =
        if let LoadError::Attach { interface, .. } | LoadError::Link { interface, .. } = error {
            agent.interfaces.iter().position(|name| name == interface)
        } else {
            None
        };
    match named {
        Some(index) => {
            let steps = [Step::Key("agent"), Step::Key("interfaces"), Step::Item(index)];
            placed(file, &steps, &format_args!("agent.interfaces: {error}"))
        }
        None => error.to_string(),
    }
}

/// A line for everything that is added, removed or changed.
#[must_use]
pub fn describe(old: &Config, new: &Config) -> Vec<String> {
    // Every field by name: a new one is an error here until it is compared. Limits cannot change.
    let Config { agent, limits: _, flood, pools, listeners: _, sidecar, http_listeners: _ } = old;
    let mut lines = Vec::new();
    lines.extend(changed_keys(agent, &new.agent).map(|key| format!("agent.{key}: changed")));
    lines.extend(flood_keys(flood, &new.flood).map(|key| format!("flood.{key}: changed")));
    lines.extend(
        http::sidecar_keys(sidecar, &new.sidecar).map(|key| format!("sidecar.{key}: changed")),
    );
    compare("pool", &mut lines, pools.iter().map(pool_itself), new.pools.iter().map(pool_itself));
    compare("backend", &mut lines, backends(old), backends(new));
    compare("listener", &mut lines, listeners(old), listeners(new));
    lines
}

/// A pool with what can change of it but its backends, and how it forwards to them.
fn pool_itself(pool: &Pool) -> (String, impl PartialEq + Debug) {
    let Pool {
        name,
        forward: _,
        on_down,
        scheduler,
        slow_start,
        nat_sources,
        health,
        http,
        backends: _,
    } = pool;
    (name.clone(), (health, on_down, scheduler, slow_start, nat_sources, http))
}

/// The listeners of both layers with what can change of them.
fn listeners(config: &Config) -> impl Iterator<Item = (String, impl PartialEq + Debug)> {
    let pool_name = |index: usize| config.pools[index].name.as_str();
    let packets = config.listeners.iter().map(move |listener| {
        let Listener { name, protocol, address, pool, persistence } = listener;
        (name.clone(), (Some((protocol, address, pool_name(*pool), persistence)), None))
    });
    let requests = config
        .http_listeners
        .iter()
        .map(|listener| (listener.name.clone(), (None, Some(http::listener(config, listener)))));
    packets.chain(requests)
}

/// Keys of `[flood]` that differ.
fn flood_keys(old: &Flood, new: &Flood) -> impl Iterator<Item = &'static str> {
    let Flood { flows_per_second, network_flows_per_second, network_v4, network_v6 } = old;
    let keys = [
        ("flows_per_second", *flows_per_second != new.flows_per_second),
        ("network_flows_per_second", *network_flows_per_second != new.network_flows_per_second),
        ("network_v4", *network_v4 != new.network_v4),
        ("network_v6", *network_v6 != new.network_v6),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
}

/// Keys of `[agent]` that differ.
fn changed_keys(old: &Agent, new: &Agent) -> impl Iterator<Item = &'static str> {
    // Every field by name: a new one is an error here until it is compared.
    let Agent {
        interfaces,
        xdp_mode,
        admin,
        bpffs,
        state,
        manage_addresses,
        echo,
        packet_events,
        flow_timeouts: FlowTimeouts { tcp_established, tcp_transitory, tcp_time_wait, udp },
    } = old;
    let times = &new.flow_timeouts;
    let keys = [
        ("interfaces", *interfaces != new.interfaces),
        ("xdp_mode", *xdp_mode != new.xdp_mode),
        ("admin", *admin != new.admin),
        ("bpffs", *bpffs != new.bpffs),
        ("state", *state != new.state),
        ("manage_addresses", *manage_addresses != new.manage_addresses),
        ("echo", *echo != new.echo),
        ("packet_events", *packet_events != new.packet_events),
        ("flow_timeouts.tcp_established", *tcp_established != times.tcp_established),
        ("flow_timeouts.tcp_transitory", *tcp_transitory != times.tcp_transitory),
        ("flow_timeouts.tcp_time_wait", *tcp_time_wait != times.tcp_time_wait),
        ("flow_timeouts.udp", *udp != times.udp),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
}

/// Each backend with what can change of it: itself, its pool and how that forwards.
fn backends(config: &Config) -> impl Iterator<Item = (String, (Backend, String, Forward))> {
    config.pools.iter().flat_map(|pool| {
        pool.backends.iter().map(|backend| {
            (backend.name.clone(), (backend.clone(), pool.name.clone(), pool.forward))
        })
    })
}

fn compare<T: PartialEq + Debug>(
    kind: &str,
    lines: &mut Vec<String>,
    old: impl Iterator<Item = (String, T)>,
    new: impl Iterator<Item = (String, T)>,
) {
    let old: Vec<_> = old.collect();
    let before: HashMap<&str, &T> = old.iter().map(|(name, value)| (&**name, value)).collect();
    let mut seen = HashSet::new();
    for (name, value) in new {
        match before.get(&*name) {
            None => lines.push(format!("{kind} {name}: added")),
            Some(before) if **before != value => lines.push(format!("{kind} {name}: changed")),
            Some(_) => {}
        }
        seen.insert(name);
    }
    let gone = old.iter().filter(|(name, _)| !seen.contains(name));
    lines.extend(gone.map(|(name, _)| format!("{kind} {name}: removed")));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = r#"
[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
backend = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
[[listener]]
name = "site"
protocol = "tcp"
address = "203.0.113.1:80"
pool = "web"
"#;

    fn parse(text: &str) -> Config {
        crate::config::parse(text, Path::new("t.toml")).expect("configuration")
    }

    #[test]
    fn every_difference_has_a_line() {
        let check = |from: &str, to: &str, want: &[&str]| {
            assert_eq!(describe(&parse(BASE), &parse(&BASE.replace(from, to))), want);
        };
        check("eth0", "eth0", &[]);
        check("10.0.0.2:80", "10.0.0.3:80", &["backend b: changed"]);
        check(r#""b", "#, r#""c", "#, &["backend c: added", "backend b: removed"]);
        check("203.0.113.1:80", "203.0.113.1:81", &["listener site: changed"]);
        check("eth0", "eth1", &["agent.interfaces: changed"]);
        check(
            "[\"eth0\"]",
            "[\"eth0\"]\necho = false\nflow_timeouts = { udp = \"9s\" }",
            &["agent.echo: changed", "agent.flow_timeouts.udp: changed"],
        );
        check("[[pool]]", "[flood]\nnetwork_v4 = 32\n[[pool]]", &["flood.network_v4: changed"]);
        check(
            "name = \"web\"\n",
            "name = \"web\"\nnat_sources = [\"10.0.0.9\"]\n",
            &["pool web: changed"],
        );
    }

    #[test]
    fn what_takes_a_restart() {
        let other = BASE.replace("[\"eth0\"]", "[\"eth0\"]\nxdp_mode = \"generic\"");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("h.toml");
        let check = |old: &str, new: &str, line: u32, column: u32, key: &str| {
            std::fs::write(&file, new).expect("written");
            let got = need_restart(&parse(old).agent, &parse(new).agent, &file);
            let text = format!(
                "{}:{line}:{column}: agent.{key} cannot change while the agent runs: restart it for \
                 that",
                file.display()
            );
            assert_eq!(got, [text]);
        };
        check(BASE, &other, 4, 12, "xdp_mode");
        // Back to the default: the table is all that there is of it.
        check(&other, BASE, 2, 1, "xdp_mode");
        let state = BASE.replace("[\"eth0\"]", "[\"eth0\"]\nstate = \"/s\"");
        check(BASE, &state, 4, 9, "state");
        assert!(need_restart(&parse(BASE).agent, &parse(BASE).agent, &file).is_empty());
    }
}
