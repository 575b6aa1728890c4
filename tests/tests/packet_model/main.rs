//! Random sequences of packets, time and control events, through the real program and through a
//! pure model of the persistence contract and of tunnels: verdicts, backends and maps must agree at
//! every step.
//!
//! `HOLDFAST_MODEL_STEPS` (default 20000) and `HOLDFAST_MODEL_SEED` (default fixed) say how many
//! and which.

mod model;
mod tunnel;
mod world;

use std::{collections::VecDeque, env, net::SocketAddr};

use fastrand::Rng;
use lb_common::event::Event;
use model::{Answer, Five, Refresh, State};
use tests::{
    bench::{S, socket},
    packet::{ACK, FIN, PSH, RST, SYN},
};
use tunnel::{Report, Tunnel, length};
use world::{POOLS, World};

#[derive(Debug, Clone)]
enum Action {
    /// With flags and bytes of payload.
    Client(Five, Option<u8>, u16),
    /// The same several times.
    Often(Five, Option<u8>, u16),
    Backend(Answer, Option<u8>),
    At(u64),
    State(u32, State, bool),
    Back(u32),
    Table(u32, Vec<u16>),
    Persistence(usize, u64, u64, Refresh),
    Mark(u64),
    Forget(u8),
    /// Another MTU of a tunnel, as configured.
    Lay(u32, u16),
    /// What a router in a tunnel reports about a flow's packet.
    Report(Five, u16),
}

const CLIENTS_V4: [&str; 6] =
    ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1", "192.0.3.2", "198.51.100.1"];
const CLIENTS_V6: [&str; 4] =
    ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:1:1::1", "2001:db8:2::1"];
const TIMEOUTS: [u64; 7] = [S, 2 * S, 3 * S, 4 * S, 10 * S, 60 * S, 3600 * S];

fn next(rng: &mut Rng, world: &World) -> Action {
    match rng.u8(..100) {
        0..67 => client(rng, world),
        67..76 => backend(rng, world),
        76..84 => again(rng, world),
        84..87 => report(rng, world),
        87..97 => Action::At(world.model.now + time(rng, world)),
        _ => control(rng, world),
    }
}

fn client(rng: &mut Rng, world: &World) -> Action {
    let index = rng.usize(..world.model.listeners.len());
    let listener = &world.model.listeners[index];
    let ip = if listener.address.is_ipv4() {
        CLIENTS_V4[rng.usize(..CLIENTS_V4.len())]
    } else {
        CLIENTS_V6[rng.usize(..CLIENTS_V6.len())]
    };
    let client = SocketAddr::new(ip.parse().expect("an address"), rng.u16(1000..1004));
    let flags = [SYN, SYN, ACK, ACK, PSH | ACK, FIN | ACK, RST, SYN | ACK][rng.usize(..8)];
    let (five, flags) = ((client, index), listener.tcp.then_some(flags));
    match (rng.u8(..), payload(rng, world, five)) {
        (0, payload) => Action::Often(five, flags, payload),
        (_, payload) => Action::Client(five, flags, payload),
    }
}

/// Often none; else about as much as fits into one of the tunnels that it may go through.
fn payload(rng: &mut Rng, world: &World, five: Five) -> u16 {
    let (model, listener) = (&world.model, &world.model.listeners[five.1]);
    let members = World::members_of(listener.pool);
    let id = u32::from(members[rng.usize(..members.len())]);
    match (rng.u8(..4), model.room(id, listener.address.is_ipv6())) {
        (0 | 1, _) | (_, None) => rng.u16(..40),
        (2, _) => rng.u16(..2000),
        (_, Some(room)) => room - length(listener.address, listener.tcp, 0) + rng.u16(..3) - 1,
    }
}

fn report(rng: &mut Rng, world: &World) -> Action {
    let known: Vec<_> = world.wrapped.keys().collect();
    if known.is_empty() {
        return client(rng, world);
    }
    let mtu = match rng.u8(..4) {
        0 => rng.u16(1..=2100),
        1 => [1, 575, 1279, 1280, 1500][rng.usize(..5)],
        _ => rng.u16(1280..1500),
    };
    Action::Report(*known[rng.usize(..known.len())], mtu)
}

