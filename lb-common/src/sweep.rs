//! What does the sweeper do with an entry? (P7)
//!
//! Deleted is only what was invalid when the mark was set and last seen before it; packets after
//! that leave such entries alone.
//!
//! Invalid for good are: a pin that is out of time, whose scope no VIP has, or whose backend is
//! in a later life; a reply whose port could be taken over. A pin of a backend that is only
//! evacuating stays: it holds again when the operator calls it back. Flows are not deleted, only
//! counted.

use crate::{
    flow::{self, REUSE_MARGIN_NS},
    layout::{Flow, Lives, Pin, Reply, ScopeTimes, Settings, SweepRules},
    pin,
};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Dead,
    /// It stays, and counts for the backend with this id; 0: for none.
    Held(u32),
}

impl Verdict {
    /// In one word, for who reads what became of entries.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        match self {
            Self::Dead => u32::MAX,
            Self::Held(backend) => backend,
        }
    }

    /// From what [`Self::word`] gave.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        if word == u32::MAX { Self::Dead } else { Self::Held(word) }
    }
}

/// A pin; `scope` and `lives` are those that it names. It counts for its backend while it is in
/// time and the backend is in the same life.
#[inline(always)]
#[must_use]
pub const fn pin(
    rules: &SweepRules,
    pin: &Pin,
    scope: Option<&ScopeTimes>,
    lives: Lives,
) -> Verdict {
    let in_time = match scope {
        Some(times) => pin::in_time(pin, times.timeout_ns, times.max_lifetime_ns, rules.now_ns),
        None => false,
    };
    let generation = pin.backend.generation();
    let void = !in_time || lives.generation == 0 || generation < lives.generation;
    if void && pin.last_seen_ns < rules.before_ns {
        Verdict::Dead
    } else if in_time && generation == lives.generation {
        Verdict::Held(pin.backend.id())
    } else {
        Verdict::Held(0)
    }
}

/// A flow at `now`, in ticks; `lives` are its backend's. It counts for the backend while it is
/// open, in time and served. One that is over stays where it is until another flow needs the place.
#[must_use]
pub fn flow(settings: &Settings, flow: &Flow, lives: Lives, now: u32) -> Verdict {
    if !flow::in_time(flow, settings, now) {
        return Verdict::Dead;
    }
    let placed = flow.placed(lives.generation);
    let open = !flow::is_closed(flow.state);
    if open && lives.generation != 0 && placed.generation() >= lives.flows_since {
        Verdict::Held(flow.backend)
    } else {
        Verdict::Held(0)
    }
}

