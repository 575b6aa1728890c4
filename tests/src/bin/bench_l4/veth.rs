//! Rates over a wire: a pair of veths between two namespaces, packets that are sent at full rate
//! from one end, and what is measured at the other, which sends them back. One CPU does it all, so
//! a rate is the cost of the whole chain.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use aya::programs::{Xdp, XdpMode};
use lb_userspace::config;
use tests::{
    cleanup::{self, Stem},
    generator::{Driver, Traffic},
    mount::Mount,
    netns::Namespace,
    packet::{ACK, BALANCER_MAC, CLIENT_MAC, SYN},
    topology,
};

use crate::scene::{Mode, Scene, Site};

/// Flows of a client, as a power of two.
const PER_CLIENT: u32 = 4;
/// Time for what is still on the wire.
const SETTLE: Duration = Duration::from_millis(20);
/// The interface's name on both ends.
const DEVICE: &str = "eth0";

/// What is at the other end of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// `XDP_TX`, at once.
    Empty,
    /// Holdfast.
    Holdfast(Mode),
    /// The kernel's routing.
    Forwarding,
    /// The kernel's routing and destination NAT by a hash of the source address.
    Nftables,
    /// IPVS, with the scheduler `mh` and persistence.
    Ipvs(Mode),
}

impl Way {
    /// What is put there, for a row's name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Empty => "empty XDP_TX".to_owned(),
            Self::Holdfast(mode) => mode.name().to_owned(),
            Self::Forwarding => "plain IP forwarding".to_owned(),
            Self::Nftables => "nftables DNAT with jhash".to_owned(),
            Self::Ipvs(Mode::Dsr) => "IPVS DR".to_owned(),
            Self::Ipvs(Mode::Tunnel) => "IPVS TUN".to_owned(),
            Self::Ipvs(Mode::Nat) => "IPVS NAT".to_owned(),
        }
    }
}

/// A wire, with something at its end.
struct Wire {
    way: Way,
    sender: Namespace,
    index: u32,
    // It holds the program.
    _scene: Option<Scene>,
}

/// What a way did in every round: packets a second, and the share that was lost over all.
pub(crate) struct Measured {
    pub(crate) way: Way,
    pub(crate) rates: Vec<f64>,
    pub(crate) lost: f64,
}

/// How much is sent.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) flows: u32,
    pub(crate) rounds: u32,
    /// In a round, over each wire.
    pub(crate) packets: u32,
}

