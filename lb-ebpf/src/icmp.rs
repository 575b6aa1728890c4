//! ICMP: errors go where an answer to the packet that they quote would go; echo requests to a
//! listener's address are answered. Nothing is made or refreshed by any of them.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    address::Address,
    checksum::Delta,
    event::Event,
    features::Features,
    fragment::Part,
    header::{self, can_come_from},
    icmp::{self, Change, Message},
    layout::FlowKey,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    classify,
    ctx::{ptr_at, read, write},
    features::have,
    flow::{self, Judging},
    maps::BACKENDS,
    mtu,
    parse::quoted,
    pin, reply,
    reset::swap_macs,
    work::{Work, work},
};

/// The packet that an ICMP error is about. Lengths and offsets in bytes.
pub(crate) struct Quoted {
    /// Its five-tuple, as it was sent.
    pub(crate) key: FlowKey,
    /// Where its IP header begins.
    pub(crate) l3: usize,
    /// Where its TCP or UDP header begins.
    pub(crate) l4: usize,
    /// How much of it from there on is in the error.
    pub(crate) len: u32,
    /// Which part of its datagram it is.
    pub(crate) part: Part,
    /// Where the error comes from.
    pub(crate) sender: Address,
    /// Where it will come from, if it is translated.
    pub(crate) sender_to: Address,
}

/// An ICMP message's way: [`Event::IcmpForwarded`], [`Event::IcmpReplied`], or
/// [`Event::EchoAnswered`] when it has become an answer.
#[inline(never)]
pub(crate) fn place(ctx: &XdpContext) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    // Type and code: the verifier takes no proof of a single byte at the end.
    let [kind, code] = read::<[u8; 2]>(ctx, work.packet.l4).ok_or(Event::PassTruncated)?;
    let message =
        if work.packet.v6 { icmp::message_v6(kind, code) } else { icmp::message_v4(kind, code) };
    match message {
        Message::Other(event) => Err(event),
        Message::Echo => echo(ctx),
        Message::Error => {
            let way = quoted(ctx, work.packet.l4 + icmp::HEADER_LEN, work.packet.v6)
                .and_then(|()| error());
            if matches!(way, Err(Event::PassIcmpError))
                && have(Features::TUNNEL)
                && icmp::is_too_big(work.packet.v6, kind, code)
            {
                // About no flow by itself: maybe by the packet in it.
                return Err(mtu::learn(ctx));
            }
            let way = way?;
            // From here, not from where the way is found: the stack has room for four calls.
            translate(ctx)?;
            Ok(way)
        }
    }
}

/// The way of an error: that of an answer to the packet that it is about.
#[inline(never)]
fn error() -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    if work.quoted.key.source != work.packet.key.destination {
        // It is not about a packet of who gets it.
        return Err(Event::PassIcmpError);
    }
    work.quoted.sender = work.packet.key.source;
    work.packet.key = work.quoted.key.reversed();
    work.new_flow = 0;
    work.translated = 0;
    if let Some(vip) = classify::vip(&work.packet.key) {
        work.listener = vip.listener;
        if vip.is_sidecars() {
            return Err(Event::PassSidecar);
        }
        let Some(judging) = Judging::new(vip) else { return Err(Event::DropInternal) };
        return to_backend(&judging);
    }
    reply::way_of_error(work)?;
    check(work)?;
    // A router's address stays; the backend's is not known to the client.
    let from_backend = work.quoted.sender == work.packet.key.source;
    work.quoted.sender_to = if from_backend { work.to.source } else { work.quoted.sender };
    Ok(Event::IcmpReplied)
}

/// To the flow's backend.
#[inline(always)]
fn to_backend(judging: &Judging<'_>) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    check(work)?;
    let known = backend_of_flow(judging)?;
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(work.backend.id()).ok_or(Event::DropInternal)?;
    if known {
        flow::way_to(work, backend, work.nat_address, work.nat_port_be)?;
        work.quoted.sender_to = work.nat_address;
    } else {
        flow::way_to(work, backend, FlowKey::NO_ADDRESS, 0)?;
    }
    Ok(Event::IcmpForwarded)
}