fn backend(rng: &mut Rng, world: &World) -> Action {
    let flags = [SYN | ACK, ACK, ACK, FIN | ACK, RST][rng.usize(..5)];
    let known: Vec<_> = world.model.replies.keys().collect();
    // Of two the one that was seen last: most are of flows long over.
    let some = [rng.usize(..known.len() + 2), rng.usize(..known.len() + 2)];
    let some = some.into_iter().filter_map(|at| known.get(at));
    let key = match some.max_by_key(|key| world.model.replies[*key].seen) {
        Some(key) => **key,
        None => (socket("10.0.0.4:80"), rng.u16(1000..33_000), rng.bool()),
    };
    Action::Backend(key, key.2.then_some(flags))
}

/// Something of the flow that was answered last, whose answers' way may be known.
fn again(rng: &mut Rng, world: &World) -> Action {
    let known = world.answered.and_then(|key| Some((key, world.model.replies.get(&key)?)));
    let Some((key, reply)) = known else { return backend(rng, world) };
    let flags = [ACK, ACK, ACK, ACK, ACK, PSH | ACK, FIN | ACK, RST][rng.usize(..8)];
    if rng.u8(..6) == 0 {
        Action::Client(reply.five, key.2.then_some(flags), 0)
    } else {
        Action::Backend(key, key.2.then_some(flags))
    }
}

/// How far to go: often to just before, at or after the end of something.
fn time(rng: &mut Rng, world: &World) -> u64 {
    let model = &world.model;
    let mut ends = Vec::new();
    match rng.u8(..7) {
        6 => {
            let end = |report: &Report| [report.end(), report.end() - 3 * S];
            ends.extend(model.reports.values().flat_map(end));
        }
        0 => return rng.u64(..100),
        1 => return [S / 4, S / 2, S - 1, S, S + 1, 2 * S, 10 * S][rng.usize(..7)],
        2 => {
            let some = rng.usize(..model.pins.len().max(1));
            if let Some(pin) = model.pins.values().nth(some) {
                for listener in &model.listeners {
                    ends.push(pin.seen + listener.timeout);
                    ends.push(pin.seen + S.min(listener.timeout / 4));
                    ends.push(pin.made + listener.max_lifetime);
                }
            }
        }
        3 | 4 => {
            let some = rng.usize(..model.flows.len().max(1));
            if let Some(flow) = model.flows.values().nth(some) {
                ends.extend(
                    [S / 4, S, 10 * S, 60 * S, 240 * S, 300 * S].map(|age| flow.seen + age),
                );
                if rng.u8(..20) == 0 {
                    ends.push(flow.seen + 7440 * S);
                }
            }
        }
        _ => {
            let some = rng.usize(..model.replies.len().max(1));
            if let Some(reply) = model.replies.values().nth(some) {
                let ages = [S / 4, 10 * S, 12 * S, 62 * S, 242 * S, 302 * S];
                ends.extend(ages.map(|age| reply.seen + age));
            }
        }
    }
    let ahead: Vec<_> = ends.into_iter().filter(|end| *end > model.now).collect();
    if ahead.is_empty() {
        return rng.u64(..S);
    }
    ahead[rng.usize(..ahead.len())] - model.now + rng.u64(..3) - 1
}

