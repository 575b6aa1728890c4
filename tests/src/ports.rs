//! Which ports of the balancer's translated flows try.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{
    layout::FlowKey,
    nat::{TRIES, port_be},
    select::flow_hash,
};

use crate::bench::SEED;

/// The ports that the flow from `client` to `vip` tries, in order.
#[must_use]
pub fn tries(client: SocketAddr, vip: SocketAddr, protocol: u8) -> Vec<u16> {
    let key = FlowKey {
        source: client.ip().into(),
        destination: vip.ip().into(),
        source_port_be: client.port().to_be(),
        destination_port_be: vip.port().to_be(),
        protocol,
        pad: [0; 3],
    };
    let hash = flow_hash(SEED, &key);
    (0..TRIES).map(|attempt| u16::from_be(port_be(hash, attempt))).collect()
}

/// Two ports of that client's whose flows try the same port first.
///
/// # Panics
///
/// When there are none.
#[must_use]
pub fn rivals(client: SocketAddr, vip: SocketAddr, protocol: u8) -> [u16; 2] {
    let mut first = BTreeMap::new();
    for port in 1..=u16::MAX {
        let from = SocketAddr::new(client.ip(), port);
        if let Some(other) = first.insert(tries(from, vip, protocol)[0], port) {
            return [other, port];
        }
    }
    panic!("no two flows try the same port first");
}
