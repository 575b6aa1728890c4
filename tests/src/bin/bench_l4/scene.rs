//! Holdfast as it is measured: a configuration brought to the kernel's maps by the agent's own
//! code, with backends behind one interface.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use aya::programs::{ProgramFd, Xdp};
use lb_common::{
    address::Address,
    event::Event,
    hash::Seed,
    layout::{FLOWS_IN_LINE, FlowSpace, Hop},
    maps,
};
use lb_userspace::{
    config::{self, Config, Limits},
    control::{controller::Controller, facts::Reach},
    limits,
    loader::{self, Loaded},
    maps::{LbMaps as _, kernel::KernelMaps},
    model::Model,
    object::OBJECT,
};
use tests::{control::reach_report, packet::BALANCER_MAC};

/// Enough for a million flows at a time: each has 31,744 ports for every source address.
const BACKENDS: u8 = 16;
const SOURCES: u8 = 4;
const FIRST_SOURCE: u8 = 200;

/// The maps that hold flows under way: what the row on memory adds up.
pub(crate) const FLOW_TABLE: &[&str] = &[maps::FLOWS];

/// A forwarding mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Dsr,
    /// IP in IP.
    Tunnel,
    Nat,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Tunnel => "tunnel",
            Self::Nat => "nat",
        }
    }
}

/// Which one listener there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) mode: Mode,
    pub(crate) v6: bool,
    pub(crate) udp: bool,
}

impl Site {
    /// TCP over IPv4.
    pub(crate) const fn of(mode: Mode) -> Self {
        Self { mode, v6: false, udp: false }
    }

    /// The listener.
    pub(crate) fn vip(self) -> SocketAddr {
        let text = if self.v6 { "[2001:db8:a::10]:80" } else { "203.0.113.10:80" };
        text.parse().expect("an address and a port")
    }

    /// The limits are the defaults: a million flows, a million pins. The rates of new flows are the
    /// highest: the benchmark is a flood.
    fn config(self) -> Config {
        let protocol = if self.udp { "udp" } else { "tcp" };
        let mut text = format!(
            "[agent]\ninterfaces = [\"lo\"]\n\
             [flood]\nflows_per_second = 10_000_000\nnetwork_flows_per_second = 10_000_000\n\
             [[listener]]\nname = \"web\"\n\
             protocol = \"{protocol}\"\naddress = \"{}\"\npool = \"web\"\n\
             persistence = {{ mode = \"source-ip\", timeout = \"1h\" }}\n\
             [[pool]]\nname = \"web\"\nforward = \"{}\"\n",
            self.vip(),
            self.mode.name(),
        );
        for number in 1..=BACKENDS {
            let address = self.inside(number);
            writeln!(text, "[[pool.backend]]\nname = \"web-{number}\"\naddress = \"{address}\"")
                .expect("memory");
        }
        config::parse(&text, Path::new("bench.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A port of the balancer's that backends answer to.
    pub(crate) fn answered(self) -> SocketAddr {
        SocketAddr::new(self.inside(FIRST_SOURCE), 5_000)
    }

    fn inside(self, last: u8) -> std::net::IpAddr {
        let text = if self.v6 { format!("fd00::{last:x}") } else { format!("10.0.0.{last}") };
        text.parse().expect("an address")
    }
}

/// A loaded program over its maps.
pub(crate) struct Scene {
    /// The listener.
    pub(crate) vip: SocketAddr,
    pub(crate) program: Loaded,
    pub(crate) agent: Controller<KernelMaps>,
}

impl Scene {
    /// Loads it into a new instance in that directory. Backends are reached by an interface, their
    /// link-layer address is `to`.
    pub(crate) fn new(site: Site, directory: &Path, interface: u32, to: [u8; 6]) -> Self {
        let config = site.config();
        let seed = Seed([20_071, 4711]);
        let program = loader::load(&loader::Options {
            object: OBJECT,
            directory,
            limits: &config.limits,
            seed,
            packet_events: false,
            features: Model::new(&config).features(),
            test_clock: false,
        })
        .unwrap_or_else(|e| panic!("{e}"));
        let maps = program.maps().unwrap_or_else(|e| panic!("{e}"));
        let mut agent =
            Controller::new(maps, config.clone(), seed).unwrap_or_else(|e| panic!("{e}"));
        let hop = Hop { interface, to, from: BALANCER_MAC, ..Hop::default() };
        let nat_sources: Vec<Address> =
            (0..SOURCES).map(|source| site.inside(FIRST_SOURCE + source).into()).collect();
        for number in 1..=BACKENDS {
            let reach = Reach::Known { hop, nat_sources: nat_sources.clone(), mtu: 1500 };
            let report = reach_report(&config, &format!("web-{number}"), reach);
            assert!(agent.set_reach(report), "backend {number} is there");
        }
        let _applied = agent.apply().unwrap_or_else(|e| panic!("{e}"));
        Self { vip: site.vip(), program, agent }
    }

    /// The program that is measured.
    pub(crate) fn program(&self) -> ProgramFd {
        let program = self.program.ebpf.program(maps::PROGRAM).expect("the program");
        let program: &Xdp = program.try_into().expect("an XDP program");
        program.fd().expect("it is loaded").try_clone().expect("a descriptor")
    }

    /// Puts as much of the flow table in use as the agent would.
    pub(crate) fn make_room(&mut self) {
        while self.agent.grow_flows().unwrap_or_else(|e| panic!("{e}")).is_some() {}
    }

    /// Puts as much of the flow table in use as the agent would for so many flows, which are not
    /// there.
    pub(crate) fn make_room_for(&self, flows: u32) {
        let mut maps = self.program.maps().unwrap_or_else(|e| panic!("{e}"));
        let mut space = FlowSpace::default();
        let lines = limits::flow_lines(&Limits::default());
        let regions = limits::flow_regions(lines);
        let in_line = u32::try_from(FLOWS_IN_LINE).expect("a few");
        let places = lines / regions * in_line;
        while space.regions() < regions && flows * 8 > space.regions() * places * 5 {
            space = space.doubled().settled();
        }
        maps.set_flow_space(&space).unwrap_or_else(|e| panic!("{e}"));
    }

    /// How often that was counted, for the listener or for none.
    pub(crate) fn counted(&self, event: Event) -> u64 {
        let row = |row| self.agent.maps().listener_counters(row).expect("counters").events;
        (0..2).map(|number| row(number)[event as usize]).sum()
    }
}
