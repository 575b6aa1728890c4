//! Clients of backends behind tunnels, which `holdfast decap` opens: real servers, real clients,
//! packets that are too big, and the command itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Output,
};

use lb_userspace::api::wire::Status;
use tests::{
    agent::{check_refused, said},
    clients::{ask_udp, curl_all, placed, transfer, udp},
    ping::ping,
    servers::{Echo, LARGE},
    site::{Configuration, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 12;
const BACKENDS: u8 = 3;
const PINS: &str = "persistence = { timeout = \"5m\" }";
const GUE: &str = "forward = \"tunnel\"\ntunnel = { kind = \"gue\" }";
const IPIP: &str = "forward = \"tunnel\"";

/// A lab whose backends take packets out of tunnels.
struct Backends<'a> {
    lab: &'a Lab,
}

impl Backends<'_> {
    fn directory(&self, index: usize) -> PathBuf {
        self.lab.instance().with_file_name(format!("decap-{index}"))
    }

    /// `holdfast decap` on a backend.
    fn run(&self, index: usize, arguments: &str) -> Output {
        let binary = env::var_os("HOLDFAST_BIN").expect("run this by `cargo xtask test netns`");
        let mut command = self.lab.backends[index].command(binary);
        command.args(["decap", "--interface", "eth0", "--bpffs"]).arg(self.directory(index));
        command.args(arguments.split_whitespace()).output().expect("holdfast runs")
    }

    fn put(&self, index: usize, outer: Family, more: &str) {
        let address = self.lab.backend(outer, index);
        let [v4, v6] = [Family::V4, Family::V6].map(|family| self.lab.vip(family));
        let rules = format!("--address {address} --vip {v4} --vip {v6} {more}");
        let (code, text) = said(&self.run(index, &rules));
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains("note:"), "{text}");
    }

    fn counted(&self, index: usize) -> BTreeMap<String, u64> {
        let output = self.run(index, "--show --json");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    fn every_one_took_packets_out(&self) {
        for index in 0..self.lab.backends.len() {
            let counted = self.counted(index);
            assert!(counted["decapsulated"] > 0, "{index}: {counted:?}");
            assert!(counted["pass_no_tunnel"] > 0, "{index}: {counted:?}");
            let wrong = counted
                .iter()
                .filter(|(name, _)| !["decapsulated", "pass_no_tunnel"].contains(&name.as_str()));
            assert!(wrong.clone().all(|(_, count)| *count == 0), "{index}: {counted:?}");
        }
    }
}

/// `inner`: the clients' family; `outer`: the backends'.
fn site(lab: Lab, inner: Family, outer: Family, pool: &str) -> Site {
    lab.backends_own_vips();
    let backends = Backends { lab: &lab };
    for index in 0..lab.backends.len() {
        backends.put(index, outer, "");
    }
    let [web, dns] = [80, 5353].map(|port| SocketAddr::new(lab.vip(inner), port));
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, outer, pool)
        .listener("web", "tcp", web, PINS)
        .listener("dns", "udp", dns, PINS);
    Site::start(lab, &configuration)
}

fn counted(status: &Status, name: &str) -> u64 {
    let events = &status.events;
    let all = [&events.sent, &events.passed, &events.dropped, &events.noted];
    all.into_iter().flatten().find(|event| event.name == name).map_or(0, |event| event.count)
}

