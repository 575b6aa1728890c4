//! `[agent]` and `[limits]`.
//!
//! Owns their keys, ranges and defaults. Never looks at pools or listeners.

use std::{path::PathBuf, time::Duration};

use super::{
    Agent, FlowTimeouts, Limits, XdpMode,
    error::{Read, Reported},
    raw::{Table, Value},
    value::Times,
};

/// What an interface's name may be, as the kernel's `dev_valid_name` has it.
const INTERFACE: &str = "a name of 1 to 15 bytes without space, / or :";
/// `sockaddr_un` holds 108 bytes with the closing zero.
const LONGEST_SOCKET_PATH: usize = 107;
/// Names of maps and links are appended; all of it stays below `PATH_MAX`.
const LONGEST_PATH: usize = 3840;

/// Reads `[agent]`, which the file must have.
pub(super) fn agent(root: &mut Table<'_>) -> Read<Agent> {
    let Some(value) = root.value("agent") else {
        return Err(root.missing("agent", "a table [agent] with interfaces = [\"eth0\"]"));
    };
    value.table()?.scan(|table| {
        table.elsewhere(&["http"], "not in this version");
        let names = "a list of interface names, such as [\"eth0\"]";
        let found_interfaces = table.required("interfaces", names, interfaces);
        let modes =
            [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
        let xdp_mode = table.or("xdp_mode", XdpMode::Auto, |value| value.choice(&modes));
        let mut path = |key, default: &str, longest| {
            table.or(key, PathBuf::from(default), |value| value.path(longest))
        };
        let admin = path("admin", "/run/holdfast/admin.sock", LONGEST_SOCKET_PATH);
        let bpffs = path("bpffs", "/sys/fs/bpf/holdfast", LONGEST_PATH);
        let state = path("state", "/var/lib/holdfast", LONGEST_PATH);
        let manage_addresses = table.or("manage_addresses", true, Value::flag);
        let echo = table.or("echo", true, Value::flag);
        let packet_events = table.or("packet_events", false, Value::flag);
        let flow_timeouts = table.or("flow_timeouts", FlowTimeouts::default(), flow_timeouts);
        Ok(Agent {
            interfaces: found_interfaces?.value,
            xdp_mode: xdp_mode?,
            admin: admin?,
            bpffs: bpffs?,
            state: state?,
            manage_addresses: manage_addresses?,
            echo: echo?,
            packet_events: packet_events?,
            flow_timeouts: flow_timeouts?,
        })
    })
}

fn interfaces(value: &Value<'_>) -> Read<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut failed: Option<Reported> = None;
    let items = value.items("an array of interface names")?;
    if items.is_empty() {
        return Err(value.refuse("empty", "at least one interface"));
    }
    for item in items {
        match interface(&item, &names) {
            Ok(name) => names.push(name),
            Err(reported) => failed = Some(reported),
        }
    }
    failed.map_or(Ok(names), Err)
}

fn interface(value: &Value<'_>, before: &[String]) -> Read<String> {
    let name = value.text("an interface name")?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if !(1..=15).contains(&name.len()) || matches!(name, "." | "..") || name.contains(bad) {
        return Err(value.refuse("not an interface name", INTERFACE));
    }
    if before.iter().any(|other| other == name) {
        return Err(value.refuse("named twice", "each interface once"));
    }
    Ok(name.to_owned())
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_mins(2 * 60 + 4),
            tcp_transitory: Duration::from_mins(4),
            tcp_time_wait: Duration::from_mins(1),
            udp: Duration::from_mins(5),
        }
    }
}

fn flow_timeouts(value: &Value<'_>) -> Read<FlowTimeouts> {
    let times = Times::between(Duration::from_secs(1), Duration::from_hours(7 * 24));
    let default = FlowTimeouts::default();
    value.table()?.scan(|table| {
        let mut time = |key, default| table.or(key, default, |value| value.time(&times));
        let tcp_established = time("tcp_established", default.tcp_established);
        let tcp_transitory = time("tcp_transitory", default.tcp_transitory);
        let tcp_time_wait = time("tcp_time_wait", default.tcp_time_wait);
        let udp = time("udp", default.udp);
        Ok(FlowTimeouts {
            tcp_established: tcp_established?,
            tcp_transitory: tcp_transitory?,
            tcp_time_wait: tcp_time_wait?,
            udp: udp?,
        })
    })
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pins: 1_000_000,
            flows: 1_000_000,
            listeners: 512,
            backends: 4096,
            pools: 64,
            maglev_slots: 65_537,
        }
    }
}

/// Reads `[limits]`.
pub(super) fn limits(root: &mut Table<'_>) -> Read<Limits> {
    root.or("limits", Limits::default(), |value| value.table()?.scan(limits_table))
}

fn limits_table(table: &mut Table<'_>) -> Read<Limits> {
    let default = Limits::default();
    let mut number = |key, default, range| table.or(key, default, |value| value.number(range));
    let pins = number("pins", default.pins, 1024..=100_000_000);
    let flows = number("flows", default.flows, 1024..=32_000_000);
    let listeners = number("listeners", default.listeners, 1..=32_767);
    let backends = number("backends", default.backends, 1..=65_535);
    let pools = number("pools", default.pools, 1..=4096);
    let maglev_slots = table.or("maglev_slots", default.maglev_slots, |value| {
        let slots = value.number(MIN_SLOTS..=MAX_SLOTS)?;
        if is_prime(slots) {
            return Ok(slots);
        }
        let prime = next_prime(slots);
        Err(value.refuse(
            "not a prime",
            format!("a prime from {MIN_SLOTS} to {MAX_SLOTS}; the next one is {prime}"),
        ))
    });
    Ok(Limits {
        pins: pins?,
        flows: flows?,
        listeners: listeners?,
        backends: backends?,
        pools: pools?,
        maglev_slots: maglev_slots?,
    })
}

const MIN_SLOTS: u32 = 251;
pub(super) const MAX_SLOTS: u32 = 5_000_011;

/// The smallest prime that is not below `number`, up to the largest table size.
pub(super) fn next_prime(number: u32) -> u32 {
    (number..MAX_SLOTS).find(|&candidate| is_prime(candidate)).unwrap_or(MAX_SLOTS)
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::{MAX_SLOTS, MIN_SLOTS, is_prime, next_prime};

    #[test]
    fn primes() {
        let below_30: Vec<u32> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(below_30, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(MIN_SLOTS) && is_prime(MAX_SLOTS) && is_prime(65_537));
        assert_eq!(next_prime(65_536), 65_537);
        assert_eq!(next_prime(MAX_SLOTS), MAX_SLOTS);
    }
}
