//! What a worker serves by: a view, and the worker's own connections and counts that go with it.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::tally::{BackendTally, ListenerTally};
use crate::l7::{
    messages::Totals,
    pick::RoundRobin,
    timers::Timers,
    upstream::{Upstream, retry::Budget},
    view::{Backend, Pool, View},
};

/// A view with what one worker has for it.
pub(super) struct State {
    pub(super) view: Arc<View>,
    /// By the places of backends.
    pub(super) upstreams: Vec<Rc<Upstream>>,
    /// Likewise.
    pub(super) backends: Vec<Rc<BackendTally>>,
    /// By the index of the listener.
    pub(super) listeners: Vec<Rc<ListenerTally>>,
    /// By the index of the pool.
    pub(super) pools: Vec<PoolState>,
    /// Counts of what the view does not have any more.
    gone: Totals,
}

/// What a worker keeps of a pool.
pub(super) struct PoolState {
    pub(super) turns: RefCell<RoundRobin>,
    pub(super) budget: Budget,
}

impl State {
    /// For a view, taking over what still fits of the one before.
    pub(super) fn new(
        view: &Arc<View>,
        before: Option<&Self>,
        number: u16,
        workers: u16,
        timers: &Rc<Timers>,
    ) -> Self {
        let old: HashMap<&str, (&Pool, &Backend)> = before
            .iter()
            .flat_map(|state| state.view.backends())
            .map(|(pool, one)| (&*one.name, (pool, one)))
            .collect();
        let upstreams = view.backends().map(|(pool, one)| {
            let same = old.get(&*one.name).filter(|(old_pool, old)| {
                (old.address, old.port) == (one.address, one.port)
                    && old_pool.http == pool.http
                    && old_pool.authorities == pool.authorities
            });
            if let (Some(before), Some((_, old))) = (before, same) {
                Rc::clone(&before.upstreams[old.place])
            } else {
                let (tls, workers) = (pool.tls.as_ref(), workers.into());
                Upstream::new(one.address, one.port, &pool.http, tls, workers, timers)
            }
        });
        let backends = view.backends().map(|(_, one)| match (before, old.get(&*one.name)) {
            (Some(before), Some((_, old))) => Rc::clone(&before.backends[old.place]),
            _ => Rc::default(),
        });
        let listeners = view.listeners.iter().map(|one| {
            let old = before.and_then(|state| {
                let index = state.view.listeners.iter().position(|old| old.name == one.name)?;
                Some(Rc::clone(&state.listeners[index]))
            });
            old.unwrap_or_default()
        });
        let pools = view.pools.iter().map(|pool| {
            // Workers begin at different backends, so that few sessions are spread well too.
            let mut turns = RoundRobin::default();
            for _ in 0..number {
                let _turn = turns.next(pool.candidates(&[], |_| 0));
            }
            let budget = Budget::new(pool.http.retry_percent);
            PoolState { turns: RefCell::new(turns), budget }
        });
        let mut state = Self {
            upstreams: upstreams.collect(),
            backends: backends.collect(),
            listeners: listeners.collect(),
            pools: pools.collect(),
            gone: Totals::default(),
            view: Arc::clone(view),
        };
        state.gone = before.map(|before| before.left_behind(&state)).unwrap_or_default();
        state
    }

    /// Counts of what `next` does not have.
    fn left_behind(&self, next: &Self) -> Totals {
        let mut gone = self.totals();
        for listener in &next.view.listeners {
            gone.listeners.remove(&listener.name);
        }
        for (_, backend) in next.view.backends() {
            gone.backends.remove(&*backend.name);
        }
        gone
    }

    /// Closes connections to backends that were idle for long.
    pub(super) fn tidy(&self) {
        for upstream in &self.upstreams {
            upstream.tidy();
        }
    }

    /// All that was counted.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.gone.clone();
        for (listener, tally) in self.view.listeners.iter().zip(&self.listeners) {
            let _none = totals.listeners.insert(listener.name.clone(), tally.counts());
        }
        for (_, backend) in self.view.backends() {
            let mut counts = self.backends[backend.place].counts();
            counts.active = self.upstreams[backend.place].active().into();
            let _none = totals.backends.insert(backend.name.to_string(), counts);
        }
        totals
    }
}