/// Clients stay with one backend; large uploads find the size that fits; long datagrams arrive
/// once their client knows it; pings are answered.
fn check(inner: Family, outer: Family, pool: &str) {
    const BODY: usize = 1 << 20;
    let lab = Lab::new(Shape::OneArm, CLIENTS, BACKENDS);
    let dns = SocketAddr::new(lab.vip(inner), 5353);
    let site = site(lab, inner, outer, pool);
    let lab = &site.lab;
    let clients: Vec<IpAddr> = (0..CLIENTS).map(|index| lab.client(inner, index)).collect();

    let web = SocketAddr::new(lab.vip(inner), 80);
    let over_tcp = placed(&curl_all(&lab.clients, &clients, web, 5), 5);
    let used: BTreeSet<_> = over_tcp.values().collect();
    assert_eq!(used.len(), usize::from(BACKENDS), "{over_tcp:?}");
    let dropped = site.holdfast.status().events.dropped;
    assert!(dropped.is_empty(), "{dropped:?}");

    for client in &clients[..4] {
        let got = transfer(&lab.clients, *client, &format!("http://{web}/sink"), BODY, 10);
        let (status, _, sent) =
            got.unwrap_or_else(|| panic!("{client}: no end{}", site.holdfast.last_words()));
        assert_eq!((status, sent), (200, BODY), "{client}");
    }
    let told = counted(&site.holdfast.status(), "too_big_answered");
    assert!(told >= 1, "{:#?}", site.holdfast.status().events);

    let echoes: Vec<Echo> = (0..lab.backends.len())
        .map(|index| Echo::start(&lab.backends[index], &backend_name(index), &[dns]))
        .collect();
    for client in &clients {
        let socket = udp(&lab.clients, *client, dns);
        for length in [100, 1_400, 1_472, 8_000, 60_000] {
            let text: String = ('a'..='z').cycle().take(length).collect();
            // What does not fit is lost once, and its sender told.
            let answer = (0..3).find_map(|_| ask_udp(&socket, &text).ok());
            assert!(
                answer.is_some(),
                "{client}, {length} bytes: {:#?}",
                site.holdfast.status().events
            );
        }
    }
    ping(&lab.clients, clients[0], lab.vip(inner), 1_400).expect("an answer");
    drop(echoes);
    Backends { lab }.every_one_took_packets_out();
}

#[test]
fn ipip_4_in_4() {
    check(Family::V4, Family::V4, IPIP);
}

#[test]
fn ipip_6_in_6() {
    check(Family::V6, Family::V6, IPIP);
}

#[test]
fn ipip_4_in_6() {
    check(Family::V4, Family::V6, IPIP);
}

#[test]
fn gue_4_in_4_from_a_prefix() {
    check(Family::V4, Family::V4, &GUE.replace(" }", ", source = \"10.99.0.0/16\" }"));
}

#[test]
fn gue_6_in_6() {
    check(Family::V6, Family::V6, GUE);
}

#[test]
fn gue_6_in_4() {
    check(Family::V6, Family::V4, GUE);
}

/// What backends send does not fit somewhere: errors about it reach them through the tunnel.
fn download(inner: Family, outer: Family, pool: &str) {
    const FEW: u8 = 4;
    let lab = Lab::new(Shape::OneArm, FEW, BACKENDS);
    let _router = lab.router_to_clients(FEW, 1_300);
    let site = site(lab, inner, outer, pool);
    let url = format!("http://{}/large", SocketAddr::new(site.lab.vip(inner), 80));
    for index in 0..FEW {
        let client = site.lab.client(inner, index);
        let got = transfer(&site.lab.clients, client, &url, 0, 10);
        assert_eq!(got, Some((200, LARGE, 0)), "{client}{}", site.holdfast.last_words());
    }
    let status = site.holdfast.status();
    assert!(counted(&status, "icmp_forwarded") >= 1, "{:#?}", status.events);
}

#[test]
fn a_small_hop_before_the_client_ipip() {
    download(Family::V4, Family::V4, IPIP);
}

#[test]
fn a_small_hop_before_the_client_gue_6_in_6() {
    download(Family::V6, Family::V6, GUE);
}

