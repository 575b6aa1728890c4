//! How backends are reached, as routes, neighbours and interfaces change.

use std::{
    io::Write as _,
    sync::mpsc as jobs,
    thread,
    time::{Duration, Instant},
};

use lb_common::{address::Address, layout::Hop};
use lb_userspace::{
    control::facts::{Reach, ReachReport},
    net::{
        reach::{Sender, Target},
        watch::{LOST_AFTER, Wanted, Watch},
    },
};
use tokio::sync::mpsc;

use crate::harness::{FAR_MAC, NEAR_MAC, Namespace, ip, pair};

fn nat(name: &str, address: &str) -> Target {
    Target { name: name.into(), address: ip(address), sender: Sender::Nat(Vec::new()) }
}

fn dsr(name: &str, address: &str) -> Target {
    Target { name: name.into(), address: ip(address), sender: Sender::Client }
}

fn known(interface: u32, to: [u8; 6], sources: &[&str]) -> Reach {
    let hop = Hop { interface, to, from: NEAR_MAC, ..Hop::default() };
    let nat_sources = sources.iter().map(|text| Address::from(ip(text))).collect();
    Reach::Known { hop, nat_sources, mtu: 1500 }
}

/// A watch in `near`, and what it reports.
struct Following {
    reports: jobs::Receiver<ReachReport>,
    wanted: mpsc::UnboundedSender<Wanted>,
}

impl Following {
    /// Takes the namespace's thread for as long as it lasts.
    fn start(near: &Namespace, targets: &[Target], attached: &[&str]) -> Self {
        let (sender, reports) = jobs::channel();
        let (wanted, mut changes) = mpsc::unbounded_channel::<Wanted>();
        let first = Self::wanted(targets, attached);
        // A thread that is started from one in the namespace is in it too.
        near.run(move || {
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let (report, mut reported) = mpsc::channel(16);
                    let watch = Watch::start(first, report);
                    loop {
                        tokio::select! {
                            change = changes.recv() => match change {
                                Some(wanted) => watch.configure(wanted),
                                None => return,
                            },
                            report = reported.recv() => {
                                let report = report.expect("the watch runs");
                                if sender.send(report).is_err() {
                                    return;
                                }
                            }
                        }
                    }
                });
            });
        });
        Self { reports, wanted }
    }

    fn wanted(targets: &[Target], attached: &[&str]) -> Wanted {
        Wanted {
            targets: targets.to_vec(),
            attached: attached.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn configure(&self, targets: &[Target], attached: &[&str]) {
        self.wanted.send(Self::wanted(targets, attached)).expect("the watch runs");
    }

    /// Waits until `name` is reported so; anything else on the way is let pass.
    fn until(&self, name: &str, want: &Reach) {
        self.until_any(&[(name, want.clone())]);
    }

    fn until_any(&self, wants: &[(&str, Reach)]) {
        let deadline = Instant::now() + Duration::from_secs(8);
        let mut open: Vec<_> = wants.to_vec();
        let mut seen = Vec::new();
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(ReachReport { backend: name, reach, .. }) = self.reports.recv_timeout(left)
            else {
                panic!("never reported {open:#x?}, but {seen:#x?}");
            };
            open.retain(|(wanted, want)| !(*wanted == name && *want == reach));
            seen.push((name, reach));
        }
    }

    fn quiet(&self, time: Duration) {
        if let Ok(report) = self.reports.recv_timeout(time) {
            panic!("unexpected {report:x?}");
        }
    }
}

