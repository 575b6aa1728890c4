//! Every row: what is measured, against what, and what is to be reached.

use std::path::Path;

use tests::{
    generator::{Driver, Traffic},
    mount::Mount,
    packet::{ACK, CLIENT_MAC, SYN},
    results::{Form, Place, Row, Spread, Target},
};

use crate::{
    answers,
    guest::Counted,
    measure::{self, Plan, UnderWay},
    round::Round,
    scene::{FLOW_TABLE, Mode, Scene, Site},
    veth::{self, Measured, Way},
};

/// Flows of one client, as a power of two.
const PER_CLIENT: u32 = 4;
/// The interface that test runs come in by: the loopback.
const LOOPBACK: u32 = 1;
/// Entries of the table that is compared with: it holds a million flows with room to spare.
const TABLE: u32 = 1 << 20;
const MILLION: u32 = 1_000_000;
const MIB: f64 = 1024.0 * 1024.0;

/// How the rows are told.
pub(crate) const FORM: Form = Form {
    title: "Holdfast, layer 4: its cost or rate over that of what it is compared with",
    footnote: "Ratios of costs are net of the empty program.",
    // What disturbs a round makes it longer: for a cost the quiet value, for a rate the careful one.
    shown: [Place::Minimum, Place::LowerQuartile, Place::Median],
    decides: Place::LowerQuartile,
};

/// What is to be measured.
pub(crate) struct Bench<'a> {
    pub(crate) object: &'a Path,
    pub(crate) rounds: u32,
    pub(crate) only: &'a str,
    /// What a guest has counted, if there was one.
    pub(crate) counted: Option<&'a Counted>,
}

/// A number of flows, as a row's name says it, and how it is measured.
struct Amount {
    name: &'static str,
    flows: u32,
    tries: u32,
    packets: u32,
}

const AMOUNTS: [Amount; 3] = [
    Amount { name: "1 flow", flows: 1, tries: 3, packets: 30_000 },
    Amount { name: "64k flows", flows: 1 << 16, tries: 3, packets: 1 << 16 },
    // Most of a round is for refreshing all of them.
    Amount { name: "1M flows", flows: MILLION, tries: 1, packets: 1 << 16 },
];

/// Two ways, of which one's rate is to be a multiple of the other's.
struct Compared {
    ours: Way,
    theirs: Way,
    target: Option<Target>,
}

const PAIRS: [Compared; 5] = [
    Compared {
        ours: Way::Holdfast(Mode::Dsr),
        theirs: Way::Empty,
        target: Some(Target::AtLeast(0.6)),
    },
    Compared { ours: Way::Holdfast(Mode::Tunnel), theirs: Way::Empty, target: None },
    Compared { ours: Way::Holdfast(Mode::Nat), theirs: Way::Empty, target: None },
    Compared { ours: Way::Holdfast(Mode::Dsr), theirs: Way::Forwarding, target: None },
    Compared {
        ours: Way::Holdfast(Mode::Nat),
        theirs: Way::Nftables,
        target: Some(Target::AtLeast(5.0)),
    },
];

/// The same in instructions: less is better.
const COUNTED: [Compared; 4] = [
    Compared {
        ours: Way::Holdfast(Mode::Dsr),
        theirs: Way::Ipvs(Mode::Dsr),
        target: Some(Target::AtMost(0.5)),
    },
    Compared {
        ours: Way::Holdfast(Mode::Nat),
        theirs: Way::Ipvs(Mode::Nat),
        target: Some(Target::AtMost(0.5)),
    },
    Compared { ours: Way::Holdfast(Mode::Dsr), theirs: Way::Empty, target: None },
    Compared { ours: Way::Holdfast(Mode::Dsr), theirs: Way::Forwarding, target: None },
];

