//! Routers in a lab's ways, over which not every packet fits.
//!
//! ```text
//! to_clients (OneArm)                         to_backends (Routed)
//!
//! clients --<-- router -- switch -- balancer  clients -- balancer -- router --<-- switch
//!               10.0.1.1  10.0.3.1                       10.0.9.2    10.0.9.1     10.0.0.1
//!
//! to_tunnels (OneArm)
//!
//! clients -- switch -- router --<-- switch -- backends
//!              |       10.0.3.1     10.0.0.9
//!           balancer
//! ```
//! `<`: where the router sends packets of at most so many bytes. Both ends of the wire take longer
//! ones, so neither tells the other of it: only ICMP does.

use crate::{
    netns::Namespace,
    topology::{Family, Lab, Shape, join},
};

impl Lab {
    /// Puts a router between clients and all others (`OneArm`), which sends `mtu` bytes at most to
    /// the clients. Their addresses stay.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    pub fn router_to_clients(&self, clients: u8, mtu: u16) -> Namespace {
        assert_eq!(self.shape(), Shape::OneArm);
        let router = self.router();
        self.clients.ip("link del eth0");
        join((&self.clients, "eth0"), (&router, "clients"));
        self.plug(&router, "eth0", "router");
        router.ip(&format!("link set clients mtu {mtu}"));
        for (inside, outside) in [("10.0.1.1/24", "10.0.3.1/16"), ("fd00::101/120", "fd00::300/64")]
        {
            router.ip(&format!("addr add {inside} dev clients{}", nodad(inside)));
            router.ip(&format!("addr add {outside} dev eth0{}", nodad(outside)));
        }
        for index in 0..clients {
            for (family, width) in [(Family::V4, 24), (Family::V6, 120)] {
                let address = format!("{}/{width}", self.client(family, index));
                self.clients.ip(&format!("addr add {address} dev eth0{}", nodad(&address)));
            }
        }
        self.clients.ip("route add default via 10.0.1.1");
        self.clients.ip("route add default via fd00::101");
        for other in self.backends.iter().chain([&self.balancer]) {
            other.ip("route add 10.0.1.0/24 via 10.0.3.1");
            other.ip("route add fd00::100/120 via fd00::300");
        }
        router
    }

    /// Puts a router between balancer and backends (`Routed`), which sends `mtu` bytes at most to
    /// the backends. Their addresses stay.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    pub fn router_to_backends(&self, mtu: u16) -> Namespace {
        assert_eq!(self.shape(), Shape::Routed);
        let router = self.router();
        self.balancer.ip("link del eth1");
        join((&self.balancer, "eth1"), (&router, "balancer"));
        self.plug(&router, "eth0", "router");
        router.ip(&format!("link set eth0 mtu {mtu}"));
        for (family, width, net, ours, theirs) in [
            (Family::V4, 24, "10.0.9.0/24", "10.0.9.1", "10.0.9.2"),
            (Family::V6, 64, "fd00:9::/64", "fd00:9::1", "fd00:9::2"),
        ] {
            let back = self.balancer_back(family);
            router.ip(&format!("addr add {back}/{width} dev eth0{}", nodad(ours)));
            router.ip(&format!("addr add {ours}/{width} dev balancer{}", nodad(ours)));
            self.balancer.ip(&format!("addr add {theirs}/{width} dev eth1{}", nodad(ours)));
            let backends = if family == Family::V4 { "10.0.0.0/24" } else { "fd00::/64" };
            self.balancer.ip(&format!("route add {backends} via {ours}"));
            for backend in &self.backends {
                backend.ip(&format!("route add {net} via {back}"));
            }
        }
        router
    }

    /// Puts a router between all others and the backends (`OneArm`), which sends `mtu` bytes at most
    /// to the backends; `outer`: where tunnels come from besides the balancer's own address. The
    /// backends' addresses stay, and they answer clients by way of the router, all of 1500 bytes.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    pub fn router_to_tunnels(&self, mtu: u16, outer: Option<&str>) -> Namespace {
        assert_eq!(self.shape(), Shape::OneArm);
        let router = self.router();
        // Backends answer from addresses that the other side has.
        router.sysctl("ipv4/conf/all/rp_filter", "0");
        router.sysctl("ipv4/conf/default/rp_filter", "0");
        self.plug(&router, "eth0", "router");
        self.switch.ip("link add br1 type bridge mcast_snooping 0");
        self.switch.ip("link set br1 up");
        join((&router, "backends"), (&self.switch, "inside"));
        router.ip(&format!("link set backends mtu {mtu}"));
        let ports = (0..self.backends.len()).map(|index| format!("port{index}"));
        for port in ports.chain(["inside".to_owned()]) {
            self.switch.ip(&format!("link set {port} master br1"));
        }
        for (family, inside, outside, net, clients) in [
            (Family::V4, "10.0.0.9/29", "10.0.3.1/16", "10.0.0.8/29", "10.0.1.0/24"),
            (Family::V6, "fd00::9/125", "fd00::300/64", "fd00::8/125", "fd00::100/120"),
        ] {
            router.ip(&format!("addr add {inside} dev backends{}", nodad(inside)));
            router.ip(&format!("addr add {outside} dev eth0{}", nodad(outside)));
            let [inside, outside] = [inside, outside].map(|it| it.split('/').next().expect("one"));
            self.balancer.ip(&format!("route add {net} via {outside}"));
            for backend in &self.backends {
                backend.ip(&format!("route add {clients} via {inside}"));
                backend.ip(&format!("route add {} via {inside}", self.balancer_back(family)));
            }
        }
        if let Some(outer) = outer {
            router.ip(&format!("route add {outer} via {}", self.balancer_back(Family::V4)));
        }
        router
    }

    fn router(&self) -> Namespace {
        let router = Namespace::new(&self.name_of("router"));
        router.sysctl("ipv4/ip_forward", "1");
        router.sysctl("ipv6/conf/all/forwarding", "1");
        router
    }
}

/// What to say of a new address, so that it is usable at once.
fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}