/// A reply; as [`crate::nat::claim`] says when a port may be taken over.
#[inline(always)]
#[must_use]
pub fn reply(rules: &SweepRules, reply: &Reply) -> Verdict {
    let idle = rules.now_ns.saturating_sub(reply.last_seen_ns);
    let over = rules.settings.idle_ns(reply.state).saturating_add(REUSE_MARGIN_NS);
    if reply.last_seen_ns < rules.before_ns && idle >= over {
        Verdict::Dead
    } else {
        Verdict::Held(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::{BackendRef, TcpState},
        pin::Standing,
    };

    const S: u64 = 1_000_000_000;
    const NOW: u64 = 100 * S;
    const RULES: SweepRules = SweepRules {
        now_ns: NOW,
        before_ns: 95 * S,
        settings: flow::settings(
            &flow::IdleTimes {
                tcp_established_ns: 50 * S,
                tcp_transitory_ns: 40 * S,
                tcp_time_wait_ns: 30 * S,
                stateless_ns: 20 * S,
            },
            S,
        ),
    };

    #[test]
    fn p7_pins() {
        let times = ScopeTimes { timeout_ns: 60 * S, max_lifetime_ns: 0 };
        let check = |scope: Option<ScopeTimes>, generation, seen, want| {
            let entry = Pin { backend: BackendRef::new(3, 4), created_ns: 0, last_seen_ns: seen };
            let lives = Lives { generation, flows_since: generation };
            assert_eq!(pin(&RULES, &entry, scope.as_ref(), lives), want, "{generation} {seen}");
        };
        check(Some(times), 4, 40 * S, Verdict::Dead);
        check(Some(times), 4, 40 * S + 1, Verdict::Held(3));
        check(Some(times), 3, 41 * S, Verdict::Held(0));
        check(Some(times), 5, 41 * S, Verdict::Dead);
        check(Some(times), 0, 41 * S, Verdict::Dead);
        check(None, 4, 41 * S, Verdict::Dead);
        let bound = ScopeTimes { max_lifetime_ns: 100 * S, ..times };
        check(Some(bound), 4, 94 * S, Verdict::Dead);
        check(
            Some(ScopeTimes { max_lifetime_ns: 100 * S + 1, ..times }),
            4,
            94 * S,
            Verdict::Held(3),
        );
        // Whatever it is: not what was seen lately.
        check(None, 5, 95 * S - 1, Verdict::Dead);
        check(None, 5, 95 * S, Verdict::Held(0));
    }

    #[test]
    fn p7_a_packet_leaves_alone_what_is_dead() {
        use crate::{
            address::Address,
            layout::{Backend, BackendState, Refresh, Target, Vip},
        };
        let backend =
            Backend { state: BackendState::Ready.code(), generation: 4, ..Backend::default() };
        let vip = Vip {
            timeout_ns: 60 * S,
            max_lifetime_ns: 80 * S,
            refresh_ns: S,
            client_mask: Address::mask(128),
            listener: 1,
            pool: 1,
            scope: 1,
            refresh_ticks: 16,
            refresh: Refresh::Activity.code(),
            target: Target::Pool.code(),
            pad: [0; 6],
        };
        let times = ScopeTimes { timeout_ns: vip.timeout_ns, max_lifetime_ns: vip.max_lifetime_ns };
        let mut dead = 0;
        for (created, seen) in (0..=100).flat_map(|a| (a..=100).map(move |b| (a * S, b * S))) {
            for generation in 2..=5 {
                let entry = Pin {
                    backend: BackendRef::new(3, generation),
                    created_ns: created,
                    last_seen_ns: seen,
                };
                let lives = Lives { generation: 4, flows_since: 4 };
                if pin(&RULES, &entry, Some(&times), lives) != Verdict::Dead {
                    continue;
                }
                dead += 1;
                for later in [0, 1, S, 1000 * S] {
                    let standing = pin::judge(&entry, &vip, &backend, RULES.before_ns, NOW + later);
                    assert_eq!(standing, Standing::Reclaiming, "{entry:?}");
                }
            }
        }
        assert!(dead > 1000);
    }

    #[test]
    fn flows_and_replies() {
        let check = |state: TcpState, seen: u32, (generation, flows_since), want, want_reply| {
            let (backend, state_code) = (3, state.code());
            let entry = Flow {
                backend,
                generation: 4,
                seen,
                state: state_code,
                pin_owed: false,
                source: 0,
                port_be: 0,
            };
            let lives = Lives { generation, flows_since };
            let got = flow(&RULES.settings, &entry, lives, 100);
            assert_eq!(got, want, "{state:?} {seen}");
            let entry = Reply {
                backend: BackendRef::new(3, 4),
                last_seen_ns: u64::from(seen) * S,
                state: state_code,
                ..bytemuck::Zeroable::zeroed()
            };
            assert_eq!(reply(&RULES, &entry), want_reply, "{state:?} {seen}");
        };
        let (dead, held) = (Verdict::Dead, Verdict::Held(0));
        check(TcpState::Established, 51, (4, 4), Verdict::Held(3), held);
        check(TcpState::Established, 50, (4, 4), dead, held);
        check(TcpState::Established, 49, (4, 4), dead, held);
        check(TcpState::Established, 48, (4, 4), dead, dead);
        check(TcpState::Stateless, 80, (4, 4), dead, held);
        check(TcpState::Established, 51, (6, 4), Verdict::Held(3), held);
        check(TcpState::Established, 51, (6, 5), held, held);
        check(TcpState::Established, 51, (0, 0), held, held);
        // Remembered, but nobody's to wait for.
        check(TcpState::BackendClosing, 96, (4, 4), Verdict::Held(3), held);
        for closed in [TcpState::ClosedByClient, TcpState::ClosedByBackend, TcpState::Reset] {
            check(closed, 96, (4, 4), held, held);
        }
    }
}
