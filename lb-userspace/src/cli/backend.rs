//! `backend drain|evacuate|down|ready`: the backend after the change, in a sentence.

use super::{
    BackendVerb,
    human::plural,
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
    let IntentSet { previous, backend } = set;
    let before = if *previous == backend.intent {
        format!(", as it was wanted before ({previous})")
    } else {
        String::new()
    };
    let (pins, flows) = (plural(backend.pins, "pin"), plural(backend.flows, "flow"));
    let rest = match backend.state {
        BackendState::Draining => {
            format!(": no new clients; {pins} and {flows} go on until they end or expire")
        }
        BackendState::Evacuating => {
            format!(": no new connections; left to run until they end: {flows}")
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
