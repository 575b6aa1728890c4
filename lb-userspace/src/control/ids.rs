//! Which name has which number. Pure.
//!
//! Owns the choice of numbers. They are read back from the maps, so that they survive the agent:
//! counters, pins and flows name them.

use std::collections::BTreeMap;

use lb_common::layout::{IdentityKey, Kind};

/// There is no number left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`limits.{limit}` is {capacity}, and all are taken, also by what is on its way out: remove \
     first and add with the next reload, or run `holdfast detach` and start with a higher limit"
)]
pub struct Full {
    /// Key in `[limits]`.
    pub limit: &'static str,
    /// Its value.
    pub capacity: u32,
}

/// Names and numbers as they stand, and those given out since.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    names: BTreeMap<IdentityKey, String>,
    numbers: BTreeMap<u32, BTreeMap<String, Vec<u32>>>,
    taken_below: BTreeMap<u32, u32>,
}

impl Ids {
    /// As they stand in the maps.
    #[must_use]
    pub fn recover(identities: &BTreeMap<IdentityKey, String>) -> Self {
        let mut ids = Self::default();
        for (key, name) in identities {
            ids.note(*key, name);
        }
        ids
    }

    /// The number of that name; the highest, should an interrupted change have left several.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<u32> {
        self.all(kind, name).last().copied()
    }

    /// All numbers of that name, rising. There are several while something replaced goes on
    /// serving, or when a change was interrupted.
    #[must_use]
    pub fn all(&self, kind: Kind, name: &str) -> &[u32] {
        let of_kind = self.numbers.get(&u32::from(kind.code()));
        of_kind.and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }

    /// Gives that name the lowest free number from 1 to `capacity`.
    pub fn assign(
        &mut self,
        kind: Kind,
        name: &str,
        limit: &'static str,
        capacity: u32,
    ) -> Result<u32, Full> {
        let from = self.taken_below.entry(kind.code().into()).or_insert(1);
        while self.names.contains_key(&key(kind, *from)) {
            *from += 1;
        }
        let id = *from;
        if id > capacity {
            return Err(Full { limit, capacity });
        }
        self.note(key(kind, id), name);
        Ok(id)
    }

    /// Gives that name a number that it chose itself: scopes, which are never used twice.
    pub fn note(&mut self, key: IdentityKey, name: &str) {
        self.names.insert(key, name.to_owned());
        let numbers = self.numbers.entry(key.kind).or_default().entry(name.to_owned()).or_default();
        numbers.push(key.id);
        numbers.sort_unstable();
    }
}

/// The key of a number in `IDENTITIES`.
#[must_use]
pub fn key(kind: Kind, id: u32) -> IdentityKey {
    IdentityKey { kind: kind.code().into(), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_number_of_the_kind() {
        let taken = [(1, "a"), (2, "b"), (4, "d")];
        let there = taken.map(|(id, name)| (key(Kind::Pool, id), name.to_owned())).into();
        let mut ids = Ids::recover(&there);
        let mut assign = |kind, name: &str| ids.assign(kind, name, "pools", 5);
        assert_eq!(assign(Kind::Pool, "e"), Ok(3));
        assert_eq!(assign(Kind::Pool, "f"), Ok(5));
        assert_eq!(assign(Kind::Pool, "g"), Err(Full { limit: "pools", capacity: 5 }));
        assert_eq!(assign(Kind::Backend, "a"), Ok(1));
        assert_eq!(ids.get(Kind::Pool, "d"), Some(4));
        assert_eq!(ids.get(Kind::Pool, "f"), Some(5));
        assert_eq!(ids.get(Kind::Listener, "a"), None);
    }

    #[test]
    fn of_several_the_highest() {
        let there = [3, 9].map(|id| (key(Kind::GroupScope, id), "g".to_owned())).into();
        let ids = Ids::recover(&there);
        assert_eq!(ids.get(Kind::GroupScope, "g"), Some(9));
        assert_eq!(ids.all(Kind::GroupScope, "g"), [3, 9]);
    }
}
