//! The persistence contract as a small pure model: maps of pins, flows and answers with times.
//!
//! It knows the contract and the refresh step, and shares no judgement with the program; from
//! `lb-common` it takes the hash, as data.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    layout::FlowKey,
    select::{client_hash, flow_hash},
    ticks::TEST_NS,
};
use tests::{
    bench::{S, SEED},
    packet::{ACK, FIN, RST, SYN},
};

use crate::tunnel::{Report, Tunnel};

/// A backend in one of its lives: id and generation.
pub(crate) type Life = (u32, u32);

/// A flow: the client's end, and which listener.
pub(crate) type Five = (SocketAddr, usize);

/// An answer's entry: the backend's end, the balancer's port, and TCP or UDP.
pub(crate) type Answer = (SocketAddr, u16, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Draining,
    Evacuating,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    Activity,
    NewConnection,
    Never,
}

#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tcp: bool,
    pub(crate) pool: u32,
    /// 0: no persistence.
    pub(crate) scope: u32,
    pub(crate) prefix: u32,
    pub(crate) timeout: u64,
    pub(crate) max_lifetime: u64,
    pub(crate) refresh: Refresh,
}

impl Listener {
    /// P4: written at most once a second, or a quarter of a shorter timeout.
    fn step(&self) -> u64 {
        if self.scope == 0 { S } else { S.min(self.timeout / 4) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    pub(crate) nat: bool,
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) state: State,
    pub(crate) keep: bool,
    pub(crate) generation: u32,
    pub(crate) flows_since: u32,
}

impl Member {
    fn takes_pins(&self, generation: u32) -> bool {
        generation == self.generation && matches!(self.state, State::Ready | State::Draining)
    }

    pub(crate) fn takes_flows(&self, generation: u32) -> bool {
        (self.flows_since..=self.generation).contains(&generation)
            && (self.state != State::Down || self.keep)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Opening,
    Running,
    HalfClosed(Side),
    Closed(Side),
    Reset,
    Datagrams,
}

impl Stage {
    pub(crate) fn idle(self) -> u64 {
        S * match self {
            Self::Running => 7440,
            Self::Opening | Self::HalfClosed(_) => 240,
            Self::Closed(Side::Backend) => 60,
            Self::Closed(Side::Client) | Self::Reset => 10,
            Self::Datagrams => 300,
        }
    }

    fn first(flags: Option<u8>) -> Self {
        match flags {
            None => Self::Datagrams,
            Some(flags) if flags & (SYN | ACK) == SYN => Self::Opening,
            Some(flags) => Self::Running.after(Side::Client, Some(flags)),
        }
    }

    fn after(self, by: Side, flags: Option<u8>) -> Self {
        let Some(flags) = flags else { return self };
        let fin = flags & FIN != 0;
        if flags & RST != 0 {
            return Self::Reset;
        }
        match self {
            Self::Datagrams => panic!("TCP flags on UDP"),
            Self::Opening if by == Side::Backend || flags & SYN != 0 => Self::Opening,
            Self::Opening | Self::Running | Self::Reset if fin => Self::HalfClosed(by),
            Self::Opening | Self::Running | Self::Reset => Self::Running,
            Self::HalfClosed(first) if fin && first != by => Self::Closed(first),
            Self::HalfClosed(_) | Self::Closed(_) => self,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) life: Life,
    pub(crate) made: u64,
    pub(crate) seen: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) life: Life,
    /// To the tick.
    pub(crate) seen: u64,
    pub(crate) stage: Stage,
    pub(crate) owed: bool,
    /// The balancer's port; 0 without translation.
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) five: Five,
    pub(crate) life: Life,
    pub(crate) seen: u64,
    pub(crate) stage: Stage,
}

/// Which packet touches a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// A new flow's first.
    New,
    /// One of a flow under way, whose client's pin may be owed.
    Under { owed: bool },
}

/// What becomes of a client's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    To(u32),
    Reset,
    Gone,
    NoFlow,
    NoBackend,
    /// Its sender is told that so many bytes fit.
    TooBig(u16),
    TooOften,
}

/// What becomes of a backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    To(SocketAddr),
    Stale,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) members: BTreeMap<u32, Member>,
    pub(crate) tables: BTreeMap<u32, Vec<u16>>,
    pub(crate) pins: BTreeMap<(u32, IpAddr), Pin>,
    pub(crate) flows: BTreeMap<Five, Flow>,
    pub(crate) replies: BTreeMap<Answer, Reply>,
    /// A sweep is under way for what is over and was last seen before this.
    pub(crate) mark: u64,
    /// What routers in tunnels have reported, by backend.
    pub(crate) reports: BTreeMap<u32, Report>,
    /// When clients can be told as often as at first that their packets are too big, by bucket.
    pub(crate) told: BTreeMap<u64, u64>,
}

