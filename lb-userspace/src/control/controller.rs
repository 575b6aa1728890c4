//! The agent's state between events, and the one way to change the maps.
//!
//! Owns the maps, the configuration, and what is known of backends. Synchronous: the writer task
//! calls it, and calls [`Controller::sweep_step`] whenever it has nothing else to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{
    hash::Seed,
    layout::{FlowSpace, Kind, Running},
    maps::LAYOUT_VERSION,
};

use super::{
    error::check_limits,
    facts::{Facts, HealthReport, Intent, ReachReport, Subject},
    lives,
    plan::{self, Inputs, Wanted, Weighed},
    ramp::Ramps,
    reconcile::{self, Applied, TableShape},
    site,
    snapshot::Snapshot,
    status::{self, Sources, Status},
    tables::Tables,
};
use crate::{
    config::Config,
    l7::snapshot::Backend,
    limits,
    maps::{Cursor, LbMaps, MapError},
    model::Model,
    sessions::{
        expiry::{self, Outcome, Sweep},
        growth,
        list::{self, Filter, Page, PageCursor, Reader},
    },
};

pub use super::error::ControlError;

/// How far a sweep has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// It is over. What the whole sweep found and did.
    Done(Outcome),
}

/// The agent's state.
pub struct Controller<M> {
    maps: M,
    config: Config,
    model: Model,
    /// Of all backends, by name.
    places: BTreeMap<String, Place>,
    facts: Facts,
    seed: Seed,
    /// `None` after an error: to be read anew.
    there: Option<Snapshot>,
    tables: Tables,
    sweep: Option<UnderWay>,
    swept: Option<Outcome>,
    finished: BTreeSet<u32>,
    ramps: Ramps,
    /// Of backends that take clients, as they are now.
    weights: BTreeMap<u32, u16>,
    revision: u64,
}

/// Where a backend is reached and probed: what facts about it are about.
struct Place {
    address: IpAddr,
    subject: Option<Subject>,
}

struct UnderWay {
    sweep: Sweep,
    /// Removed backends that served flows when it began.
    leaving: BTreeSet<u32>,
}

impl<M: LbMaps> Controller<M> {
    /// Takes over what the maps hold, or begins with empty ones. Changes no VIP, pool or backend
    /// before [`Self::apply`].
    pub fn new(mut maps: M, config: Config, seed: Seed) -> Result<Self, ControlError> {
        let meta = maps.meta()?;
        let fresh = meta.layout_version == 0;
        if fresh {
            maps.set_meta(&limits::meta(&config.limits))?;
        } else if meta.layout_version != LAYOUT_VERSION {
            return Err(ControlError::Layout { found: meta.layout_version });
        } else {
            check_limits(&config.limits, &meta)?;
        }
        // An agent that was killed in the middle of a sweep leaves its mark.
        expiry::abort(&mut maps)?;
        let there = Snapshot::read(&maps)?;
        Ok(Self {
            maps,
            model: Model::new(&config),
            places: places(&config),
            config,
            facts: Facts::default(),
            seed,
            ramps: Ramps::recover(&there),
            there: Some(there),
            tables: Tables::new(!fresh),
            sweep: None,
            swept: None,
            finished: BTreeSet::new(),
            weights: BTreeMap::new(),
            revision: 0,
        })
    }

