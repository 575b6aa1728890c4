//! `check`: what a configuration would do, or what is wrong with it.

mod http;

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    exit::{VerbError, WRONG, report, write_error},
    human::{bytes, exact},
    persistence, pool,
    table::{
        Column::{Left, Right},
        printable, render,
    },
};
use crate::{
    api::{convert, wire},
    config::{Config, Health, OnDown, Pool, Probe, XdpMode},
    limits,
    model::Model,
};

/// Prints what the agent would do by `config`, read from `file`, and `notes` about it; `cpus` is the
/// number of possible CPUs. Exit status 0 unless the output fails.
pub fn accepted(
    file: &Path,
    config: &Config,
    notes: &[String],
    cpus: u32,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let text = if json {
        format!("{:#}\n", document(file, config, notes, cpus))
    } else {
        page(file, config, notes, cpus)
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    report(written.map_err(VerbError::Output), err)
}

/// The file itself is wrong.
pub const NOT_IN_ORDER: &str = "is not in order";
/// It is in order, but not for this machine or this user.
pub const NOT_HERE: &str = "cannot be used here";

/// Prints what is wrong with `file`, an error each, under one of the above; exit status 2.
pub fn refused(
    file: &Path,
    what: &str,
    errors: &[String],
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let written = if json {
        let document = json!({ "ok": false, "config": file, "errors": errors });
        writeln!(out, "{document:#}").and_then(|()| out.flush())
    } else {
        let text = format!("{} {what}", printable(&file.display().to_string()));
        write_error(&text, errors, err)
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            report(Err(VerbError::Output(error)), err)
        }
        Ok(()) | Err(_) => WRONG.into(),
    }
}

fn page(file: &Path, config: &Config, notes: &[String], cpus: u32) -> String {
    let agent = &config.agent;
    let head = format!("{} is in order.\n", printable(&file.display().to_string()));
    let settings: Vec<String> = [
        ("interfaces", format!("{} ({})", agent.interfaces.join(", "), xdp_mode(agent.xdp_mode))),
        ("admin API", agent.admin.display().to_string()),
        ("addresses", addresses(agent.manage_addresses).to_owned()),
    ]
    .into_iter()
    .chain(http::settings(config))
    .map(|(what, value)| format!("{what:<12}{}\n", printable(&value)))
    .collect();
    let notes = notes
        .iter()
        .map(|note| format!("\nnote: {}\n", printable(note)))
        .collect::<Vec<_>>()
        .concat();
    let parts = [Some(head), Some(settings.concat()), Some(listeners(config)), http::rules(config)]
        .into_iter()
        .chain([Some(pools(config)), http::pools(config), Some(backends(config))])
        .chain([Some(memory(config, cpus))]);
    parts.flatten().collect::<Vec<_>>().join("\n") + &notes
}

const fn addresses(managed: bool) -> &'static str {
    if managed { "put on the interfaces and taken off again" } else { "left to you" }
}

fn listeners(config: &Config) -> String {
    let rows: Vec<Vec<String>> = config
        .listeners
        .iter()
        .map(|listener| {
            let persistence = listener.persistence.as_ref().map(wire::Persistence::from);
            vec![
                listener.name.clone(),
                format!("{} {}", convert::protocol(listener.protocol), listener.address),
                pool_name(config, listener.pool),
                persistence::words(persistence.as_ref()),
            ]
        })
        .chain(http::listeners(config))
        .collect();
    render(&[Left("LISTENER"), Left("ADDRESS"), Left("POOL"), Left("PERSISTENCE")], &rows)
}

fn pools(config: &Config) -> String {
    let columns = [
        Left("POOL"),
        Left("FORWARD"),
        Left("SCHEDULER"),
        Left("ON DOWN"),
        Right("BACKENDS"),
        Left("HEALTH CHECK"),
    ];
    let rows: Vec<Vec<String>> = config
        .pools
        .iter()
        .map(|pool| {
            let words = wire::Pool::from(pool);
            vec![
                pool.name.clone(),
                pool::forward(&words),
                pool::scheduler(&words),
                on_down(pool.on_down).to_owned(),
                pool.backends.len().to_string(),
                pool.health.as_ref().map_or_else(|| "none".to_owned(), health),
            ]
        })
        .collect();
    render(&columns, &rows)
}

