//! `[pool.http]`.
//!
//! Owns its keys, ranges and defaults.

use std::{net::IpAddr, time::Duration};

use super::{
    super::{
        error::Read,
        raw::{Table, Value},
        value::Times,
    },
    BackendTls, HttpScheduler, HttpVersion, PoolHttp, ProxyVersion,
    sidecar::file,
};

impl Default for PoolHttp {
    fn default() -> Self {
        Self {
            version: HttpVersion::One,
            scheduler: HttpScheduler::RoundRobin,
            tls: None,
            send_proxy: None,
            connections: 1000,
            queue: 100,
            queue_timeout: Duration::from_secs(5),
            retry_percent: 20,
        }
    }
}

/// Reads `[pool.http]`.
pub(in crate::config) fn http(pool: &mut Table<'_>) -> Read<PoolHttp> {
    pool.or("http", PoolHttp::default(), |value| value.table()?.scan(table))
}

fn table(table: &mut Table<'_>) -> Read<PoolHttp> {
    let default = PoolHttp::default();
    let version = table.or("version", default.version, |value| value.choice(&HttpVersion::WORDS));
    let scheduler =
        table.or("scheduler", default.scheduler, |value| value.choice(&HttpScheduler::WORDS));
    let tls = table.optional("tls", tls);
    let send_proxy = table.optional("send_proxy", |value| {
        let version: u8 = value.number(1..=2)?;
        Ok(if version == 1 { ProxyVersion::V1 } else { ProxyVersion::V2 })
    });
    let connections =
        table.or("connections", default.connections, |value| value.number(1..=100_000));
    let queue = table.or("queue", default.queue, |value| value.number(0..=100_000));
    let waits = Times::between(Duration::from_millis(10), Duration::from_mins(1));
    let queue_timeout =
        table.or("queue_timeout", default.queue_timeout, |value| value.time(&waits));
    let retry_percent =
        table.or("retry_percent", default.retry_percent, |value| value.number(0..=100));
    Ok(PoolHttp {
        version: version?,
        scheduler: scheduler?,
        tls: tls?.map(|tls| tls.value),
        send_proxy: send_proxy?.map(|version| version.value),
        connections: connections?,
        queue: queue?,
        queue_timeout: queue_timeout?,
        retry_percent: retry_percent?,
    })
}

fn tls(value: &Value<'_>) -> Read<BackendTls> {
    value.table()?.scan(|table| {
        let verify = table.or("verify", true, Value::flag);
        let name = if verify.unwrap_or(false) {
            let allowed = "the name in the backends' certificates, or verify = false";
            table.required("name", allowed, server_name).map(Some)
        } else {
            table.optional("name", server_name)
        };
        let ca = match verify {
            Ok(false) => {
                table.elsewhere(&["ca"], "nothing is asked of certificates with verify = false");
                Ok(None)
            }
            Ok(true) | Err(_) => table.optional("ca", file),
        };
        Ok(BackendTls {
            name: name?.map(|name| name.value),
            ca: ca?.map(|ca| ca.value),
            verify: verify?,
        })
    })
}

/// What certificates are made out to.
fn server_name(value: &Value<'_>) -> Read<String> {
    match value.text("the name of a host")?.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => value.host_name(),
    }
}
