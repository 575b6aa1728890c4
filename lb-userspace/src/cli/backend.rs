//! `backend drain|evacuate|down|ready`: the backend after the change, in a sentence.

use super::{
    BackendVerb,
    human::{duration, plural},
    status::{reasons, state},
    table::printable,
};
use crate::api::wire::{BackendState, Intent, IntentSet};

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
    let IntentSet { previous, backend, counted_ms_ago } = set;
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
            format!(": no new clients; {pins} and {flows} go on until they end or expire{counted}")
        }
        BackendState::Evacuating => {
            format!(": no new connections; left to run until they end: {flows}{counted}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_figures_say_how_old_they_are() {
        let check = |counted_ms_ago, want: &str| {
            let mut backend = crate::cli::sample_status().backends.swap_remove(0);
            backend.state = BackendState::Draining;
            let set = IntentSet { previous: Intent::Ready, backend, counted_ms_ago };
            let sentence = sentence(&set);
            assert!(sentence.contains(want), "{sentence}");
        };
        check(Some(1_999), "until they end or expire.");
        check(Some(61_000), "until they end or expire (counted 1 min 1 s ago).");
        check(None, "until they end or expire (not counted yet).");
    }
}