fn backends(config: &Config) -> String {
    let rows: Vec<Vec<String>> = config
        .pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
        .map(|(pool, backend)| {
            vec![
                backend.name.clone(),
                pool.name.clone(),
                convert::backend_address(backend.address, backend.port),
                backend.weight.to_string(),
            ]
        })
        .collect();
    render(&[Left("BACKEND"), Left("POOL"), Left("ADDRESS"), Right("WEIGHT")], &rows)
}

fn memory(config: &Config, cpus: u32) -> String {
    let costs = limits::costs(&config.limits, Model::new(config).features(), cpus);
    let mut rows: Vec<Vec<String>> = costs
        .iter()
        .map(|cost| vec![cost.map.to_owned(), exact(cost.entries), bytes(cost.bytes)])
        .collect();
    rows.push(vec!["together".to_owned(), String::new(), bytes(limits::total(&costs))]);
    render(&[Left("KERNEL MEMORY"), Right("ENTRIES"), Right("ABOUT")], &rows)
}

fn document(file: &Path, config: &Config, notes: &[String], cpus: u32) -> Value {
    let listeners: Vec<Value> = config
        .listeners
        .iter()
        .map(|listener| {
            json!({
                "name": listener.name,
                "protocol": convert::protocol(listener.protocol),
                "address": listener.address,
                "pool": pool_name(config, listener.pool),
                "persistence": listener.persistence.as_ref().map(wire::Persistence::from),
            })
        })
        .chain(http::listener_documents(config))
        .collect();
    let pools: Vec<Value> = config.pools.iter().map(pool_document).collect();
    let costs = limits::costs(&config.limits, Model::new(config).features(), cpus);
    let memory: Vec<Value> = costs
        .iter()
        .map(|cost| json!({ "map": cost.map, "entries": cost.entries, "bytes": cost.bytes }))
        .collect();
    json!({
        "ok": true,
        "config": file,
        "interfaces": config.agent.interfaces,
        "xdp_mode": xdp_mode(config.agent.xdp_mode),
        "admin": config.agent.admin,
        "manage_addresses": config.agent.manage_addresses,
        "sidecar": http::sidecar_document(config),
        "listeners": listeners,
        "pools": pools,
        "limits": {
            "pins": config.limits.pins,
            "flows": config.limits.flows,
            "listeners": config.limits.listeners,
            "backends": config.limits.backends,
            "pools": config.limits.pools,
            "maglev_slots": config.limits.maglev_slots,
        },
        "notes": notes,
        "memory": memory,
        "memory_bytes": limits::total(&costs),
    })
}

fn pool_document(pool: &Pool) -> Value {
    let backends: Vec<Value> = pool
        .backends
        .iter()
        .map(|backend| {
            json!({
                "name": backend.name,
                "address": convert::backend_address(backend.address, backend.port),
                "weight": backend.weight,
            })
        })
        .collect();
    let words = wire::Pool::from(pool);
    json!({
        "name": words.name,
        "forward": words.forward,
        "tunnel": words.tunnel,
        "on_down": on_down(pool.on_down),
        "scheduler": words.scheduler,
        "slow_start_ms": words.slow_start_ms,
        "nat_sources": words.nat_sources,
        "health": pool.health.as_ref().map(health),
        "http": http::pool_document(&pool.http),
        "backends": backends,
    })
}

fn pool_name(config: &Config, index: usize) -> String {
    config.pools.get(index).map(|pool| pool.name.clone()).unwrap_or_default()
}

const fn on_down(on_down: OnDown) -> &'static str {
    match on_down {
        OnDown::Reset => "reset",
        OnDown::Keep => "keep",
    }
}

const fn xdp_mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

