//! What a scope number stands for: who shares its pins, and how long they live. Pure.

use std::collections::HashMap;

use lb_common::{
    address::Address,
    layout::{Kind, Pin, ScopeTimes},
    pin::in_time,
};

use crate::control::{ids::key, snapshot::Snapshot};

/// A scope that a VIP has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The listener's or the group's name.
    pub name: String,
    /// Is it a group's?
    pub group: bool,
    /// Names of the listeners that share it.
    pub listeners: Vec<String>,
    /// Bits of an IPv6 and of an IPv4 client address that count, where a listener has that
    /// family.
    masks: [Option<Address>; 2],
    timeout_ns: u64,
    max_lifetime_ns: u64,
}

/// All scopes that VIPs have, by number.
#[derive(Debug, Clone, Default)]
pub struct Scopes(HashMap<u32, Scope>);

impl Scopes {
    /// As the maps stand.
    #[must_use]
    pub fn new(there: &Snapshot) -> Self {
        let name_of = |kind, id| there.identities.get(&key(kind, id)).cloned();
        let mut scopes: HashMap<u32, Scope> = HashMap::new();
        for (vip_key, vip) in there.vips.iter().filter(|(_, vip)| vip.scope != 0) {
            let group = name_of(Kind::GroupScope, vip.scope);
            let scope = scopes.entry(vip.scope).or_insert_with(|| Scope {
                group: group.is_some(),
                name: group.or_else(|| name_of(Kind::ListenerScope, vip.scope)).unwrap_or_default(),
                listeners: Vec::new(),
                masks: [None; 2],
                timeout_ns: 0,
                max_lifetime_ns: vip.max_lifetime_ns,
            });
            // Listeners of a group agree on times; while they do not, none may lose a pin.
            scope.timeout_ns = scope.timeout_ns.max(vip.timeout_ns);
            scope.max_lifetime_ns = match (scope.max_lifetime_ns, vip.max_lifetime_ns) {
                (0, _) | (_, 0) => 0,
                (one, other) => one.max(other),
            };
            scope.masks[usize::from(vip_key.address.is_v4())] = Some(vip.client_mask);
            scope.listeners.extend(name_of(Kind::Listener, vip.listener));
        }
        Self(scopes)
    }

    /// Numbers and times of all.
    pub fn times(&self) -> impl Iterator<Item = (u32, ScopeTimes)> {
        self.0.iter().map(|(id, scope)| {
            let Scope { timeout_ns, max_lifetime_ns, .. } = *scope;
            (*id, ScopeTimes { timeout_ns, max_lifetime_ns })
        })
    }

    /// The scope with that number; `None`: no VIP has it any more.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Scope> {
        self.0.get(&id)
    }
}

impl Scope {
    /// Is a pin of this scope within its times (P3, P4)?
    #[must_use]
    pub fn in_time(&self, pin: &Pin, now_ns: u64) -> bool {
        in_time(pin, self.timeout_ns, self.max_lifetime_ns, now_ns)
    }

    /// Nanoseconds that a pin of this scope has left if nothing refreshes it.
    #[must_use]
    pub fn left_ns(&self, pin: &Pin, now_ns: u64) -> u64 {
        let idle = now_ns.saturating_sub(pin.last_seen_ns);
        let left = self.timeout_ns.saturating_sub(idle);
        if self.max_lifetime_ns == 0 {
            return left;
        }
        left.min(self.max_lifetime_ns.saturating_sub(now_ns.saturating_sub(pin.created_ns)))
    }

    /// Bits of a client address of that family, of 128, that make its pin.
    #[must_use]
    pub fn prefix(&self, v4: bool) -> u8 {
        let mask = self.masks[usize::from(v4)];
        let ones = mask.map_or(128, |mask| u128::from_be_bytes(mask.v6()).leading_ones());
        u8::try_from(ones).unwrap_or(128)
    }
}
