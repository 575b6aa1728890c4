//! What a cookie says, for who may ask the agent: opened with the keys at hand, and judged as a
//! request's would be. Pure; keys are used and never told.

use std::time::{Duration, UNIX_EPOCH};

use crate::{
    api::{convert, wire},
    config::{
        Config,
        http::{HttpListener, HttpMode, HttpRule},
    },
    l7::{
        cookie::{
            pin::Pin,
            rewrite,
            ring::Ring,
            seal::{Opened, SEAL_BYTES, Sealer, has_form, key_id, open},
        },
        session::{self, Life, Limits, Standing, judge, shorter},
        snapshot::Backend,
        view,
    },
};

/// Cookies that are looked at; a browser has one or a few.
const LOOKED_AT: usize = 64;

/// What is at hand.
pub(super) struct Known<'a> {
    pub(super) config: &'a Config,
    /// Of each pool, as they are now.
    pub(super) backends: &'a [Vec<Backend>],
    pub(super) ring: &'a Ring,
    /// Which instance counts lives.
    pub(super) epoch: u32,
}

/// Explains a cookie's value, `NAME=VALUE`, or lines with cookies, as somebody pasted them.
pub(super) fn explain(text: &str, known: &Known<'_>, now_ms: u64) -> wire::Explained {
    let (mut cookies, mut others) = (Vec::new(), 0);
    let sealer = Sealer::new(known.ring);
    for piece in pieces(text).take(LOOKED_AT) {
        let cookie = Cookie::read(piece);
        if cookie.seal.is_none() && cookie.name.is_some_and(|name| !known.names(name)) {
            others += 1;
            continue;
        }
        cookies.push(known.explain(&cookie, &sealer, now_ms));
    }
    wire::Explained { cookies, others }
}

/// A cookie as it was pasted.
struct Cookie<'t> {
    name: Option<&'t str>,
    seal: Option<&'t str>,
    /// The seal stands before another value.
    rewritten: bool,
}

impl<'t> Cookie<'t> {
    fn read(piece: &'t str) -> Self {
        let (name, value) = match piece.split_once('=') {
            // Behind a seal there may be a backend's value with `=`.
            Some(_) if find(piece).is_some() => (None, piece),
            Some((name, value)) => (Some(name.trim()), value.trim()),
            None => (None, piece),
        };
        let (seal, rewritten) =
            find(value).map_or((None, false), |(seal, rewritten)| (Some(seal), rewritten));
        Self { name, seal, rewritten }
    }
}

/// The seal in a value, and whether another value stands behind it.
fn find(value: &str) -> Option<(&str, bool)> {
    if has_form(value.as_bytes()) {
        return Some((value, false));
    }
    let seal = rewrite::find(value.as_bytes())?.seal;
    Some((str::from_utf8(seal).ok()?, true))
}

/// What may be a cookie; of `Set-Cookie` without attributes.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().flat_map(|line| {
        // As curl shows fields.
        let line = line.trim_start_matches(['<', '>', ' ', '\t']);
        let (pieces, most) = match (after(line, "set-cookie:"), after(line, "cookie:")) {
            (Some(rest), _) => (rest, 1),
            (None, Some(rest)) => (rest, usize::MAX),
            (None, None) => (line, usize::MAX),
        };
        pieces.split(';').take(most)
    });
    lines.map(str::trim).filter(|piece| !piece.is_empty())
}

fn after<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let (begin, rest) = line.split_at_checked(name.len())?;
    begin.eq_ignore_ascii_case(name).then_some(rest)
}

/// The name of a rule's cookie, and whether it is the backend's own.
fn cookie_of(rule: &HttpRule) -> Option<(&str, bool)> {
    match &rule.persistence.as_ref()?.mode {
        HttpMode::Insert(insert) => Some((&insert.cookie, false)),
        HttpMode::Rewrite { cookie } => Some((cookie, true)),
        HttpMode::SourceIp(_) => None,
    }
}

