//! Who is there: pools, backends, tables, listeners.

use std::net::{IpAddr, SocketAddr};

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    flood::per_second,
    flow::{IdleTimes, settings},
    hash::Seed,
    layout::{
        Backend, BackendState, Flood, Forward, Hop, OWN_ECHO, OWN_SIDECAR, Own, Pool, Protocol,
        Refresh, Running, Scheduler, Settings, Target, Vip, VipKey,
    },
    pin::{refresh_step_ns, refresh_ticks},
    ticks::TEST_NS,
};
use lb_userspace::maps::LbMaps as _;

use super::{Bench, S};
use crate::{outcome::Outcome, packet::BALANCER_MAC};

/// The tests' seed.
pub const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

/// The tests' idle times.
pub const SETTINGS: Settings = settings(
    &IdleTimes {
        tcp_established_ns: 7440 * S,
        tcp_transitory_ns: 240 * S,
        tcp_time_wait_ns: 60 * S,
        stateless_ns: 300 * S,
    },
    TEST_NS,
);

/// NAT sources of a new backend.
pub const NAT_SOURCE_V4: [u8; 4] = [10, 0, 0, 254];
/// NAT sources of a new backend.
pub const NAT_SOURCE_V6: [u16; 8] = [0xfd00, 0, 0, 0, 0, 0, 0, 0xfe];

fn vip_key(protocol: Protocol, address: &str) -> VipKey {
    let address = socket(address);
    let (port_be, protocol) = (address.port().to_be(), protocol.code());
    VipKey { address: address.ip().into(), port_be, protocol, pad: 0 }
}

