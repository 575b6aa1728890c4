//! Is a flow still under way, and what is its next state?
//!
//! ```text
//!                    client answers          client FIN            backend FIN
//! (SYN) -> Opening ------------> Established ---------> ClientClosing --------> ClosedByClient
//!                                     |      backend FIN            client FIN
//!                                     +---------------> BackendClosing -------> ClosedByBackend
//! ```
//! A reset leads to `Reset` from anywhere; a later packet that is none leads back to
//! `Established`, since the reset may have been forged. A SYN opens what is closed or closing.

use crate::{
    header::TcpFlags,
    layout::{Backend, BackendRef, Settings, TcpState},
};

/// What a packet does with the entry found for its five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Go with it.
    Follow,
    /// The flow is over: the packet begins a new one.
    Over,
    /// Over, and the entry is about to be deleted: leave it alone.
    Reclaiming,
    /// Its backend is gone: the client is told by a reset.
    Reset,
}

/// A flow that was reset, or closed by a client whose backend does not wait, is remembered this
/// long for stragglers.
pub const LINGER_NS: u64 = 10_000_000_000;

/// A NAT source port is free for another flow this much after its flow is over: entries of both
/// directions may differ by a refresh step.
pub const REUSE_MARGIN_NS: u64 = 2_000_000_000;

/// How long a flow in that state may be idle, in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn idle_ns(state: u8, settings: &Settings) -> u64 {
    match TcpState::from_code(state) {
        Some(TcpState::Established) => settings.tcp_established_ns,
        Some(TcpState::Opening | TcpState::ClientClosing | TcpState::BackendClosing) => {
            settings.tcp_transitory_ns
        }
        Some(TcpState::ClosedByBackend) => settings.tcp_time_wait_ns,
        Some(TcpState::ClosedByClient | TcpState::Reset) | None => LINGER_NS,
        Some(TcpState::Stateless) => settings.stateless_ns,
    }
}

/// Have both ends closed it, or one reset it?
#[inline(always)]
#[must_use]
pub const fn is_closed(state: u8) -> bool {
    matches!(
        TcpState::from_code(state),
        Some(TcpState::ClosedByClient | TcpState::ClosedByBackend | TcpState::Reset)
    )
}

/// Was a packet of the flow noted recently enough?
#[inline(always)]
#[must_use]
pub const fn in_time(state: u8, last_seen_ns: u64, settings: &Settings, now_ns: u64) -> bool {
    now_ns.saturating_sub(last_seen_ns) < idle_ns(state, settings)
}

/// What a client's packet does with the entry found: `tcp` holds its flags, `None` for UDP.
#[inline(always)]
#[must_use]
pub const fn judge(
    entry: (u8, u64, BackendRef),
    tcp: Option<TcpFlags>,
    backend: &Backend,
    settings: &Settings,
    reclaim_before_ns: u64,
    now_ns: u64,
) -> Fate {
    let (state, last_seen_ns, placed) = entry;
    let over = if last_seen_ns < reclaim_before_ns { Fate::Reclaiming } else { Fate::Over };
    if !in_time(state, last_seen_ns, settings, now_ns) {
        return over;
    }
    match tcp {
        Some(flags) if flags.is_opening() => {
            if backend.honours_flow(placed) && !may_reopen(state) {
                Fate::Follow
            } else {
                Fate::Over
            }
        }
        _ if backend.honours_flow(placed) => Fate::Follow,
        Some(_) => Fate::Reset,
        None => Fate::Over,
    }
}

const fn may_reopen(state: u8) -> bool {
    state != TcpState::Opening.code() && state != TcpState::Established.code()
}

/// The state of a new flow whose first packet has these flags.
#[inline(always)]
#[must_use]
pub const fn first_state(tcp: Option<TcpFlags>) -> u8 {
    match tcp {
        None => TcpState::Stateless.code(),
        Some(flags) if flags.is_opening() => TcpState::Opening.code(),
        Some(flags) => next_state(TcpState::Established.code(), flags, Side::Client),
    }
}

/// Who sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

