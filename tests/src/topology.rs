//! The networks that tests and demo run on: clients, a balancer, backends, a namespace each.
//!
//! ```text
//! Routed                                       OneArm
//!
//! clients         balancer         backend     clients  balancer  backend  backend ...
//!  eth0 --------- eth0 eth1 -- switch - eth0    eth0      eth0     eth0     eth0
//!                               |              |         |         |        |
//!                               +---- eth0     +---------+-switch--+--------+
//! ```
//!
//! `Routed`: a packet leaves by another interface than it came in by (redirect). `OneArm`: by the
//! same one (`XDP_TX`), and backends reach clients directly, as `dsr` needs.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use lb_common::{features::Features, hash::Seed};
use lb_userspace::{
    config::{Limits, XdpMode},
    loader,
    object::OBJECT,
};
use nix::{
    mount::{MsFlags, mount},
    unistd::Uid,
};

use crate::{
    cleanup::{self, Stem},
    netns::Namespace,
};

/// Which network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Clients and backends in networks of their own, with the balancer between them.
    Routed,
    /// All in one network, the balancer by one interface.
    OneArm,
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A network of namespaces; dropping it takes it down with every process in it.
#[derive(Debug)]
pub struct Lab {
    /// What clients are in.
    pub clients: Namespace,
    /// What the agent is in.
    pub balancer: Namespace,
    /// One each.
    pub backends: Vec<Namespace>,
    /// A bridge, to which the backends are connected, and in `OneArm` all.
    pub switch: Namespace,
    shape: Shape,
    // Dropped last.
    stem: Stem,
}