fn control(rng: &mut Rng, world: &World) -> Action {
    let id = rng.u32(1..=14);
    match rng.u8(..18) {
        0 => Action::State(id, State::Draining, false),
        1 => Action::State(id, State::Evacuating, false),
        2 => Action::State(id, State::Down, rng.bool()),
        3 => Action::State(id, State::Ready, false),
        4..7 => Action::Back(id),
        7 | 8 => {
            let pool = rng.u32(1..=POOLS);
            let mut members = World::members_of(pool);
            rng.shuffle(&mut members);
            members.truncate(rng.usize(..=members.len()).max(rng.usize(..3)));
            if rng.u8(..4) == 0 {
                members.push(0);
            }
            Action::Table(pool, members)
        }
        9 | 10 => {
            let index = rng.usize(..world.model.listeners.len());
            if world.model.listeners[index].scope == 0 {
                return Action::Back(id);
            }
            let timeout = TIMEOUTS[rng.usize(..TIMEOUTS.len())];
            let max = [0, 0, 5 * S, 90 * S][rng.usize(..4)];
            let refresh = [Refresh::Activity, Refresh::NewConnection, Refresh::Never];
            Action::Persistence(index, timeout, max, refresh[rng.usize(..3)])
        }
        11 => Action::Mark(world.model.now.saturating_sub(rng.u64(..100 * S))),
        12..16 => Action::Mark(0),
        16 => Action::Lay(rng.u32(9..=14), [1328, 1400, 1500, 2000][rng.usize(..4)]),
        _ => Action::Forget(rng.u8(..3)),
    }
}

fn apply(world: &mut World, action: &Action) -> Result<(), String> {
    match action.clone() {
        Action::Client(five, flags, payload) => return world.client(five, flags, payload),
        Action::Often(five, flags, payload) => {
            return (0..12).try_for_each(|_| world.client(five, flags, payload));
        }
        Action::Report(five, mtu) => return world.report(five, mtu),
        Action::Backend(key, flags) => return world.backend(key, flags),
        Action::At(now) => world.at(now),
        Action::State(id, state, keep) => world.state(id, state, keep),
        Action::Back(id) => world.back(id),
        Action::Table(pool, members) => world.table(pool, &members),
        Action::Persistence(index, timeout, max, refresh) => {
            world.persistence(index, timeout, max, refresh);
        }
        Action::Mark(mark) => world.mark(mark),
        Action::Forget(what) => world.forget(what),
        Action::Lay(id, mtu) => {
            let tunnel = world.model.members[&id].tunnel.expect("a tunnel");
            world.lay(id, Tunnel { mtu, ..tunnel });
        }
    }
    Ok(())
}

/// The last actions; told when the test fails, by whatever panic.
struct Log {
    seed: u64,
    step: u64,
    last: VecDeque<Action>,
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HOLDFAST_MODEL_SEED={}, failed at step {}; the last:", self.seed, self.step);
            for action in &self.last {
                eprintln!("  {action:x?}");
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_program_does_what_the_model_says() {
    let seed = number("HOLDFAST_MODEL_SEED", 0x5eed);
    let steps = number("HOLDFAST_MODEL_STEPS", 20_000);
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new();
    let mut log = Log { seed, step: 0, last: VecDeque::new() };
    for step in 0..steps {
        let action = next(&mut rng, &world);
        log.step = step;
        if log.last.len() == 20 {
            let _oldest = log.last.pop_front();
        }
        log.last.push_back(action.clone());
        let result = apply(&mut world, &action)
            .and_then(|()| if step % 100 == 99 { world.compare() } else { Ok(()) });
        result.unwrap_or_else(|error| panic!("{error}"));
    }
    world.compare().unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{:?}, {} answers by the short way", world.met, world.short);
    if steps >= 20_000 {
        for event in REACHED {
            assert!(world.met.contains_key(&event), "{event:?} was never met: {:?}", world.met);
        }
        assert!(world.short > steps / 100, "{} answers by the short way", world.short);
    }
}

/// Everything that persistence and tunnels can do to a packet.
const REACHED: [Event; 20] = [
    Event::Forwarded,
    Event::Replied,
    Event::ResetSent,
    Event::PassNoListener,
    Event::PassStaleReply,
    Event::DropNoBackend,
    Event::DropGone,
    Event::DropNoFlow,
    Event::FlowMade,
    Event::FlowRenewed,
    Event::FlowPlacedByHash,
    Event::PinMade,
    Event::PinRenewed,
    Event::PinFollowed,
    Event::PinReclaiming,
    Event::ReplyMade,
    Event::TooBigAnswered,
    Event::DropTooBigOften,
    Event::PassPathMtu,
    Event::PassIcmpError,
];
