//! Is a pin still honoured, and does a packet refresh it? (P3, P4, P5, P7, P9, P10)

use crate::{
    layout::{Backend, BackendRef, Pin, Refresh, Vip},
    ticks,
};

/// What a new flow may do with its client's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Follow it.
    Honoured,
    /// Make it anew, in place.
    Void,
    /// Leave it alone: the sweeper is about to delete it.
    Reclaiming,
}

/// Is the pin within its time (P3) and its life's bound (P4)?
#[inline(always)]
#[must_use]
pub const fn in_time(pin: &Pin, timeout_ns: u64, max_lifetime_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(pin.last_seen_ns) < timeout_ns
        && (max_lifetime_ns == 0 || now_ns.saturating_sub(pin.created_ns) < max_lifetime_ns)
}

/// What a new flow at `now_ns` may do with `pin`, whose backend's record is `backend`.
#[inline(always)]
#[must_use]
pub const fn judge(
    pin: &Pin,
    vip: &Vip,
    backend: &Backend,
    reclaim_before_ns: u64,
    now_ns: u64,
) -> Standing {
    if in_time(pin, vip.timeout_ns, vip.max_lifetime_ns, now_ns) && backend.honours_pin(pin.backend)
    {
        Standing::Honoured
    } else if pin.last_seen_ns < reclaim_before_ns {
        Standing::Reclaiming
    } else {
        Standing::Void
    }
}

/// What meets the pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A new flow that follows it.
    NewFlow,
    /// A packet of a flow under way.
    Activity,
}

/// Does a packet of a flow on `flow_backend` write the pin's `last_seen_ns`?
///
/// Only a pin of the same backend and life (P5), only one that is in time, and only when it is
/// older than the refresh step: at most once a second.
#[inline(always)]
#[must_use]
pub const fn refreshes(
    pin: &Pin,
    vip: &Vip,
    flow_backend: BackendRef,
    touch: Touch,
    now_ns: u64,
) -> bool {
    let allowed = match touch {
        Touch::NewFlow => vip.refresh != Refresh::Never.code(),
        Touch::Activity => vip.refresh == Refresh::Activity.code(),
    };
    allowed
        && pin.backend.word == flow_backend.word
        && in_time(pin, vip.timeout_ns, vip.max_lifetime_ns, now_ns)
        && now_ns.saturating_sub(pin.last_seen_ns) >= vip.refresh_ns
}

/// Age from which a pin or flow is written anew: a second, or a quarter of a shorter timeout, so
/// that an active connection keeps a pin of one second too (P4).
#[must_use]
pub const fn refresh_step_ns(timeout_ns: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let quarter = timeout_ns / 4;
    if quarter < SECOND { quarter } else { SECOND }
}

/// The same for a flow's entry, in [`crate::ticks`], of which each is as long as the shortest at
/// least.
#[must_use]
pub const fn refresh_ticks(refresh_ns: u64) -> u32 {
    ticks::at_least(refresh_ns, ticks::SHORTEST_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        layout::{BackendState, Target},
    };

    const S: u64 = 1_000_000_000;

    fn vip(timeout_ns: u64, refresh: Refresh) -> Vip {
        Vip {
            timeout_ns,
            max_lifetime_ns: 0,
            refresh_ns: refresh_step_ns(timeout_ns),
            client_mask: Address::mask(128),
            listener: 1,
            pool: 1,
            scope: 1,
            refresh_ticks: refresh_ticks(refresh_step_ns(timeout_ns)),
            refresh: refresh.code(),
            target: Target::Pool.code(),
            pad: [0; 6],
        }
    }

    fn pin(last_seen_ns: u64) -> Pin {
        Pin { backend: BackendRef::new(3, 1), created_ns: 0, last_seen_ns }
    }

    fn backend(state: BackendState) -> Backend {
        Backend { state: state.code(), generation: 1, ..Backend::default() }
    }

    #[test]
    fn p3_valid_below_the_timeout_gone_at_it() {
        for timeout in [1, 60, 3600] {
            let timeout_ns = timeout * S;
            for seen in [0, 5, 77 * S] {
                let at = |now| in_time(&pin(seen), timeout_ns, 0, now);
                assert!(at(seen));
                assert!(at(seen + timeout_ns - 1));
                assert!(!at(seen + timeout_ns));
                assert!(!at(seen + timeout_ns + 1));
            }
        }
        assert!(in_time(&pin(10), S, 0, 9), "a clock that another CPU read earlier");
    }

    #[test]
    fn p4_max_lifetime_bounds_a_refreshed_pin() {
        let fresh = Pin { backend: BackendRef::new(3, 1), created_ns: 0, last_seen_ns: 100 * S };
        assert!(in_time(&fresh, 60 * S, 100 * S + 1, 100 * S));
        assert!(!in_time(&fresh, 60 * S, 100 * S, 100 * S));
    }

    #[test]
    fn p4_who_refreshes() {
        let check = |refresh, touch, age, want: bool| {
            let vip = vip(60 * S, refresh);
            let got = refreshes(&pin(S), &vip, BackendRef::new(3, 1), touch, S + age);
            assert_eq!(got, want, "{refresh:?} {touch:?} {age}");
        };
        check(Refresh::Activity, Touch::Activity, S - 1, false);
        check(Refresh::Activity, Touch::Activity, S, true);
        check(Refresh::Activity, Touch::NewFlow, S, true);
        check(Refresh::Activity, Touch::Activity, 60 * S - 1, true);
        check(Refresh::Activity, Touch::Activity, 60 * S, false);
        check(Refresh::NewConnection, Touch::Activity, S, false);
        check(Refresh::NewConnection, Touch::NewFlow, S, true);
        check(Refresh::Never, Touch::Activity, S, false);
        check(Refresh::Never, Touch::NewFlow, S, false);
    }

    #[test]
    fn p5_only_the_own_backends_pin() {
        let vip = vip(60 * S, Refresh::Activity);
        let at = |flow| refreshes(&pin(0), &vip, flow, Touch::Activity, 2 * S);
        assert!(at(BackendRef::new(3, 1)));
        assert!(!at(BackendRef::new(4, 1)), "another backend");
        assert!(!at(BackendRef::new(3, 2)), "another life");
    }

    #[test]
    fn p7_what_is_being_reclaimed_is_left_alone() {
        let vip = vip(60 * S, Refresh::Activity);
        let check = |before_ns, now, want| {
            let got = judge(&pin(10), &vip, &backend(BackendState::Ready), before_ns, now);
            assert_eq!(got, want);
        };
        check(0, 70 * S, Standing::Void);
        check(10, 70 * S, Standing::Void);
        check(11, 70 * S, Standing::Reclaiming);
        check(11, 20 * S, Standing::Honoured);
    }

    #[test]
    fn p9_states() {
        let vip = vip(60 * S, Refresh::Activity);
        let check = |state, want| {
            assert_eq!(judge(&pin(0), &vip, &backend(state), 0, S), want);
        };
        check(BackendState::Ready, Standing::Honoured);
        check(BackendState::Draining, Standing::Honoured);
        check(BackendState::Evacuating, Standing::Void);
        check(BackendState::Down, Standing::Void);
        check(BackendState::Unset, Standing::Void);
    }

    #[test]
    fn refresh_steps() {
        assert_eq!(refresh_step_ns(3600 * S), S);
        assert_eq!(refresh_step_ns(4 * S), S);
        assert_eq!(refresh_step_ns(S), S / 4);
    }
}