impl Lab {
    /// Makes a network with so many client addresses, each in both families, and backends.
    ///
    /// # Panics
    ///
    /// Without root, or when a step fails.
    #[must_use]
    pub fn new(shape: Shape, clients: u8, backends: u8) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        cleanup::sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stem = format!("{}{}-{number}", cleanup::PREFIX, process::id());
        let names: Vec<String> = (1..=backends).map(|n| format!("web-{n}")).collect();
        Self::named(&stem, shape, clients, &names)
    }

    /// As `new`, with a stem and names of backends of one's own.
    ///
    /// # Panics
    ///
    /// As `new`.
    #[must_use]
    pub fn named(stem: &str, shape: Shape, clients: u8, backends: &[String]) -> Self {
        assert!(
            Uid::effective().is_root(),
            "ROOT IS NEEDED: this makes network namespaces and loads BPF programs"
        );
        let own = Stem::new(stem);
        let bpffs = cleanup::bpffs(stem);
        {
            let _gate = cleanup::gate();
            fs::create_dir_all(&bpffs).unwrap_or_else(|e| panic!("{}: {e}", bpffs.display()));
            mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
                .unwrap_or_else(|e| panic!("mount {}: {e}", bpffs.display()));
        }
        let namespace = |name: &str| Namespace::new(&format!("{stem}-{name}"));
        let lab = Self {
            clients: namespace("clients"),
            balancer: namespace("balancer"),
            switch: namespace("switch"),
            backends: backends.iter().map(|name| namespace(name)).collect(),
            shape,
            stem: own,
        };
        lab.connect();
        lab.address(clients);
        lab
    }

    fn connect(&self) {
        // Forwarding is the XDP program's work here: the kernel must not help.
        self.balancer.sysctl("ipv4/ip_forward", "0");
        self.balancer.sysctl("ipv6/conf/all/forwarding", "0");
        self.switch.ip("link add br0 type bridge mcast_snooping 0");
        self.switch.ip("link set br0 up");
        match self.shape {
            Shape::Routed => {
                join((&self.clients, "eth0"), (&self.balancer, "eth0"));
                self.wake(&self.clients, "eth0");
                self.plug(&self.balancer, "eth1", "balancer");
            }
            Shape::OneArm => {
                self.plug(&self.clients, "eth0", "clients");
                self.plug(&self.balancer, "eth0", "balancer");
                self.wake(&self.switch, "balancer");
            }
        }
        for (index, backend) in self.backends.iter().enumerate() {
            self.plug(backend, "eth0", &format!("port{index}"));
        }
    }

    /// Puts an XDP program that passes everything on the other end of an interface whose program
    /// answers with `XDP_TX`: a veth tells its peer only then that there is something to take
    /// (`veth_xdp_flush` in Linux asks for a program where all else there asks for NAPI). The
    /// program is Holdfast's own, without a listener.
    ///
    /// # Panics
    ///
    /// When it cannot be loaded or attached.
    pub fn wake(&self, namespace: &Namespace, interface: &str) {
        let _gate = cleanup::gate();
        let limits = Limits {
            pins: 1024,
            flows: 1024,
            listeners: 1,
            backends: 1,
            pools: 1,
            maglev_slots: 251,
        };
        let mut loaded = loader::load(&loader::Options {
            object: OBJECT,
            directory: &cleanup::bpffs(self.stem.as_str()).join(interface),
            limits: &limits,
            seed: Seed([1, 2]),
            packet_events: false,
            features: Features::ALL,
            test_clock: false,
        })
        .unwrap_or_else(|e| panic!("a program for {interface}: {e}"));
        let _attached = namespace
            .run(|| loaded.attach(interface, XdpMode::Native))
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Which network it is.
    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// What a further namespace of the lab is called.
    pub(crate) fn name_of(&self, what: &str) -> String {
        format!("{}-{what}", self.stem.as_str())
    }

    /// Connects an interface to the switch.
    pub(crate) fn plug(&self, namespace: &Namespace, interface: &str, port: &str) {
        join((namespace, interface), (&self.switch, port));
        self.switch.ip(&format!("link set {port} master br0"));
    }

    fn address(&self, clients: u8) {
        self.address_fronts(clients);
        if self.shape == Shape::Routed {
            self.address_backs();
        }
        for (family, width, nodad) in self.families() {
            for (index, backend) in self.backends.iter().enumerate() {
                let address = self.backend(family, index);
                backend.ip(&format!("addr add {address}/{width} dev eth0{nodad}"));
            }
        }
    }

    fn address_backs(&self) {
        for (family, width, nodad) in self.families() {
            let back = self.balancer_back(family);
            self.balancer.ip(&format!("addr add {back}/{width} dev eth1{nodad}"));
        }
    }

    /// Each with the length of its prefix, and what to say of its addresses.
    const fn families(&self) -> [(Family, u8, &'static str); 2] {
        let width = match self.shape {
            Shape::Routed => 24,
            Shape::OneArm => 16,
        };
        [(Family::V4, width, ""), (Family::V6, 64, " nodad")]
    }

    fn address_fronts(&self, clients: u8) {
        let mut lines = String::new();
        for (family, width, nodad) in self.families() {
            for index in 0..clients {
                let address = self.client(family, index);
                writeln!(lines, "addr add {address}/{width} dev eth0{nodad}").expect("memory");
            }
            let front = self.balancer_front(family);
            if self.shape == Shape::Routed {
                writeln!(lines, "route add default via {front}").expect("memory");
            }
            self.balancer.ip(&format!("addr add {front}/{width} dev eth0{nodad}"));
        }
        self.clients.ip_batch(&lines);
    }

    /// The address of client `index`, from 0.
    #[must_use]
    pub fn client(&self, family: Family, index: u8) -> IpAddr {
        let last = 11 + index;
        match (family, self.shape) {
            (Family::V4, Shape::Routed) => Ipv4Addr::new(198, 51, 100, last).into(),
            (Family::V4, Shape::OneArm) => Ipv4Addr::new(10, 0, 1, last).into(),
            (Family::V6, Shape::Routed) => v6([0x2001, 0xdb8, 1, 0], u16::from(last)),
            (Family::V6, Shape::OneArm) => v6([0xfd00, 0, 0, 0], 0x100 + u16::from(last)),
        }
    }

    /// The balancer's address in the clients' network.
    #[must_use]
    pub fn balancer_front(&self, family: Family) -> IpAddr {
        match (family, self.shape) {
            (Family::V4, Shape::Routed) => Ipv4Addr::new(198, 51, 100, 1).into(),
            (Family::V6, Shape::Routed) => v6([0x2001, 0xdb8, 1, 0], 1),
            (_, Shape::OneArm) => self.balancer_back(family),
        }
    }

    /// The balancer's address in the backends' network.
    #[must_use]
    pub fn balancer_back(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, 1).into(),
            Family::V6 => v6([0xfd00, 0, 0, 0], 1),
        }
    }

    /// The address of backend `index`, from 0.
    ///
    /// # Panics
    ///
    /// When there cannot be so many.
    #[must_use]
    pub fn backend(&self, family: Family, index: usize) -> IpAddr {
        let last = u8::try_from(index).expect("few backends") + 11;
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, last).into(),
            Family::V6 => v6([0xfd00, 0, 0, 0], u16::from(last)),
        }
    }

    /// An address for listeners.
    #[must_use]
    pub fn vip(&self, family: Family) -> IpAddr {
        match (family, self.shape) {
            (Family::V4, Shape::Routed) => Ipv4Addr::new(203, 0, 113, 10).into(),
            (Family::V4, Shape::OneArm) => Ipv4Addr::new(10, 0, 2, 10).into(),
            (Family::V6, Shape::Routed) => v6([0x2001, 0xdb8, 0xa, 0], 10),
            (Family::V6, Shape::OneArm) => v6([0xfd00, 0, 0, 0], 0x200),
        }
    }

    /// Cuts the wire between clients and balancer (`Routed`), and ends both halves in a new
    /// namespace, on interfaces `clients` and `balancer`. Nobody carries packets or answers ARP
    /// across: clients know the balancer's link-layer address beforehand.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    pub fn between_clients_and_balancer(&self) -> Namespace {
        let between = Namespace::new(&self.name_of("between"));
        // Its own kernel has nothing to say on these wires.
        between.sysctl("ipv6/conf/default/disable_ipv6", "1");
        let clients =
            self.clients.ip("-brief address show dev eth0").matches("198.51.100.").count();
        self.clients.ip("link del eth0");
        join((&self.clients, "eth0"), (&between, "clients"));
        join((&self.balancer, "eth0"), (&between, "balancer"));
        self.wake(&between, "balancer");
        self.address_fronts(u8::try_from(clients).expect("few clients"));
        let link = self.balancer.ip("-brief link show dev eth0");
        let mac = link.split_whitespace().nth(2).expect("a link-layer address");
        for family in [Family::V4, Family::V6] {
            let gateway = self.balancer_front(family);
            self.clients.ip(&format!("neigh replace {gateway} lladdr {mac} dev eth0"));
        }
        between
    }

    /// Makes an interface of the balancer that was deleted anew (`Routed`), connected and addressed
    /// as before but with another index and link-layer address; `clients` as for `new`.
    ///
    /// # Panics
    ///
    /// When a step fails.
    pub fn bring_back(&self, interface: &str, clients: u8) {
        if interface == "eth0" {
            join((&self.clients, "eth0"), (&self.balancer, "eth0"));
            self.wake(&self.clients, "eth0");
            self.address_fronts(clients);
        } else {
            self.plug(&self.balancer, "eth1", "balancer");
            self.address_backs();
        }
    }

    /// Gives every backend the listener's address, as `dsr` needs it: on the loopback, and never
    /// answered for on the network.
    ///
    /// # Panics
    ///
    /// When a step fails.
    pub fn backends_own_vips(&self) {
        for backend in &self.backends {
            backend.sysctl("ipv4/conf/all/arp_ignore", "1");
            backend.sysctl("ipv4/conf/all/arp_announce", "2");
            backend.ip(&format!("addr add {}/32 dev lo", self.vip(Family::V4)));
            backend.ip(&format!("addr add {}/128 dev lo nodad", self.vip(Family::V6)));
        }
    }

    /// A folder for the agent's and the servers' files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        cleanup::folder(self.stem.as_str())
    }

    /// The instance's directory, on a BPF file system of the lab's own.
    #[must_use]
    pub fn instance(&self) -> PathBuf {
        cleanup::bpffs(self.stem.as_str()).join("instance")
    }

    /// Where the XDP program goes.
    #[must_use]
    pub const fn interfaces(&self) -> &'static [&'static str] {
        match self.shape {
            Shape::Routed => &["eth0", "eth1"],
            Shape::OneArm => &["eth0"],
        }
    }

    /// `[agent]` of a configuration for this lab.
    #[must_use]
    pub fn agent_table(&self) -> String {
        let folder = self.folder();
        format!(
            "[agent]\ninterfaces = {:?}\nadmin = \"{}\"\nbpffs = \"{}\"\nstate = \"{}\"\n",
            self.interfaces(),
            folder.join("admin.sock").display(),
            self.instance().display(),
            folder.join("state").display(),
        )
    }

    /// Leaves it running when this process ends.
    pub fn keep(self) {
        self.stem.keep();
    }

    /// Writes a file in the lab's folder.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}

fn v6(network: [u16; 4], last: u16) -> IpAddr {
    let [a, b, c, d] = network;
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, last).into()
}

/// Joins two namespaces by a veth pair whose ends are up and ready for XDP.
///
/// # Panics
///
/// When a step fails.
pub fn join(one: (&Namespace, &str), other: (&Namespace, &str)) {
    let peer = format!("type veth peer name {} netns {}", other.1, other.0.name());
    one.0.ip(&format!("link add {} {peer}", one.1));
    for (namespace, interface) in [one, other] {
        namespace.ready_for_xdp(interface);
    }
    for (namespace, interface) in [one, other] {
        namespace.ip(&format!("link set {interface} up"));
    }
}