impl Model {
    /// A client's packet with that many bytes of payload; `port` is the source port with which the
    /// program sent it on, since the model does not say which free port a flow gets, only which it
    /// must not.
    pub(crate) fn client(
        &mut self,
        five: Five,
        flags: Option<u8>,
        payload: u16,
        port: u16,
    ) -> Result<Fate, String> {
        let Some(flow) = self.flows.get(&five).copied() else {
            return self.place(five, flags, payload, port);
        };
        if self.tick() - flow.seen >= flow.stage.idle() {
            return self.place(five, flags, payload, port);
        }
        let served = self.members[&flow.life.0].takes_flows(flow.life.1);
        let under_way = matches!(flow.stage, Stage::Opening | Stage::Running);
        match flags {
            Some(flags) if flags & (SYN | ACK) == SYN && (!served || !under_way) => {
                self.place(five, Some(flags), payload, port)
            }
            _ if served => match self.too_big(five, flow.life.0, payload) {
                Some(fate) => Ok(fate),
                None => self.follow(five, flow, flags, port),
            },
            None => self.place(five, None, payload, port),
            Some(flags) => Ok(if flags & RST != 0 { Fate::Gone } else { Fate::Reset }),
        }
    }

    fn follow(
        &mut self,
        five: Five,
        flow: Flow,
        flags: Option<u8>,
        port: u16,
    ) -> Result<Fate, String> {
        let stage = flow.stage.after(Side::Client, flags);
        let nat = self.members[&flow.life.0].nat;
        if nat && port != flow.port {
            return Err(format!("source port {port}, and the flow has {}", flow.port));
        }
        let step = self.listeners[five.1].step().next_multiple_of(TEST_NS);
        // P12: a SYN shows nothing.
        let proves = flags.is_none_or(|flags| flags & (SYN | ACK) != SYN);
        if stage != flow.stage || self.tick() - flow.seen >= step || (flow.owed && proves) {
            let owed = self.touch(five, flow.life, Touch::Under { owed: flow.owed && proves });
            let owed = if proves { owed } else { flow.owed };
            let seen = self.tick();
            let _old = self.flows.insert(five, Flow { seen, stage, owed, ..flow });
            let key = self.answer(five, flow.life.0, flow.port);
            let whose = self.replies.get(&key).map(|reply| reply.five);
            if nat && whose.is_none_or(|owner| owner == five) {
                let reply = Reply { five, life: flow.life, seen: self.now, stage };
                let _old = self.replies.insert(key, reply);
            }
        }
        Ok(Fate::To(flow.life.0))
    }

    /// A new flow.
    fn place(
        &mut self,
        five: Five,
        flags: Option<u8>,
        payload: u16,
        port: u16,
    ) -> Result<Fate, String> {
        let Some(life) = self.choose(five) else { return Ok(Fate::NoBackend) };
        if let Some(fate) = self.too_big(five, life.0, payload) {
            return Ok(fate);
        }
        let nat = self.members[&life.0].nat;
        if flags.is_some_and(|flags| flags & RST != 0) {
            return Ok(if nat { Fate::NoFlow } else { Fate::To(life.0) });
        }
        let stage = Stage::first(flags);
        if stage == Stage::Opening && !nat && !self.flows.contains_key(&five) {
            // P12: nothing is kept of a SYN whose choice can be made again.
            return Ok(Fate::To(life.0));
        }
        if nat {
            let key = self.answer(five, life.0, port);
            if let Some(held) = self.replies.get(&key) {
                let over = self.now - held.seen >= held.stage.idle() + 2 * S;
                if over && held.seen < self.mark {
                    return Err(format!("port {port} is being reclaimed: {held:?}"));
                }
                if held.five != five && !over {
                    return Err(format!("port {port} is another flow's: {held:?}"));
                }
            }
            let _old = self.replies.insert(key, Reply { five, life, seen: self.now, stage });
        }
        let _none = self.touch(five, life, Touch::New);
        let port = if nat { port } else { 0 };
        let seen = self.tick();
        let _old = self.flows.insert(five, Flow { life, seen, stage, owed: true, port });
        Ok(Fate::To(life.0))
    }