impl Bench<'_> {
    /// Measures all rows that are wanted.
    pub(crate) fn run(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for amount in &AMOUNTS {
            for mode in [Mode::Dsr, Mode::Tunnel, Mode::Nat] {
                rows.extend(self.established(Site::of(mode), amount, target(mode, amount)));
            }
        }
        let [_, many, _] = &AMOUNTS;
        let udp = Site { udp: true, ..Site::of(Mode::Dsr) };
        let v6 = Site { v6: true, ..Site::of(Mode::Dsr) };
        rows.extend(self.established(udp, many, None));
        rows.extend(self.established(v6, many, None));
        rows.extend(self.refreshed(many));
        rows.extend(AMOUNTS.iter().filter_map(|amount| self.answers(amount)));
        rows.extend(self.new_flow(Mode::Dsr, Some(Target::AtMost(1.5))));
        for mode in [Mode::Tunnel, Mode::Nat] {
            rows.extend(self.new_flow(mode, None));
        }
        rows.extend(self.not_for_us());
        rows.extend(self.memory());
        rows.extend(self.rates());
        if let Some(counted) = self.counted {
            rows.extend(self.instructions(counted));
        }
        rows
    }

    fn wanted(&self, name: &str) -> bool {
        let wanted = name.contains(self.only);
        if wanted {
            eprintln!("measuring: {name}");
        }
        wanted
    }

    fn plan(&self, amount: &Amount) -> Plan {
        Plan { rounds: self.rounds, tries: amount.tries, packets: amount.packets }
    }

    /// Packets of flows under way.
    fn established(&self, site: Site, amount: &Amount, target: Option<Target>) -> Option<Row> {
        let name = format!("established, {}, {}", amount.name, described(site));
        if !self.wanted(&name) {
            return None;
        }
        let (mount, mut driver) = (Mount::new(), self.driver());
        let mut scene = Scene::new(site, &mount.instance(), LOOPBACK, CLIENT_MAC);
        let (opening, traffic) = traffic(site, amount);
        let mut under_way = UnderWay::new(&mut driver, &mut scene, &opening, traffic);
        under_way.fill_table();
        let (rounds, note) = under_way.rounds(self.plan(amount));
        Some(cost(name, "LRU hash look-up", &rounds, target, note))
    }

    /// Packets of which each refreshes its flow and its client's pin.
    fn refreshed(&self, amount: &Amount) -> Option<Row> {
        let site = Site::of(Mode::Dsr);
        let name = format!("refreshed, {}, {}", amount.name, described(site));
        if !self.wanted(&name) {
            return None;
        }
        let (mount, mut driver) = (Mount::new(), self.driver());
        let mut scene = Scene::new(site, &mount.instance(), LOOPBACK, CLIENT_MAC);
        let (opening, traffic) = traffic(site, amount);
        let mut under_way = UnderWay::new(&mut driver, &mut scene, &opening, traffic);
        under_way.fill_table();
        let rounds = under_way.refresh_rounds(self.plan(amount));
        let note = "at most once a second a flow".to_owned();
        Some(cost(name, "LRU hash look-up", &rounds, None, note))
    }

    /// Backends' answers of which none is to be noted.
    fn answers(&self, amount: &Amount) -> Option<Row> {
        let site = Site::of(Mode::Nat);
        let name = format!("answer, {}, {}", amount.name, described(site));
        if !self.wanted(&name) {
            return None;
        }
        let (mount, mut driver) = (Mount::new(), self.driver());
        let scene = Scene::new(site, &mount.instance(), LOOPBACK, CLIENT_MAC);
        let to = site.answered();
        let traffic = answers::traffic(to).flows(amount.flows, PER_CLIENT);
        scene.make_room_for(amount.flows);
        answers::make_known(&scene, &mount.instance(), &traffic, to, LOOPBACK);
        let rounds = answers::rounds(&mut driver, &scene, &traffic, self.plan(amount));
        Some(cost(name, "LRU hash look-up", &rounds, None, String::new()))
    }

    /// The packet that makes a flow and a pin, in tables that are full.
    fn new_flow(&self, mode: Mode, target: Option<Target>) -> Option<Row> {
        let site = Site::of(mode);
        let name = format!("new flow, {}", described(site));
        if !self.wanted(&name) {
            return None;
        }
        let (mount, mut driver) = (Mount::new(), self.driver());
        let mut scene = Scene::new(site, &mount.instance(), LOOPBACK, CLIENT_MAC);
        let traffic = sized(site, Traffic::tcp(site.vip(), ACK));
        let plan = Plan { rounds: self.rounds, tries: 3, packets: 20_000 };
        let rounds = measure::new_flows(&mut driver, &mut scene, &traffic, TABLE, plan);
        Some(cost(name, "insert into a full LRU hash", &rounds, target, String::new()))
    }

    /// Packets to an address that is no listener's.
    fn not_for_us(&self) -> Option<Row> {
        let name = "for no listener".to_owned();
        if !self.wanted(&name) {
            return None;
        }
        let (mount, mut driver) = (Mount::new(), self.driver());
        let scene = Scene::new(Site::of(Mode::Dsr), &mount.instance(), LOOPBACK, CLIENT_MAC);
        let elsewhere = "203.0.113.99:80".parse().expect("an address");
        let [_, many, _] = &AMOUNTS;
        let traffic = Traffic::tcp(elsewhere, ACK).flows(many.flows, PER_CLIENT);
        let rounds = measure::not_for_us(&mut driver, &scene, &traffic, self.plan(many));
        let net: Vec<f64> = rounds.iter().map(Round::net).collect();
        Some(Row {
            name,
            against: "empty XDP_TX",
            unit: "ns",
            spread: Spread::of(&net).expect("a measured value"),
            sides: None,
            target: Some(Target::AtMost(10.0)),
            note: String::new(),
        })
    }

    /// What the kernel says that the flow table takes, of a million flows.
    fn memory(&self) -> Option<Row> {
        let name = "memory of 1M flows".to_owned();
        if !self.wanted(&name) {
            return None;
        }
        let mount = Mount::new();
        let scene = Scene::new(Site::of(Mode::Dsr), &mount.instance(), LOOPBACK, CLIENT_MAC);
        let bytes: u64 = FLOW_TABLE.iter().map(|map| map_bytes(&mount.instance().join(map))).sum();
        drop(scene);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let mib = bytes as f64 / MIB;
        Some(Row {
            name,
            against: "",
            unit: "MiB",
            spread: Spread::of(&[mib]).expect("a value"),
            sides: None,
            target: Some(Target::AtMost(32.0)),
            note: String::new(),
        })
    }

    /// Rates over a wire, all of them in the same rounds.
    fn rates(&self) -> Vec<Row> {
        let name = |pair: &Compared| {
            format!("over veth, 64k flows, {} against {}", pair.ours.name(), pair.theirs.name())
        };
        let pairs: Vec<&Compared> = PAIRS.iter().filter(|pair| self.wanted(&name(pair))).collect();
        if pairs.is_empty() {
            return Vec::new();
        }
        let mut ways = Vec::new();
        for way in pairs.iter().flat_map(|pair| [pair.ours, pair.theirs]) {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        let mut driver = Driver::load(self.object, 1024);
        let measured = veth::measure(
            &mut driver,
            &ways,
            veth::Amount { flows: 1 << 16, rounds: self.rounds, packets: 400_000 },
        );
        let row = |pair: &&Compared| {
            let find = |way| measured.iter().find(|one| one.way == way).expect("it was measured");
            rate(name(pair), find(pair.ours), find(pair.theirs), pair.target)
        };
        pairs.iter().map(row).collect()
    }

    /// Instructions of the whole chain, in a guest.
    fn instructions(&self, counted: &Counted) -> Vec<Row> {
        let row = |pair: &Compared| {
            let name = format!("in the guest, {} against {}", pair.ours.name(), pair.theirs.name());
            if !self.wanted(&name) {
                return None;
            }
            let sides = [pair.ours, pair.theirs].map(|way| counted.instructions(way));
            let [ours, theirs] = sides;
            let rounds = ours.iter().zip(theirs);
            let rounds =
                rounds.map(|(ours, against)| Round { ours: *ours, against: *against, empty: 0.0 });
            let ratios: Vec<f64> = rounds.map(|round| round.ratio()).collect();
            let quiet =
                |values| Spread::of(values).map_or(f64::NAN, |spread| spread.lower_quartile);
            Some(Row {
                name,
                against: "",
                unit: "",
                spread: Spread::of(&ratios).expect("a counted value"),
                sides: Some((sides.map(quiet), "instr.")),
                target: pair.target,
                note: "instructions a packet, whole chain".to_owned(),
            })
        };
        COUNTED.iter().filter_map(row).collect()
    }

    fn driver(&self) -> Driver {
        Driver::load(self.object, TABLE)
    }
}

