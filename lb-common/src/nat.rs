//! NAT source ports: which one a flow tries, and when one may be taken over.
//!
//! The order of trial follows from the flow alone, so a flow whose entry was lost finds the port
//! it had.

use crate::{
    flow::REUSE_MARGIN_NS,
    layout::{FlowKey, NAT_SOURCES, Reply, Settings},
};

/// Ports that flows get: below 32768, where Linux takes those of its own connections from
/// (`ip_local_port_range`), so that health checks and flows never meet.
pub const FIRST_PORT: u16 = 1024;
/// The last of them.
pub const LAST_PORT: u16 = 32767;
/// How many ports a flow tries.
pub const TRIES: u32 = 32;

const PORTS: u32 = (LAST_PORT as u32) - (FIRST_PORT as u32) + 1;

/// Could a packet to this port, network byte order, be an answer to a translated flow?
#[inline(always)]
#[must_use]
pub const fn is_nat_port(port_be: u16) -> bool {
    let port = u16::from_be(port_be);
    port >= FIRST_PORT && port <= LAST_PORT
}

/// The port that a flow with this hash tries as number `attempt`, network byte order.
#[inline(always)]
#[must_use]
pub const fn port_be(flow_hash: u64, attempt: u32) -> u16 {
    // An odd step visits every port, since their number is even but no multiple of the step.
    let step = ((flow_hash >> 48) as u32) | 1;
    let start = (flow_hash >> 16) as u32;
    let offset = start.wrapping_add(attempt.wrapping_mul(step)) % PORTS;
    ((offset as u16).wrapping_add(FIRST_PORT)).to_be()
}

/// Which of a backend's NAT sources, those with a bit in `mask`, a flow with this hash uses; `None`:
/// there are none.
#[inline(always)]
#[must_use]
pub const fn source_index(flow_hash: u64, mask: u32) -> Option<usize> {
    let mask = mask & SOURCES;
    let count = (mask & 1)
        .wrapping_add(mask >> 1 & 1)
        .wrapping_add(mask >> 2 & 1)
        .wrapping_add(mask >> 3 & 1);
    let mut left = (flow_hash & 0xffff).wrapping_mul(count as u64) >> 16;
    let mut index = 0;
    while index < NAT_SOURCES {
        if mask >> index & 1 != 0 {
            if left == 0 {
                return Some(index);
            }
            left = left.wrapping_sub(1);
        }
        index = index.wrapping_add(1);
    }
    None
}

/// Bits of all sources.
const SOURCES: u32 = (1 << NAT_SOURCES) - 1;

/// What a flow may do with a port that has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is this flow's own.
    Own,
    /// Its flow is over: claim it by compare and exchange.
    TakeOver,
    /// Another flow has it.
    Taken,
}

/// What the flow `client` may do with the port whose entry is `reply`.
#[inline(always)]
#[must_use]
pub fn claim(
    reply: &Reply,
    client: &FlowKey,
    settings: &Settings,
    reclaim_before_ns: u64,
    now_ns: u64,
) -> Claim {
    let idle = now_ns.saturating_sub(reply.last_seen_ns);
    let over = idle >= settings.idle_ns(reply.state).saturating_add(REUSE_MARGIN_NS);
    if over && reply.last_seen_ns < reclaim_before_ns {
        Claim::Taken
    } else if reply.client == *client {
        Claim::Own
    } else if over {
        Claim::TakeOver
    } else {
        Claim::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        layout::{BackendRef, Hop, TcpState},
    };

    const S: u64 = 1_000_000_000;

    #[test]
    fn ports_stay_in_range_and_differ() {
        for hash in [0, u64::MAX, 0x1234_5678_9abc_def0, 1 << 48] {
            let mut seen = std::collections::BTreeSet::new();
            for attempt in 0..TRIES {
                let port = port_be(hash, attempt);
                assert!(is_nat_port(port));
                assert!(seen.insert(port), "{hash:x} tries {port} twice");
            }
        }
        assert!(!is_nat_port(1023_u16.to_be()));
        assert!(is_nat_port(1024_u16.to_be()));
        assert!(is_nat_port(32767_u16.to_be()));
        assert!(!is_nat_port(32768_u16.to_be()));
    }

    #[test]
    fn sources_are_those_of_the_mask() {
        assert_eq!(source_index(7, 0), None);
        assert_eq!(source_index(7, 0xfff0), None);
        for mask in 1..16_u32 {
            let mut used = 0;
            for hash in (0..=0xffff).step_by(0x555) {
                used |= 1 << source_index(hash, mask).expect("one");
            }
            assert_eq!(used, mask);
        }
    }

    #[test]
    fn who_may_have_a_port() {
        let settings = crate::flow::settings(&crate::flow::tests::TIMES, S);
        let client = |port: u16| FlowKey {
            source: Address::from_v4([192, 0, 2, 1]),
            destination: Address::from_v4([203, 0, 113, 1]),
            source_port_be: port.to_be(),
            destination_port_be: 80_u16.to_be(),
            protocol: 6,
            pad: [0; 3],
        };
        let check = |state: TcpState, who: u16, before_ns: u64, now: u64, want: Claim| {
            let reply = Reply {
                last_seen_ns: S,
                backend: BackendRef::new(1, 1),
                client: client(1),
                hop: Hop::default(),
                listener: 1,
                state: state.code(),
                pad: [0; 3],
            };
            let got = claim(&reply, &client(who), &settings, before_ns, now);
            assert_eq!(got, want, "{state:?} {who} {before_ns} {now}");
        };
        check(TcpState::Established, 1, 0, 2 * S, Claim::Own);
        check(TcpState::Established, 2, 0, 2 * S, Claim::Taken);
        check(TcpState::ClosedByBackend, 2, 0, 63 * S - 1, Claim::Taken);
        check(TcpState::ClosedByBackend, 2, 0, 63 * S, Claim::TakeOver);
        check(TcpState::ClosedByClient, 2, 0, 13 * S, Claim::TakeOver);
        check(TcpState::ClosedByClient, 2, 2 * S, 13 * S, Claim::Taken);
        check(TcpState::ClosedByClient, 1, 2 * S, 13 * S, Claim::Taken);
        check(TcpState::ClosedByClient, 1, 2 * S, 12 * S, Claim::Own);
    }
}
