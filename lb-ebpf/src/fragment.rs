//! Fragments: the first goes the way of any packet, since it has the ports, and the others follow
//! it.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    checksum::Delta,
    event::Event,
    fragment,
    header::can_come_from,
    layout::{Course, Datagram, FlowKey},
};
use network_types::ip::Ipv4Hdr;

use crate::{
    atomic, classify, clock, count,
    ctx::ptr_at,
    flow::{self, Judging},
    maps::{BACKENDS, FRAGMENT_IDS, FRAGMENTS},
    pin,
    work::{Work, work},
};

/// Notes where a datagram's first fragment, to which `fate` has happened, goes, so that the
/// others follow it. The fate is its own, but where it cannot go on.
///
/// Not noted are datagrams for addresses without listeners of layer 4: their fragments are passed up
/// anyway.
#[inline(never)]
pub(crate) fn first(ctx: &XdpContext, fate: Result<Event, Event>) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let course = match fate {
        Ok(Event::Forwarded) => Course::Forwarded,
        Ok(Event::Replied) => Course::Replied,
        Err(Event::PassNoListener | Event::PassStaleReply | Event::PassSidecar) => {
            if !listens(&work.packet.key) {
                return fate;
            }
            Course::Passed
        }
        other => return other,
    };
    let now_ns = clock::now_ns();
    key(work);
    work.datagram = Datagram {
        made_ns: now_ns,
        backend: work.backend,
        source: work.to.source,
        destination: work.to.destination,
        hop: work.hop,
        listener: work.listener,
        port_be: 0,
        id_be: 0,
        course: course.code(),
        pad: [0; 7],
    };
    let passed = matches!(course, Course::Passed);
    let translated = !passed && work.translated != 0;
    if translated {
        work.datagram.port_be = work.to.source_port_be;
    }
    remember(work, translated && !work.packet.v6, now_ns);
    if translated && !work.packet.v6 {
        identify(ctx, work)?;
    }
    fate
}

/// Writes the entry of a datagram, over that of an older one with the same key.
#[inline(always)]
fn remember(work: &mut Work, new_id: bool, now_ns: u64) {
    let found = FRAGMENTS.get_ptr_mut(&work.fragment_key);
    if let Some(found) = found {
        // SAFETY: a pointer from a map look-up is valid for the program's run.
        let old = unsafe { &*found.cast_const() };
        if fragment::is_repeated(old, &work.datagram, now_ns) {
            work.datagram.id_be = old.id_be;
            return;
        }
    }
    if new_id {
        work.datagram.id_be = next_id().to_be();
    }
    if let Some(found) = found {
        // SAFETY: as above. Another CPU could read a mixture; but the fragments of one datagram
        // come to one CPU, since a network card sorts them by their addresses.
        unsafe { found.write(work.datagram) };
    } else if FRAGMENTS.insert(&work.fragment_key, &work.datagram, 0).is_err() {
        count::event(work.listener, Event::FragmentInsertFailed);
    }
}

/// A new identification: translated datagrams of many senders have one source, and their fragments
/// must not be taken for one another's (RFC 6864, 5.3.1).
#[inline(always)]
fn next_id() -> u16 {
    let Some(next) = FRAGMENT_IDS.get_ptr_mut(0) else { return 0 };
    atomic::next(next) as u16
}

/// The way of a fragment without ports: [`Event::Forwarded`] or [`Event::Replied`].
#[inline(never)]
pub(crate) fn later(ctx: &XdpContext) -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    if work.packet.part.has_header() {
        // The header is not all in it. Nor may a connection to the sidecar be opened so: its flags
        // would come in another fragment, which no rate knows.
        let FlowKey { destination, protocol, .. } = work.packet.key;
        let refused = classify::own(&destination)
            .is_some_and(|own| own.has_listener(protocol) || own.has_sidecar(protocol));
        return Err(if refused { Event::DropBadFragment } else { Event::PassFragment });
    }
    let now_ns = clock::now_ns();
    key(work);
    work.new_flow = 0;
    work.translated = 0;
    if let Some(found) = FRAGMENTS.get_ptr_mut(&work.fragment_key) {
        // SAFETY: a pointer from a map look-up is valid for the program's run.
        let datagram = unsafe { &*found.cast_const() };
        if fragment::in_time(datagram.made_ns, now_ns) {
            return follow(ctx, work, datagram);
        }
    }
    early()
}

