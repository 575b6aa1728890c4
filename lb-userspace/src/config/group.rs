//! Persistence groups: listeners that share pins must agree on everything that makes one (P1).

use std::collections::{HashMap, hash_map::Entry};

use super::{
    error::{Read, Report},
    listener::{ListenerDraft, PersistenceDraft},
};

/// Compares each listener of a group with the group's first one.
pub(super) fn check(listeners: &[Read<ListenerDraft>], report: &Report<'_>) {
    let mut first = HashMap::new();
    for listener in listeners.iter().flatten() {
        let Ok(Some(persistence)) = &listener.persistence else { continue };
        let Ok(Some(group)) = &persistence.group else { continue };
        match first.entry(group.value.as_str()) {
            Entry::Vacant(entry) => {
                entry.insert((listener, persistence, group.at));
            }
            Entry::Occupied(entry) => {
                let &(other, others, at) = entry.get();
                let mut differing = differences(persistence, others);
                if let (Ok(own), Ok(theirs)) = (&listener.pool, &other.pool)
                    && own.value != theirs.value
                {
                    differing.insert(0, "pool");
                }
                if !differing.is_empty() {
                    let problem = format!(
                        "differs from the group's listener in line {}: {}",
                        report.line(at),
                        differing.join(", "),
                    );
                    let allowed = "one pool and the same persistence in all listeners of a group";
                    group.refuse(report, problem, allowed);
                }
            }
        }
    }
}

/// The keys in which two settings differ; what was refused is not compared.
fn differences(a: &PersistenceDraft, b: &PersistenceDraft) -> Vec<&'static str> {
    fn differ<T: PartialEq>(a: &Read<T>, b: &Read<T>) -> bool {
        matches!((a, b), (Ok(a), Ok(b)) if a != b)
    }
    [
        ("timeout", differ(&a.timeout, &b.timeout)),
        ("refresh", differ(&a.refresh, &b.refresh)),
        ("max_lifetime", differ(&a.max_lifetime, &b.max_lifetime)),
        ("prefix_v4", differ(&a.prefix_v4, &b.prefix_v4)),
        ("prefix_v6", differ(&a.prefix_v6, &b.prefix_v6)),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