#[test]
fn next_hops_on_the_link() {
    let (near, far) = pair();
    let eth0 = near.index("eth0");
    let configured = Target { sender: Sender::Nat(vec![ip("10.0.0.77")]), ..nat("c", "10.0.0.2") };
    let targets =
        [nat("v4", "10.0.0.2"), nat("v6", "2001:db8::2"), dsr("d", "10.0.0.2"), configured];
    let following = Following::start(&near, &targets, &["eth0"]);
    following.until_any(&[
        ("v4", known(eth0, FAR_MAC, &["10.0.0.1"])),
        ("v6", known(eth0, FAR_MAC, &["2001:db8::1"])),
        ("d", known(eth0, FAR_MAC, &[])),
        ("c", known(eth0, FAR_MAC, &["10.0.0.77"])),
    ]);

    // The far side gets another card, and says so.
    let other = [2, 0, 0, 0, 1, 3];
    far.ip("link set far0 address 02:00:00:00:01:03");
    near.ip("neigh flush dev eth0");
    following.until_any(&[
        ("v4", known(eth0, other, &["10.0.0.1"])),
        ("v6", known(eth0, other, &["2001:db8::1"])),
    ]);
    // The near side does.
    near.ip("link set eth0 address 02:00:00:00:01:09");
    let Reach::Known { mut hop, nat_sources, mtu } = known(eth0, other, &["10.0.0.1"]) else {
        unreachable!("made as known");
    };
    hop.from = [2, 0, 0, 0, 1, 9];
    following.until("v4", &Reach::Known { hop, nat_sources, mtu });
}

#[test]
fn a_neighbour_that_goes_is_asked_for_again() {
    let (near, far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    for _ in 0..2 {
        near.ip("neigh del 10.0.0.2 dev eth0");
        let deleted = Instant::now();
        while !near.ip("neigh show 10.0.0.2").contains("02:00:00:00:01:02") {
            assert!(deleted.elapsed() < Duration::from_secs(4), "not asked for again");
            thread::sleep(Duration::from_millis(20));
        }
    }
    // It no longer answers.
    far.ip("link set far0 arp off");
    far.ip("addr del 10.0.0.2/24 dev far0");
    near.ip("neigh del 10.0.0.2 dev eth0");
    following.until("a", &Reach::Pending(SILENT.into()));
    following.until("a", &lost(SILENT));
    let failed = near.ip("neigh show 10.0.0.2");
    assert!(failed.contains("FAILED") || failed.contains("INCOMPLETE"), "{failed}");
    // An operator's entry is taken over, and left as it is.
    near.ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:01:07 dev eth0 nud permanent");
    following.until("a", &known(eth0, [2, 0, 0, 0, 1, 7], &["10.0.0.1"]));
    thread::sleep(Duration::from_secs(3));
    let kept = near.ip("neigh show 10.0.0.2");
    assert!(kept.contains("PERMANENT"), "{kept}");
}

#[test]
fn stale_neighbours_are_confirmed() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    // Wrong, and stale: forwarding would go astray until someone asks.
    near.ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:01:08 dev eth0 nud stale");
    following.until_any(&[("a", known(eth0, [2, 0, 0, 0, 1, 8], &["10.0.0.1"]))]);
    let began = Instant::now();
    while !near.ip("neigh show 10.0.0.2").contains("02:00:00:00:01:02") {
        assert!(began.elapsed() < Duration::from_secs(25), "never confirmed");
        thread::sleep(Duration::from_millis(100));
    }
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
}

#[test]
fn routes() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let pending = |text: &str| Reach::Pending(text.into());
    let following =
        Following::start(&near, &[nat("a", "10.9.0.5"), nat("own", "10.0.0.1")], &["eth0"]);
    following.until_any(&[
        ("a", pending("there is no route to it")),
        ("own", pending("its address is this machine's own")),
    ]);
    // Behind a router; then behind another.
    near.ip("route add 10.9.0.0/16 via 10.0.0.254");
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    near.ip("route replace 10.9.0.0/16 via 10.0.0.253");
    following.until("a", &pending("waiting for the router 10.0.0.253 to answer ARP on eth0"));
    near.ip("route replace 10.9.0.0/16 via 10.0.0.2 src 10.0.0.1");
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    // An IPv4 route through an IPv6 router.
    near.ip("route replace 10.9.0.0/16 via inet6 2001:db8::2");
    near.ip("route add blackhole 10.9.0.5/32");
    following.until("a", &pending("its route is of type `blackhole`"));
    near.ip("route del blackhole 10.9.0.5/32");
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    for (kind, text) in [
        ("unreachable", "its route is of type `unreachable`"),
        ("prohibit", "its route is of type `prohibit`"),
    ] {
        near.ip(&format!("route add {kind} 10.9.0.5/32"));
        following.until("a", &pending(text));
        near.ip(&format!("route del {kind} 10.9.0.5/32"));
        following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    }
    // Without a link layer.
    near.ip("tuntap add tun0 mode tun");
    near.ip("link set tun0 up");
    near.ip("route add 10.9.0.5/32 dev tun0");
    following
        .until("a", &pending("its route leaves through tun0, which has no link-layer address"));
    // The interface goes down, and the routes with it.
    near.ip("route del 10.9.0.5/32");
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
    near.ip("link set eth0 down");
    following.until("a", &pending("there is no route to it"));
}

