//! The model and the real program side by side.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    address::Address,
    event::Event,
    layout::{self, BackendRef, BackendState, Encapsulation, Forward, Protocol, TcpState, VipKey},
};
use tests::{
    bench::{Bench, NAT_SOURCE_V4, S, START, socket},
    outcome::Outcome,
    packet::{
        FIN, Frame, RST, SYN,
        icmp::{self, Message, as_ip},
        ip::Ip,
        tunnel::{GUE_PORT, unwrap},
    },
};

use crate::{
    model::{
        Answer, Back, Fate, Five, Listener, Member, Model, Refresh, Side, Stage, State, masked,
    },
    tunnel::Tunnel,
};

/// The program under test, and the model of it.
pub(crate) struct World {
    pub(crate) model: Model,
    bench: Bench,
    keys: Vec<VipKey>,
    /// The last packet of a flow that went into a tunnel.
    pub(crate) wrapped: BTreeMap<Five, Ip>,
    /// How often each event was counted.
    pub(crate) met: BTreeMap<Event, u64>,
    /// What was sent on to its client last.
    pub(crate) answered: Option<Answer>,
    /// Answers whose way was known.
    pub(crate) short: u64,
}

/// TCP or UDP, address, pool, scope, prefix.
const LISTENERS: [(bool, &str, u32, u32, u32); 13] = [
    (true, "203.0.113.10:80", 1, 1, 32),
    (false, "203.0.113.10:80", 1, 1, 32),
    (true, "203.0.113.10:81", 2, 3, 32),
    (false, "203.0.113.10:81", 2, 4, 24),
    (true, "203.0.113.10:82", 1, 0, 32),
    (true, "[2001:db8:f::10]:80", 3, 6, 64),
    (false, "203.0.113.11:81", 2, 0, 32),
    (true, "203.0.113.12:80", 4, 8, 32),
    (false, "203.0.113.12:53", 4, 0, 32),
    (true, "[2001:db8:f::12]:80", 4, 10, 64),
    (true, "203.0.113.13:80", 5, 11, 24),
    (false, "203.0.113.13:53", 5, 11, 24),
    (false, "[2001:db8:f::13]:53", 5, 13, 128),
];

/// Of each pool.
const FORWARDS: [Forward; POOLS as usize] =
    [Forward::Dsr, Forward::Nat, Forward::Dsr, Forward::Tunnel, Forward::Tunnel];

/// How many pools there are.
pub(crate) const POOLS: u32 = 5;

/// Pool and address; ids follow.
const MEMBERS: [(u32, &str); 14] = [
    (1, "10.0.0.1:80"),
    (1, "10.0.0.2:80"),
    (1, "10.0.0.3:80"),
    (2, "10.0.0.4:80"),
    (2, "10.0.0.5:80"),
    (2, "10.0.0.6:80"),
    (3, "[fd00::7]:80"),
    (3, "[fd00::8]:80"),
    (4, "10.0.0.9:0"),
    (4, "10.0.0.10:0"),
    (4, "[fd00::11]:0"),
    (5, "10.0.0.12:0"),
    (5, "[fd00::13]:0"),
    (5, "[fd00::14]:0"),
];

/// Of backends in the last two pools, by id.
const TUNNELS: [(u32, Tunnel); 6] = [
    (9, Tunnel { gue: false, source: "10.0.0.254", spread: 0, mtu: 1500 }),
    (10, Tunnel { gue: false, source: "10.9.0.0", spread: 16, mtu: 1328 }),
    (11, Tunnel { gue: false, source: "fd00::fe", spread: 0, mtu: 1500 }),
    (12, Tunnel { gue: true, source: "10.0.0.254", spread: 0, mtu: 1500 }),
    (13, Tunnel { gue: true, source: "fd00::fe", spread: 0, mtu: 1400 }),
    (14, Tunnel { gue: true, source: "fd00:9::", spread: 32, mtu: 2000 }),
];

