//! The sweeper: reclaims pins, flows and replies that no packet honours any more, and counts the
//! others.
//!
//! Owns what may be deleted, and the mark that makes it safe (P7). Expiry itself is judged by
//! the packet that meets an entry; nothing here shortens or lengthens a life.
//!
//! A sweep goes so:
//!
//! 1. The mark is set, 5 s before the present. From now on packets leave alone what is invalid
//!    and was last seen before the mark; what is valid they refresh as ever.
//! 2. A grace period: packets that did not see the mark have been dealt with.
//! 3. Entries are read in batches. One is deleted if it was last seen before the mark and was
//!    invalid *when the mark was set*. A packet after that has a later clock, so it finds the
//!    entry invalid too, and leaves it alone: nothing can come to life between reading and
//!    deleting. The one thing that could revive a pin is a longer timeout (P10); so a change of
//!    VIPs or settings aborts the sweep first.
//! 4. The mark is cleared.
//!
//! Invalid for good are: a pin that is out of time, whose scope no VIP has, or whose backend is
//! in a later life; a flow that is out of time; a reply whose port could be taken over. A pin of
//! a backend that is only evacuating stays: it holds again when the operator calls it back. A
//! flow in time whose backend is gone stays too: its next packet is to be answered with a reset,
//! and a SYN on it takes its entry over in place, mark or no mark.

use std::collections::BTreeMap;

use lb_common::{
    event::Event,
    flow::{self, REUSE_MARGIN_NS},
    layout::{BackendRef, BackendState, Flow, FlowKey, Pin, PinKey, Reclaim, Reply, Settings},
};

use super::scopes::Scopes;
use crate::{
    control::snapshot::Snapshot,
    maps::{Cursor, LbMaps, MapError},
};

/// What was seen less than this ago is never deleted, nanoseconds.
pub const QUIET_NS: u64 = 5_000_000_000;

/// A number of pins, of flows and of replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of `PINS`.
    pub pins: u64,
    /// Entries of `FLOWS`.
    pub flows: u64,
    /// Entries of `REPLIES`.
    pub replies: u64,
}

/// What a whole sweep found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When it began; monotonic clock, nanoseconds.
    pub began_ns: u64,
    /// What it deleted.
    pub removed: Counts,
    /// What it left in the maps.
    pub held: Counts,
    /// What full maps have evicted since the instance was made.
    pub evicted: Counts,
    /// Pins in time that name a backend's present life, by backend.
    pub pins_of: BTreeMap<u32, u64>,
    /// Flows in time of a life that is still served, by backend.
    pub flows_of: BTreeMap<u32, u64>,
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    rules: Rules,
    listeners: Vec<u32>,
    stage: Stage,
    cursor: Cursor,
    made: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pins,
    Flows,
    Replies,
}

impl Sweep {
    /// Sets the mark and waits for packets under way. `settings` are those in the map.
    pub fn begin(
        maps: &mut impl LbMaps,
        there: &Snapshot,
        settings: Settings,
    ) -> Result<Self, MapError> {
        let now_ns = maps.now_ns();
        let rules = Rules::new(there, settings, now_ns);
        maps.set_reclaim(&Reclaim { before_ns: rules.before_ns, ..maps.reclaim()? })?;
        if let Err(error) = maps.grace_period() {
            abort(maps)?;
            return Err(error);
        }
        let rows = there.vips.values().map(|vip| vip.listener);
        let mut sweep = Self {
            rules,
            listeners: std::iter::once(0).chain(rows).collect(),
            stage: Stage::Pins,
            cursor: Cursor::default(),
            made: 0,
            outcome: Outcome { began_ns: now_ns, ..Outcome::default() },
        };
        sweep.enter(maps, Stage::Pins)?;
        Ok(sweep)
    }