/// A router in the tunnel takes less than the way's first hop: it tells the balancer, and that its
/// clients.
fn upload(inner: Family, outer: Family, pool: &str, from: Option<&str>) {
    const BODY: usize = 1 << 20;
    const FEW: u8 = 4;
    let lab = Lab::new(Shape::OneArm, FEW, BACKENDS);
    let _router = lab.router_to_tunnels(1_400, from);
    let site = site(lab, inner, outer, pool);
    let url = format!("http://{}/sink", SocketAddr::new(site.lab.vip(inner), 80));
    for index in 0..FEW {
        let client = site.lab.client(inner, index);
        let got = transfer(&site.lab.clients, client, &url, BODY, 10);
        let (status, _, sent) =
            got.unwrap_or_else(|| panic!("{client}: no end{}", site.holdfast.last_words()));
        assert_eq!((status, sent), (200, BODY), "{client}");
    }
    let status = site.holdfast.status();
    for name in ["pass_path_mtu", "too_big_answered"] {
        assert!(counted(&status, name) >= 1, "{name}: {:#?}", status.events);
    }
}

#[test]
fn a_small_hop_in_the_tunnel_ipip_4_in_4() {
    upload(Family::V4, Family::V4, IPIP, None);
}

#[test]
fn a_small_hop_in_the_tunnel_ipip_6_in_6() {
    upload(Family::V6, Family::V6, IPIP, None);
}

#[test]
fn a_small_hop_in_the_tunnel_ipip_6_in_4() {
    upload(Family::V6, Family::V4, IPIP, None);
}

#[test]
fn a_small_hop_in_the_tunnel_gue_4_in_4_from_a_prefix() {
    let pool = GUE.replace(" }", ", source = \"10.99.0.0/16\" }");
    upload(Family::V4, Family::V4, &pool, Some("10.99.0.0/16"));
}

#[test]
fn a_small_hop_in_the_tunnel_gue_4_in_6() {
    upload(Family::V4, Family::V6, GUE, None);
}

/// From the first rules to the last, without the balancer.
#[test]
fn the_command() {
    let lab = Lab::new(Shape::OneArm, 1, 1);
    let backends = Backends { lab: &lab };
    let vip = lab.vip(Family::V4);
    check_refused(&backends.run(0, "--show"), 1, &["eth0: nothing is taken out of tunnels there"]);
    check_refused(&backends.run(0, "--off"), 1, &["eth0: nothing is taken out of tunnels there"]);
    check_refused(&backends.run(0, &format!("--vip {vip}")), 2, &["--address"]);

    // Without the address on it the machine will not answer: said, and done.
    let own = lab.backend(Family::V4, 0);
    let (code, text) = said(&backends.run(0, &format!("--address {own} --vip {vip}")));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("note: this machine does not have {vip}")), "{text}");
    assert!(text.contains("(native)"), "{text}");
    lab.backends_own_vips();

    // Other rules in the place of those, and what was counted goes on.
    ping(&lab.clients, lab.client(Family::V4, 0), own, 100).expect("an answer");
    let before = backends.counted(0)["pass_no_tunnel"];
    assert!(before > 0);
    let (code, text) = said(&backends.run(0, &format!("--address {own} --vip {vip} --from {own}")));
    assert!(code == Some(0) && text.contains("in the place of the rules before"), "{text}");
    assert!(backends.counted(0)["pass_no_tunnel"] >= before);
    let (_, table) = said(&backends.run(0, "--show"));
    assert!(table.contains("decapsulated") && table.contains("pass_from"), "{table}");

    let (code, text) = said(&backends.run(0, "--off"));
    assert!(code == Some(0) && text.contains("eth0: taken off"), "{text}");
    assert!(!lab.backends[0].ip("link show eth0").contains("xdp"));
    check_refused(&backends.run(0, "--show"), 1, &["nothing is taken out"]);
    // In the generic mode too.
    let (code, text) =
        said(&backends.run(0, &format!("--address {own} --vip {vip} --mode generic")));
    assert!(code == Some(0) && text.contains("(generic)"), "{text}");
    assert_eq!(said(&backends.run(0, "--off")).0, Some(0));
}