/// Puts the backend of the flow that the packet's key names into [`Work::backend`]. Where it is not
/// known, and where none need be for its packets to go on, the one of its client's pin, else of the
/// hash. Is it known?
#[inline(always)]
pub(crate) fn backend_of_flow(judging: &Judging<'_>) -> Result<bool, Event> {
    if flow::known(judging) {
        return Ok(true);
    }
    let work = work().ok_or(Event::DropInternal)?;
    if flow::translates(judging.vip) {
        return Err(Event::PassIcmpError);
    }
    if classify::is_own(&work.packet.key.source) {
        return Err(Event::DropBadSource);
    }
    work.client = work.packet.key.source;
    let _pin_or_hash = pin::choose(judging, false)
        .map_err(|event| if event == Event::DropNoFlow { Event::PassIcmpError } else { event })?;
    Ok(false)
}

/// Refuses what must not be forwarded: of the error itself, and of the flow that it is about.
#[inline(always)]
fn check(work: &Work) -> Result<(), Event> {
    can_come_from(work.quoted.sender, work.quoted.key.source)?;
    header::check_addresses(&work.packet.key)?;
    if classify::is_own(&work.quoted.sender) {
        return Err(Event::DropBadSource);
    }
    if work.packet.hops_left <= 1 { Err(Event::DropTtlExceeded) } else { Ok(()) }
}

/// Translates the error and the packet in it: to what the answer would get, the other way round.
/// What is left to the stages after is what an untranslated packet needs.
#[inline(never)]
fn translate(ctx: &XdpContext) -> Result<(), Event> {
    let work = work().ok_or(Event::DropInternal)?;
    if work.translated == 0 {
        return Ok(());
    }
    let from = &work.quoted.key;
    let to = &mut work.reply_key;
    to.source = work.to.destination;
    to.destination = work.to.source;
    to.source_port_be = work.to.destination_port_be;
    to.destination_port_be = work.to.source_port_be;
    let (l3, l4, v6) = (work.quoted.l3, work.quoted.l4, work.packet.v6);

    let ip = if v6 { quoted_ipv6(ctx, l3, to) } else { quoted_ipv4(ctx, l3, from, to) };
    let mut sum = ip.ok_or(Event::DropInternal)?.delta(icmp::endpoints(from, to));
    write(ctx, l4, [to.source_port_be.to_ne_bytes(), to.destination_port_be.to_ne_bytes()])
        .ok_or(Event::DropInternal)?;
    if let Some(at) = icmp::quoted_check(from.protocol, work.quoted.len) {
        let old = read::<[u8; 2]>(ctx, l4 + at).ok_or(Event::DropInternal)?;
        let change = icmp::quoted_change(from.protocol, icmp::endpoints(from, to), old);
        write(ctx, l4 + at, change.new).ok_or(Event::DropInternal)?;
        sum = change.delta(sum);
    }

    // The error's own source and destination.
    let outer = Delta::NONE
        .address(work.quoted.sender, work.quoted.sender_to)
        .address(from.source, work.to.destination);
    outside(ctx, work, outer).ok_or(Event::DropInternal)?;
    if v6 {
        sum = sum
            .address(work.quoted.sender, work.quoted.sender_to)
            .address(from.source, work.to.destination);
    }
    let at = work.packet.l4 + icmp::CHECK;
    let old = read::<[u8; 2]>(ctx, at).ok_or(Event::DropInternal)?;
    write(ctx, at, sum.apply(old)).ok_or(Event::DropInternal)?;
    work.translated = 0;
    Ok(())
}