fn lost(text: &str) -> Reach {
    Reach::Lost(text.into())
}

const SILENT: &str = "waiting for 10.0.0.2 to answer ARP on eth0";

#[test]
fn a_neighbour_that_answers_no_more_is_lost() {
    let (near, far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    let reached = known(eth0, FAR_MAC, &["10.0.0.1"]);
    following.until("a", &reached);
    // The first address takes those of its network with it.
    far.ip("addr del 10.0.0.2/24 dev far0");
    far.ip("addr add 10.0.0.254/24 dev far0");
    // What is stale, or is just being asked for, is where it was.
    near.ip("neigh change 10.0.0.2 lladdr 02:00:00:00:01:02 nud stale dev eth0");
    following.quiet(Duration::from_millis(500));
    near.ip("neigh del 10.0.0.2 dev eth0");
    following.until("a", &Reach::Pending(SILENT.into()));
    let silent = Instant::now();
    following.until("a", &lost(SILENT));
    assert!(silent.elapsed() + Duration::from_millis(100) >= LOST_AFTER, "{:?}", silent.elapsed());
    following.quiet(Duration::from_secs(3));
    far.ip("addr add 10.0.0.2/24 dev far0");
    following.until("a", &reached);
}

#[test]
fn a_flap_of_a_link_loses_nobody() {
    let (near, far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    let reached = known(eth0, FAR_MAC, &["10.0.0.1"]);
    following.until("a", &reached);
    let down = "eth0, by which its route leaves, is down";
    for _ in 0..2 {
        far.ip("link set far0 down");
        following.until("a", &Reach::Pending(down.into()));
        thread::sleep(Duration::from_secs(2));
        far.ip("link set far0 up");
        let (mut way, mut seen) = (Reach::Pending(String::new()), Vec::new());
        while way != reached {
            let report = following.reports.recv_timeout(Duration::from_secs(8));
            way = report.expect("a report").reach;
            seen.push(way.clone());
        }
        assert!(!seen.iter().any(|way| matches!(way, Reach::Lost(_))), "{seen:?}");
    }
    far.ip("link set far0 down");
    following.until("a", &lost(down));
}

#[test]
fn floods_of_events_end_well() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.9.0.5")], &["eth0"]);
    following.until("a", &Reach::Pending("there is no route to it".into()));
    // Far more than a socket buffer holds; the one that matters among them.
    let route = |verb: &str, n: u32| {
        format!("route {verb} 10.{}.{}.0/24 via 10.0.0.2\n", 100 + n / 250, n % 250)
    };
    let mut script: Vec<String> = (0..20_000).map(|n| route("add", n)).collect();
    script.push("route add 10.9.0.0/16 via 10.0.0.254\n".into());
    script.extend((0..20_000).map(|n| route("del", n)));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(script.concat().as_bytes()).expect("written");
    near.ip(&format!("-batch {}", file.path().display()));
    following.until("a", &known(eth0, FAR_MAC, &["10.0.0.1"]));
}

#[test]
fn reload() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["other0"]);
    let text = "its replies would come in by eth0, which is not in agent.interfaces";
    following.until("a", &Reach::Pending(text.into()));
    let reached = known(eth0, FAR_MAC, &["10.0.0.1"]);
    following.configure(&[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &reached);
    // All is told anew: who asks may have forgotten it.
    let both = [nat("a", "10.0.0.2"), nat("b", "10.0.0.254")];
    let both_reached = [("a", reached.clone()), ("b", reached.clone())];
    following.configure(&both, &["eth0"]);
    following.until_any(&both_reached);
    // Also when a backend went and came back before anyone could look.
    following.configure(&both[1..], &["eth0"]);
    following.configure(&both, &["eth0"]);
    following.until_any(&both_reached);
    following.configure(&both[1..], &["eth0"]);
    following.until("b", &reached);
    following.quiet(Duration::from_millis(500));
}