    /// Deals with the next batch; true: that was the last, and the mark is cleared. After an
    /// error the sweep is to be dropped after [`abort`].
    pub fn step(&mut self, maps: &mut impl LbMaps) -> Result<bool, MapError> {
        match self.stage {
            Stage::Pins => self.pins(maps)?,
            Stage::Flows => self.flows(maps)?,
            Stage::Replies => self.replies(maps)?,
        }
        if !self.cursor.done {
            return Ok(false);
        }
        self.leave(maps)?;
        match self.stage {
            Stage::Pins => self.enter(maps, Stage::Flows)?,
            Stage::Flows => self.enter(maps, Stage::Replies)?,
            Stage::Replies => {
                abort(maps)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What has been found and done; complete after the last step.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.outcome
    }

    fn enter(&mut self, maps: &impl LbMaps, stage: Stage) -> Result<(), MapError> {
        self.stage = stage;
        self.cursor = Cursor::default();
        let event = match stage {
            Stage::Pins => Event::PinMade,
            Stage::Flows => Event::FlowMade,
            Stage::Replies => Event::ReplyMade,
        };
        // Summed up before the scan: what is made meanwhile may be seen but not be counted, so
        // evictions are never made up.
        self.made = 0;
        for row in &self.listeners {
            self.made += maps.listener_counters(*row)?.events[event as usize];
        }
        Ok(())
    }

    fn leave(&mut self, maps: &impl LbMaps) -> Result<(), MapError> {
        let totals = maps.reclaim()?;
        let (removed, held, evicted) = match self.stage {
            Stage::Pins => {
                (totals.pins_removed, self.outcome.held.pins, &mut self.outcome.evicted.pins)
            }
            Stage::Flows => {
                (totals.flows_removed, self.outcome.held.flows, &mut self.outcome.evicted.flows)
            }
            Stage::Replies => (
                totals.replies_removed,
                self.outcome.held.replies,
                &mut self.outcome.evicted.replies,
            ),
        };
        *evicted = evictions(self.made, removed, held);
        Ok(())
    }

    fn pins(&mut self, maps: &mut impl LbMaps) -> Result<(), MapError> {
        let batch = maps.scan_pins(&mut self.cursor)?;
        let mut dead: Vec<PinKey> = Vec::new();
        for (key, pin) in &batch {
            if self.rules.pin_is_dead(key, pin) {
                dead.push(*key);
                continue;
            }
            self.outcome.held.pins += 1;
            if self.rules.pin_holds(key, pin) {
                *self.outcome.pins_of.entry(pin.backend.id()).or_default() += 1;
            }
        }
        self.outcome.removed.pins += remove_pins(maps, &dead)?;
        Ok(())
    }

    fn flows(&mut self, maps: &mut impl LbMaps) -> Result<(), MapError> {
        let batch = maps.scan_flows(&mut self.cursor)?;
        let mut dead: Vec<FlowKey> = Vec::new();
        for (key, flow) in &batch {
            if self.rules.flow_is_dead(flow) {
                dead.push(*key);
                continue;
            }
            self.outcome.held.flows += 1;
            if self.rules.flow_runs(flow) {
                *self.outcome.flows_of.entry(flow.backend.id()).or_default() += 1;
            }
        }
        if !dead.is_empty() {
            let removed = maps.remove_flows(&dead)?;
            let totals = maps.reclaim()?;
            let flows_removed = totals.flows_removed.wrapping_add(removed);
            maps.set_reclaim(&Reclaim { flows_removed, ..totals })?;
            self.outcome.removed.flows += removed;
        }
        Ok(())
    }

    fn replies(&mut self, maps: &mut impl LbMaps) -> Result<(), MapError> {
        let batch = maps.scan_replies(&mut self.cursor)?;
        let dead: Vec<FlowKey> = batch
            .iter()
            .filter(|(_, reply)| self.rules.reply_is_dead(reply))
            .map(|(key, _)| *key)
            .collect();
        self.outcome.held.replies += (batch.len() - dead.len()) as u64;
        if !dead.is_empty() {
            let removed = maps.remove_replies(&dead)?;
            let totals = maps.reclaim()?;
            let replies_removed = totals.replies_removed.wrapping_add(removed);
            maps.set_reclaim(&Reclaim { replies_removed, ..totals })?;
            self.outcome.removed.replies += removed;
        }
        Ok(())
    }
}

/// Clears the mark: nothing is deleted from here on.
pub fn abort(maps: &mut impl LbMaps) -> Result<(), MapError> {
    let totals = maps.reclaim()?;
    if totals.before_ns == 0 {
        return Ok(());
    }
    maps.set_reclaim(&Reclaim { before_ns: 0, ..totals })
}

/// Deletes pins and counts them as removed; how many were there.
pub fn remove_pins(maps: &mut impl LbMaps, keys: &[PinKey]) -> Result<u64, MapError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let removed = maps.remove_pins(keys)?;
    let totals = maps.reclaim()?;
    let pins_removed = totals.pins_removed.wrapping_add(removed);
    maps.set_reclaim(&Reclaim { pins_removed, ..totals })?;
    Ok(removed)
}

/// `made - removed - held`, where `removed` may stand for a number below zero; 0 at least.
fn evictions(made: u64, removed: u64, held: u64) -> u64 {
    let left = made.wrapping_sub(removed).wrapping_sub(held);
    if left > u64::MAX / 2 { 0 } else { left }
}

/// A backend's lives, as far as they concern what names one.
#[derive(Debug, Clone, Copy, Default)]
struct Lives {
    used: bool,
    generation: u32,
    flows_since: u32,
}

/// What is dead, at the moment that the mark was set.
#[derive(Debug)]
struct Rules {
    now_ns: u64,
    before_ns: u64,
    settings: Settings,
    scopes: Scopes,
    lives: Vec<Lives>,
}

impl Rules {
    fn new(there: &Snapshot, settings: Settings, now_ns: u64) -> Self {
        let rows = there.backends.keys().last().map_or(0, |last| *last as usize + 1);
        let mut lives = vec![Lives::default(); rows];
        for (id, backend) in &there.backends {
            lives[*id as usize] = Lives {
                used: backend.state != BackendState::Unset.code(),
                generation: backend.generation,
                flows_since: backend.flows_since,
            };
        }
        Self {
            now_ns,
            before_ns: now_ns.saturating_sub(QUIET_NS),
            settings,
            scopes: Scopes::new(there),
            lives,
        }
    }