impl World {
    pub(crate) fn new() -> Self {
        let mut bench = Bench::new();
        let mut model = Model {
            now: START,
            listeners: Vec::new(),
            members: BTreeMap::new(),
            tables: BTreeMap::new(),
            pins: BTreeMap::new(),
            flows: BTreeMap::new(),
            replies: BTreeMap::new(),
            mark: 0,
            reports: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        for forward in FORWARDS {
            let _id = bench.pool(forward);
        }
        for (pool, address) in MEMBERS {
            let id = bench.backend(pool, address);
            let member = Member {
                address: socket(address),
                nat: pool == 2,
                tunnel: None,
                state: State::Ready,
                keep: false,
                generation: 1,
                flows_since: 1,
            };
            let _none = model.members.insert(id, member);
        }
        let (keys, wrapped, met, answered) = Default::default();
        let mut world = Self { model, bench, keys, wrapped, met, answered, short: 0 };
        for (id, tunnel) in TUNNELS {
            world.lay(id, tunnel);
        }
        for (tcp, address, pool, scope, prefix) in LISTENERS {
            world.listen(tcp, address, pool, scope, prefix);
        }
        for pool in 1..=POOLS {
            world.table(pool, &Self::members_of(pool));
        }
        world
    }

    fn listen(&mut self, tcp: bool, address: &str, pool: u32, scope: u32, prefix: u32) {
        let timeout = if scope == 0 { 0 } else { 60 * S };
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let key = self.bench.listener(protocol, address, pool, timeout);
        let address = socket(address);
        let bits = if address.is_ipv4() { 96 + prefix } else { prefix };
        self.bench.change_vip(key, |vip| {
            vip.scope = scope;
            vip.client_mask = Address::mask(u8::try_from(bits).expect("at most 128"));
        });
        self.keys.push(key);
        self.model.listeners.push(Listener {
            address,
            tcp,
            pool,
            scope,
            prefix,
            timeout,
            max_lifetime: 0,
            refresh: Refresh::Activity,
        });
    }

    pub(crate) fn members_of(pool: u32) -> Vec<u16> {
        (1..).zip(MEMBERS).filter(|(_, (of, _))| *of == pool).map(|(id, _)| id).collect()
    }

    /// Puts a tunnel before a backend.
    pub(crate) fn lay(&mut self, id: u32, tunnel: Tunnel) {
        let source: IpAddr = tunnel.source.parse().expect("an address");
        let all = if source.is_ipv4() { 32 } else { 128 };
        let last: IpAddr = match source {
            IpAddr::V4(_) => [255; 4].into(),
            IpAddr::V6(_) => [255; 16].into(),
        };
        // Those bits of the last address that its prefix has not.
        let prefix = Address::from(masked(last, all - tunnel.spread));
        let mut spread = Address::from(last);
        for (word, of_prefix) in spread.words_be.iter_mut().zip(prefix.words_be) {
            *word ^= of_prefix;
        }
        self.model.members.get_mut(&id).expect("a backend").tunnel = Some(tunnel);
        self.bench.change_backend(id, |backend| {
            let kind = if tunnel.gue { Encapsulation::Gue } else { Encapsulation::IpIp };
            backend.tunnel = layout::Tunnel {
                source: source.into(),
                spread,
                mtu: tunnel.mtu,
                port_be: GUE_PORT.to_be(),
                kind: kind.code(),
                pad: [0; 3],
            };
        });
    }

    fn count(&mut self, outcome: &Outcome) {
        for event in outcome.events() {
            *self.met.entry(event).or_default() += 1;
        }
    }

    fn send(&mut self, frame: &Frame) -> Outcome {
        let outcome = self.bench.send(frame);
        self.count(&outcome);
        outcome
    }

    /// A packet of a client's, with that many bytes of payload.
    pub(crate) fn client(
        &mut self,
        five: Five,
        flags: Option<u8>,
        payload: u16,
    ) -> Result<(), String> {
        let to = self.model.listeners[five.1].address;
        let frame = match flags {
            Some(flags) => Frame::tcp(five.0, to, flags),
            None => Frame::udp(five.0, to),
        };
        let frame = frame.payload(&vec![7; usize::from(payload)]);
        let outcome = self.send(&frame);
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else happens is wrong")]
        let got = match outcome.fate() {
            Event::Forwarded => Fate::To(self.bench.chosen(&outcome)),
            Event::ResetSent => Fate::Reset,
            Event::DropGone => Fate::Gone,
            Event::DropNoFlow => Fate::NoFlow,
            Event::DropNoBackend => Fate::NoBackend,
            Event::TooBigAnswered => Fate::TooBig(told(&outcome, five.0)?),
            Event::DropTooBigOften => Fate::TooOften,
            other => return Err(format!("{other:?} of {frame}")),
        };
        let nat = matches!(got, Fate::To(id) if self.model.members[&id].nat);
        let port = if nat { outcome.parsed().frame.source.port() } else { 0 };
        let want = self.model.client(five, flags, payload, port)?;
        if got != want {
            return Err(format!("{got:?} instead of {want:?}: {outcome}"));
        }
        if let Fate::To(id) = got { self.sent(five, id, &frame, &outcome) } else { Ok(()) }
    }

    /// Checks the packet that was sent to that backend.
    fn sent(
        &mut self,
        five: Five,
        id: u32,
        frame: &Frame,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let member = &self.model.members[&id];
        let Some(tunnel) = member.tunnel else {
            let sent = outcome.parsed().frame;
            let ends = (sent.source, sent.destination);
            let right = if member.nat {
                (ends.0.ip(), ends.1) == (NAT_SOURCE_V4.into(), member.address)
            } else {
                ends == (frame.source, frame.destination)
            };
            return if right { Ok(()) } else { Err(format!("translated wrongly: {outcome}")) };
        };
        let outer = outcome.ip();
        let inner = unwrap(&outer).ok_or_else(|| format!("no tunnel: {outcome}"))?;
        let want =
            Ip { to: outer.to, from: outer.from, ..as_ip(&frame.clone().ttl(frame.ttl - 1)) };
        let source: IpAddr = tunnel.source.parse().expect("an address");
        let bits = if source.is_ipv4() { 32 } else { 128 } - tunnel.spread;
        let right = inner.ip == want
            && (outer.protocol == 17) == tunnel.gue
            && outer.destination == member.address.ip()
            && masked(outer.source, bits) == source;
        let _last = self.wrapped.insert(five, outer);
        if right { Ok(()) } else { Err(format!("wrapped wrongly: {outcome}")) }
    }

    /// A router in a tunnel reports that the last packet of `five` in there was too big.
    pub(crate) fn report(&mut self, five: Five, mtu: u16) -> Result<(), String> {
        let Some(outer) = self.wrapped.get(&five) else { return Ok(()) };
        let v6 = outer.source.is_ipv6();
        let router: &str = if v6 { "fd00:77::1" } else { "10.77.0.1" };
        let router = router.parse().expect("an address");
        let to = outer.destination;
        let error = Message::too_big(outer, mtu, if v6 { 1232 } else { 548 });
        let outcome = self.bench.run(&error.packet(router, outer.source).build());
        self.count(&outcome);
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else happens is wrong")]
        let got = match outcome.fate() {
            Event::PassPathMtu => true,
            Event::PassIcmpError => false,
            other => return Err(format!("{other:?} of a report")),
        };
        let want = self.model.report(five, to, mtu);
        if got == want { Ok(()) } else { Err(format!("{got} instead of {want}: {outcome}")) }
    }

    /// A packet of a backend's, to a port of the balancer's.
    pub(crate) fn backend(&mut self, key: Answer, flags: Option<u8>) -> Result<(), String> {
        let to = SocketAddr::new(NAT_SOURCE_V4.into(), key.1);
        let frame = match flags {
            Some(flags) => Frame::tcp(key.0, to, flags),
            None => Frame::udp(key.0, to),
        };
        let known = self.bench.way_of(&frame).is_some();
        let plain = flags.is_none_or(|flags| flags & (SYN | FIN | RST) == 0);
        let outcome = self.send(&frame);
        if outcome.has(Event::Replied) {
            self.answered = Some(key);
            self.short += u64::from(known && plain);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else happens is wrong")]
        let got = match outcome.fate() {
            Event::Replied => Back::To(outcome.parsed().frame.destination),
            Event::PassStaleReply => Back::Stale,
            Event::PassNoListener => Back::Unknown,
            other => return Err(format!("{other:?} of {frame}")),
        };
        let want = self.model.backend(key, flags);
        if got == want { Ok(()) } else { Err(format!("{got:?} instead of {want:?}: {outcome}")) }
    }

    pub(crate) fn at(&mut self, now: u64) {
        self.model.now = now;
        self.bench.at(now);
    }

    pub(crate) fn state(&mut self, id: u32, state: State, keep: bool) {
        let member = self.model.members.get_mut(&id).expect("a backend");
        member.state = state;
        member.keep = keep;
        self.write_backend(id);
    }

    /// Out of service and back.
    pub(crate) fn back(&mut self, id: u32) {
        let member = self.model.members.get_mut(&id).expect("a backend");
        member.generation += 1;
        if !member.keep {
            member.flows_since = member.generation;
        }
        member.state = State::Ready;
        self.write_backend(id);
    }

    fn write_backend(&mut self, id: u32) {
        let member = &self.model.members[&id];
        self.bench.change_backend(id, |backend| {
            backend.state = match member.state {
                State::Ready => BackendState::Ready,
                State::Draining => BackendState::Draining,
                State::Evacuating => BackendState::Evacuating,
                State::Down => BackendState::Down,
            }
            .code();
            backend.flags = u8::from(member.keep);
            backend.generation = member.generation;
            backend.flows_since = member.flows_since;
        });
    }

    /// A new table in which these follow one another; 0 is an empty slot.
    pub(crate) fn table(&mut self, pool: u32, members: &[u16]) {
        let table: Vec<u16> = if members.is_empty() {
            Vec::new()
        } else {
            members.iter().copied().cycle().take(251).collect()
        };
        self.bench.slots(pool, &table);
        let _old = self.model.tables.insert(pool, table);
    }

    pub(crate) fn persistence(&mut self, index: usize, timeout: u64, max: u64, refresh: Refresh) {
        let listener = &mut self.model.listeners[index];
        listener.timeout = timeout;
        listener.max_lifetime = max;
        listener.refresh = refresh;
        self.bench.change_vip(self.keys[index], |vip| {
            vip.timeout_ns = timeout;
            vip.max_lifetime_ns = max;
            vip.refresh_ns = (timeout / 4).min(S);
            vip.refresh = match refresh {
                Refresh::Activity => 0,
                Refresh::NewConnection => 1,
                Refresh::Never => 2,
            };
        });
    }

    pub(crate) fn mark(&mut self, mark: u64) {
        self.model.mark = mark;
        self.bench.reclaim_before(mark);
    }

    /// Entries are lost, as by eviction.
    pub(crate) fn forget(&mut self, what: u8) {
        match what {
            0 => {
                self.model.pins.clear();
                self.bench.forget_pins();
            }
            1 => {
                self.model.flows.clear();
                self.bench.forget_flows();
            }
            _ => {
                self.model.replies.clear();
                self.bench.forget_replies();
            }
        }
    }

    /// Compares all of the maps.
    pub(crate) fn compare(&self) -> Result<(), String> {
        let life = |backend: BackendRef| (backend.id(), backend.generation());
        let pins: BTreeMap<_, _> = self
            .bench
            .pins()
            .into_iter()
            .map(|(key, pin)| {
                let client = IpAddr::from(key.client);
                let pin = (life(pin.backend), pin.created_ns, pin.last_seen_ns);
                ((key.scope, client), pin)
            })
            .collect();
        let want: BTreeMap<_, _> = self
            .model
            .pins
            .iter()
            .map(|(key, pin)| (*key, (pin.life, pin.made, pin.seen)))
            .collect();
        same("pins", &pins, &want)?;

        let flows: BTreeMap<_, _> = self
            .bench
            .flows()
            .into_iter()
            .map(|(key, flow)| {
                (key, (life(flow.backend), flow.seen_ns, flow.state, flow.pin_owed, flow.port))
            })
            .collect();
        let want: BTreeMap<_, _> = self
            .model
            .flows
            .iter()
            .map(|(five, flow)| {
                let key = self.model.flow_key(*five);
                (key, (flow.life, flow.seen, code(flow.stage), flow.owed, flow.port))
            })
            .collect();
        same("flows", &flows, &want)?;

        let replies: BTreeMap<_, _> = self
            .bench
            .replies()
            .into_iter()
            .map(|(key, reply)| {
                let from = SocketAddr::new(key.source.into(), u16::from_be(key.source_port_be));
                let port = u16::from_be(key.destination_port_be);
                let reply = (reply.client, life(reply.backend), reply.last_seen_ns, reply.state);
                ((from, port, key.protocol == 6), reply)
            })
            .collect();
        let want: BTreeMap<_, _> = self
            .model
            .replies
            .iter()
            .map(|(key, reply)| {
                let client = self.model.flow_key(reply.five);
                (*key, (client, reply.life, reply.seen, code(reply.stage)))
            })
            .collect();
        same("replies", &replies, &want)
    }
}

/// What a client is told to fit.
fn told(outcome: &Outcome, client: SocketAddr) -> Result<u16, String> {
    let answer = outcome.ip();
    let message = icmp::parse(&answer)?;
    if answer.destination != client.ip() || !message.sum_right {
        return Err(format!("answered wrongly: {outcome}"));
    }
    let [_, _, high, low] = message.message.rest;
    Ok(u16::from_be_bytes([high, low]))
}

fn code(stage: Stage) -> u8 {
    match stage {
        Stage::Opening => TcpState::Opening,
        Stage::Running => TcpState::Established,
        Stage::HalfClosed(Side::Client) => TcpState::ClientClosing,
        Stage::HalfClosed(Side::Backend) => TcpState::BackendClosing,
        Stage::Closed(Side::Client) => TcpState::ClosedByClient,
        Stage::Closed(Side::Backend) => TcpState::ClosedByBackend,
        Stage::Reset => TcpState::Reset,
        Stage::Datagrams => TcpState::Stateless,
    }
    .code()
}

fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    got: &BTreeMap<K, V>,
    want: &BTreeMap<K, V>,
) -> Result<(), String> {
    let differs = |key: &&K| got.get(key) != want.get(key);
    match got.keys().chain(want.keys()).find(differs) {
        None => Ok(()),
        Some(key) => Err(format!(
            "{what} differ at {key:?}:\n program {:?}\n model   {:?}",
            got.get(key),
            want.get(key)
        )),
    }
}