/// A row of costs in nanoseconds, net of the empty program.
fn cost(
    name: String,
    against: &'static str,
    rounds: &[Round],
    target: Option<Target>,
    note: String,
) -> Row {
    let ratios: Vec<f64> = rounds.iter().map(Round::ratio).collect();
    let quiet = |value: fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(value).collect();
        Spread::of(&values).map_or(f64::NAN, |spread| spread.lower_quartile)
    };
    let sides = [quiet(Round::net), quiet(|round| round.against - round.empty)];
    let spread = Spread::of(&ratios)
        .unwrap_or_else(|| panic!("{name}: the other side's cost was lost in noise in all rounds"));
    Row { name, against, unit: "", spread, sides: Some((sides, "ns")), target, note }
}

/// A row of rates, in millions of packets a second.
fn rate(name: String, ours: &Measured, theirs: &Measured, target: Option<Target>) -> Row {
    let ratios: Vec<f64> =
        ours.rates.iter().zip(&theirs.rates).map(|(ours, theirs)| ours / theirs).collect();
    let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max) / 1e6;
    let lost = |one: &Measured| {
        let share = one.lost * 100.0;
        if share < 0.1 { String::new() } else { format!("{}: {share:.1} % lost", one.way.name()) }
    };
    let notes = [lost(ours), lost(theirs)].into_iter().filter(|note| !note.is_empty());
    Row {
        name,
        against: "",
        unit: "",
        spread: Spread::of(&ratios).expect("a measured value"),
        sides: Some(([best(&ours.rates), best(&theirs.rates)], "Mpps")),
        target,
        note: notes.collect::<Vec<_>>().join("; "),
    }
}

