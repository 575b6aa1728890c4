//! The sweeper: reclaims pins and replies that no packet honours any more, and counts the others,
//! and the flows that are under way. A flow that is over needs nobody to reclaim it: its place is
//! any new flow's.
//!
//! Owns what may be deleted, and the mark that makes it safe (P7). Expiry itself is judged by
//! the packet that meets an entry; nothing here shortens or lengthens a life.
//!
//! A sweep goes so:
//!
//! 1. The mark is set, 5 s before the present. From now on packets leave alone what is invalid
//!    and was last seen before the mark; what is valid they refresh as ever.
//! 2. A grace period: packets that did not see the mark have been dealt with.
//! 3. The rules are written: backends' lives and scopes' times as they stood when the mark was
//!    set. By them programs in the kernel judge entry after entry ([`lb_common::sweep`]), delete
//!    and report. One is deleted if it was last seen before the mark and was invalid *when the
//!    mark was set*. A packet after that has a later clock, so it finds the entry invalid too,
//!    and leaves it alone: nothing can come to life between judging and deleting. The one thing
//!    that could revive a pin is a longer timeout (P10); so a change of VIPs or settings aborts
//!    the sweep first.
//! 4. The mark is cleared; the programs do nothing without it.

use std::collections::BTreeMap;

use lb_common::{
    event::Event,
    flow::{self, IdleTimes},
    layout::{BackendState, Flow, Lives, PinKey, Reclaim, Settings, SweepRules},
    sweep::{self, Verdict},
};

use super::scopes::Scopes;
use crate::{
    control::snapshot::Snapshot,
    maps::{Cursor, LbMaps, MapError, Swept},
};

/// What was seen less than this ago is never deleted, nanoseconds.
pub const QUIET_NS: u64 = 5_000_000_000;

/// A number of pins, of flows and of replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of `PINS`.
    pub pins: u64,
    /// Flows under way. None is ever removed.
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
    /// Open flows in time of a life that is still served, by backend.
    pub flows_of: BTreeMap<u32, u64>,
}

/// Which table a sweep is in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Swept(Swept),
    Flows(Cursor),
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    listeners: Vec<u32>,
    lives: BTreeMap<u32, Lives>,
    settings: Settings,
    stage: Stage,
    made: u64,
    removed: u64,
    /// Entries that stay, by the backend that they count for.
    held: Vec<u64>,
    outcome: Outcome,
}

impl Sweep {
    /// Sets the mark and waits for packets under way. `idle` is what packets go by.
    pub fn begin(
        maps: &mut impl LbMaps,
        there: &Snapshot,
        idle: &IdleTimes,
    ) -> Result<Self, MapError> {
        let settings = flow::settings(idle, maps.tick_ns());
        let now_ns = maps.now_ns();
        let before_ns = now_ns.saturating_sub(QUIET_NS);
        maps.set_reclaim(&Reclaim { before_ns, ..maps.reclaim()? })?;
        let rows = there.vips.values().map(|vip| vip.listener);
        let mut sweep = Self {
            listeners: std::iter::once(0).chain(rows).collect(),
            lives: lives(there),
            settings,
            stage: Stage::Swept(Swept::Pins),
            made: 0,
            removed: 0,
            held: Vec::new(),
            outcome: Outcome { began_ns: now_ns, ..Outcome::default() },
        };
        let rules = SweepRules { now_ns, before_ns, settings };
        let begun = maps
            .grace_period()
            .and_then(|()| set_rules(maps, there, &sweep.lives, &rules))
            .and_then(|()| sweep.enter(maps, Swept::Pins));
        if let Err(error) = begun {
            abort(maps)?;
            return Err(error);
        }
        Ok(sweep)
    }

    /// Deals with the next entries; true: those were the last, and the mark is cleared. After an
    /// error the sweep is to be dropped after [`abort`].
    pub fn step(&mut self, maps: &mut impl LbMaps) -> Result<bool, MapError> {
        let table = match &mut self.stage {
            Stage::Swept(table) => *table,
            Stage::Flows(cursor) => {
                let flows = maps.scan_flows(cursor)?;
                let done = cursor.done;
                self.count_flows(&flows, maps.now_ticks());
                if done {
                    self.outcome.evicted.flows =
                        maps.listener_counters(0)?.events[Event::FlowEvicted as usize];
                    self.enter(maps, Swept::Replies)?;
                }
                return Ok(false);
            }
        };
        let verdicts = maps.sweep()?;
        if !verdicts.is_empty() {
            self.count(maps, table, &verdicts)?;
            return Ok(false);
        }
        self.leave(maps, table)?;
        match table {
            Swept::Pins => {
                // Nothing of them is deleted, but what a flow keeps alive is seen after its pin.
                self.stage = Stage::Flows(Cursor::default());
                Ok(false)
            }
            Swept::Replies => {
                abort(maps)?;
                Ok(true)
            }
        }
    }