#[inline(always)]
fn quoted_ipv4(ctx: &XdpContext, l3: usize, from: &FlowKey, to: &FlowKey) -> Option<Change> {
    let header = ptr_at::<Ipv4Hdr>(ctx, l3)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    header.src_addr = to.source.v4();
    header.dst_addr = to.destination.v4();
    let old = header.check;
    header.check = icmp::addresses(from, to).apply(old);
    Some(Change { old, new: header.check })
}

#[inline(always)]
fn quoted_ipv6(ctx: &XdpContext, l3: usize, to: &FlowKey) -> Option<Change> {
    let header = ptr_at::<Ipv6Hdr>(ctx, l3)?;
    // SAFETY: as in `quoted_ipv4`.
    let header = unsafe { &mut *header };
    header.src_addr = to.source.v6();
    header.dst_addr = to.destination.v6();
    Some(Change::NONE)
}

/// The error's own addresses.
#[inline(always)]
fn outside(ctx: &XdpContext, work: &Work, delta: Delta) -> Option<()> {
    if work.packet.v6 {
        let header = ptr_at::<Ipv6Hdr>(ctx, work.packet.l3)?;
        // SAFETY: as in `quoted_ipv4`.
        let header = unsafe { &mut *header };
        header.src_addr = work.quoted.sender_to.v6();
        header.dst_addr = work.to.destination.v6();
    } else {
        let header = ptr_at::<Ipv4Hdr>(ctx, work.packet.l3)?;
        // SAFETY: as in `quoted_ipv4`.
        let header = unsafe { &mut *header };
        header.src_addr = work.quoted.sender_to.v4();
        header.dst_addr = work.to.destination.v4();
        header.check = delta.apply(header.check);
    }
    Some(())
}

/// Answers an echo request (RFC 792; RFC 4443, 4.2), if it is for a listener's address and its IP
/// header is a plain one.
#[inline(never)]
fn echo(ctx: &XdpContext) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let packet = &work.packet;
    let answers = classify::own(&packet.key.destination).is_some_and(|own| own.answers_echo());
    let ip_len = if packet.v6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    if !answers || packet.l4 - packet.l3 != ip_len {
        return Err(Event::PassNotTcpUdp);
    }
    if (packet.l4_len as usize) < icmp::HEADER_LEN {
        return Err(Event::PassTruncated);
    }
    can_come_from(packet.key.source, packet.key.destination)?;
    if classify::is_own(&packet.key.source) {
        return Err(Event::DropBadSource);
    }
    turn(ctx, work).ok_or(Event::DropInternal)?;
    Ok(Event::EchoAnswered)
}

#[inline(always)]
fn turn(ctx: &XdpContext, work: &Work) -> Option<()> {
    let packet = &work.packet;
    swap_macs(ctx)?;
    if packet.v6 {
        let header = ptr_at::<Ipv6Hdr>(ctx, packet.l3)?;
        // SAFETY: as in `quoted_ipv4`.
        let header = unsafe { &mut *header };
        header.src_addr = packet.key.destination.v6();
        header.dst_addr = packet.key.source.v6();
        header.hop_limit = icmp::TTL;
    } else {
        let header = ptr_at::<Ipv4Hdr>(ctx, packet.l3)?;
        // SAFETY: as in `quoted_ipv4`.
        let header = unsafe { &mut *header };
        header.src_addr = packet.key.destination.v4();
        header.dst_addr = packet.key.source.v4();
        let old = u16::from_ne_bytes([header.ttl, header.proto]);
        header.ttl = icmp::TTL;
        let new = u16::from_ne_bytes([header.ttl, header.proto]);
        // Addresses that change places do not change the sum.
        header.check = Delta::NONE.word16(old, new).apply(header.check);
    }
    let [request, answer] = icmp::echo(packet.v6).map(u16::from_ne_bytes);
    let at = packet.l4 + icmp::CHECK;
    let old = read::<[u8; 2]>(ctx, at)?;
    write(ctx, packet.l4, answer.to_ne_bytes())?;
    write(ctx, at, Delta::NONE.word16(request, answer).apply(old))
}
