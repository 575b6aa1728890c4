//! The model and the real program side by side.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    address::Address,
    event::Event,
    layout::{BackendRef, BackendState, Forward, Protocol, TcpState, VipKey},
};
use tests::{
    bench::{Bench, NAT_SOURCE_V4, S, START, socket},
    outcome::Outcome,
    packet::{FIN, Frame, RST, SYN},
};

use crate::model::{
    Answer, Back, Fate, Five, Listener, Member, Model, Refresh, Side, Stage, State,
};

/// The program under test, and the model of it.
pub(crate) struct World {
    pub(crate) model: Model,
    bench: Bench,
    keys: Vec<VipKey>,
    /// How often each event was counted.
    pub(crate) met: BTreeMap<Event, u64>,
    /// What was sent on to its client last.
    pub(crate) answered: Option<Answer>,
    /// Answers whose way was known.
    pub(crate) short: u64,
}

/// TCP or UDP, address, pool, scope, prefix.
const LISTENERS: [(bool, &str, u32, u32, u32); 7] = [
    (true, "203.0.113.10:80", 1, 1, 32),
    (false, "203.0.113.10:80", 1, 1, 32),
    (true, "203.0.113.10:81", 2, 3, 32),
    (false, "203.0.113.10:81", 2, 4, 24),
    (true, "203.0.113.10:82", 1, 0, 32),
    (true, "[2001:db8:f::10]:80", 3, 6, 64),
    (false, "203.0.113.11:81", 2, 0, 32),
];

/// Pool and address; ids follow.
const MEMBERS: [(u32, &str); 8] = [
    (1, "10.0.0.1:80"),
    (1, "10.0.0.2:80"),
    (1, "10.0.0.3:80"),
    (2, "10.0.0.4:80"),
    (2, "10.0.0.5:80"),
    (2, "10.0.0.6:80"),
    (3, "[fd00::7]:80"),
    (3, "[fd00::8]:80"),
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
        };
        for forward in [Forward::Dsr, Forward::Nat, Forward::Dsr] {
            let _id = bench.pool(forward);
        }
        for (pool, address) in MEMBERS {
            let id = bench.backend(pool, address);
            let member = Member {
                address: socket(address),
                nat: pool == 2,
                state: State::Ready,
                keep: false,
                generation: 1,
                flows_since: 1,
            };
            let _none = model.members.insert(id, member);
        }
        let mut world =
            Self { model, bench, keys: Vec::new(), met: BTreeMap::new(), answered: None, short: 0 };
        for (tcp, address, pool, scope, prefix) in LISTENERS {
            world.listen(tcp, address, pool, scope, prefix);
        }
        for pool in 1..=3 {
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

    fn send(&mut self, frame: &Frame) -> Outcome {
        let outcome = self.bench.send(frame);
        for event in outcome.events() {
            *self.met.entry(event).or_default() += 1;
        }
        outcome
    }

    /// A packet of a client's.
    pub(crate) fn client(&mut self, five: Five, flags: Option<u8>) -> Result<(), String> {
        let to = self.model.listeners[five.1].address;
        let frame = match flags {
            Some(flags) => Frame::tcp(five.0, to, flags),
            None => Frame::udp(five.0, to),
        };
        let outcome = self.send(&frame);
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else happens is wrong")]
        let got = match outcome.fate() {
            Event::Forwarded => Fate::To(self.bench.chosen(&outcome)),
            Event::ResetSent => Fate::Reset,
            Event::DropGone => Fate::Gone,
            Event::DropNoFlow => Fate::NoFlow,
            Event::DropNoBackend => Fate::NoBackend,
            other => return Err(format!("{other:?} of {frame}")),
        };
        let sent = outcome.parsed().frame;
        let want = self.model.client(five, flags, sent.source.port())?;
        if got != want {
            return Err(format!("{got:?} instead of {want:?}: {outcome}"));
        }
        match got {
            Fate::To(id) if self.model.members[&id].nat => {
                let source = IpAddr::from(NAT_SOURCE_V4);
                let ends = (sent.source.ip(), sent.destination);
                if ends != (source, self.model.members[&id].address) {
                    return Err(format!("translated wrongly: {outcome}"));
                }
            }
            Fate::To(_) if (sent.source, sent.destination) != (five.0, to) => {
                return Err(format!("translated: {outcome}"));
            }
            Fate::To(_) | Fate::Reset | Fate::Gone | Fate::NoFlow | Fate::NoBackend => {}
        }
        Ok(())
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
