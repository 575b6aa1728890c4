//! Next hops and listener addresses against the real kernel: two network namespaces, joined by a
//! veth pair, on threads of their own. Needs root.

use std::{
    io::Write as _,
    net::IpAddr,
    process::Command,
    sync::mpsc as jobs,
    thread,
    time::{Duration, Instant},
};

use lb_common::{address::Address, layout::Hop};
use lb_userspace::{
    control::facts::Reach,
    net::{
        addresses::{self, Changes, Placed},
        announce,
        reach::Target,
        watch::{Wanted, Watch},
    },
};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Pid, Uid, gettid},
};
use tokio::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, which lasts as long as its thread.
struct Namespace {
    thread: Pid,
    jobs: jobs::Sender<Job>,
}

impl Namespace {
    fn new() -> Self {
        assert!(Uid::effective().is_root(), "network namespaces need root: run this test as root");
        let (jobs, queue) = jobs::channel::<Job>();
        let (ready, thread) = jobs::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(gettid()).expect("the test waits");
            while let Ok(job) = queue.recv() {
                job();
            }
        });
        let namespace = Self { thread: thread.recv().expect("a namespace"), jobs };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `job` in the namespace.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = jobs::channel();
        let job = move || done.send(job()).expect("the test waits");
        self.jobs.send(Box::new(job)).expect("the namespace's thread runs");
        result.recv().expect("the job did not panic")
    }

    /// Runs `ip` with these arguments in the namespace; panics when it fails.
    fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output =
                Command::new("ip").args(arguments.split_whitespace()).output().expect("ip runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {error}");
            String::from_utf8(output.stdout).expect("text")
        })
    }

    /// Runs `ip` with these arguments in the namespace: does it succeed?
    fn try_ip(&self, arguments: &str) -> bool {
        let arguments = arguments.to_owned();
        self.run(move || {
            let arguments = arguments.split_whitespace();
            Command::new("ip").args(arguments).output().expect("ip runs").status.success()
        })
    }

    fn index(&self, interface: &str) -> u32 {
        let link = self.ip(&format!("-o link show {interface}"));
        link.split(':').next().and_then(|n| n.parse().ok()).expect("an index")
    }
}

const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// The balancer's namespace with `eth0`, the backends' with `far0`; 10.0.0.0/24 and `2001:db8::/64`
/// between them.
fn pair() -> (Namespace, Namespace) {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip("link add eth0 address 02:00:00:00:01:01 type veth peer name far0 \
             address 02:00:00:00:01:02");
    near.ip(&format!("link set far0 netns {}", far.thread));
    near.ip("link set eth0 up");
    far.ip("link set far0 up");
    near.ip("addr add 10.0.0.1/24 dev eth0");
    near.ip("addr add 2001:db8::1/64 dev eth0 nodad");
    far.ip("addr add 10.0.0.2/24 dev far0");
    far.ip("addr add 10.0.0.254/24 dev far0");
    far.ip("addr add 2001:db8::2/64 dev far0 nodad");
    (near, far)
}

fn nat(name: &str, address: &str) -> Target {
    Target { name: name.into(), address: ip(address), nat_sources: Some(Vec::new()) }
}

fn dsr(name: &str, address: &str) -> Target {
    Target { name: name.into(), address: ip(address), nat_sources: None }
}

fn known(interface: u32, to: [u8; 6], tags: &[[u16; 2]], sources: &[&str]) -> Reach {
    let mut hop = Hop { interface, to, from: NEAR_MAC, ..Hop::default() };
    for (place, [protocol, id]) in hop.vlan_be.iter_mut().zip(tags) {
        *place = [protocol.to_be(), id.to_be()];
        hop.vlans += 1;
    }
    Reach::Known { hop, nat_sources: sources.iter().map(|text| Address::from(ip(text))).collect() }
}

