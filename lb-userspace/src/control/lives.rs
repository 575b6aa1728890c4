//! A backend's lives: from its record and what is wanted of it to its next record. Pure.
//!
//! ```text
//!            up                       down
//!  (none) --------> Ready, Draining, --------> Down --+
//!    generation 1   Evacuating                  ^     | up: generation + 1
//!                      ^                        |     |
//!                      +---------------------------- -+
//! ```
//! A backend is down that its probe or the operator says is, or that no packet reaches while others
//! of its pool serve.
//!
//! Pins name a generation, so those of an earlier life are void for good (P9). Flows are served
//! from `flows_since` on: with `on_down = "reset"` that moves with each life, with `"keep"` only
//! when the backend itself changes (address, port, forwarding mode), since its flows cannot follow
//! there. Another pool, or another name for it, voids pins only: flows stay where they are (P6).

use lb_common::{
    address::Address,
    layout::{Backend, BackendState, Hop, NAT_SOURCES, ON_DOWN_KEEP, Tunnel},
};

use super::{
    facts::{Health, Intent, Reach},
    tunnel,
};
use crate::{config::OnDown, model};

/// What is wanted of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Row of its pool.
    pub pool: u32,
    /// That pool forwards as the backend's last one did, if it had one.
    pub same_mode: bool,
    /// Its address.
    pub address: Address,
    /// Its port, network byte order; 0: the client's.
    pub port_be: u16,
    /// What its flows get while it is down.
    pub on_down: OnDown,
    /// How packets to it are wrapped up, if they are.
    pub tunnel: Option<&'a model::Tunnel>,
    /// Is its pool probed at all?
    pub checked: bool,
    /// What the operator wants.
    pub intent: Intent,
    /// What the last probe found.
    pub health: &'a Health,
    /// How packets get there.
    pub reach: &'a Reach,
    /// Another backend of its pool takes new clients.
    pub others_serve: bool,
}

/// The next record of a backend whose record is `previous`; `None`: its row was another's, or
/// never used, and `row` is what stands there.
#[must_use]
pub fn next(previous: Option<&Backend>, row: &Backend, wish: &Wish<'_>) -> Backend {
    let joins = previous.is_some_and(|old| old.pool != wish.pool);
    let moved = previous.is_none_or(|old| {
        (old.address, old.port_be) != (wish.address, wish.port_be) || (joins && !wish.same_mode)
    });
    let state = state(if moved { None } else { previous }, wish);
    let returns = state != BackendState::Down && !in_service(row);
    let generation =
        if moved || joins || returns { row.generation.saturating_add(1) } else { row.generation };
    let flows_since = if moved || (returns && wish.on_down == OnDown::Reset) {
        generation
    } else {
        row.flows_since
    };
    let way = tunnel::lay(way(previous, wish), wish.tunnel);
    let Way { hop, nat_sources, nat_source_mask, tunnel } = way;
    Backend {
        address: wish.address,
        nat_sources,
        hop,
        tunnel,
        nat_source_mask,
        generation,
        flows_since,
        pool: wish.pool,
        port_be: wish.port_be,
        state: state.code(),
        flags: flags(wish.on_down),
    }
}

/// The record of a backend that the configuration no longer has.
#[must_use]
pub fn removed(previous: &Backend, on_down: OnDown) -> Backend {
    Backend { state: BackendState::Down.code(), flags: flags(on_down), ..*previous }
}

/// Is it ready, draining or evacuating?
#[must_use]
pub fn in_service(backend: &Backend) -> bool {
    use BackendState::{Down, Draining, Evacuating, Ready, Unset};
    match BackendState::from_code(backend.state) {
        Some(Ready | Draining | Evacuating) => true,
        Some(Unset | Down) | None => false,
    }
}

/// What stands in the record of a backend with that setting.
#[must_use]
pub fn flags(on_down: OnDown) -> u8 {
    match on_down {
        OnDown::Reset => 0,
        OnDown::Keep => ON_DOWN_KEEP,
    }
}

fn state(previous: Option<&Backend>, wish: &Wish<'_>) -> BackendState {
    let up = match wish.health {
        _ if !wish.checked => true,
        Health::Up => true,
        Health::Down(_) => false,
        // The agent before this one had found it in order.
        Health::Unknown => previous.is_some_and(in_service),
    };
    match wish.intent {
        Intent::Down => BackendState::Down,
        _ if !up || stranded(previous, wish) => BackendState::Down,
        Intent::Ready => BackendState::Ready,
        Intent::Drain => BackendState::Draining,
        Intent::Evacuate => BackendState::Evacuating,
    }
}

/// Does it go down since no packet gets there? Not where its clients have nowhere else to go: they
/// find their backend again when the way is back. Once down it stays so until then.
fn stranded(previous: Option<&Backend>, wish: &Wish<'_>) -> bool {
    let already = previous.is_some_and(|old| !in_service(old) && old.hop.interface == 0);
    match wish.reach {
        Reach::Known { .. } => false,
        Reach::Pending(_) => already,
        Reach::Lost(_) => already || wish.others_serve,
    }
}