    /// The backend of a new flow.
    pub(crate) fn choose(&self, five: Five) -> Option<Life> {
        let listener = &self.listeners[five.1];
        let key = (listener.scope, masked(five.0.ip(), listener.prefix));
        match self.pins.get(&key) {
            Some(pin) if listener.scope != 0 && self.valid(pin, five.1) => Some(pin.life),
            _ => self.by_hash(five),
        }
    }

    /// A packet of a flow on `life` was noted: what it does for the pin. Is it still owed?
    fn touch(&mut self, five: Five, life: Life, touch: Touch) -> bool {
        let listener = &self.listeners[five.1];
        if listener.scope == 0 {
            return false;
        }
        let key = (listener.scope, masked(five.0.ip(), listener.prefix));
        let serves = self.members[&life.0].takes_pins(life.1);
        let owed = touch == Touch::Under { owed: true };
        let new = Pin { life, made: self.now, seen: self.now };
        let Some(mut pin) = self.pins.get(&key).copied() else {
            if owed && serves {
                let _none = self.pins.insert(key, new);
            }
            return false;
        };
        let refreshes = match listener.refresh {
            Refresh::Activity => true,
            Refresh::NewConnection => touch == Touch::New,
            Refresh::Never => false,
        };
        let due = self.now - pin.seen >= listener.step();
        if refreshes && pin.life == life && self.in_time(&pin, five.1) && due {
            pin.seen = self.now;
            let _old = self.pins.insert(key, pin);
        }
        if !owed || self.valid(&pin, five.1) {
            return false;
        }
        if pin.seen < self.mark {
            return true;
        }
        if serves {
            let _old = self.pins.insert(key, new);
        }
        false
    }

    /// A backend's packet to that port of the balancer's.
    pub(crate) fn backend(&mut self, key: Answer, flags: Option<u8>) -> Back {
        let Some(reply) = self.replies.get(&key).copied() else { return Back::Unknown };
        let over = self.now - reply.seen >= reply.stage.idle();
        if over || !self.members[&reply.life.0].takes_flows(reply.life.1) {
            return Back::Stale;
        }
        let stage = reply.stage.after(Side::Backend, flags);
        if stage != reply.stage || self.now - reply.seen >= S / 4 {
            let _old = self.replies.insert(key, Reply { seen: self.now, stage, ..reply });
            let _owed = self.touch(reply.five, reply.life, Touch::Under { owed: false });
            let seen = self.tick();
            let made = Flow { life: reply.life, seen, stage, owed: false, port: key.1 };
            let flow = self.flows.entry(reply.five).or_insert(made);
            if flow.life == reply.life && flow.port == key.1 {
                flow.seen = seen;
                flow.stage = stage;
            }
        }
        Back::To(reply.five.0)
    }

    /// The time as flows know it.
    pub(crate) fn tick(&self) -> u64 {
        self.now - self.now % TEST_NS
    }

    /// Where answers to a flow on that backend come in.
    fn answer(&self, five: Five, backend: u32, port: u16) -> Answer {
        (self.members[&backend].address, port, self.listeners[five.1].tcp)
    }

    fn in_time(&self, pin: &Pin, listener: usize) -> bool {
        let Listener { timeout, max_lifetime, .. } = self.listeners[listener];
        self.now - pin.seen < timeout && (max_lifetime == 0 || self.now - pin.made < max_lifetime)
    }

    fn valid(&self, pin: &Pin, listener: usize) -> bool {
        self.in_time(pin, listener) && self.members[&pin.life.0].takes_pins(pin.life.1)
    }

    fn by_hash(&self, five: Five) -> Option<Life> {
        let listener = &self.listeners[five.1];
        let hash = if listener.scope == 0 {
            flow_hash(SEED, &self.flow_key(five))
        } else {
            client_hash(SEED, masked(five.0.ip(), listener.prefix).into())
        };
        let table = &self.tables[&listener.pool];
        let slot = usize::try_from(hash % 251).expect("a slot");
        let id = table.get(slot).copied().map(u32::from).filter(|id| *id != 0)?;
        Some((id, self.members[&id].generation))
    }

    /// The flow as the map's key.
    pub(crate) fn flow_key(&self, five: Five) -> FlowKey {
        let listener = &self.listeners[five.1];
        FlowKey {
            source: five.0.ip().into(),
            destination: listener.address.ip().into(),
            source_port_be: five.0.port().to_be(),
            destination_port_be: listener.address.port().to_be(),
            protocol: if listener.tcp { 6 } else { 17 },
            pad: [0; 3],
        }
    }
}

/// The first `prefix` bits of an address.
pub(crate) fn masked(ip: IpAddr, prefix: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}