    /// The maps.
    pub fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, for what is not the controller's business.
    pub fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    /// Gives the maps back; what they hold goes on serving.
    pub fn into_maps(self) -> M {
        self.maps
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is known of backends.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Notes what a probe found; [`Self::apply`] acts on it. False: no backend of that name is
    /// probed so (any more), and nothing was noted.
    pub fn set_health(&mut self, report: HealthReport) -> bool {
        let HealthReport { backend, subject, health } = report;
        let holds = self.places.get(&backend).is_some_and(|place| place.subject == subject);
        if holds {
            self.facts.health.insert(backend, health);
        }
        holds
    }

    /// Notes how packets get there; [`Self::apply`] acts on it. False: no backend of that name is
    /// there (any more), and nothing was noted.
    pub fn set_reach(&mut self, report: ReachReport) -> bool {
        let ReachReport { backend, address, reach } = report;
        let holds = self.places.get(&backend).is_some_and(|place| place.address == address);
        if holds {
            self.facts.reach.insert(backend, reach);
        }
        holds
    }

    /// Notes what the operator wants; [`Self::apply`] acts on it.
    pub fn set_intent(&mut self, backend: &str, intent: Intent) -> Result<(), ControlError> {
        if !self.places.contains_key(backend) {
            return Err(ControlError::UnknownBackend(backend.to_owned()));
        }
        self.facts.intent.insert(backend.to_owned(), intent);
        Ok(())
    }

    /// Brings the maps to what configuration and facts ask for. Writes only what differs. After
    /// an error, call it again: it reads the maps and starts over.
    pub fn apply(&mut self) -> Result<Applied, ControlError> {
        let wanted = plan::plan(&Inputs {
            model: &self.model,
            facts: &self.facts,
            there: known(&mut self.there, &self.maps)?,
            limits: &self.config.limits,
            finished: &self.finished,
            ramps: &self.ramps,
            now_ns: self.maps.now_ns(),
        })?;
        self.bring_about(&wanted)
    }

    /// Takes on another configuration: all of it, or, on [`ControlError::Limit`] and
    /// [`ControlError::Full`], nothing. After [`ControlError::Apply`] it is in force but not all
    /// of it in the maps: [`Self::apply`] tries again.
    pub fn configure(&mut self, config: Config) -> Result<Applied, ControlError> {
        check_limits(&config.limits, &limits::meta(&self.config.limits))?;
        let model = Model::new(&config);
        let places = places(&config);
        let facts = self.facts_that_hold(&places);
        let wanted = plan::plan(&Inputs {
            model: &model,
            facts: &facts,
            there: known(&mut self.there, &self.maps)?,
            limits: &config.limits,
            finished: &BTreeSet::new(),
            ramps: &self.ramps,
            now_ns: self.maps.now_ns(),
        })?;
        (self.config, self.model, self.places, self.facts) = (config, model, places, facts);
        if let Some(running) = &mut self.sweep {
            // A backend may be removed for the second time since it began.
            running.leaving.clear();
        }
        self.bring_about(&wanted)
    }

    /// Counts what may have changed backends' states.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The backends of each pool, as layer 7 is to see them.
    pub fn http_backends(&mut self) -> Result<Vec<Vec<Backend>>, ControlError> {
        let there = known(&mut self.there, &self.maps)?;
        Ok(site::backends(&self.config, there, &self.weights))
    }

    /// How long it is until [`Self::apply`] is to give more weight to a backend in its slow start;
    /// `None`: none is.
    pub fn next_step(&self) -> Option<Duration> {
        let due_ns = self.ramps.due_ns()?;
        Some(Duration::from_nanos(due_ns.saturating_sub(self.maps.now_ns())))
    }

    /// How things stand.
    pub fn status(&mut self) -> Result<Status, ControlError> {
        let there = known(&mut self.there, &self.maps)?;
        let sources = Sources {
            config: &self.config,
            model: &self.model,
            facts: &self.facts,
            there,
            swept: self.swept.as_ref(),
        };
        Ok(status::gather(&self.maps, &sources)?)
    }

    /// A page of at most `limit` sessions that match.
    pub fn sessions(
        &mut self,
        from: &PageCursor,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, ControlError> {
        let there = known(&mut self.there, &self.maps)?;
        Ok(list::page(&self.maps, there, from, filter, limit)?)
    }

    /// Pins when they were last counted, without those that are void.
    pub fn pins_held(&mut self) -> Result<Option<u64>, ControlError> {
        let there = known(&mut self.there, &self.maps)?;
        let holds = |id: &u32| there.backends.get(id).is_some_and(lives::in_service);
        let held = |swept: &Outcome| {
            swept.pins_of.iter().filter(|(id, _)| holds(id)).map(|(_, pins)| pins).sum()
        };
        Ok(self.swept.as_ref().map(held))
    }

    /// How long ago entries were counted.
    pub fn counted_ago(&self) -> Option<Duration> {
        let began_ns = self.swept.as_ref()?.began_ns;
        Some(Duration::from_nanos(self.maps.now_ns().saturating_sub(began_ns)))
    }

    /// Deletes the pins that match, valid or not; how many.
    pub fn flush(&mut self, filter: &Filter) -> Result<u64, ControlError> {
        let there = known(&mut self.there, &self.maps)?;
        let reader = Reader::new(there, self.maps.now_ns());
        let mut cursor = Cursor::default();
        let mut flushed = 0;
        while !cursor.done {
            let batch = self.maps.scan_pins(&mut cursor)?;
            let matching = batch.iter().filter(|(key, pin)| reader.matches(filter, key, pin));
            let keys: Vec<_> = matching.map(|(key, _)| *key).collect();
            flushed += expiry::remove_pins(&mut self.maps, &keys)?;
        }
        Ok(flushed)
    }

    /// Puts more of the flow table in use if flows are crowded; how many regions, if it did.
    pub fn grow_flows(&mut self) -> Result<Option<u32>, ControlError> {
        let regions = limits::flow_regions(limits::flow_lines(&self.config.limits));
        let grown = growth::grow(&mut self.maps, &self.model.idle, regions)?;
        Ok(grown.map(FlowSpace::regions))
    }

    /// Begins a sweep, or deals with its next batch: some milliseconds; the first call waits for
    /// a grace period. Commands may come in between.
    pub fn sweep_step(&mut self) -> Result<Progress, ControlError> {
        let Some(mut running) = self.sweep.take() else {
            self.begin_sweep()?;
            return Ok(Progress::More);
        };
        match running.sweep.step(&mut self.maps) {
            Ok(false) => {
                self.sweep = Some(running);
                Ok(Progress::More)
            }
            Ok(true) => self.end_sweep(running).map(Progress::Done),
            Err(error) => {
                expiry::abort(&mut self.maps)?;
                Err(error.into())
            }
        }
    }

    /// Ends a sweep that is under way, leaving the rest to the next one.
    pub fn abort_sweep(&mut self) -> Result<(), ControlError> {
        if self.sweep.take().is_some() {
            expiry::abort(&mut self.maps)?;
        }
        Ok(())
    }

    fn bring_about(&mut self, wanted: &Wanted) -> Result<Applied, ControlError> {
        self.ramps = wanted.ramps.clone();
        let shares = wanted.pools.values().flat_map(|pool| &pool.recipe.shares);
        self.weights = shares.map(|share| (share.id.into(), share.weight)).collect();
        self.revision += 1;
        let mut there = match self.there.take() {
            Some(there) => there,
            None => Snapshot::read(&self.maps)?,
        };
        if there.vips != wanted.vips || there.idle != Some(wanted.idle) {
            self.abort_sweep()?;
        }
        let shape = TableShape { seed: self.seed, slots: self.config.limits.maglev_slots };
        let applied = reconcile::reconcile(
            &mut self.maps,
            &mut there,
            &mut self.tables,
            wanted,
            shape,
            self.config.limits.listeners,
        )?;
        self.there = Some(there);
        Ok(applied)
    }

    /// What was found out about a backend at its old place says nothing of its new one. What is
    /// kept here is what health checks keep: they do not report it again.
    fn facts_that_hold(&self, places: &BTreeMap<String, Place>) -> Facts {
        let mut facts = Facts::default();
        for (name, place) in places {
            let Some(old) = self.places.get(name) else { continue };
            if let Some(intent) = self.facts.intent.get(name) {
                facts.intent.insert(name.clone(), *intent);
            }
            if let Some(reach) = self.facts.reach.get(name)
                && old.address == place.address
            {
                facts.reach.insert(name.clone(), reach.clone());
            }
            if let Some(health) = self.facts.health.get(name)
                && old.subject == place.subject
            {
                facts.health.insert(name.clone(), health.clone());
            }
        }
        facts
    }

    fn begin_sweep(&mut self) -> Result<(), ControlError> {
        let idle = self.model.idle;
        if known(&mut self.there, &self.maps)?.idle != Some(idle) {
            // What is in force is not known yet.
            self.apply()?;
        }
        let there = known(&mut self.there, &self.maps)?;
        let configured: BTreeSet<&str> =
            self.model.backends().map(|(_, backend)| backend.name.as_str()).collect();
        let leaving = there
            .of_kind(Kind::Backend)
            .filter(|(_, name)| !configured.contains(name))
            .map(|(id, _)| id)
            .collect();
        let sweep = Sweep::begin(&mut self.maps, there, &idle)?;
        self.sweep = Some(UnderWay { sweep, leaving });
        Ok(())
    }

    /// Puts what was counted in the place of what packets have added up since the last time.
    fn recount(&mut self, outcome: &Outcome) -> Result<(), ControlError> {
        let weighed = &known(&mut self.there, &self.maps)?.weighed;
        let row = |(id, weighed): (&u32, &Weighed)| {
            let flows = outcome.flows_of.get(id).copied().unwrap_or(0);
            let flows = u32::try_from(flows).unwrap_or(u32::MAX);
            (*id, Running { flows, weight: weighed.weight.into() })
        };
        let rows: Vec<_> = weighed.iter().map(row).collect();
        if !rows.is_empty() {
            self.maps.set_running(&rows)?;
        }
        Ok(())
    }

    fn end_sweep(&mut self, running: UnderWay) -> Result<Outcome, ControlError> {
        let mut outcome = running.sweep.outcome();
        if let Some(last) = &self.swept {
            let evicted = &mut outcome.evicted;
            evicted.pins = evicted.pins.max(last.evicted.pins);
            evicted.flows = evicted.flows.max(last.evicted.flows);
            evicted.replies = evicted.replies.max(last.evicted.replies);
        }
        self.swept = Some(outcome.clone());
        self.recount(&outcome)?;
        let over = |id: &u32| outcome.flows_of.get(id).is_none_or(|flows| *flows == 0);
        self.finished = running.leaving.into_iter().filter(over).collect();
        if !self.finished.is_empty() {
            let applied = self.apply();
            // What this sweep has seen says nothing of later flows.
            self.finished.clear();
            applied?;
        }
        Ok(outcome)
    }
}

/// Would an agent on these maps take `config` on? As [`Controller::configure`] says, changing
/// nothing.
pub fn fits(maps: &impl LbMaps, config: &Config) -> Result<(), ControlError> {
    let there = Snapshot::read(maps)?;
    check_limits(&config.limits, &there.meta)?;
    let wanted = plan::plan(&Inputs {
        model: &Model::new(config),
        facts: &Facts::default(),
        there: &there,
        limits: &config.limits,
        finished: &BTreeSet::new(),
        ramps: &Ramps::recover(&there),
        now_ns: maps.now_ns(),
    });
    wanted.map(drop).map_err(ControlError::from)
}

/// The snapshot, read anew after an error.
fn known<'a>(
    there: &'a mut Option<Snapshot>,
    maps: &impl LbMaps,
) -> Result<&'a Snapshot, MapError> {
    let known = match there.take() {
        Some(known) => known,
        None => Snapshot::read(maps)?,
    };
    Ok(there.insert(known))
}

fn places(config: &Config) -> BTreeMap<String, Place> {
    let pools = config.pools.iter();
    pools
        .flat_map(|pool| {
            pool.backends.iter().map(move |backend| {
                let subject = Subject::of(pool, backend);
                (backend.name.clone(), Place { address: backend.address, subject })
            })
        })
        .collect()
}
