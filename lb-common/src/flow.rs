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
    layout::{Backend, Flow, STATES, Settings, TcpState},
    ticks,
};

/// What a packet does with the entry found for its five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Go with it.
    Follow,
    /// The flow is over: the packet begins a new one.
    Over,
    /// Its backend is gone: the client is told by a reset.
    Reset,
}

/// A flow that was reset, or closed by a client whose backend does not wait, is remembered this
/// long for stragglers.
pub const LINGER_NS: u64 = 10_000_000_000;

/// A NAT source port is free for another flow this much after its flow is over: entries of both
/// directions may differ by a refresh step.
pub const REUSE_MARGIN_NS: u64 = 2_000_000_000;

/// How long flows may be idle, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimes {
    /// TCP, under way.
    pub tcp_established_ns: u64,
    /// TCP, opening or half-closed.
    pub tcp_transitory_ns: u64,
    /// TCP, while the backend waits in TIME-WAIT.
    pub tcp_time_wait_ns: u64,
    /// Not TCP.
    pub stateless_ns: u64,
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

/// The idle times as the data path reads them, whose ticks are of `tick_ns` nanoseconds.
#[must_use]
pub const fn settings(times: &IdleTimes, tick_ns: u64) -> Settings {
    // By code.
    let idle_ns = [
        times.tcp_transitory_ns,
        times.tcp_established_ns,
        times.tcp_transitory_ns,
        times.tcp_transitory_ns,
        LINGER_NS,
        times.tcp_time_wait_ns,
        LINGER_NS,
        times.stateless_ns,
    ];
    let [a, b, c, d, e, f, g, h] = idle_ns;
    let idle_ticks: [u32; STATES] = [
        ticks::at_least(a, tick_ns),
        ticks::at_least(b, tick_ns),
        ticks::at_least(c, tick_ns),
        ticks::at_least(d, tick_ns),
        ticks::at_least(e, tick_ns),
        ticks::at_least(f, tick_ns),
        ticks::at_least(g, tick_ns),
        ticks::at_least(h, tick_ns),
    ];
    Settings { idle_ns, idle_ticks }
}

/// Was a packet of the flow noted recently enough, `now` in ticks?
#[inline(always)]
#[must_use]
pub fn in_time(flow: &Flow, settings: &Settings, now: u32) -> bool {
    ticks::since(flow.seen, now) < settings.idle_ticks(flow.state)
}

/// What a client's packet does with the entry found: `tcp` holds its flags, `None` for UDP.
#[inline(always)]
#[must_use]
pub fn judge(
    flow: &Flow,
    tcp: Option<TcpFlags>,
    backend: &Backend,
    settings: &Settings,
    now: u32,
) -> Fate {
    if !in_time(flow, settings, now) {
        return Fate::Over;
    }
    let served = backend.honours_flow(flow.placed(backend.generation));
    match tcp {
        Some(flags) if flags.is_opening() => {
            if served && !may_reopen(flow.state) {
                Fate::Follow
            } else {
                Fate::Over
            }
        }
        _ if served => Fate::Follow,
        Some(_) => Fate::Reset,
        None => Fate::Over,
    }
}

/// Does a client's packet show that the client is real, once a flow has an entry? A SYN can be
/// forged; its answer does not reach who forges it (P12).
#[inline(always)]
#[must_use]
pub fn proves_client(tcp: Option<TcpFlags>) -> bool {
    !tcp.is_some_and(TcpFlags::is_opening)
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
pub(crate) mod tests {
    use super::*;
    use crate::layout::BackendState;

    const S: u64 = 1_000_000_000;
    pub(crate) const TIMES: IdleTimes = IdleTimes {
        tcp_established_ns: 7440 * S,
        tcp_transitory_ns: 240 * S,
        tcp_time_wait_ns: 60 * S,
        stateless_ns: 300 * S,
    };
    // A tick a second.
    const SETTINGS: Settings = settings(&TIMES, S);
    const SYN: TcpFlags = TcpFlags(2);
    const ACK: TcpFlags = TcpFlags(16);
    const FIN: TcpFlags = TcpFlags(17);
    const RST: TcpFlags = TcpFlags(4);

    fn backend(state: BackendState) -> Backend {
        Backend { state: state.code(), generation: 1, flows_since: 1, ..Backend::default() }
    }

    fn flow(state: TcpState, seen: u32) -> Flow {
        let (backend, generation, state) = (1, 1, state.code());
        Flow { backend, generation, seen, state, pin_owed: false, source: 0, port_be: 0 }
    }

    #[test]
    fn idle_time_is_judged_at_the_boundary() {
        let check = |state: TcpState, idle: u32| {
            assert!(in_time(&flow(state, 9), &SETTINGS, 9 + idle - 1), "{state:?}");
            assert!(!in_time(&flow(state, 9), &SETTINGS, 9 + idle), "{state:?}");
            assert_eq!(SETTINGS.idle_ns(state.code()), u64::from(idle) * S);
        };
        check(TcpState::Opening, 240);
        check(TcpState::Established, 7440);
        check(TcpState::ClientClosing, 240);
        check(TcpState::BackendClosing, 240);
        check(TcpState::ClosedByClient, 10);
        check(TcpState::ClosedByBackend, 60);
        check(TcpState::Reset, 10);
        check(TcpState::Stateless, 300);
    }

    #[test]
    fn what_a_packet_does_with_its_entry() {
        use BackendState::{Down, Draining, Evacuating, Ready};
        use TcpState::{ClientClosing, ClosedByBackend, Established, Opening, Reset, Stateless};
        let check = |state: TcpState, flags: Option<TcpFlags>, backend_state, want| {
            let got = judge(&flow(state, 1), flags, &backend(backend_state), &SETTINGS, 2);
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