    fn lives(&self, backend: BackendRef) -> Lives {
        self.lives.get(backend.id() as usize).copied().unwrap_or_default()
    }

    fn pin_is_dead(&self, key: &PinKey, pin: &Pin) -> bool {
        if pin.last_seen_ns >= self.before_ns {
            return false;
        }
        let lives = self.lives(pin.backend);
        !lives.used
            || pin.backend.generation() < lives.generation
            || self.scopes.get(key.scope).is_none_or(|scope| !scope.in_time(pin, self.now_ns))
    }

    fn pin_holds(&self, key: &PinKey, pin: &Pin) -> bool {
        pin.backend.generation() == self.lives(pin.backend).generation
            && self.scopes.get(key.scope).is_some_and(|scope| scope.in_time(pin, self.now_ns))
    }

    fn flow_is_dead(&self, flow: &Flow) -> bool {
        flow.last_seen_ns < self.before_ns
            && !flow::in_time(flow.state, flow.last_seen_ns, &self.settings, self.now_ns)
    }

    fn flow_runs(&self, flow: &Flow) -> bool {
        let lives = self.lives(flow.backend);
        lives.used
            && (lives.flows_since..=lives.generation).contains(&flow.backend.generation())
            && flow::in_time(flow.state, flow.last_seen_ns, &self.settings, self.now_ns)
    }

    /// As [`lb_common::nat::claim`] says when a port may be taken over.
    fn reply_is_dead(&self, reply: &Reply) -> bool {
        let idle = self.now_ns.saturating_sub(reply.last_seen_ns);
        let over = flow::idle_ns(reply.state, &self.settings).saturating_add(REUSE_MARGIN_NS);
        reply.last_seen_ns < self.before_ns && idle >= over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_are_never_made_up() {
        assert_eq!(evictions(10, 3, 5), 2);
        assert_eq!(evictions(10, 3, 7), 0);
        assert_eq!(evictions(10, 3, 9), 0, "more seen than counted");
        let retired = 0_u64.wrapping_sub(100);
        assert_eq!(evictions(5, retired, 103), 2, "a listener that made 100 is gone");
    }
}
