//! Stage 5: the pool's scheduler, and the table that it reads.

use core::num::NonZeroU32;

use lb_common::{
    event::Event,
    hash::Seed,
    layout::{BackendRef, Scheduler, Vip},
    select,
};

use crate::{
    atomic,
    maps::{BACKENDS, POOLS, SEED, SLOTS, TABLES, TURNS},
    running,
    work::work,
};

/// The seed of every choice.
#[inline(always)]
pub(crate) fn seed() -> Seed {
    Seed(SEED.load())
}

/// Chooses a backend, into [`Work::backend`]; what to count is in the answer. Only the hash gives a
/// packet the backend that it gave to another one of its flow: where the pool goes by something
/// else, who does not begin a flow gets [`Event::DropNoFlow`].
#[inline(never)]
pub(crate) fn choose(vip: &Vip, begins: bool) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let pool = POOLS.get(vip.pool).ok_or(Event::DropNoBackend)?;
    if pool.table == 0 {
        return Err(Event::DropNoBackend);
    }
    let slots = NonZeroU32::new(SLOTS.load()).ok_or(Event::DropInternal)?;
    let table = pool.table;
    let entry = |number: u64| {
        let (at, shift) = select::position(table, select::slot(number, slots), slots.get());
        Some(select::backend_at(*TABLES.get(at)?, shift))
    };
    let scheduler = Scheduler::from_code(pool.scheduler).ok_or(Event::DropInternal)?;
    let (id, event) = match scheduler {
        Scheduler::Maglev if vip.scope == 0 => {
            (entry(select::flow_hash(seed(), &work.packet.key)), Event::FlowPlacedByHash)
        }
        Scheduler::Maglev => {
            let client = work.packet.key.source.masked(vip.client_mask);
            (entry(select::client_hash(seed(), client)), Event::FlowPlacedByHash)
        }
        _ if !begins => return Err(Event::DropNoFlow),
        Scheduler::RoundRobin => {
            let turn = TURNS.get_ptr_mut(vip.pool).ok_or(Event::DropInternal)?;
            (entry(atomic::next(turn)), Event::FlowScheduled)
        }
        Scheduler::LeastConnections => (running::better_of_two(entry), Event::FlowScheduled),
    };
    let id = id.filter(|id| *id != 0).ok_or(Event::DropNoBackend)?;
    let backend = BACKENDS.get(id).ok_or(Event::DropNoBackend)?;
    work.backend = BackendRef::new(id, backend.generation);
    Ok(event)
}
