//! Clients behind VLAN tags, one and two, of either kind.
//!
//! Tags are put on between clients and balancer by this test itself, on raw sockets: not every
//! kernel that tests run on has VLAN interfaces.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use tests::{
    clients::{ask_udp, curl_all, placed, udp},
    netns::Namespace,
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

/// Puts tags on what clients send. The kernel takes the outer tag off what it hands to a raw
/// socket; an inner one has to be there still on the way back, and is taken off here.
struct Tagger {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Tagger {
    fn start(namespace: &Namespace, tags: &'static [[u8; 4]]) -> Self {
        let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        // One for both ways: a socket does not hear what it sends itself, another one would.
        let [clients, balancer] =
            ["clients", "balancer"].map(|name| Arc::new(namespace.run(|| raw_socket(name))));
        let carry = |from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, change: Box<Change>| {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            let (stop, refused) = (Arc::clone(&stop), Arc::clone(&refused));
            thread::spawn(move || {
                let mut bytes = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    let Some(frame) = receive(&from, &mut bytes) else { continue };
                    if let Some(changed) = change(frame) {
                        transmit(&to, &changed);
                    } else {
                        let _before = refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let there = move |frame: &[u8]| Some([&frame[..12], &tags.concat(), &frame[12..]].concat());
        let back = move |frame: &[u8]| match tags.get(1) {
            Some(tag) if frame[12..16] == *tag => Some([&frame[..12], &frame[16..]].concat()),
            Some(_) if frame[12..14] == IPV4 => None,
            // Also what the balancer's own kernel says without tags to make its addresses known.
            _ => Some(frame.to_vec()),
        };
        let threads = vec![
            carry(&clients, &balancer, Box::new(there)),
            carry(&balancer, &clients, Box::new(back)),
        ];
        Self { stop, refused, threads }
    }
}

const IPV4: [u8; 2] = [0x08, 0x00];

/// What a frame becomes on its way; none: it is refused.
type Change = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send;

impl Drop for Tagger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "the tagger panicked");
        }
    }
}

fn raw_socket(interface: &str) -> OwnedFd {
    let mut all = getifaddrs().expect("interfaces");
    let found = all.find(|one| {
        let link = one.address.as_ref().is_some_and(|address| address.as_link_addr().is_some());
        one.interface_name == interface && link
    });
    let address = found.and_then(|one| one.address).expect("the interface");
    let address: LinkAddr = *address.as_link_addr().expect("a link");
    let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let raw = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).expect("a raw socket");
    let patience = TimeVal::milliseconds(50);
    setsockopt(&raw, ReceiveTimeout, &patience).expect("a timeout");
    bind(raw.as_raw_fd(), &address).expect("bound");
    raw
}

fn receive<'a>(socket: &OwnedFd, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
    match recv(socket.as_raw_fd(), bytes, MsgFlags::empty()) {
        Ok(length) => Some(&bytes[..length]),
        // Nothing came, or the network is taken down.
        Err(Errno::EAGAIN | Errno::ENETDOWN) => None,
        Err(error) => panic!("receive: {}", io::Error::from(error)),
    }
}

fn transmit(socket: &OwnedFd, frame: &[u8]) {
    match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
        // A full queue is a lost frame, as on a wire.
        Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::ENETDOWN) => {}
        Err(error) => panic!("send: {}", io::Error::from(error)),
    }
}

fn check(tags: &'static [[u8; 4]]) {
    let lab = Lab::new(Shape::Routed, 8, 3);
    let between = lab.between_clients_and_balancer();
    let tagger = Tagger::start(&between, tags);
    let web = SocketAddr::new(lab.vip(Family::V4), 80);
    let dns = SocketAddr::new(lab.vip(Family::V4), 5353);
    let pins = "persistence = { timeout = \"5m\" }";
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, "")
        .listener("web", "tcp", web, pins)
        .listener("dns", "udp", dns, pins);
    let echoes: Vec<Echo> = (0..3)
        .map(|index| {
            let address = SocketAddr::new(lab.backend(Family::V4, index), PORT);
            Echo::start(&lab.backends[index], &backend_name(index), &[address])
        })
        .collect();
    let site = Site::start(lab, &configuration);
    let clients: Vec<_> = (0..8).map(|index| site.lab.client(Family::V4, index)).collect();
    let answers = curl_all(&site.lab.clients, &clients, web, 5);
    let used: BTreeSet<String> = placed(&answers, 5).into_values().collect();
    assert!(used.len() > 1, "{used:?}");
    for client in clients {
        let socket = udp(&site.lab.clients, client, dns);
        for payload in ["one", "two", "three"] {
            let _name = ask_udp(&socket, payload).unwrap_or_else(|e| panic!("{client}: {e}"));
        }
    }
    let dropped = site.holdfast.status().events.dropped;
    assert_eq!(dropped, [], "{}", site.holdfast.last_words());
    thread::sleep(Duration::from_millis(100));
    assert_eq!(tagger.refused.load(Ordering::Relaxed), 0, "answers without the inner tag");
    drop((tagger, echoes));
}

#[test]
fn one_tag() {
    check(&[[0x81, 0x00, 0x00, 100]]);
}

#[test]
fn two_tags() {
    check(&[[0x88, 0xa8, 0x00, 100], [0x81, 0x00, 0x60, 7]]);
}