impl Known<'_> {
    fn rules(&self) -> impl Iterator<Item = (&HttpListener, &HttpRule)> {
        let listeners = self.config.http_listeners.iter();
        listeners.flat_map(|listener| listener.rules.iter().map(move |rule| (listener, rule)))
    }

    /// Does a rule have a cookie of that name?
    fn names(&self, name: &str) -> bool {
        self.rules().filter_map(|(_, rule)| cookie_of(rule)).any(|(cookie, _)| cookie == name)
    }

    fn explain(&self, cookie: &Cookie<'_>, sealer: &Sealer, now_ms: u64) -> wire::ExplainedCookie {
        let mut explained = wire::ExplainedCookie {
            name: cookie.name.map(str::to_owned),
            rewritten: cookie.rewritten,
            key: cookie.seal.and_then(|seal| key_id(seal.as_bytes())),
            error: None,
            session: None,
        };
        match self.open(cookie, sealer) {
            Ok((listener, pool, opened)) => {
                let session = self.session(cookie, sealer, listener, pool, opened, now_ms);
                explained.session = Some(session);
            }
            Err(why) => explained.error = Some(why),
        }
        explained
    }

    /// The listener and pool that it is for, and what it says; or why it does not open.
    fn open(
        &self,
        cookie: &Cookie<'_>,
        sealer: &Sealer,
    ) -> Result<(&HttpListener, usize, Opened), String> {
        let Some(seal) = cookie.seal else { return Err(self.no_seal(cookie)) };
        let key = key_id(seal.as_bytes()).unwrap_or_default();
        if !self.ring.keys().iter().any(|there| there.id == key) {
            return Err(format!(
                "key {key}, which it names, is not in the ring: it was dropped long after it sealed \
                 last, has not been copied here, or is another site's"
            ));
        }
        let mut tried = Vec::new();
        for (listener, rule) in self.rules() {
            let scope = view::scope(&listener.name, &self.config.pools[rule.pool].name);
            if tried.contains(&scope) {
                continue;
            }
            if let Ok(opened) = open(sealer, scope.as_bytes(), seal.as_bytes()) {
                return Ok((listener, rule.pool, opened));
            }
            tried.push(scope);
        }
        Err(format!(
            "key {key}, which it names, did not seal it for any of the {} listeners and pools here: \
             it was changed, or is for a listener or pool that is not configured (any more)",
            tried.len()
        ))
    }

    fn no_seal(&self, cookie: &Cookie<'_>) -> String {
        let own = |name: &str| {
            let mut cookies = self.rules().filter_map(|(_, rule)| cookie_of(rule));
            cookies.any(|(cookie, rewritten)| cookie == name && rewritten)
        };
        if cookie.name.is_some_and(own) {
            return "there is no seal before its value: it is older than persistence here, or a script \
                    set it; to a request it says nothing"
                .to_owned();
        }
        format!("it is no seal: they begin with `hold` and are {SEAL_BYTES} characters long")
    }

    fn session(
        &self,
        cookie: &Cookie<'_>,
        sealer: &Sealer,
        listener: &HttpListener,
        pool: usize,
        Opened { pin, key }: Opened,
        now_ms: u64,
    ) -> wire::ExplainedSession {
        let pool_name = &self.config.pools[pool].name;
        let scope = view::scope(&listener.name, pool_name);
        let life = |identity| self.life(pool, identity).map(|(life, _)| life);
        let rules = listener.rules.iter().filter(|rule| rule.pool == pool);
        let rules = rules.filter_map(|rule| {
            let (name, rewritten) = cookie_of(rule)?;
            let meant = rewritten == cookie.rewritten && cookie.name.is_none_or(|it| it == name);
            let mode = &rule.persistence.as_ref().filter(|_| meant)?.mode;
            let by = session::Rule { scope: scope.as_bytes(), sealer, limits: Limits::of(mode) };
            let seal = cookie.seal.map(str::as_bytes);
            let outcome = judge(&by, seal, life, now_ms);
            let idle_s = shorter(pin.idle_s, by.limits.idle_s);
            let absolute_s = shorter(pin.absolute_s, by.limits.absolute_s);
            Some(wire::ExplainedRule {
                host: convert::host(&rule.host),
                path: rule.path.clone(),
                cookie: name.to_owned(),
                verdict: outcome.verdict.name().to_owned(),
                renews: outcome.renew,
                idle: limit(idle_s, pin.renewed_ms, now_ms),
                absolute: limit(absolute_s, pin.issued_ms, now_ms),
            })
        });
        wire::ExplainedSession {
            listener: listener.name.clone(),
            pool: pool_name.clone(),
            key_seals: sealer.sealing(now_ms) == key,
            rules: rules.collect(),
            backend: self.backend(pool, &pin),
            id: format!("{:016x}", pin.session),
            issued: time(pin.issued_ms),
            issued_ago_s: now_ms.saturating_sub(pin.issued_ms) / 1000,
            renewed: time(pin.renewed_ms),
            renewed_ago_s: now_ms.saturating_sub(pin.renewed_ms) / 1000,
        }
    }

    /// The backend of that identity in a pool.
    fn life(&self, pool: usize, identity: u64) -> Option<(Life, &Backend)> {
        let backends = self.backends.get(pool)?;
        let is = |it: &&Backend| view::identity(&it.name, it.address, it.port) == identity;
        let (index, backend) = backends.iter().enumerate().find(|(_, backend)| is(backend))?;
        let (generation, standing) = (backend.generation, backend.standing);
        Some((Life { index, epoch: self.epoch, generation, standing }, backend))
    }

    fn backend(&self, pool: usize, pin: &Pin) -> Option<wire::ExplainedBackend> {
        let (life, backend) = self.life(pool, pin.backend)?;
        Some(wire::ExplainedBackend {
            name: backend.name.clone(),
            state: match life.standing {
                Standing::InService => wire::BackendState::Ready,
                Standing::Draining => wire::BackendState::Draining,
                Standing::Evacuating => wire::BackendState::Evacuating,
                Standing::Down => wire::BackendState::Down,
            },
            generation: pin.generation,
            generation_now: life.generation,
            same_life: (pin.epoch == life.epoch).then_some(pin.generation == life.generation),
        })
    }
}

fn limit(limit_s: u32, since_ms: u64, now_ms: u64) -> Option<wire::ExplainedLimit> {
    let lasts_ms = u64::from(limit_s) * 1000;
    (limit_s > 0).then(|| wire::ExplainedLimit {
        limit_s: limit_s.into(),
        ends: time(since_ms.saturating_add(lasts_ms)),
        left_s: lasts_ms.saturating_sub(now_ms.saturating_sub(since_ms)).div_ceil(1000),
    })
}

/// RFC 3339. Years have four digits.
pub(super) fn time(unix_ms: u64) -> String {
    const LAST_S: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs((unix_ms / 1000).min(LAST_S));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests;