/// Goes where the first fragment went.
#[inline(always)]
fn follow(ctx: &XdpContext, work: &mut Work, datagram: &Datagram) -> Result<Event, Event> {
    let course = Course::from_code(datagram.course).ok_or(Event::DropInternal)?;
    if matches!(course, Course::Passed) {
        return Err(Event::PassFragment);
    }
    work.listener = datagram.listener;
    check(work)?;
    let backend = BACKENDS.get(datagram.backend.id()).ok_or(Event::DropInternal)?;
    if !backend.honours_flow(datagram.backend) {
        return Err(Event::DropGone);
    }
    work.backend = datagram.backend;
    work.datagram.id_be = datagram.id_be;
    let event = if matches!(course, Course::Replied) {
        work.hop = datagram.hop;
        work.translated = 1;
        work.to.source = datagram.source;
        work.to.destination = datagram.destination;
        Event::Replied
    } else {
        flow::way_to(work, backend, datagram.source, datagram.port_be)?;
        Event::Forwarded
    };
    if work.translated != 0 && !work.packet.v6 {
        identify(ctx, work)?;
    }
    Ok(event)
}

/// A fragment whose first one has not come. Where a client's packets to the address all go to one
/// backend, that is the way; where ports have a say, and where packets are translated, there is
/// none.
#[inline(always)]
fn early() -> Result<Event, Event> {
    let work = work().ok_or(Event::DropInternal)?;
    let Some(own) = classify::own(&work.packet.key.destination) else {
        return Err(Event::PassFragment);
    };
    if !own.has_listener(work.packet.key.protocol) {
        return Err(Event::PassFragment);
    }
    check(work)?;
    work.packet.key.destination_port_be = own.port_be(work.packet.key.protocol);
    let vip = classify::vip(&work.packet.key).ok_or(Event::DropFragmentEarly)?;
    work.listener = vip.listener;
    if classify::is_own(&work.packet.key.source) {
        return Err(Event::DropBadSource);
    }
    work.client = work.packet.key.source;
    let Some(judging) = Judging::new(vip) else { return Err(Event::DropInternal) };
    if vip.scope == 0 || flow::translates(vip) {
        return Err(Event::DropFragmentEarly);
    }
    let _pin_or_hash = pin::choose(&judging, false).map_err(|event| {
        if event == Event::DropNoFlow { Event::DropFragmentEarly } else { event }
    })?;
    let work = crate::work::work().ok_or(Event::DropInternal)?;
    let backend = BACKENDS.get(work.backend.id()).ok_or(Event::DropInternal)?;
    flow::way_to(work, backend, FlowKey::NO_ADDRESS, 0)?;
    count::event(vip.listener, Event::FragmentPlaced);
    Ok(Event::Forwarded)
}

/// Refuses what must not be forwarded.
#[inline(always)]
fn check(work: &Work) -> Result<(), Event> {
    let packet = &work.packet;
    can_come_from(packet.key.source, packet.key.destination)?;
    fragment::check_later(packet.part, packet.key.protocol, packet.l4_len)?;
    if packet.hops_left <= 1 { Err(Event::DropTtlExceeded) } else { Ok(()) }
}

/// Do layer-4 listeners of the packet's protocol have the address that it goes to?
#[inline(always)]
fn listens(packet: &FlowKey) -> bool {
    classify::own(&packet.destination).is_some_and(|own| own.has_listener(packet.protocol))
}

#[inline(always)]
fn key(work: &mut Work) {
    work.fragment_key.source = work.packet.key.source;
    work.fragment_key.destination = work.packet.key.destination;
    work.fragment_key.id = work.packet.id;
    work.fragment_key.protocol = work.packet.key.protocol;
    work.fragment_key.pad = [0; 3];
}

/// Writes the datagram's new identification into an IPv4 header.
#[inline(always)]
fn identify(ctx: &XdpContext, work: &Work) -> Result<(), Event> {
    let header = ptr_at::<Ipv4Hdr>(ctx, work.packet.l3).ok_or(Event::DropInternal)?;
    // SAFETY: `ptr_at` has checked the bounds; the packet is this program's alone.
    let header = unsafe { &mut *header };
    let delta = Delta::NONE.word16(u16::from_ne_bytes(header.id), work.datagram.id_be);
    header.id = work.datagram.id_be.to_ne_bytes();
    header.check = delta.apply(header.check);
    Ok(())
}