/// `http / on port 80 every 2s, down after 3, up after 2`.
fn health(health: &Health) -> String {
    let probe = match &health.probe {
        Probe::Tcp => "tcp".to_owned(),
        Probe::Http { path, .. } => format!("http {path}"),
    };
    let port = health.port.map_or_else(String::new, |port| format!(" on port {port}"));
    let time = |time: Duration| humantime::format_duration(time);
    format!(
        "{probe}{port} every {} within {}, down after {}, up after {}",
        time(health.interval),
        time(health.timeout),
        health.fall,
        health.rise
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{sample_config, sample_http_config};

    /// Exit status, output and errors of `accepted`.
    fn print(json: bool, notes: &[String]) -> (String, String, String) {
        print_of(&sample_config(), json, notes)
    }

    fn print_of(config: &Config, json: bool, notes: &[String]) -> (String, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let file = Path::new("holdfast.toml");
        let code = accepted(file, config, notes, 2, json, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (format!("{code:?}"), text(out), text(err))
    }

    #[test]
    fn a_page() {
        let golden = include_str!("../golden/check.txt");
        let (code, got, err) = print(false, &[]);
        assert_eq!((code, err), (format!("{:?}", ExitCode::SUCCESS), String::new()));
        assert_eq!(got, golden, "\n{got}");
        let (_, got, _) = print(false, &["few are left".to_owned(), "so it is".to_owned()]);
        assert_eq!(got, format!("{golden}\nnote: few are left\n\nnote: so it is\n"));
    }

    #[test]
    fn the_same_in_json() {
        let (_, out, _) = print(true, &["few are left".to_owned()]);
        let got: Value = serde_json::from_str(&out).expect("JSON");
        let check = |pointer: &str, want: Value| {
            assert_eq!(got.pointer(pointer), Some(&want), "{pointer}");
        };
        check("/ok", json!(true));
        check("/listeners/0/persistence/timeout_s", json!(1_800));
        check("/listeners/1/persistence", Value::Null);
        check("/listeners/1/pool", json!("dns"));
        check("/pools/0/backends/0/address", json!("10.0.0.11:8080"));
        check("/pools/1/forward", json!("dsr"));
        check("/limits/maglev_slots", json!(65_537));
        check("/notes", json!(["few are left"]));
        check("/memory/0", json!({ "map": "PINS", "entries": 1_000_000, "bytes": 112_777_216 }));
        let config = sample_config();
        let costs = limits::costs(&config.limits, Model::new(&config).features(), 2);
        check("/memory_bytes", json!(limits::total(&costs)));
    }

    #[test]
    fn layer_7_has_tables_of_its_own() {
        let golden = include_str!("../golden/check_http.txt");
        let (_, got, _) = print_of(&sample_http_config(), false, &[]);
        let (got, _memory) = got.split_once("KERNEL MEMORY").expect("as without layer 7");
        assert_eq!(got, golden, "\n{got}");
    }

    #[test]
    fn layer_7_in_json() {
        let (_, out, _) = print_of(&sample_http_config(), true, &[]);
        let got: Value = serde_json::from_str(&out).expect("JSON");
        let check = |pointer: &str, want: Value| {
            assert_eq!(got.pointer(pointer), Some(&want), "{pointer}");
        };
        check("/listeners/1/name", json!("dns"));
        check("/listeners/2/protocol", json!("https"));
        check("/listeners/2/tls/0/key", json!("/etc/shop.key"));
        check("/listeners/2/pool", json!("web"));
        check("/listeners/2/persistence/mode", json!("cookie-insert"));
        check("/listeners/2/persistence/timeout_s", json!(3_600));
        check("/listeners/2/persistence/same_site", json!("lax"));
        check("/listeners/2/rules/0/host", json!("api.shop.example"));
        check("/listeners/2/rules/0/persistence/cookie", json!("JSESSIONID"));
        check("/listeners/2/rules/1/host", Value::Null);
        check("/listeners/2/rules/1/persistence/mode", json!("source-ip"));
        check("/listeners/2/rules/2/persistence", Value::Null);
        assert_eq!(got.pointer("/listeners/2/rules/3"), None);
        check("/listeners/3/https_redirect", json!(443));
        check("/listeners/3/pool", Value::Null);
        check("/pools/0/http/tls/name", json!("shop.internal"));
        check("/pools/0/http/queue_timeout_ms", json!(5_000));
        check("/sidecar/access_log/format", json!("combined"));
        check("/sidecar/trusted_proxies", json!(["10.0.0.0/8"]));
    }

    #[test]
    fn a_refused_file() {
        let errors = ["holdfast.toml:3: a\n  | ^".to_owned(), "holdfast.toml:9: b".to_owned()];
        let file = Path::new("holdfast.toml");
        let check = |json: bool, want_out: &str, want_err: &str| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = refused(file, NOT_IN_ORDER, &errors, json, &mut out, &mut err);
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(WRONG)));
            assert_eq!(String::from_utf8_lossy(&out), want_out);
            assert_eq!(String::from_utf8_lossy(&err), want_err);
        };
        check(
            false,
            "",
            "error: holdfast.toml is not in order\n  holdfast.toml:3: a\n    | ^\n  \
             holdfast.toml:9: b\n",
        );
        let document = json!({ "ok": false, "config": "holdfast.toml", "errors": errors });
        check(true, &format!("{document:#}\n"), "");
    }
}