/// Measures these ways, one after the other in every round.
pub(crate) fn measure(driver: &mut Driver, ways: &[Way], amount: Amount) -> Vec<Measured> {
    cleanup::sweep();
    let stem = Stem::new(&format!("{}{}-bench", cleanup::PREFIX, std::process::id()));
    let pairs: Vec<_> = (0..ways.len()).map(|number| pair(&stem, number)).collect();
    // On a thread of its own, as its mounts and its namespace are.
    let measured = thread::scope(|scope| {
        let work = || {
            let mount = Mount::new();
            let wires: Vec<Wire> = ways
                .iter()
                .zip(&pairs)
                .map(|(way, pair)| Wire::new(driver, *way, pair, &mount))
                .collect();
            rates(driver, &wires, amount)
        };
        match scope.spawn(work).join() {
            Ok(measured) => measured,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    drop(stem);
    measured
}

fn rates(driver: &mut Driver, wires: &[Wire], amount: Amount) -> Vec<Measured> {
    let Amount { flows, rounds, packets } = amount;
    let traffic = Traffic::tcp(Site::of(Mode::Dsr).vip(), ACK).flows(flows, PER_CLIENT);
    driver.check(&traffic);
    let mut measured: Vec<_> =
        wires.iter().map(|wire| Measured { way: wire.way, rates: Vec::new(), lost: 0.0 }).collect();
    for wire in wires {
        wire.warm(driver, &traffic);
    }
    for _ in 0..rounds {
        for (wire, measured) in wires.iter().zip(&mut measured) {
            let _before = wire.send(driver, &traffic, packets / 4);
            let (took, arrived) = wire.send(driver, &traffic, packets);
            measured.rates.push(f64::from(arrived) / took.as_secs_f64());
            measured.lost += f64::from(packets.saturating_sub(arrived));
        }
    }
    for measured in &mut measured {
        measured.lost /= f64::from(rounds) * f64::from(packets);
    }
    measured
}

/// Sender and balancer, joined.
fn pair(stem: &Stem, number: usize) -> (Namespace, Namespace) {
    let name = |end: &str| format!("{}-{end}-{number}", stem.as_str());
    let [sender, balancer] = [name("sender"), name("balancer")].map(|name| Namespace::new(&name));
    for namespace in [&sender, &balancer] {
        namespace.sysctl("ipv6/conf/default/disable_ipv6", "1");
    }
    topology::join((&sender, DEVICE), (&balancer, DEVICE));
    let mac = BALANCER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    balancer.ip(&format!("link set {DEVICE} address {mac}"));
    (sender, balancer)
}

impl Wire {
    fn new(driver: &mut Driver, way: Way, pair: &(Namespace, Namespace), mount: &Mount) -> Self {
        let (sender, balancer) = pair;
        let mut scene = None;
        match way {
            Way::Empty => attach(driver, balancer, "empty"),
            Way::Holdfast(mode) => {
                let directory = mount.instance().join(mode.name());
                let index = balancer.run(index);
                let mut ours = Scene::new(Site::of(mode), &directory, index, CLIENT_MAC);
                let _attached = balancer
                    .run(|| ours.program.attach(DEVICE, config::XdpMode::Native))
                    .unwrap_or_else(|e| panic!("{e}"));
                scene = Some(ours);
            }
            Way::Forwarding => route(driver, pair),
            Way::Nftables => {
                route(driver, pair);
                translate(balancer);
            }
            Way::Ipvs(mode) => {
                route(driver, pair);
                schedule(balancer, mode);
            }
        }
        attach(driver, sender, "sink");
        Self { way, sender: sender.clone(), index: sender.run(index), _scene: scene }
    }

    /// Every flow's first packets: what is to know them does afterwards.
    fn warm(&self, driver: &mut Driver, traffic: &Traffic) {
        let flows = traffic.count();
        if matches!(self.way, Way::Holdfast(_) | Way::Ipvs(_)) {
            let opening = Traffic::tcp(Site::of(Mode::Dsr).vip(), SYN).flows(flows, PER_CLIENT);
            let _opened = self.send(driver, &opening.in_order(), flows);
        }
        for _ in 0..2 {
            let (_, arrived) = self.send(driver, &traffic.clone().in_order(), flows);
            // Nothing was set up right where only a few come back.
            assert!(arrived > flows / 2, "{}: {arrived} of {flows} came back", self.way.name());
        }
    }

    /// Sends so many packets; how long that took, and how many came back.
    fn send(&self, driver: &mut Driver, traffic: &Traffic, packets: u32) -> (Duration, u32) {
        self.sender.enter();
        let before = driver.arrived();
        let helped = helper_time();
        let took = driver.send(traffic, packets, self.index) * packets;
        thread::sleep(SETTLE);
        let arrived = driver.arrived() - before;
        let took = took + helper_time().saturating_sub(helped);
        (took, u32::try_from(arrived).expect("no more than were sent"))
    }
}

/// The CPU time of this CPU's thread that does what is left of the network's work when it is much.
fn helper_time() -> Duration {
    let cpu = nix::sched::sched_getcpu().expect("this CPU");
    let comm = format!("ksoftirqd/{cpu}\n");
    let processes = fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let mut named = processes
        .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == comm));
    let helper = named.next().unwrap_or_else(|| panic!("no {comm}"));
    let text = fs::read_to_string(helper.join("schedstat")).expect("its times");
    let ran = text.split(' ').next().and_then(|ran| ran.parse().ok());
    Duration::from_nanos(ran.unwrap_or_else(|| panic!("times of {comm}: {text}")))
}

/// Puts one of the driver's programs on the interface there.
fn attach(driver: &mut Driver, namespace: &Namespace, name: &str) {
    let program = driver.ebpf.program_mut(name).expect("the program");
    let program: &mut Xdp = program.try_into().expect("an XDP program");
    let _link = namespace
        .run(|| program.attach(DEVICE, XdpMode::Driver))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
}

/// The interface's number in this thread's namespace.
fn index() -> u32 {
    nix::net::if_::if_nametoindex(DEVICE).unwrap_or_else(|e| panic!("{DEVICE}: {e}"))
}

/// The kernel sends packets for the listener, and for backends, back by the same wire.
fn route(driver: &mut Driver, (sender, balancer): &(Namespace, Namespace)) {
    // GRO finds nothing to merge and takes a third of the time; without it a veth takes what is
    // sent into it as XDP frames only by a program.
    for end in [sender, balancer] {
        end.gro_off(DEVICE);
    }
    attach(driver, balancer, "pass");
    balancer.sysctl("ipv4/ip_forward", "1");
    for interface in ["all", DEVICE] {
        balancer.sysctl(&format!("ipv4/conf/{interface}/send_redirects"), "0");
        balancer.sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0");
    }
    balancer.ip(&format!("addr add 10.0.0.254/24 dev {DEVICE}"));
    balancer.ip(&format!("route add 203.0.113.0/24 via 10.0.0.1 dev {DEVICE}"));
    balancer.ip(&format!("route add default via 10.0.0.1 dev {DEVICE}"));
    for last in 1..=16 {
        balancer.ip(&format!(
            "neigh replace 10.0.0.{last} lladdr 02:00:00:00:01:{last:02x} dev {DEVICE}"
        ));
    }
}

/// IPVS before sixteen backends.
fn schedule(balancer: &Namespace, mode: Mode) {
    // It takes packets that are for this machine; what it does not take ends there.
    balancer.ip("route del 203.0.113.0/24");
    balancer.ip("addr add 203.0.113.10/32 dev lo");
    let method = match mode {
        Mode::Dsr => "-g",
        Mode::Tunnel => "-i",
        Mode::Nat => "-m",
    };
    let ipvsadm = |arguments: &str| {
        let mut command = balancer.command("ipvsadm");
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        let output = command.output().expect("ipvsadm runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ipvsadm {arguments}: {error}");
    };
    ipvsadm("-A -t 203.0.113.10:80 -s mh -p 3600");
    for last in 1..=16 {
        ipvsadm(&format!("-a -t 203.0.113.10:80 -r 10.0.0.{last}:80 {method}"));
    }
}

/// Destination NAT to sixteen backends.
fn translate(balancer: &Namespace) {
    // What is not translated has nowhere to go.
    balancer.ip("route replace blackhole 203.0.113.0/24");
    let backends = (0..16).map(|slot| format!("{slot} : 10.0.0.{}", slot + 1));
    let backends = backends.collect::<Vec<_>>().join(", ");
    let rules = format!(
        "table ip bench {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat\n\
         ip daddr 203.0.113.10 tcp dport 80 dnat to jhash ip saddr mod 16 map {{ {backends} }}\n\
         }}\n}}\n"
    );
    let mut nft: Command = balancer.command("nft");
    let output = nft.arg(rules).stdin(Stdio::null()).output().expect("nft runs");
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
}