/// The state after a TCP packet with these flags.
#[inline(always)]
#[must_use]
pub const fn next_state(state: u8, flags: TcpFlags, from: Side) -> u8 {
    let Some(now) = TcpState::from_code(state) else { return state };
    if flags.rst() {
        return TcpState::Reset.code();
    }
    let next = match (now, from) {
        (TcpState::Stateless, _) => TcpState::Stateless,
        (TcpState::Opening, Side::Client) if flags.syn() => TcpState::Opening,
        (TcpState::Opening, Side::Backend) => TcpState::Opening,
        (TcpState::Opening | TcpState::Established | TcpState::Reset, Side::Client) => {
            if flags.fin() { TcpState::ClientClosing } else { TcpState::Established }
        }
        (TcpState::Established | TcpState::Reset, Side::Backend) => {
            if flags.fin() {
                TcpState::BackendClosing
            } else {
                TcpState::Established
            }
        }
        (TcpState::ClientClosing, Side::Backend) if flags.fin() => TcpState::ClosedByClient,
        (TcpState::BackendClosing, Side::Client) if flags.fin() => TcpState::ClosedByBackend,
        (closing, _) => closing,
    };
    next.code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BackendState;

    const S: u64 = 1_000_000_000;
    const SETTINGS: Settings = Settings {
        tcp_established_ns: 7440 * S,
        tcp_transitory_ns: 240 * S,
        tcp_time_wait_ns: 60 * S,
        stateless_ns: 300 * S,
    };
    const SYN: TcpFlags = TcpFlags(2);
    const ACK: TcpFlags = TcpFlags(16);
    const FIN: TcpFlags = TcpFlags(17);
    const RST: TcpFlags = TcpFlags(4);

    fn backend(state: BackendState) -> Backend {
        Backend { state: state.code(), generation: 1, flows_since: 1, ..Backend::default() }
    }

    #[test]
    fn idle_time_is_judged_at_the_boundary() {
        let check = |state: TcpState, idle: u64| {
            let code = state.code();
            assert!(in_time(code, S, &SETTINGS, S + idle - 1), "{state:?}");
            assert!(!in_time(code, S, &SETTINGS, S + idle), "{state:?}");
        };
        check(TcpState::Opening, 240 * S);
        check(TcpState::Established, 7440 * S);
        check(TcpState::ClientClosing, 240 * S);
        check(TcpState::BackendClosing, 240 * S);
        check(TcpState::ClosedByClient, 10 * S);
        check(TcpState::ClosedByBackend, 60 * S);
        check(TcpState::Reset, 10 * S);
        check(TcpState::Stateless, 300 * S);
    }

    #[test]
    fn what_a_packet_does_with_its_entry() {
        use BackendState::{Down, Draining, Evacuating, Ready};
        use TcpState::{ClientClosing, ClosedByBackend, Established, Opening, Reset, Stateless};
        let check = |state: TcpState, flags: Option<TcpFlags>, backend_state, want| {
            let entry = (state.code(), S, BackendRef::new(1, 1));
            let got = judge(entry, flags, &backend(backend_state), &SETTINGS, 0, 2 * S);
            assert_eq!(got, want, "{state:?} {flags:?} {backend_state:?}");
        };
        for alive in [Ready, Draining, Evacuating] {
            check(Established, Some(ACK), alive, Fate::Follow);
            check(Opening, Some(SYN), alive, Fate::Follow);
            check(Established, Some(SYN), alive, Fate::Follow);
            check(Stateless, None, alive, Fate::Follow);
            check(ClientClosing, Some(ACK), alive, Fate::Follow);
            check(ClientClosing, Some(SYN), alive, Fate::Over);
            check(ClosedByBackend, Some(SYN), alive, Fate::Over);
            check(Reset, Some(SYN), alive, Fate::Over);
        }
        check(Established, Some(ACK), Down, Fate::Reset);
        check(Established, Some(SYN), Down, Fate::Over);
        check(Stateless, None, Down, Fate::Over);
    }

    #[test]
    fn an_entry_being_reclaimed_is_left_alone() {
        let entry = (TcpState::Stateless.code(), S, BackendRef::new(1, 1));
        let reclaim = 2 * S;
        let at = |now| judge(entry, None, &backend(BackendState::Ready), &SETTINGS, reclaim, now);
        assert_eq!(at(300 * S), Fate::Follow);
        assert_eq!(at(301 * S), Fate::Reclaiming);
    }

    #[test]
    fn a_life_of_a_connection() {
        use Side::{Backend, Client};
        let check = |packets: &[(Side, TcpFlags)], want: TcpState| {
            let mut state = first_state(Some(SYN));
            for (side, flags) in packets {
                state = next_state(state, *flags, *side);
            }
            assert_eq!(TcpState::from_code(state), Some(want), "{packets:?}");
        };
        let syn_ack = TcpFlags(18);
        check(&[], TcpState::Opening);
        check(&[(Client, SYN)], TcpState::Opening);
        check(&[(Backend, syn_ack)], TcpState::Opening);
        check(&[(Backend, syn_ack), (Client, ACK)], TcpState::Established);
        check(&[(Client, ACK), (Client, FIN)], TcpState::ClientClosing);
        check(&[(Client, ACK), (Client, FIN), (Backend, ACK)], TcpState::ClientClosing);
        check(&[(Client, ACK), (Client, FIN), (Backend, FIN)], TcpState::ClosedByClient);
        check(&[(Client, ACK), (Backend, FIN), (Client, FIN)], TcpState::ClosedByBackend);
        check(
            &[(Client, ACK), (Backend, FIN), (Client, FIN), (Backend, ACK)],
            TcpState::ClosedByBackend,
        );
        check(&[(Backend, RST)], TcpState::Reset);
        check(&[(Client, ACK), (Client, RST)], TcpState::Reset);
        check(&[(Client, ACK), (Client, RST), (Backend, ACK)], TcpState::Established);
    }

    #[test]
    fn flows_met_in_their_middle() {
        assert_eq!(first_state(None), TcpState::Stateless.code());
        assert_eq!(first_state(Some(ACK)), TcpState::Established.code());
        assert_eq!(first_state(Some(FIN)), TcpState::ClientClosing.code());
        assert_eq!(first_state(Some(RST)), TcpState::Reset.code());
    }
}
