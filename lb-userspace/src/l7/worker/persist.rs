//! A request's session: read from its cookies, and written into its answer's.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::SET_COOKIE};
use tracing::error;

use super::state::State;
use crate::{
    config::http::HttpMode,
    l7::{
        cookie::{cache, jar, rewrite, seal::seal, set_cookie},
        random,
        session::{Answer, Chosen, Life, Limits, Outcome, Rule, Verdict, judge},
        view::{self, Pool},
        wall,
    },
};

/// The session of a request.
pub(super) struct Session {
    /// What it was found to be; `None`: no cookie tells.
    pub(super) outcome: Option<Outcome>,
    now_ms: u64,
}

impl Session {
    /// Reads it, and takes what is the sidecar's own out of the request.
    pub(super) fn of(state: &State, rule: &view::Rule, fields: &mut HeaderMap) -> Self {
        let now_ms = wall::now_ms();
        let Some(persistence) = &rule.persistence else { return Self { outcome: None, now_ms } };
        let pool = &state.view.pools[rule.pool];
        let life = |identity| life(pool, state.view.epoch, identity);
        let by = |limits| Rule { scope: &rule.scope, sealer: &state.view.sealer, limits };
        let outcome = match &persistence.mode {
            HttpMode::Insert(insert) => {
                let values = jar::values(fields, &insert.cookie);
                let outcome = judge(&by(Limits::of(&persistence.mode)), values, life, now_ms);
                let _found = jar::take_out(fields, &insert.cookie);
                Some(outcome)
            }
            HttpMode::Rewrite { cookie } => {
                let values = jar::values(fields, cookie);
                let seals = values.filter_map(|value| rewrite::find(value).map(|it| it.seal));
                let outcome = judge(&by(Limits::NONE), seals, life, now_ms);
                let _found = rewrite::restore(fields, cookie);
                Some(outcome)
            }
            HttpMode::SourceIp(_) => None,
        };
        Self { outcome, now_ms }
    }

    /// Writes what there is to say of it into an answer of backend `index`.
    pub(super) fn answer(
        &self,
        state: &State,
        rule: &view::Rule,
        index: usize,
        status: StatusCode,
        fields: &mut HeaderMap,
    ) {
        let (Some(outcome), Some(persistence)) = (&self.outcome, &rule.persistence) else { return };
        let backend = &state.view.pools[rule.pool].backends[index];
        let chosen = Chosen {
            identity: backend.identity,
            epoch: state.view.epoch,
            generation: backend.generation,
        };
        let tally = &state.backends[backend.place];
        let sealed =
            |pin| seal(&state.view.sealer, &rule.scope, &pin, self.now_ms, &mut random::fill);
        match &persistence.mode {
            HttpMode::Insert(insert) => {
                let limits = Limits::of(&persistence.mode);
                let answer = Answer { status, insert_on_error: insert.insert_on_error };
                let pin = outcome.on_answer(answer, chosen, limits, self.now_ms, &mut random::fill);
                // A session that could not be told of its move is still elsewhere.
                let here = pin.or(outcome.session).filter(|pin| pin.backend == chosen.identity);
                if let Some(pin) = here {
                    let lasts = set_cookie::max_age_s(&pin, self.now_ms).unwrap_or_default();
                    let ends_ms = self.now_ms.saturating_add(lasts.saturating_mul(1000));
                    tally.session_until(pin.session, pin.idle_s.into(), ends_ms, self.now_ms);
                }
                let Some(pin) = pin else { return };
                if outcome.session.is_none_or(|session| session.backend != pin.backend) {
                    super::tally::count(&tally.placed);
                }
                let lasts = set_cookie::max_age_s(&pin, self.now_ms).unwrap_or_default();
                match set_cookie::set_cookie(insert, &sealed(pin), lasts) {
                    Ok(value) => {
                        let _more = fields.append(SET_COOKIE, value);
                        cache::keep_private(fields);
                    }
                    Err(error) => error!("cookie {}: {error}", insert.cookie),
                }
            }
            HttpMode::Rewrite { cookie } => {
                let mut pin = outcome.session.filter(|_| outcome.verdict == Verdict::Hit);
                let rewritten = rewrite::rewrite(fields, cookie, self.now_ms, || {
                    let anew = outcome.pin(chosen, Limits::NONE, self.now_ms, &mut random::fill);
                    pin = Some(anew);
                    sealed(anew)
                });
                if let Some(pin) = pin {
                    tally.session_seen(pin.session, REWRITE_IDLE_S, self.now_ms);
                }
                if rewritten {
                    if outcome.session.is_none_or(|session| session.backend != chosen.identity) {
                        super::tally::count(&tally.placed);
                    }
                    cache::keep_private(fields);
                }
            }
            HttpMode::SourceIp(_) => {}
        }
    }

    /// Its backend is not there: it moves (C10).
    pub(super) fn lose_backend(&mut self) {
        if let Some(outcome) = &mut self.outcome
            && outcome.verdict == Verdict::Hit
        {
            (outcome.verdict, outcome.backend) = (Verdict::Down, None);
        }
    }

    /// The field that says what became of it, if the rule wants one (C14).
    pub(super) fn explain(&self, rule: &view::Rule, fields: &mut HeaderMap) {
        let name = rule.persistence.as_ref().and_then(|persistence| persistence.header.as_ref());
        if let (Some(outcome), Some(name)) = (&self.outcome, name)
            && let Ok(name) = HeaderName::try_from(name.as_str())
        {
            fields.insert(name, HeaderValue::from_static(outcome.verdict.name()));
        }
    }
}

/// How long a session of a backend's own cookie counts as one that goes on: what servers that keep
/// sessions have by default.
const REWRITE_IDLE_S: u64 = 1800;

fn life(pool: &Pool, epoch: u32, identity: u64) -> Option<Life> {
    let index = pool.by_identity(identity)?;
    let backend = &pool.backends[index];
    Some(Life { index, epoch, generation: backend.generation, standing: backend.standing })
}
