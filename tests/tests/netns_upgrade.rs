//! Ten times the agent is killed and started again, or a newer build is started over what it left,
//! while numbered packets and open connections run: nothing is lost (P13).
#![expect(clippy::print_stdout, reason = "how much was sent tells what the test is worth")]

use std::{
    collections::BTreeMap,
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

fn check(shape: Shape, family: Family, pool: &str) {
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
    let echoes: Vec<Echo> = (0..3)
        .map(|index| {
            let own = SocketAddr::new(lab.backend(family, index), PORT);
            Echo::start(&lab.backends[index], &backend_name(index), &[if dsr { dns } else { own }])
        })
        .collect();
    let mut site = Site::start(lab, &configuration);
    let newer = site.lab.folder().join("holdfast-newer");
    let _bytes = fs::copy(site.holdfast.binary(), &newer).expect("a copy of the binary");
    let newer = site.holdfast.by(&newer);

    let clients: Vec<IpAddr> = (0..CLIENTS).map(|index| site.lab.client(family, index)).collect();
    let open = |client: &IpAddr| Connection::open(&site.lab.clients, *client, web);
    let mut connections: Vec<Connection> =
        clients.iter().map(open).collect::<io::Result<_>>().expect("connections");
    for connection in &mut connections {
        let _name = connection.ask().expect("an answer");
    }
    let sockets: Vec<UdpSocket> =
        clients.iter().map(|client| udp(&site.lab.clients, *client, dns)).collect();
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
            site.agent = Some(next.start_ready());
            let pids: Vec<u32> = site.agent.iter().map(tests::agent::Agent::id).collect();
            let running = fs::read_link(format!("/proc/{}/exe", pids[0])).expect("it runs");
            assert_eq!(running, next.binary(), "swap {swap}");
        }
        thread::sleep(Duration::from_millis(300));
        drop(halt);
        let lost: Vec<_> = numbered.into_iter().map(|one| one.join().expect("packets")).collect();
        let open: Vec<_> = steady.into_iter().map(|one| one.join().expect("connection")).collect();
        (lost, open)
    });

    let asked: u64 = open.iter().flatten().map(|(asked, _)| asked).sum();
    let sent = sent.load(Ordering::Relaxed);
    println!("{SWAPS} swaps: {sent} numbered packets, {asked} answers on {CLIENTS} connections");
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
    drop(echoes);
}

#[test]
fn ten_swaps_nat_ipv4() {
    check(Shape::Routed, Family::V4, "");
}

#[test]
fn ten_swaps_nat_ipv6_by_the_same_interface() {
    check(Shape::OneArm, Family::V6, "");
}

#[test]
fn ten_swaps_dsr_ipv4() {
    check(Shape::OneArm, Family::V4, "forward = \"dsr\"");
}