/// The MAC of that backend.
#[must_use]
pub fn backend_mac(id: u32) -> [u8; 6] {
    let [.., high, low] = id.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

/// A way to that backend by that interface, with these VLAN tags.
///
/// # Panics
///
/// With more than two tags.
#[must_use]
pub fn hop(id: u32, interface: u32, tags: &[(u16, u16)]) -> Hop {
    let mut vlan_be = [[0; 2]; 2];
    for (to, (tpid, tci)) in vlan_be.iter_mut().zip(tags) {
        *to = [tpid.to_be(), tci.to_be()];
    }
    Hop {
        interface,
        to: backend_mac(id),
        from: BALANCER_MAC,
        vlan_be,
        vlans: u32::try_from(tags.len()).expect("a few"),
        pad: 0,
    }
}

/// An address and port from text.
///
/// # Panics
///
/// When it is none.
#[must_use]
pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Bench {
    /// A new pool, with an empty table.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn pool(&mut self, forward: Forward) -> u32 {
        let id = u32::try_from(self.pools.len()).expect("a few") + 1;
        let _new = self.pools.insert(id, Pool { forward: forward.code(), ..Pool::default() });
        self.maps.set_pool(id, &self.pools[&id]).expect("pool written");
        id
    }

    /// Another scheduler for a pool.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn scheduler(&mut self, pool: u32, scheduler: Scheduler) {
        let row = self.pools.get_mut(&pool).expect("a pool");
        row.scheduler = scheduler.code();
        self.maps.set_pool(pool, row).expect("pool written");
    }

    /// Holds new flows to so many a second: of all, and of a network, which is a /24 or a /56.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn flood(&mut self, all: u32, network: u32) {
        let (all, network) = (per_second(all), per_second(network));
        let rules = Flood { all, network, mask_v4: Address::mask(120), mask_v6: Address::mask(56) };
        self.maps.set_flood(&rules).expect("rates written");
    }

    /// How many flows run on a backend, and its weight, as the agent would say it.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn runs(&mut self, id: u32, flows: u32, weight: u32) {
        self.maps.set_running(&[(id, Running { flows, weight })]).expect("running flows written");
    }

    /// How many flows run on a backend, as packets have counted.
    ///
    /// # Panics
    ///
    /// When the map cannot be read.
    #[must_use]
    pub fn running(&self, id: u32) -> u32 {
        self.maps.running().expect("running flows")[id as usize].flows
    }

    /// A new backend that is ready, behind the loopback interface, at `address`; port 0: the one
    /// that the client asked for.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn backend(&mut self, pool: u32, address: &str) -> u32 {
        let address = socket(address);
        let id = u32::try_from(self.backends.len()).expect("a few") + 1;
        let nat_source = match address.ip() {
            IpAddr::V4(_) => IpAddr::from(NAT_SOURCE_V4),
            IpAddr::V6(_) => IpAddr::from(NAT_SOURCE_V6),
        };
        let mut backend = Backend {
            address: address.ip().into(),
            hop: hop(id, 1, &[]),
            nat_source_mask: 1,
            generation: 1,
            flows_since: 1,
            pool,
            port_be: address.port().to_be(),
            state: BackendState::Ready.code(),
            ..Backend::default()
        };
        backend.nat_sources[0] = nat_source.into();
        let _new = self.backends.insert(id, backend);
        self.maps.set_backends(&[(id, backend)]).expect("backend written");
        self.own(nat_source.into(), |_| {});
        id
    }

    /// Gives the pool a new table, in which the members follow one another slot by slot; of none
    /// an empty one.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn table(&mut self, pool: u32, members: &[u32]) {
        let members: Vec<_> =
            members.iter().map(|id| u16::try_from(*id).expect("a short id")).collect();
        let slots = self.limits.maglev_slots as usize;
        let table: Vec<u16> = members.iter().copied().cycle().take(slots).collect();
        self.slots(pool, &table);
    }

    /// Gives the pool that table.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn slots(&mut self, pool: u32, table: &[u16]) {
        let row = self.pools.get_mut(&pool).expect("a pool");
        let other = if row.table == 2 * pool { 2 * pool - 1 } else { 2 * pool };
        row.table = if table.is_empty() { 0 } else { other };
        if !table.is_empty() {
            self.maps.write_table(other, table).expect("table written");
        }
        self.maps.set_pool(pool, row).expect("pool written");
    }

    /// A new listener with pins of its own that last `timeout_ns`; 0: no persistence.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn listener(
        &mut self,
        protocol: Protocol,
        address: &str,
        pool: u32,
        timeout_ns: u64,
    ) -> VipKey {
        let key = vip_key(protocol, address);
        let listener = u32::try_from(self.vips.len()).expect("a few") + 1;
        let refresh_ns = refresh_step_ns(if timeout_ns == 0 { u64::MAX } else { timeout_ns });
        let vip = Vip {
            timeout_ns,
            max_lifetime_ns: 0,
            refresh_ns,
            client_mask: Address::mask(128),
            listener,
            pool,
            scope: if timeout_ns == 0 { 0 } else { listener },
            refresh_ticks: refresh_ticks(refresh_ns),
            refresh: Refresh::Activity.code(),
            target: Target::Pool.code(),
            pad: [0; 6],
        };
        self.put_vip(key, vip);
        key
    }

    /// A new TCP listener of the sidecar's.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn sidecar(&mut self, address: &str) -> VipKey {
        let key = vip_key(Protocol::Tcp, address);
        let listener = u32::try_from(self.vips.len()).expect("a few") + 1;
        let target = Target::Sidecar.code();
        self.put_vip(key, Vip { listener, target, ..Vip::zeroed() });
        key
    }

    fn put_vip(&mut self, key: VipKey, vip: Vip) {
        let _new = self.vips.insert(key, vip);
        self.rows.push(vip.listener);
        self.maps.set_vip(&key, &vip).expect("VIP written");
        self.listens(key, &vip);
    }

    /// What the agent says of a listener's address; see [`Own`].
    fn listens(&mut self, key: VipKey, vip: &Vip) {
        let choice = |vip: &Vip| (vip.scope, vip.pool, vip.client_mask);
        let same = |other: &VipKey| (other.address, other.protocol) == (key.address, key.protocol);
        let mut others = self.vips.iter().filter(|(other, _)| same(other));
        let alike = others.all(|(_, other)| choice(other) == choice(vip));
        let pool = self.pools.get(&vip.pool);
        let translated = pool.is_some_and(|pool| pool.forward == Forward::Nat.code());
        let port_be = if alike && vip.scope != 0 && !translated { key.port_be } else { 0 };
        self.own(key.address, |own| {
            let layer = if vip.is_sidecars() { OWN_SIDECAR } else { Own::flag(key.protocol) };
            own.flags |= OWN_ECHO | layer;
            match Protocol::from_code(key.protocol) {
                Some(Protocol::Tcp) => own.tcp_port_be = port_be,
                _ => own.udp_port_be = port_be,
            }
        });
    }

    /// Changes what stands of an own address, if need be a new one.
    ///
    /// # Panics
    ///
    /// When the map cannot be written.
    pub fn own(&mut self, address: Address, change: impl FnOnce(&mut Own)) {
        let own = self.own.entry(address).or_default();
        change(own);
        self.maps.set_own(&[(address, *own)]).expect("own address written");
    }

    /// Changes a listener.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn change_vip(&mut self, key: VipKey, change: impl FnOnce(&mut Vip)) {
        let vip = self.vips.get_mut(&key).expect("a listener");
        change(vip);
        vip.refresh_ticks = refresh_ticks(vip.refresh_ns);
        self.maps.set_vip(&key, vip).expect("VIP written");
    }

    /// Changes a backend.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn change_backend(&mut self, id: u32, change: impl FnOnce(&mut Backend)) {
        let backend = self.backends.get_mut(&id).expect("a backend");
        change(backend);
        self.maps.set_backends(&[(id, *backend)]).expect("backend written");
    }

    /// Changes a backend's state only.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn state(&mut self, id: u32, state: BackendState) {
        self.change_backend(id, |backend| backend.state = state.code());
    }

    /// A backend comes back: another life, ready.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn back(&mut self, id: u32) {
        self.change_backend(id, |backend| {
            backend.generation += 1;
            backend.flows_since = backend.generation;
            backend.state = BackendState::Ready.code();
        });
    }

    /// Below that time, invalid entries are being reclaimed (P7); 0: none are.
    ///
    /// # Panics
    ///
    /// When a map cannot be written.
    pub fn reclaim_before(&mut self, before_ns: u64) {
        let reclaim = lb_common::layout::Reclaim { before_ns, ..Default::default() };
        self.maps.set_reclaim(&reclaim).expect("mark written");
    }

    /// A backend's record.
    #[must_use]
    pub fn record(&self, id: u32) -> Backend {
        self.backends[&id]
    }

    /// A listener's record.
    #[must_use]
    pub fn vip(&self, key: VipKey) -> Vip {
        self.vips[&key]
    }

    /// The backend that a packet was sent to.
    ///
    /// # Panics
    ///
    /// When it was sent to none.
    #[must_use]
    pub fn chosen(&self, outcome: &Outcome) -> u32 {
        assert_eq!(outcome.fate(), lb_common::event::Event::Forwarded, "{outcome}");
        let to: [u8; 6] = outcome.bytes[..6].try_into().expect("a MAC");
        let found = self.backends.iter().find(|(_, backend)| backend.hop.to == to);
        *found.unwrap_or_else(|| panic!("sent to no backend: {outcome}")).0
    }
}
