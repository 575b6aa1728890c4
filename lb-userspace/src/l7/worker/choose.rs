//! Which backend a request goes to.

use std::{
    hash::{Hash as _, Hasher as _},
    net::IpAddr,
};

use siphasher::sip::SipHasher13;

use super::{Worker, state::State};
use crate::{
    config::{
        Prefix,
        http::{HttpMode, HttpScheduler},
    },
    l7::{
        pick::{self, Candidate, mix},
        session::{Outcome, Verdict},
        view::Rule,
    },
};

/// A choice for one request; made anew when a backend turns out not to be there.
pub(super) struct Choice<'a> {
    worker: &'a Worker,
    state: &'a State,
    rule: &'a Rule,
    /// A hash of the client's address.
    client: u64,
}

impl<'a> Choice<'a> {
    /// For a request of `client`.
    pub(super) fn new(
        worker: &'a Worker,
        state: &'a State,
        rule: &'a Rule,
        client: IpAddr,
    ) -> Self {
        let [low, high] = state.view.seed;
        let mut hasher = SipHasher13::new_with_keys(low, high);
        let client = client.to_canonical();
        match rule.persistence.as_ref().map(|it| &it.mode) {
            // Clients of one network stay together.
            Some(HttpMode::SourceIp(by)) => {
                let length = if client.is_ipv4() { by.prefix_v4 } else { by.prefix_v6 };
                Prefix { address: client, length }.first().hash(&mut hasher);
            }
            Some(HttpMode::Insert(_) | HttpMode::Rewrite { .. }) | None => client.hash(&mut hasher),
        }
        Self { worker, state, rule, client: hasher.finish() }
    }

    /// The backend of a request with that session, but for those of `without`, which were tried;
    /// its place in the pool. `None`: nobody takes it.
    pub(super) fn backend(&self, outcome: Option<&Outcome>, without: &[usize]) -> Option<usize> {
        let session = outcome.and_then(|outcome| outcome.session);
        if let Some(index) = outcome.and_then(|outcome| outcome.backend)
            && !without.contains(&index)
        {
            return Some(index);
        }
        if let Some(session) = session {
            // It moves: all requests that still bring the old cookie go the same way.
            return pick::by_hash(self.candidates(without), mix(session.session));
        }
        if let Some(HttpMode::SourceIp(_)) = self.rule.persistence.as_ref().map(|it| &it.mode) {
            // Whoever is in service has his clients, whatever they bring.
            return pick::by_hash(self.candidates(without), self.client);
        }
        let window_ms = match outcome {
            Some(outcome) if outcome.verdict == Verdict::New => self.window_ms(),
            _ => 0,
        };
        if window_ms == 0 {
            return self.next(without);
        }
        let (flights, now) = (&self.worker.shared.flights, self.worker.timers.now_ms());
        let flight = mix(self.client ^ self.rule.scope_hash);
        if let Some(index) = flights.find(flight, now, window_ms) {
            if self.candidates(without).any(|one| one.index == index) {
                return Some(index);
            }
            flights.forget(flight);
        }
        let next = self.next(without)?;
        let noted = flights.note(flight, next, now, window_ms);
        let fits = noted == next || self.candidates(without).any(|one| one.index == noted);
        Some(if fits { noted } else { next })
    }

    fn window_ms(&self) -> u64 {
        match self.rule.persistence.as_ref().map(|it| &it.mode) {
            Some(HttpMode::Insert(insert)) => {
                u64::try_from(insert.first_flight.as_millis()).unwrap_or(u64::MAX)
            }
            Some(HttpMode::Rewrite { .. }) => REWRITE_FLIGHT_MS,
            Some(HttpMode::SourceIp(_)) | None => 0,
        }
    }

    fn candidates<'b>(&'b self, without: &'b [usize]) -> impl Iterator<Item = Candidate> + 'b {
        let pool = &self.state.view.pools[self.rule.pool];
        pool.candidates(without, |place| self.state.upstreams[place].active())
    }

    fn next(&self, without: &[usize]) -> Option<usize> {
        match self.state.view.pools[self.rule.pool].http.scheduler {
            HttpScheduler::RoundRobin => {
                let mut turns = self.state.pools[self.rule.pool].turns.borrow_mut();
                turns.next(self.candidates(without))
            }
            HttpScheduler::LeastRequests => {
                let all: Vec<Candidate> = self.candidates(without).collect();
                pick::least_requests(&all, || self.worker.random.borrow_mut().u64(..))
            }
            HttpScheduler::Hash => pick::by_hash(self.candidates(without), self.client),
        }
    }
}

/// As `cookie-insert` has it by default: whoever sets its own cookie has the same browsers.
const REWRITE_FLIGHT_MS: u64 = 2000;