/// How packets get to a backend, as its record has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    pub(super) hop: Hop,
    pub(super) nat_sources: [Address; NAT_SOURCES],
    pub(super) nat_source_mask: u32,
    pub(super) tunnel: Tunnel,
}

fn way(previous: Option<&Backend>, wish: &Wish<'_>) -> Way {
    let same = previous.filter(|old| old.address == wish.address);
    match wish.reach {
        Reach::Known { hop, nat_sources, mtu } => {
            let before = same.map_or_else(Default::default, |old| old.nat_sources);
            let (nat_sources, nat_source_mask) = sources(before, nat_sources);
            let mut way = Way { hop: *hop, nat_sources, nat_source_mask, ..Way::default() };
            // What does not fit into a field fits all the more on the way.
            way.tunnel.mtu = u16::try_from(*mtu).unwrap_or(u16::MAX);
            way
        }
        // A neighbour that is silent for a moment is still where it was.
        Reach::Pending(_) => kept(previous, wish),
        // Its NAT sources stay this machine's: answers may still come.
        Reach::Lost(_) => Way { hop: Hop::default(), ..kept(previous, wish) },
    }
}

/// Puts the sources that are wanted in places, and says which those are. One that was there `before`
/// keeps its place; a new one gets one that was never used, else that of one which is not wanted.
fn sources(before: [Address; NAT_SOURCES], wanted: &[Address]) -> ([Address; NAT_SOURCES], u32) {
    let (mut places, mut mask) = (before, 0);
    let kept = |source: &&Address| before.contains(source);
    for source in wanted.iter().filter(kept) {
        mask |= before.iter().position(|old| old == source).map_or(0, |place| 1 << place);
    }
    for source in wanted.iter().filter(|source| !kept(source)) {
        let unused = (0..NAT_SOURCES).filter(|place| mask >> place & 1 == 0);
        let never_used = |place: &usize| places[*place] == Address::default();
        let place = unused.clone().find(never_used).or_else(|| unused.clone().next());
        if let Some(place) = place {
            places[place] = *source;
            mask |= 1 << place;
        }
    }
    (places, mask)
}

