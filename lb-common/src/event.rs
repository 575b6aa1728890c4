//! Everything that the data path counts: one list of code, name, kind and meaning.

/// What becomes of the packet that an event is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was sent on; the verdict of most packets.
    Sent,
    /// It was passed to the kernel's own stack.
    Passed,
    /// It was dropped.
    Dropped,
    /// It says nothing of the packet: something else happened on the way.
    Noted,
}

/// Declares what a program counts.
macro_rules! events {
    (
        $(#[$meta:meta])* pub enum $events:ident;
        $(#[$number_meta:meta])* pub const $number:ident;
        $($variant:ident = $code:literal, $name:literal, $kind:ident, $doc:literal;)+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $events {
            $(#[doc = $doc] $variant = $code,)+
        }

        $(#[$number_meta])*
        pub const $number: usize = [$($code),+].len();

        impl $events {
            /// All of them, by code.
            pub const ALL: [Self; $number] = [$(Self::$variant),+];

            /// Its name in `status` and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it says of the packet.
            #[inline(always)]
            #[must_use]
            pub const fn kind(self) -> EventKind {
                match self { $(Self::$variant => EventKind::$kind,)+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }
        }
    };
}
pub(crate) use events;

events! {
    /// A counted event.
    pub enum Event;
    /// How many events there are.
    pub const EVENTS;

    Forwarded = 0, "forwarded", Sent, "Sent to a backend.";
    Replied = 1, "replied", Sent, "A backend's answer, sent to its client.";
    ResetSent = 2, "reset_sent", Sent, "Answered with a TCP reset: the flow's backend is gone.";

    PassNotIp = 3, "pass_not_ip", Passed, "Neither IPv4 nor IPv6, or more than two VLAN tags.";
    PassTruncated = 4, "pass_truncated", Passed, "Shorter than its headers say.";
    PassBadHeader = 5, "pass_bad_header", Passed, "An IP header with an impossible version, length, option or checksum, or IPv4-mapped addresses in IPv6.";
    PassExtensionChain = 6, "pass_extension_chain", Passed, "Too many IPv6 extension headers, or too long ones.";
    PassSourceRoute = 7, "pass_source_route", Passed, "An IPv4 source route, or an IPv6 route to go on.";
    PassFragment = 8, "pass_fragment", Passed, "A fragment of a datagram for no listener, or of another protocol than TCP and UDP.";
    PassIcmpError = 9, "pass_icmp_error", Passed, "An ICMP error, of either IP version, about no flow that is known.";
    PassNotTcpUdp = 10, "pass_not_tcp_udp", Passed, "Another protocol than TCP and UDP, or an ICMP message that is no error.";
    PassNoListener = 11, "pass_no_listener", Passed, "For no listener, and no answer to one.";
    PassStaleReply = 12, "pass_stale_reply", Passed, "An answer whose flow is over.";

    DropBadSource = 13, "drop_bad_source", Dropped, "From an address or port that no client has, or from one of the balancer's own.";
    DropBadTcp = 14, "drop_bad_tcp", Dropped, "A TCP header with an impossible length or flags.";
    DropBadUdp = 15, "drop_bad_udp", Dropped, "A UDP header with an impossible length.";
    DropTtlExceeded = 16, "drop_ttl_exceeded", Dropped, "Its TTL or hop limit is used up.";
    DropNoBackend = 17, "drop_no_backend", Dropped, "No backend of the pool takes clients.";
    DropNoNextHop = 18, "drop_no_next_hop", Dropped, "The backend's link-layer address is not known.";
    DropNoSource = 19, "drop_no_source", Dropped, "No NAT source address is known for the backend.";
    DropPortsExhausted = 20, "drop_ports_exhausted", Dropped, "No free NAT source port was found for the backend.";
    DropGone = 21, "drop_gone", Dropped, "A TCP packet or a fragment whose flow's backend is gone and that must not be answered.";
    DropNoFlow = 22, "drop_no_flow", Dropped, "A TCP reset for a flow that is not known, and whose backend nothing tells again.";
    DropInternal = 23, "drop_internal", Dropped, "The kernel refused a step that cannot fail.";

    FlowMade = 24, "flow_made", Noted, "A flow was placed.";
    FlowInsertFailed = 25, "flow_insert_failed", Noted, "A placed flow could not be written, since another CPU took the place; its next packet follows pin and hash.";
    PinMade = 26, "pin_made", Noted, "A pin was inserted.";
    PinRenewed = 27, "pin_renewed", Noted, "A void pin was made anew in place.";
    PinFollowed = 28, "pin_followed", Noted, "A new flow followed its client's pin.";
    PinInsertFailed = 29, "pin_insert_failed", Noted, "A pin could not be inserted; the flow was placed by the hash.";
    PinReclaiming = 30, "pin_reclaiming", Noted, "A void pin was left alone because it is being reclaimed; the flow was placed by the hash.";
    ReplyMade = 31, "reply_made", Noted, "A NAT source port was taken.";
    ReplyTakenOver = 32, "reply_taken_over", Noted, "A NAT source port was taken over from a flow that is over.";
    FlowPlacedByHash = 33, "flow_placed_by_hash", Noted, "A new flow of a client without a pin was placed by the hash.";
    FlowRenewed = 34, "flow_renewed", Noted, "A flow was placed over the entry of one that is over.";

    IcmpForwarded = 35, "icmp_forwarded", Sent, "An ICMP error about a flow, sent to its backend.";
    IcmpReplied = 36, "icmp_replied", Sent, "An ICMP error about a flow, sent to its client.";
    EchoAnswered = 37, "echo_answered", Sent, "An echo request to a listener's address, answered.";
    DropBadFragment = 38, "drop_bad_fragment", Dropped, "A fragment of impossible length, or one that splits or overlaps a TCP or UDP header.";
    DropFragmentEarly = 39, "drop_fragment_early", Dropped, "A fragment that came before its datagram's first one, which alone says where to.";
    FragmentPlaced = 40, "fragment_placed", Noted, "A fragment that came before its datagram's first one was sent by pin or hash.";
    FragmentInsertFailed = 41, "fragment_insert_failed", Noted, "A datagram could not be remembered; its other fragments count as early.";

    TooBigAnswered = 42, "too_big_answered", Sent, "Does not fit into its backend's tunnel, or through the interface that it is to leave by: its sender was told by ICMP.";
    DropTooBig = 43, "drop_too_big", Dropped, "Does not fit on its way, and is none to answer: a later fragment, or an ICMP error.";
    DropTooBigOften = 44, "drop_too_big_often", Dropped, "Does not fit on its way, and its sender has been told often enough.";
    FlowScheduled = 45, "flow_scheduled", Noted, "A new flow of a client without a pin was placed by round-robin or least-connections.";
    FlowEvicted = 46, "flow_evicted", Noted, "A flow under way gave its place to another; its next packet follows pin and hash.";
    SynSent = 47, "syn_sent", Noted, "A SYN was sent by pin or hash; nothing is kept of it until its client answers.";
    FlowLimited = 48, "flow_limited", Noted, "Beyond the rate of new flows: the packet was sent by pin or hash, and leaves no trace.";
    DropFlood = 49, "drop_flood", Dropped, "Beyond the rate of new flows or connections, and without one there is no second choice of its backend.";
    PassGroupFrame = 50, "pass_group_frame", Passed, "To a broadcast or multicast link-layer address.";
    DropUdpUnsummed = 51, "drop_udp_unsummed", Dropped, "A UDP datagram over IPv6 without a checksum.";
    PassPathMtu = 52, "pass_path_mtu", Passed, "An ICMP error of a router inside a tunnel: its packet was too big there.";
    PassSidecar = 53, "pass_sidecar", Passed, "For an http or https listener, or an ICMP error about a connection to one: the sidecar's.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_rows_and_names_tell_the_kind() {
        for (row, event) in Event::ALL.iter().enumerate() {
            assert_eq!(*event as usize, row, "{event:?}");
            assert_eq!(event.name().starts_with("drop_"), event.kind() == EventKind::Dropped);
            assert_eq!(event.name().starts_with("pass_"), event.kind() == EventKind::Passed);
        }
    }
}
