//! `backend drain|evacuate|down|ready`: the backend after the change, in a sentence.

use super::{
    BackendVerb,
    human::{duration, plural},
    status::{last, reasons, state},
    table::printable,
};
use crate::api::wire::{BackendState, HttpBackend, Intent, IntentSet};

impl BackendVerb {
    /// The backend that is meant and what is wanted of it.
    pub(super) fn wanted(&self) -> (&str, Intent) {
        match self {
            Self::Drain(backend) => (&backend.name, Intent::Drain),
            Self::Evacuate(backend) => (&backend.name, Intent::Evacuate),
            Self::Down(backend) => (&backend.name, Intent::Down),
            Self::Ready(backend) => (&backend.name, Intent::Ready),
        }
    }
}

/// What the backend is now, and what goes on there.
pub(super) fn sentence(set: &IntentSet) -> String {
    let IntentSet { previous, backend, http, counted_ms_ago } = set;
    let before = if *previous == backend.intent {
        format!(", as it was wanted before ({previous})")
    } else {
        String::new()
    };
    let (pins, flows) = (plural(backend.pins, "pin"), plural(backend.flows, "open flow"));
    // Large tables are not counted anew for this.
    let counted = match counted_ms_ago {
        None => " (not counted yet)".to_owned(),
        Some(0..2_000) => String::new(),
        Some(ago) => format!(" (counted {} ago)", duration(ago / 1_000)),
    };
    let rest = match backend.state {
        BackendState::Draining => {
            let here = format!("{pins} and {flows} go on until they end or expire{counted}");
            format!(": no new clients; {here}{}", http.as_ref().map_or_else(String::new, stay))
        }
        BackendState::Evacuating => {
            let here = format!("left to run until they end: {flows}{counted}");
            let moving = http.as_ref().map_or_else(String::new, |http| {
                let sessions = plural(http.sessions, "session");
                format!("; held by cookie, and moved with their next requests: about {sessions}")
            });
            format!(": no new connections; {here}{moving}")
        }
        BackendState::Ready => String::new(),
        BackendState::Down | BackendState::Removed => ": it gets no connections".to_owned(),
    };
    let why = match reasons(backend) {
        none if none.is_empty() => none,
        reasons => format!(" Reason: {reasons}."),
    };
    let text = format!("{} is {}{before}{rest}.{why}", backend.name, state(backend.state));
    printable(&text) + "\n"
}

/// What becomes of layer 7's sessions.
fn stay(http: &HttpBackend) -> String {
    if http.sessions == 0 && http.last_ends.is_none() && !http.own_cookies {
        return "; no session held by cookie".to_owned();
    }
    let sessions = plural(http.sessions, "session");
    format!("; about {sessions} held by cookie; {}, unless clients come back", last(http))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_layer_7_are_spoken_of() {
        let check = |state, http: HttpBackend, want: &str| {
            let mut backend = crate::cli::sample_status().backends.swap_remove(0);
            backend.state = state;
            let http = Some(http);
            let set = IntentSet { previous: Intent::Ready, backend, http, counted_ms_ago: Some(0) };
            let sentence = sentence(&set);
            assert!(sentence.ends_with(want), "{sentence}");
        };
        let some = HttpBackend {
            sessions: 1_234,
            last_ends: Some(1),
            last_ends_in_s: Some(720),
            ..HttpBackend::default()
        };
        check(
            BackendState::Draining,
            some.clone(),
            "; about 1,234 sessions held by cookie; last session ends in 12 min at the latest, \
             unless clients come back.\n",
        );
        check(
            BackendState::Draining,
            HttpBackend { own_cookies: true, sessions: 1, ..HttpBackend::default() },
            "; about 1 session held by cookie; sessions end with its own cookies, unless clients come \
             back.\n",
        );
        check(BackendState::Draining, HttpBackend::default(), "; no session held by cookie.\n");
        check(
            BackendState::Evacuating,
            some.clone(),
            "; held by cookie, and moved with their next requests: about 1,234 sessions.\n",
        );
        check(BackendState::Down, some, ": it gets no connections.\n");
    }

    #[test]
    fn old_figures_say_how_old_they_are() {
        let check = |counted_ms_ago, want: &str| {
            let mut backend = crate::cli::sample_status().backends.swap_remove(0);
            backend.state = BackendState::Draining;
            let set = IntentSet { previous: Intent::Ready, backend, http: None, counted_ms_ago };
            let sentence = sentence(&set);
            assert!(sentence.contains(want), "{sentence}");
        };
        check(Some(1_999), "until they end or expire.");
        check(Some(61_000), "until they end or expire (counted 1 min 1 s ago).");
        check(None, "until they end or expire (not counted yet).");
    }
}