/// A watch in `near`, and what it reports.
struct Following {
    reports: jobs::Receiver<(String, Reach)>,
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
            let Ok((name, reach)) = self.reports.recv_timeout(left) else {
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
    let configured = Target { nat_sources: Some(vec![ip("10.0.0.77")]), ..nat("c", "10.0.0.2") };
    let targets =
        [nat("v4", "10.0.0.2"), nat("v6", "2001:db8::2"), dsr("d", "10.0.0.2"), configured];
    let following = Following::start(&near, &targets, &["eth0"]);
    following.until_any(&[
        ("v4", known(eth0, FAR_MAC, &[], &["10.0.0.1"])),
        ("v6", known(eth0, FAR_MAC, &[], &["2001:db8::1"])),
        ("d", known(eth0, FAR_MAC, &[], &[])),
        ("c", known(eth0, FAR_MAC, &[], &["10.0.0.77"])),
    ]);

    // The far side gets another card, and says so.
    let other = [2, 0, 0, 0, 1, 3];
    far.ip("link set far0 address 02:00:00:00:01:03");
    near.ip("neigh flush dev eth0");
    following.until_any(&[
        ("v4", known(eth0, other, &[], &["10.0.0.1"])),
        ("v6", known(eth0, other, &[], &["2001:db8::1"])),
    ]);
    // The near side does.
    near.ip("link set eth0 address 02:00:00:00:01:09");
    let Reach::Known { mut hop, nat_sources } = known(eth0, other, &[], &["10.0.0.1"]) else {
        unreachable!("made as known");
    };
    hop.from = [2, 0, 0, 0, 1, 9];
    following.until("v4", &Reach::Known { hop, nat_sources });
}

#[test]
fn a_neighbour_that_goes_is_asked_for_again() {
    let (near, far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    for _ in 0..2 {
        near.ip("neigh del 10.0.0.2 dev eth0");
        let deleted = Instant::now();
        while !near.ip("neigh show 10.0.0.2").contains("02:00:00:00:01:02") {
            assert!(deleted.elapsed() < Duration::from_secs(4), "not asked for again");
            thread::sleep(Duration::from_millis(20));
        }
    }
    // It no longer answers: its last address stands, and nothing is reported.
    far.ip("link set far0 arp off");
    far.ip("addr del 10.0.0.2/24 dev far0");
    near.ip("neigh del 10.0.0.2 dev eth0");
    following.quiet(Duration::from_secs(5));
    let failed = near.ip("neigh show 10.0.0.2");
    assert!(failed.contains("FAILED") || failed.contains("INCOMPLETE"), "{failed}");
    // An operator's entry is taken over, and left as it is.
    near.ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:01:07 dev eth0 nud permanent");
    following.until("a", &known(eth0, [2, 0, 0, 0, 1, 7], &[], &["10.0.0.1"]));
    thread::sleep(Duration::from_secs(3));
    let kept = near.ip("neigh show 10.0.0.2");
    assert!(kept.contains("PERMANENT"), "{kept}");
}

#[test]
fn stale_neighbours_are_confirmed() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    // Wrong, and stale: forwarding would go astray until someone asks.
    near.ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:01:08 dev eth0 nud stale");
    following.until_any(&[("a", known(eth0, [2, 0, 0, 0, 1, 8], &[], &["10.0.0.1"]))]);
    let began = Instant::now();
    while !near.ip("neigh show 10.0.0.2").contains("02:00:00:00:01:02") {
        assert!(began.elapsed() < Duration::from_secs(25), "never confirmed");
        thread::sleep(Duration::from_millis(100));
    }
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
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
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    near.ip("route replace 10.9.0.0/16 via 10.0.0.253");
    following.until("a", &pending("waiting for the router 10.0.0.253 to answer ARP on eth0"));
    near.ip("route replace 10.9.0.0/16 via 10.0.0.2 src 10.0.0.1");
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    // An IPv4 route through an IPv6 router.
    near.ip("route replace 10.9.0.0/16 via inet6 2001:db8::2");
    near.ip("route add blackhole 10.9.0.5/32");
    following.until("a", &pending("its route is of type `blackhole`"));
    near.ip("route del blackhole 10.9.0.5/32");
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    for (kind, text) in [
        ("unreachable", "its route is of type `unreachable`"),
        ("prohibit", "its route is of type `prohibit`"),
    ] {
        near.ip(&format!("route add {kind} 10.9.0.5/32"));
        following.until("a", &pending(text));
        near.ip(&format!("route del {kind} 10.9.0.5/32"));
        following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    }
    // Without a link layer.
    near.ip("tuntap add tun0 mode tun");
    near.ip("link set tun0 up");
    near.ip("route add 10.9.0.5/32 dev tun0");
    following
        .until("a", &pending("its route leaves through tun0, which has no link-layer address"));
    // The interface goes down, and the routes with it.
    near.ip("route del 10.9.0.5/32");
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
    near.ip("link set eth0 down");
    following.until("a", &pending("there is no route to it"));
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
    following.until("a", &known(eth0, FAR_MAC, &[], &["10.0.0.1"]));
}

#[test]
fn vlans() {
    let (near, far) = pair();
    if !near.try_ip("link add link eth0 name probe type vlan id 1") {
        eprintln!("not run: this kernel makes no VLAN interfaces (CONFIG_VLAN_8021Q)");
        return;
    }
    let eth0 = near.index("eth0");
    for (ns, lower, last) in [(&near, "eth0", 1), (&far, "far0", 2)] {
        ns.ip(&format!("link add link {lower} name v100 type vlan id 100"));
        ns.ip(&format!("link add link {lower} name s200 type vlan protocol 802.1ad id 200"));
        ns.ip("link add link s200 name q7 type vlan id 7");
        for (name, net) in [("v100", 100), ("s200", 200), ("q7", 7)] {
            ns.ip(&format!("link set {name} up"));
            ns.ip(&format!("addr add 10.0.{net}.{last}/24 dev {name}"));
        }
    }
    let targets = [nat("v", "10.0.100.2"), nat("s", "10.0.200.2"), nat("q", "10.0.7.2")];
    let following = Following::start(&near, &targets, &["eth0"]);
    following.until_any(&[
        ("v", known(eth0, FAR_MAC, &[[0x8100, 100]], &["10.0.100.1"])),
        ("s", known(eth0, FAR_MAC, &[[0x88a8, 200]], &["10.0.200.1"])),
        ("q", known(eth0, FAR_MAC, &[[0x88a8, 200], [0x8100, 7]], &["10.0.7.1"])),
    ]);
    near.ip("link del v100");
    following.until("v", &Reach::Pending("there is no route to it".into()));
}

#[test]
fn reload() {
    let (near, _far) = pair();
    let eth0 = near.index("eth0");
    let following = Following::start(&near, &[nat("a", "10.0.0.2")], &["other0"]);
    let text = "its replies would come in by eth0, which is not in agent.interfaces";
    following.until("a", &Reach::Pending(text.into()));
    let reached = known(eth0, FAR_MAC, &[], &["10.0.0.1"]);
    following.configure(&[nat("a", "10.0.0.2")], &["eth0"]);
    following.until("a", &reached);
    // Only what is new is reported.
    following.configure(&[nat("a", "10.0.0.2"), nat("b", "10.0.0.254")], &["eth0"]);
    following.until("b", &reached);
    following.configure(&[nat("b", "10.0.0.254")], &["eth0"]);
    following.quiet(Duration::from_millis(500));
    following.configure(&[nat("a", "10.0.0.2"), nat("b", "10.0.0.254")], &["eth0"]);
    following.until("a", &reached);
    following.quiet(Duration::from_millis(500));
}

/// Runs `addresses::ensure` in the namespace.
fn ensure(
    near: &Namespace,
    wanted: &[&str],
    interfaces: &[&str],
    own: &[&str],
) -> Result<Changes, String> {
    let ips = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<Vec<_>>();
    let (wanted, own) = (ips(wanted), ips(own));
    let interfaces: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
    near.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let handle = lb_userspace::net::connect().expect("netlink");
            let changes = addresses::ensure(&handle, &wanted, &interfaces, &own).await;
            if let Ok(Changes { failed, .. }) = &changes {
                assert!(failed.is_empty(), "{failed:?}");
            }
            changes.map_err(|error| error.to_string())
        })
    })
}

