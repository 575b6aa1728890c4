//! Persistence groups: listeners that share pins must agree on everything that makes one (P1).

use std::collections::{HashMap, hash_map::Entry};

use super::{
    check::rules::ways,
    error::{Read, Report},
    http::persistence::ModeDraft,
    listener::{Layer, ListenerDraft},
    raw::Found,
    source_ip::PersistenceDraft,
};

/// A listener of layer 4, or a rule of one of layer 7.
struct Member<'a> {
    pool: Option<&'a Found<String>>,
    persistence: &'a PersistenceDraft,
    /// A rule with its listener's persistence.
    inherits: bool,
}

/// Compares each member of a group with the group's first one.
pub(super) fn check(listeners: &[Read<ListenerDraft>], report: &Report<'_>) {
    let mut first = HashMap::new();
    for member in listeners.iter().flatten().flat_map(members) {
        let Ok(Some(group)) = &member.persistence.group else { continue };
        match first.entry(group.value.as_str()) {
            Entry::Vacant(entry) => {
                entry.insert((member, group.at));
            }
            Entry::Occupied(entry) => {
                let (other, at) = entry.get();
                let mut differing = differences(member.persistence, other.persistence);
                if let (Some(own), Some(theirs)) = (member.pool, other.pool)
                    && own.value != theirs.value
                {
                    differing.insert(0, "pool");
                }
                if !differing.is_empty() {
                    let problem = format!(
                        "differs from the group's listener in line {}: {}",
                        report.line(*at),
                        differing.join(", "),
                    );
                    let allowed = "one pool and the same persistence in all listeners of a group";
                    // What a rule inherits stands elsewhere; its pool is its own then.
                    let place = if member.inherits { member.pool.unwrap_or(group) } else { group };
                    place.refuse(report, problem, allowed);
                }
            }
        }
    }
}

fn members(listener: &ListenerDraft) -> Vec<Member<'_>> {
    match &listener.layer {
        Ok(Layer::Four { persistence: Ok(Some(persistence)), .. }) => {
            let pool = listener.pool.as_ref().ok().and_then(Option::as_ref);
            vec![Member { pool, persistence, inherits: false }]
        }
        Ok(Layer::Seven(http)) => {
            let of_rules = ways(listener, http).into_iter().filter_map(|way| {
                let ModeDraft::SourceIp(persistence) = &way.persistence?.mode else { return None };
                Some(Member { pool: Some(way.pool), persistence, inherits: way.inherits })
            });
            of_rules.collect()
        }
        Ok(Layer::Four { .. }) | Err(_) => Vec::new(),
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
