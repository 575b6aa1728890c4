//! `[flood]`.

use super::{Flood, error::Read, raw::Table};

impl Default for Flood {
    fn default() -> Self {
        Self {
            flows_per_second: 100_000,
            network_flows_per_second: 5_000,
            network_v4: 24,
            network_v6: 56,
        }
    }
}

/// Reads `[flood]`.
pub(super) fn flood(root: &mut Table<'_>) -> Read<Flood> {
    root.or("flood", Flood::default(), |value| value.table()?.scan(table))
}

fn table(table: &mut Table<'_>) -> Read<Flood> {
    const MOST: u32 = 10_000_000;
    let default = Flood::default();
    let mut rate = |key, default| table.or(key, default, |value| value.number(1..=MOST));
    let flows_per_second = rate("flows_per_second", default.flows_per_second);
    let network_flows_per_second =
        rate("network_flows_per_second", default.network_flows_per_second);
    let mut bits = |key, default, most| table.or(key, default, |value| value.number(1..=most));
    let network_v4 = bits("network_v4", default.network_v4, 32);
    let network_v6 = bits("network_v6", default.network_v6, 128);
    Ok(Flood {
        flows_per_second: flows_per_second?,
        network_flows_per_second: network_flows_per_second?,
        network_v4: network_v4?,
        network_v6: network_v6?,
    })
}