fn kept(previous: Option<&Backend>, wish: &Wish<'_>) -> Way {
    previous.filter(|old| old.address == wish.address).map_or_else(Way::default, |old| Way {
        hop: old.hop,
        nat_sources: old.nat_sources,
        nat_source_mask: old.nat_source_mask,
        tunnel: old.tunnel,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn wish<'a>(on_down: OnDown, intent: Intent, health: &'a Health, reach: &'a Reach) -> Wish<'a> {
        Wish {
            pool: 1,
            same_mode: false,
            address: address(1),
            port_be: 80,
            on_down,
            tunnel: None,
            checked: true,
            intent,
            health,
            reach,
            others_serve: false,
        }
    }

    fn known(interface: u32) -> Reach {
        let hop = Hop { interface, ..Hop::default() };
        Reach::Known { hop, nat_sources: vec![address(254)], mtu: 1500 }
    }

    /// Walks through health reports; state, generation and `flows_since` after each.
    fn walk(on_down: OnDown, reports: &[Health]) -> Vec<(u8, u32, u32)> {
        let reach = known(3);
        let mut record: Option<Backend> = None;
        let step = |health| {
            let wish = wish(on_down, Intent::Ready, health, &reach);
            let next = next(record.as_ref(), &record.unwrap_or_default(), &wish);
            record = Some(next);
            (next.state, next.generation, next.flows_since)
        };
        reports.iter().map(step).collect()
    }

    #[test]
    fn flaps() {
        let down = || Health::Down("refused".to_owned());
        let reports = [Health::Up, down(), down(), Health::Up, Health::Unknown, down(), Health::Up];
        let reset = [(1, 1, 1), (4, 1, 1), (4, 1, 1), (1, 2, 2), (1, 2, 2), (4, 2, 2), (1, 3, 3)];
        assert_eq!(walk(OnDown::Reset, &reports), reset);
        let keep = [(1, 1, 1), (4, 1, 1), (4, 1, 1), (1, 2, 1), (1, 2, 1), (4, 2, 1), (1, 3, 1)];
        assert_eq!(walk(OnDown::Keep, &reports), keep);
    }

    #[test]
    fn unknown_health_brings_none_up() {
        assert_eq!(walk(OnDown::Reset, &[Health::Unknown, Health::Up]), [(4, 1, 1), (1, 2, 2)]);
    }

    #[test]
    fn intent_within_a_life() {
        let reach = known(3);
        let up = next(
            None,
            &Backend::default(),
            &wish(OnDown::Reset, Intent::Ready, &Health::Up, &reach),
        );
        let check = |intent, state: BackendState, generation| {
            let got = next(Some(&up), &up, &wish(OnDown::Reset, intent, &Health::Up, &reach));
            assert_eq!((got.state, got.generation), (state.code(), generation), "{intent}");
            let back =
                next(Some(&got), &got, &wish(OnDown::Reset, Intent::Ready, &Health::Up, &reach));
            let lives = u32::from(state == BackendState::Down);
            assert_eq!(back.generation, generation + lives, "{intent} and back");
        };
        check(Intent::Drain, BackendState::Draining, 1);
        check(Intent::Evacuate, BackendState::Evacuating, 1);
        check(Intent::Down, BackendState::Down, 1);
        let sick = Health::Down(String::new());
        let got = next(Some(&up), &up, &wish(OnDown::Reset, Intent::Drain, &sick, &reach));
        assert_eq!(got.state, BackendState::Down.code());
    }

    #[test]
    fn another_place_is_another_life_for_flows_too() {
        let reach = known(3);
        let base = wish(OnDown::Keep, Intent::Ready, &Health::Up, &reach);
        let up = next(None, &Backend::default(), &base);
        for wish in [
            Wish { address: address(2), ..base },
            Wish { port_be: 81, ..base },
            Wish { pool: 2, ..base },
            Wish { pool: 2, intent: Intent::Down, ..base },
        ] {
            let got = next(Some(&up), &up, &wish);
            assert_eq!((got.generation, got.flows_since), (2, 2), "{wish:?}");
        }
        let renamed = next(Some(&up), &up, &Wish { pool: 2, same_mode: true, ..base });
        assert_eq!((renamed.generation, renamed.flows_since), (2, 1), "pins void, flows not");
        let other = next(None, &up, &base);
        assert_eq!((other.generation, other.flows_since), (2, 2), "another backend's row");
        let unprobed =
            next(Some(&up), &up, &Wish { port_be: 81, health: &Health::Unknown, ..base });
        assert_eq!(unprobed.state, BackendState::Down.code(), "not probed at its new place");
    }

    #[test]
    fn a_silent_neighbour_is_where_it_was() {
        let reach = known(3);
        let pending = Reach::Pending("neighbour".to_owned());
        let base = wish(OnDown::Reset, Intent::Ready, &Health::Up, &reach);
        let up = next(None, &Backend::default(), &base);
        let check = |wish: Wish<'_>, interface, sources| {
            let got = next(Some(&up), &up, &wish);
            assert_eq!((got.hop.interface, got.nat_source_mask), (interface, sources), "{wish:?}");
        };
        check(Wish { reach: &pending, ..base }, 3, 1);
        check(Wish { reach: &pending, pool: 2, ..base }, 3, 1);
        check(Wish { reach: &pending, address: address(2), ..base }, 0, 0);
        check(Wish { reach: &known(5), ..base }, 5, 1);
    }

    /// Walks through reports of the way; state, interface and generation after each.
    fn ways(others_serve: &[bool], reports: &[Reach]) -> Vec<(u8, u32, u32)> {
        let mut record = None;
        let step = |(others_serve, reach): (&bool, &Reach)| {
            let wish = Wish {
                checked: false,
                others_serve: *others_serve,
                ..wish(OnDown::Reset, Intent::Ready, &Health::Unknown, reach)
            };
            let next = next(record.as_ref(), &record.unwrap_or_default(), &wish);
            record = Some(next);
            (next.state, next.hop.interface, next.generation)
        };
        others_serve.iter().zip(reports).map(step).collect()
    }

    #[test]
    fn who_cannot_be_reached_goes_down_where_others_serve() {
        let (pending, lost) = (Reach::Pending("ARP".to_owned()), Reach::Lost("ARP".to_owned()));
        let reports = [known(3), pending.clone(), lost.clone(), lost.clone(), pending, known(3)];
        let elsewhere = [(1, 3, 1), (1, 3, 1), (4, 0, 1), (4, 0, 1), (4, 0, 1), (1, 3, 2)];
        assert_eq!(ways(&[true; 6], &reports), elsewhere);
        let nowhere = [(1, 3, 1), (1, 3, 1), (1, 0, 1), (1, 0, 1), (1, 0, 1), (1, 3, 1)];
        assert_eq!(ways(&[false; 6], &reports), nowhere, "a pin outlives it");
        // The others come and go meanwhile.
        let some = [true, true, false, true, false, false];
        let between = [(1, 3, 1), (1, 3, 1), (1, 0, 1), (4, 0, 1), (4, 0, 1), (1, 3, 2)];
        assert_eq!(ways(&some, &reports), between);
        // Never reached.
        let never = [lost.clone(), lost, known(3)];
        assert_eq!(ways(&[true; 3], &never), [(4, 0, 1), (4, 0, 1), (1, 3, 2)]);
    }

    #[test]
    fn a_removed_backend_stays_as_down() {
        let reach = known(3);
        let up = next(
            None,
            &Backend::default(),
            &wish(OnDown::Keep, Intent::Ready, &Health::Up, &reach),
        );
        let gone = removed(&up, OnDown::Keep);
        assert_eq!((gone.state, gone.flags, gone.generation), (4, ON_DOWN_KEEP, 1));
        assert_eq!(removed(&up, OnDown::Reset).flags, 0);
    }
}
