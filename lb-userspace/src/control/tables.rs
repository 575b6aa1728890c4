//! Which Maglev table a pool uses next.
//!
//! A pool `p` owns the tables `2p - 1` and `2p`: one is named by its row, the other is idle. The
//! idle one is written and then named, in one row write; and a table that was named must not be
//! written before a grace period has passed, since packets may still be reading it.

use std::collections::BTreeMap;

use lb_common::layout::Scheduler;

use crate::maglev::Share;

/// What a table is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Who reads it.
    pub scheduler: Scheduler,
    /// Who stands in it.
    pub shares: Vec<Share>,
}

/// What is known of all tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pools: BTreeMap<u32, Pair>,
    /// Tables of pools that are not in `pools` may have been named lately.
    taken_over: bool,
}

#[derive(Debug, Clone, Default)]
struct Pair {
    built: [Option<Recipe>; 2],
    /// One was named, and is no longer, and no grace period has passed since.
    unsettled: bool,
}

/// The first of a pool's two tables.
#[must_use]
pub fn first_table(pool: u32) -> u32 {
    (2 * pool).saturating_sub(1)
}

/// The table of a pool to write, while its row names `named` (0: none).
#[must_use]
pub fn idle_table(pool: u32, named: u32) -> u32 {
    let first = first_table(pool);
    if named == first { first + 1 } else { first }
}

impl Tables {
    /// Of an instance that is new, or that another agent has written.
    #[must_use]
    pub fn new(taken_over: bool) -> Self {
        Self { pools: BTreeMap::new(), taken_over }
    }

    /// What a table was built from, if this agent built or read it.
    #[must_use]
    pub fn built(&self, pool: u32, table: u32) -> Option<&Recipe> {
        let index = Self::index(pool, table)?;
        self.pools.get(&pool)?.built[index].as_ref()
    }

    /// A table holds what that makes; `None`: it is being written.
    pub fn note_built(&mut self, pool: u32, table: u32, recipe: Option<&Recipe>) {
        if let Some(index) = Self::index(pool, table) {
            self.pair(pool).built[index] = recipe.cloned();
        }
    }

    /// The pool's row no longer names the table that it named.
    pub fn note_swapped(&mut self, pool: u32) {
        self.pair(pool).unsettled = true;
    }

    /// Must a grace period pass before the pool's idle table is written?
    #[must_use]
    pub fn needs_grace(&self, pool: u32) -> bool {
        self.pools.get(&pool).map_or(self.taken_over, |pair| pair.unsettled)
    }

    /// A grace period has passed.
    pub fn settle(&mut self) {
        self.taken_over = false;
        for pair in self.pools.values_mut() {
            pair.unsettled = false;
        }
    }

    fn pair(&mut self, pool: u32) -> &mut Pair {
        let unsettled = self.taken_over;
        self.pools.entry(pool).or_insert_with(|| Pair { unsettled, ..Pair::default() })
    }

    fn index(pool: u32, table: u32) -> Option<usize> {
        let index = table.checked_sub(first_table(pool))?;
        (index < 2).then_some(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_own_two_tables_each() {
        assert_eq!((first_table(1), first_table(2), first_table(64)), (1, 3, 127));
        assert_eq!(idle_table(2, 0), 3);
        assert_eq!(idle_table(2, 3), 4);
        assert_eq!(idle_table(2, 4), 3);
    }

    #[test]
    fn grace_is_due_after_a_swap_until_it_has_passed() {
        let mut tables = Tables::new(true);
        assert!(tables.needs_grace(1), "another agent may just have swapped");
        let recipe = Recipe { scheduler: Scheduler::Maglev, shares: Vec::new() };
        tables.note_built(1, 1, Some(&recipe));
        assert!(tables.needs_grace(1), "knowing one changes nothing");
        tables.settle();
        assert!(!tables.needs_grace(1) && !tables.needs_grace(9));
        tables.note_swapped(1);
        assert!(tables.needs_grace(1) && !tables.needs_grace(9));
        assert_eq!(tables.built(1, 1), Some(&recipe));
        assert_eq!(tables.built(1, 2), None);
        assert_eq!(tables.built(1, 3), None);
        assert!(!Tables::new(false).needs_grace(1));
    }
}
