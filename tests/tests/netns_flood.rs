//! Ten million packets from forged sources, as fast as this machine makes them, while real clients
//! go on: none of them loses its pin, its connection or an answer (P12, and the rates of new flows).
//!
//! Tables are small, so that the flood would have filled each a hundred times.
#![expect(clippy::print_stdout, reason = "how fast it was tells what the test is worth")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use lb_userspace::api::wire::{Session, Status};
use nix::net::if_::if_nametoindex;
use tests::{
    clients::{ask_udp, curl_all, placed, udp},
    generator::{Driver, Traffic},
    load::Load,
    netns::Namespace,
    packet::{ACK, Frame, SYN},
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 5;
const BACKENDS: u8 = 3;
/// Forged packets of each kind, to each listener.
const EACH: u32 = 2_550_000;
/// In so many parts.
const TURNS: u32 = 50;
/// New flows a second, of all.
const RATE: u32 = 1_000;
/// The same of a network, and of a client with a pin: more than ours make.
const NETWORK_RATE: u32 = 300;

/// Backend and age in seconds, by scope and client.
fn pins(sessions: &[Session]) -> BTreeMap<(String, IpAddr), (String, u64)> {
    let entry = |one: &Session| {
        ((one.scope.clone(), one.client.address()), (one.backend.clone(), one.age_s))
    };
    sessions.iter().map(entry).collect()
}

fn count(status: &Status, names: &[&str]) -> u64 {
    let events = [&status.events.sent, &status.events.dropped, &status.events.noted];
    let events = events.into_iter().flatten();
    events.filter(|event| names.contains(&event.name.as_str())).map(|event| event.count).sum()
}

/// Forged packets of each kind to both listeners, into an interface of the balancer's by its other
/// end: from anywhere, and from the network of the clients, where nobody of them is.
fn flood(from: &Namespace, interface: &str, web: SocketAddr, dns: SocketAddr, neighbour: IpAddr) {
    from.enter();
    let index = if_nametoindex(interface).expect("an interface");
    let object = env::var_os("HOLDFAST_BENCH_OBJECT").map(PathBuf::from);
    let object =
        object.expect("HOLDFAST_BENCH_OBJECT is set: run this by `cargo xtask test netns`");
    let mut driver = Driver::load(&object, 1024);
    // 2^28 sources of 16 ports each.
    let anywhere = |traffic: Traffic| traffic.flows(u32::MAX, 4);
    let near = SocketAddr::new(neighbour, 20_000);
    let neighbours = |frame| Traffic::of(frame).flows(1 << 16, 10);
    let floods = [
        (anywhere(Traffic::tcp(web, SYN)), EACH),
        (anywhere(Traffic::tcp(web, ACK)), EACH),
        (anywhere(Traffic::udp(dns)), EACH),
        (neighbours(Frame::tcp(near, web, SYN)), EACH / 3),
        (neighbours(Frame::tcp(near, web, ACK)), EACH / 3),
        (neighbours(Frame::udp(near, dns)), EACH / 3),
    ];
    for (traffic, _) in &floods {
        driver.check(traffic);
    }
    // By turns, so that each lasts as long as all.
    for _ in 0..TURNS {
        for (traffic, packets) in &floods {
            let _each = driver.send(traffic, packets / TURNS, index);
        }
    }
}

/// What is sent on reaches the backends, not nginx: that it stands a flood of SYNs is not what is
/// tested. A source that no route leads to is dropped before TCP.
fn spare_nginx(lab: &Lab) {
    for backend in &lab.backends {
        backend.sysctl("ipv4/conf/eth0/rp_filter", "1");
        backend.ip("route add blackhole 10.0.1.128/25");
    }
}

fn check(shape: Shape, pool: &str) {
    let lab = Lab::new(shape, CLIENTS, BACKENDS);
    let untranslated = pool.contains("dsr");
    if untranslated {
        lab.backends_own_vips();
        spare_nginx(&lab);
    }
    let family = Family::V4;
    let web = SocketAddr::new(lab.vip(family), 80);
    let dns = SocketAddr::new(lab.vip(family), 5353);
    let persistence = "persistence = { timeout = \"1h\" }";
    let rates =
        format!("[flood]\nflows_per_second = {RATE}\nnetwork_flows_per_second = {NETWORK_RATE}\n");
    let mut configuration = Configuration::new(&lab, &rates)
        .pool(&lab, family, pool)
        .listener("web", "tcp", web, persistence)
        .listener("dns", "udp", dns, persistence);
    // Probes share the wires with the flood.
    configuration.text = configuration.text.replace("fall = 3", "fall = 100");
    let echoes: Vec<Echo> = (0..lab.backends.len())
        .map(|index| {
            let own = SocketAddr::new(lab.backend(family, index), PORT);
            let address = if untranslated { dns } else { own };
            Echo::start(&lab.backends[index], &backend_name(index), &[address])
        })
        .collect();
    let site = Site::start(lab, &configuration);
    let (lab, holdfast) = (&site.lab, &site.holdfast);

    let clients: Vec<IpAddr> = (0..CLIENTS).map(|index| lab.client(family, index)).collect();
    let before = placed(&curl_all(&lab.clients, &clients, web, 3), 3);
    let sockets: Vec<_> = clients.iter().map(|client| udp(&lab.clients, *client, dns)).collect();
    let over_udp: Vec<String> = sockets
        .iter()
        .map(|socket| {
            // The second packet makes the pin (P12).
            let names = ["warm", "up"].map(|word| ask_udp(socket, word).expect("an answer"));
            assert_eq!(names[0], names[1]);
            names[0].clone()
        })
        .collect();
    let load = Load::start(lab, &clients, web);
    thread::sleep(Duration::from_secs(1));
    let pinned = pins(&holdfast.sessions());
    assert_eq!(pinned.len(), 2 * usize::from(CLIENTS), "{pinned:?}");
    let made = |status: &Status| count(status, &["flow_made", "flow_renewed"]);
    let refused = |status: &Status| count(status, &["flow_limited", "drop_flood"]);
    let (made_before, refused_before) = (made(&holdfast.status()), refused(&holdfast.status()));
    assert_eq!(refused_before, 0, "real clients are within their rates");

    let (from, interface) = match shape {
        Shape::Routed => (&lab.clients, "eth0"),
        Shape::OneArm => (&lab.switch, "balancer"),
    };
    // Far from ours: at .128 of their network.
    let neighbour = lab.client(family, 128 - 11);
    let start = Instant::now();
    let (requests, answered) = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(from, interface, web, dns, neighbour));
        let (mut requests, mut answered) = (0, 0);
        while !flood.is_finished() {
            assert_eq!(placed(&curl_all(&lab.clients, &clients, web, 5), 5), before);
            requests += 5 * u32::from(CLIENTS);
            for (socket, name) in sockets.iter().zip(&over_udp) {
                // A datagram may be lost where the wire is full; nobody else may answer it.
                if let Ok(answer) = ask_udp(socket, "go on") {
                    assert_eq!(answer, *name);
                    answered += 1;
                }
            }
        }
        flood.join().expect("the flood");
        (requests, answered)
    });
    let took = start.elapsed();
    let asked = load.stop();
    let status = holdfast.status();

    // It was a flood. A full wire drops some of it, most where every packet goes on to backends.
    let sent = 4 * u64::from(EACH);
    let came = refused(&status) + count(&status, &["syn_sent"]);
    println!(
        "{sent} packets in {:.1} s, {came} came and were refused, {requests} requests by curl, {} by \
         others, {answered} datagrams",
        took.as_secs_f64(),
        asked.len()
    );
    assert!(came > sent / 10, "{came} came; {status:#?}");
    // All without a pin, and all with: a second's at once, then as many a second.
    let most = 2 * u64::from(RATE) * (took.as_secs() + 3);
    let made = made(&status) - made_before;
    assert!(made <= most, "{made} flows in {took:?}");

    assert_eq!(count(&status, &["reset_sent"]), 0);
    for one in &asked {
        assert_eq!(one.answer.as_ref(), Ok(&before[&one.client]), "{one:?}");
    }
    assert!(asked.iter().filter(|one| !one.new).count() > 100, "the connections were asked");
    assert!(answered > 0, "no datagram was answered");
    let after = pins(&holdfast.sessions());
    for (key, (backend, age)) in &pinned {
        let (now, now_age) = after.get(key).unwrap_or_else(|| panic!("{key:?} is gone"));
        assert_eq!(now, backend, "{key:?}");
        assert!(now_age >= age, "{key:?} was made anew: {now_age} s old, before {age} s");
    }
    let used: BTreeSet<_> = before.values().collect();
    assert!(used.len() > 1, "clients of one backend prove little: {before:?}");
    drop(echoes);
}

#[test]
fn ten_million_nat() {
    check(Shape::Routed, "");
}

#[test]
fn ten_million_dsr() {
    check(Shape::OneArm, "forward = \"dsr\"");
}