/// The packets that open flows, and those of flows under way.
fn traffic(site: Site, amount: &Amount) -> (Traffic, Traffic) {
    let flows = |traffic: Traffic| sized(site, traffic.flows(amount.flows, PER_CLIENT));
    if site.udp {
        let datagrams = flows(Traffic::udp(site.vip()));
        return (datagrams.clone(), datagrams);
    }
    (flows(Traffic::tcp(site.vip(), SYN)), flows(Traffic::tcp(site.vip(), ACK)))
}

fn sized(site: Site, traffic: Traffic) -> Traffic {
    if site.mode == Mode::Tunnel { traffic.resized() } else { traffic }
}

fn described(site: Site) -> String {
    let family = if site.v6 { ", IPv6" } else { "" };
    let protocol = if site.udp { ", UDP" } else { "" };
    format!("{}{protocol}{family}", site.mode.name())
}

fn target(mode: Mode, amount: &Amount) -> Option<Target> {
    match mode {
        Mode::Dsr if amount.flows == 1 => Some(Target::AtMost(0.7)),
        Mode::Dsr | Mode::Tunnel if amount.flows > 1 => Some(Target::AtMost(0.35)),
        Mode::Dsr | Mode::Tunnel | Mode::Nat => None,
    }
}

/// The memory of a pinned map, as the kernel accounts for it.
fn map_bytes(pin: &Path) -> u64 {
    use std::os::fd::{AsFd as _, AsRawFd as _};

    let map =
        aya::maps::MapData::from_pin(pin).unwrap_or_else(|e| panic!("{}: {e}", pin.display()));
    let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&info).unwrap_or_else(|e| panic!("{info}: {e}"));
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{info}: {text}"))
}