    fn count_flows(&mut self, flows: &[Flow], now: u32) {
        for flow in flows {
            let lives = self.lives.get(&flow.backend).copied().unwrap_or_default();
            match sweep::flow(&self.settings, flow, lives, now) {
                Verdict::Dead => continue,
                Verdict::Held(0) => {}
                Verdict::Held(backend) => {
                    *self.outcome.flows_of.entry(backend).or_default() += 1;
                }
            }
            self.outcome.held.flows += 1;
        }
    }

    /// What has been found and done; complete after the last step.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.outcome
    }

    fn enter(&mut self, maps: &mut impl LbMaps, table: Swept) -> Result<(), MapError> {
        self.stage = Stage::Swept(table);
        self.removed = 0;
        self.held.clear();
        let event = match table {
            Swept::Pins => Event::PinMade,
            Swept::Replies => Event::ReplyMade,
        };
        // Summed up before the scan: what is made meanwhile may be seen but not be counted, so
        // evictions are never made up.
        self.made = 0;
        for row in &self.listeners {
            self.made += maps.listener_counters(*row)?.events[event as usize];
        }
        maps.begin_sweep(table)
    }

    fn count(
        &mut self,
        maps: &mut impl LbMaps,
        table: Swept,
        verdicts: &[Verdict],
    ) -> Result<(), MapError> {
        let mut removed = 0;
        for verdict in verdicts {
            match verdict {
                Verdict::Dead => removed += 1,
                Verdict::Held(backend) => {
                    let backend = *backend as usize;
                    if backend >= self.held.len() {
                        self.held.resize(backend + 1, 0);
                    }
                    self.held[backend] += 1;
                }
            }
        }
        self.removed += removed;
        add_removed(maps, table, removed)
    }

    fn leave(&mut self, maps: &impl LbMaps, table: Swept) -> Result<(), MapError> {
        let totals = maps.reclaim()?;
        let held = self.held.iter().sum();
        let of = (1..).zip(self.held.iter().skip(1).copied()).filter(|(_, count)| *count != 0);
        let Outcome { removed, held: all_held, evicted, pins_of, .. } = &mut self.outcome;
        match table {
            Swept::Pins => {
                (removed.pins, all_held.pins) = (self.removed, held);
                evicted.pins = evictions(self.made, totals.pins_removed, held);
                *pins_of = of.collect();
            }
            Swept::Replies => {
                (removed.replies, all_held.replies) = (self.removed, held);
                evicted.replies = evictions(self.made, totals.replies_removed, held);
            }
        }
        Ok(())
    }
}

/// The lives of every backend that there ever was, by id.
fn lives(there: &Snapshot) -> BTreeMap<u32, Lives> {
    let lives = there.backends.iter().map(|(id, backend)| {
        let used = backend.state != BackendState::Unset.code();
        let lives = Lives { generation: backend.generation, flows_since: backend.flows_since };
        (*id, if used { lives } else { Lives::default() })
    });
    lives.collect()
}

/// Writes what entries are judged by.
fn set_rules(
    maps: &mut impl LbMaps,
    there: &Snapshot,
    lives: &BTreeMap<u32, Lives>,
    rules: &SweepRules,
) -> Result<(), MapError> {
    let scopes: Vec<_> = Scopes::new(there).times().collect();
    let lives: Vec<_> = lives.iter().map(|(id, lives)| (*id, *lives)).collect();
    maps.set_sweep(rules, &scopes, &lives)
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
    add_removed(maps, Swept::Pins, removed)?;
    Ok(removed)
}

fn add_removed(maps: &mut impl LbMaps, table: Swept, removed: u64) -> Result<(), MapError> {
    if removed == 0 {
        return Ok(());
    }
    let mut totals = maps.reclaim()?;
    let total = match table {
        Swept::Pins => &mut totals.pins_removed,
        Swept::Replies => &mut totals.replies_removed,
    };
    *total = total.wrapping_add(removed);
    maps.set_reclaim(&totals)
}

/// `made - removed - held`, where `removed` may stand for a number below zero; 0 at least.
fn evictions(made: u64, removed: u64, held: u64) -> u64 {
    let left = made.wrapping_sub(removed).wrapping_sub(held);
    if left > u64::MAX / 2 { 0 } else { left }
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
