//! Stage 5: the Maglev table.

use core::num::NonZeroU32;

use lb_common::{
    event::Event,
    hash::Seed,
    layout::{BackendRef, FlowKey, Vip},
    select,
};

use crate::maps::{BACKENDS, POOLS, SEED, SLOTS, TABLES};

/// The seed of every choice.
#[inline(always)]
pub(crate) fn seed() -> Seed {
    Seed(SEED.load())
}

/// The backend that the table gives to the flow's client, or to the flow where the VIP keeps no
/// pins.
#[inline(always)]
pub(crate) fn by_hash(packet: &FlowKey, vip: &Vip) -> Result<BackendRef, Event> {
    let hash = if vip.scope == 0 {
        select::flow_hash(seed(), packet)
    } else {
        select::client_hash(seed(), packet.source.masked(vip.client_mask))
    };
    let slots = NonZeroU32::new(SLOTS.load()).ok_or(Event::DropInternal)?;
    let pool = POOLS.get(vip.pool).ok_or(Event::DropNoBackend)?;
    if pool.table == 0 {
        return Err(Event::DropNoBackend);
    }
    let (word, shift) = select::position(pool.table, select::slot(hash, slots), slots.get());
    let word = TABLES.get(word).ok_or(Event::DropNoBackend)?;
    let id = select::backend_at(*word, shift);
    if id == 0 {
        return Err(Event::DropNoBackend);
    }
    let backend = BACKENDS.get(id).ok_or(Event::DropNoBackend)?;
    Ok(BackendRef::new(id, backend.generation))
}
