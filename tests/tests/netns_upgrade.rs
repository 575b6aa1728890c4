//! While numbered packets and open connections run, the agent is killed and started again ten times,
//! or a newer build is started over what it left, or a reload needs another program: nothing is
//! lost (P13).
#![expect(clippy::print_stdout, reason = "how much was sent tells what the test is worth")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use lb_userspace::api::wire::{Session, Status};
use tests::{
    clients::{Connection, ask_udp, udp},
    numbered::{Halt, numbered},
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const SWAPS: u32 = 10;
const CLIENTS: u8 = 12;

/// Who is pinned to whom, and for how long.
fn pins(sessions: &[Session]) -> BTreeMap<(String, String), (String, u64)> {
    let entry = |one: &Session| {
        ((one.scope.clone(), one.client.to_string()), (one.backend.clone(), one.age_s))
    };
    sessions.iter().map(entry).collect()
}

/// Flows ever placed, and pins ever made.
fn made(status: &Status) -> (u64, Vec<(String, u64)>) {
    let placed = status.backends.iter().map(|backend| backend.flows_placed).sum();
    let names = ["flow_made", "flow_renewed", "pin_made", "pin_renewed", "reply_made"];
    let noted = status.events.noted.iter().filter(|event| names.contains(&event.name.as_str()));
    (placed, noted.map(|event| (event.name.clone(), event.count)).collect())
}

/// Asks on an open connection, over and over: how often, and which backend it was.
fn steady(mut connection: Connection, stop: &AtomicBool) -> io::Result<(u64, String)> {
    let name = connection.ask()?;
    while !stop.load(Ordering::Relaxed) {
        let now = connection.ask()?;
        assert_eq!(now, name, "an open connection changed its backend");
        thread::sleep(Duration::from_millis(3));
    }
    Ok((connection.asked(), name))
}

/// Web servers and UDP echoes behind one VIP.
struct Service {
    site: Site,
    web: SocketAddr,
    dns: SocketAddr,
    clients: Vec<IpAddr>,
    // Answers until the site is gone.
    _echoes: Vec<Echo>,
}

impl Service {
    fn start(shape: Shape, family: Family, pool: &str) -> Self {
        let lab = Lab::new(shape, CLIENTS, 3);
        let dsr = pool.contains("dsr");
        if dsr {
            lab.backends_own_vips();
        }
        let web = SocketAddr::new(lab.vip(family), 80);
        let dns = SocketAddr::new(lab.vip(family), 5353);
        let persistence = "persistence = { timeout = \"1h\" }";
        let configuration = Configuration::new(&lab, "")
            .pool(&lab, family, pool)
            .listener("web", "tcp", web, persistence)
            .listener("dns", "udp", dns, persistence);
        let echo = |index| {
            let own = SocketAddr::new(lab.backend(family, index), PORT);
            Echo::start(&lab.backends[index], &backend_name(index), &[if dsr { dns } else { own }])
        };
        let echoes = (0..3).map(echo).collect();
        let clients = (0..CLIENTS).map(|index| lab.client(family, index)).collect();
        Self { site: Site::start(lab, &configuration), web, dns, clients, _echoes: echoes }
    }

    /// Does that while every client has a connection open and sends numbered packets: none of them
    /// is lost, and no pin and no flow is made anew.
    fn loses_nothing_while(&mut self, act: impl FnOnce(&mut Site)) {
        let Self { site, web, dns, clients, .. } = self;
        let open = |client: &IpAddr| Connection::open(&site.lab.clients, *client, *web);
        let mut connections: Vec<Connection> =
            clients.iter().map(open).collect::<io::Result<_>>().expect("connections");
        for connection in &mut connections {
            let _name = connection.ask().expect("an answer");
        }
        let sockets: Vec<UdpSocket> =
            clients.iter().map(|client| udp(&site.lab.clients, *client, *dns)).collect();
        for socket in &sockets {
            // The second packet makes the pin (P12).
            for payload in ["warm", "up"] {
                let _name = ask_udp(socket, payload).expect("an answer");
            }
        }
        let before = (pins(&site.holdfast.sessions()), made(&site.holdfast.status()));
        assert_eq!(before.0.len(), 2 * usize::from(CLIENTS), "{before:?}");

        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let (stop, sent) = (&stop, &sent);
        let (lost, open) = thread::scope(|scope| {
            // A panic on the way must not leave the clients at work.
            let halt = Halt(stop);
            let numbered: Vec<_> = sockets
                .iter()
                .map(|socket| scope.spawn(move || numbered(socket, stop, sent)))
                .collect();
            let steady: Vec<_> = connections
                .into_iter()
                .map(|connection| scope.spawn(move || steady(connection, stop)))
                .collect();
            act(site);
            thread::sleep(Duration::from_millis(300));
            drop(halt);
            let lost: Vec<_> = numbered.into_iter().map(|one| one.join().expect("sent")).collect();
            let open: Vec<_> = steady.into_iter().map(|one| one.join().expect("asked")).collect();
            (lost, open)
        });

        let asked: u64 = open.iter().flatten().map(|(asked, _)| asked).sum();
        let sent = sent.load(Ordering::Relaxed);
        println!("{sent} numbered packets, {asked} answers on {CLIENTS} connections");
        assert!(sent > 1_000 && asked > 1_000, "{sent} packets, {asked} answers");
        for (client, (lost, open)) in clients.iter().zip(lost.iter().zip(&open)) {
            assert!(lost.is_empty(), "{client}: packets {lost:?} were not answered");
            assert!(open.is_ok(), "{client}: {open:?}");
        }
        let after = (pins(&site.holdfast.sessions()), made(&site.holdfast.status()));
        for (key, (backend, age)) in &before.0 {
            let (now, now_age) = after.0.get(key).unwrap_or_else(|| panic!("{key:?} is gone"));
            assert_eq!(now, backend, "{key:?}");
            assert!(now_age >= age, "{key:?} was made anew: {now_age} s old, before {age} s");
        }
        assert_eq!(after.0.len(), before.0.len());
        assert_eq!(after.1, before.1, "flows or pins were made anew");
        assert_eq!(site.holdfast.status().events.dropped, []);
    }
}

/// Kills or ends the agent ten times, and starts it again or a newer build in its place.
fn swaps(shape: Shape, family: Family, pool: &str) {
    let mut service = Service::start(shape, family, pool);
    let newer = service.site.lab.folder().join("holdfast-newer");
    let _bytes = fs::copy(service.site.holdfast.binary(), &newer).expect("a copy of the binary");
    let newer = service.site.holdfast.by(&newer);
    service.loses_nothing_while(|site| {
        for swap in 0..SWAPS {
            thread::sleep(Duration::from_millis(150));
            let agent = site.agent.take().expect("an agent");
            let next = if swap % 2 == 0 {
                agent.kill();
                thread::sleep(Duration::from_millis(150));
                &site.holdfast
            } else {
                assert_eq!(agent.stop(), Some(0));
                &newer
            };
            let agent = next.start_ready();
            let running = fs::read_link(format!("/proc/{}/exe", agent.id())).expect("it runs");
            assert_eq!(running, next.binary(), "swap {swap}");
            site.agent = Some(agent);
        }
    });
}

/// Adds one after another what the program that runs was not loaded with, so that each reload puts
/// another one in its place.
fn reloads(shape: Shape, pool: &str, further: &[(Family, &str)]) {
    let mut service = Service::start(shape, Family::V4, pool);
    service.loses_nothing_while(|site| {
        let mut text = fs::read_to_string(&site.holdfast.config).expect("the configuration");
        let mut seen = vec![program_ids(&site.lab)];
        for (number, (family, forward)) in further.iter().enumerate() {
            let address = SocketAddr::new(site.lab.vip(*family), 81);
            let backend = site.lab.backend(*family, 0);
            thread::sleep(Duration::from_millis(150));
            write!(
                text,
                "\n[[pool]]\nname = \"more-{number}\"\nforward = \"{forward}\"\n\
                 [[pool.backend]]\nname = \"more-{number}\"\naddress = \"{backend}\"\n\
                 [[listener]]\nname = \"more-{number}\"\nprotocol = \"tcp\"\n\
                 address = \"{address}\"\npool = \"more-{number}\"\n"
            )
            .expect("memory");
            fs::write(&site.holdfast.config, &text).expect("the configuration");
            let _said = site.holdfast.verb("reload");
            let now = program_ids(&site.lab);
            assert!(!seen.contains(&now), "{forward} to {backend}: no other program: {now:?}");
            seen.push(now);
        }
    });
}

/// The programs at the balancer's interfaces.
fn program_ids(lab: &Lab) -> Vec<String> {
    let text = lab.balancer.ip("-details link show");
    let behind = text.split("prog/xdp id ").skip(1);
    behind.filter_map(|text| text.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn ten_swaps_nat_ipv4() {
    swaps(Shape::Routed, Family::V4, "");
}

#[test]
fn ten_swaps_nat_ipv6_by_the_same_interface() {
    swaps(Shape::OneArm, Family::V6, "");
}

#[test]
fn ten_swaps_dsr_ipv4() {
    swaps(Shape::OneArm, Family::V4, "forward = \"dsr\"");
}

#[test]
fn a_reload_that_needs_ipv6_and_tunnels_beside_nat() {
    reloads(Shape::Routed, "", &[(Family::V6, "nat"), (Family::V4, "tunnel")]);
}

#[test]
fn a_reload_that_needs_ipv6_and_translation_beside_dsr() {
    reloads(Shape::OneArm, "forward = \"dsr\"", &[(Family::V6, "dsr"), (Family::V4, "nat")]);
}
