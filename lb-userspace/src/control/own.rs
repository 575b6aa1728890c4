//! What packets without ports are told of a listener's address. Pure.

use std::collections::BTreeMap;

use lb_common::{
    address::Address,
    layout::{Forward, OWN_ECHO, OWN_SIDECAR, Own, Protocol, Scheduler, Vip, VipKey},
};

use super::plan::Wanted;

/// Of every address that has a listener. `echo`: echo requests are answered.
pub(super) fn of_listeners(echo: bool, wanted: &Wanted) -> BTreeMap<Address, Own> {
    let mut all = BTreeMap::<Address, Own>::new();
    for (key, vip) in &wanted.vips {
        let own = all.entry(key.address).or_insert_with(|| Own {
            tcp_port_be: port_be(wanted, key.address, Protocol::Tcp),
            udp_port_be: port_be(wanted, key.address, Protocol::Udp),
            flags: if echo { OWN_ECHO } else { 0 },
            pad: 0,
        });
        own.flags |= if vip.is_sidecars() { OWN_SIDECAR } else { Own::flag(key.protocol) };
    }
    all
}

/// The port of a listener, network byte order, if all of that protocol at the address send a
/// client to the same backend whatever the port, and untranslated; else 0.
fn port_be(wanted: &Wanted, address: Address, protocol: Protocol) -> u16 {
    let from = VipKey { address, port_be: 0, protocol: 0, pad: 0 };
    let here = wanted.vips.range(from..).take_while(|(key, _)| key.address == address);
    let mut listeners = here.filter(|(key, _)| key.protocol == protocol.code());
    let Some((first, vip)) = listeners.next() else { return 0 };
    // Translated, or not chosen alike a second time.
    let by_flow = wanted.pools.get(&vip.pool).is_none_or(|pool| {
        pool.forward == Forward::Nat || pool.recipe.scheduler != Scheduler::Maglev
    });
    let choice = |vip: &Vip| (vip.scope, vip.pool, vip.client_mask);
    let alike = listeners.all(|(_, other)| choice(other) == choice(vip));
    if alike && vip.scope != 0 && !by_flow { first.port_be } else { 0 }
}