#[test]
fn listener_addresses() {
    let (near, far) = pair();
    near.ip("link add eth1 type veth peer name far1");
    near.ip("link set eth1 up");
    near.ip("addr add 10.0.0.40/32 dev eth0");
    let placed = |address: &str| Placed {
        address: ip(address),
        interface: near.index("eth0"),
        name: "eth0".into(),
        mac: Some(NEAR_MAC),
    };
    let both = ["eth1", "eth0"];

    let wanted = ["10.0.0.50", "2001:db8::50", "10.0.0.40"];
    let changes = ensure(&near, &wanted, &both, &[]).expect("added");
    assert_eq!(changes.added, [placed("10.0.0.50"), placed("2001:db8::50")]);
    assert_eq!(changes.own, [ip("10.0.0.50"), ip("2001:db8::50")]);
    // Usable at once: nothing tentative; and no source for connections of one's own.
    let shown = near.ip("addr show dev eth0");
    assert!(shown.contains("10.0.0.50/32"), "{shown}");
    let six = shown.lines().find(|line| line.contains("2001:db8::50/128")).expect("added");
    assert!(six.contains("nodad") && six.contains("deprecated"), "{six}");
    assert!(!six.contains("tentative"), "{six}");
    far.ip("-6 route add default via 2001:db8::1");
    assert!(near.ip("route get 2001:db8::2").contains("src 2001:db8::1 "));
    assert!(near.ip("route get 10.0.0.2").contains("src 10.0.0.1 "));

    // Again: nothing to do, and what is ours is known without a list.
    let again = ensure(&near, &wanted, &both, &[]).expect("kept");
    assert_eq!((again.added, again.removed), (vec![], vec![]));
    let mut own = again.own;
    own.sort();
    assert_eq!(own, [ip("10.0.0.50"), ip("2001:db8::50")]);

    // One goes, one comes.
    let changes = ensure(&near, &["2001:db8::50", "10.0.0.51"], &both, &[]).expect("changed");
    assert_eq!(changes.added, [placed("10.0.0.51")]);
    assert_eq!(changes.removed, [ip("10.0.0.50")]);

    // An interface that is not there changes nothing.
    let error = ensure(&near, &[], &["eth9"], &[]).expect_err("no such interface");
    assert_eq!(error, "there is no interface eth9");
    assert!(near.ip("addr show dev eth0").contains("10.0.0.51/32"));

    // All go but those of others.
    let changes = ensure(&near, &[], &[], &[]).expect("removed");
    assert_eq!(changes.removed.len(), 2, "{changes:?}");
    let shown = near.ip("addr show dev eth0");
    for (address, there) in [
        ("10.0.0.1/24", true),
        ("10.0.0.40/32", true),
        ("2001:db8::1/64", true),
        ("10.0.0.50/32", false),
        ("10.0.0.51/32", false),
        ("2001:db8::50/128", false),
    ] {
        assert_eq!(shown.contains(address), there, "{address} in {shown}");
    }
    // The list stands in where the kernel keeps no mark.
    let changes = ensure(&near, &[], &[], &["10.0.0.40"]).expect("removed");
    assert_eq!(changes.removed, [ip("10.0.0.40")]);
}

#[test]
fn announcements_are_believed() {
    let (near, far) = pair();
    // The far side believes the addresses elsewhere.
    let addresses = ["10.0.0.50", "2001:db8::50"];
    for address in addresses {
        far.ip(&format!("neigh replace {address} lladdr 02:00:00:00:09:09 dev far0 nud stale"));
    }
    let index = near.index("eth0");
    for address in addresses {
        let placed = Placed {
            address: ip(address),
            interface: index,
            name: "eth0".into(),
            mac: Some(NEAR_MAC),
        };
        near.run(move || announce::announce(&placed)).expect("sent");
        let began = Instant::now();
        while !far.ip(&format!("neigh show {address}")).contains("02:00:00:00:01:01") {
            assert!(began.elapsed() < Duration::from_secs(2), "{address} is not believed");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
