//! What happens in the demo, step by step, and what has to hold after each. Layer 7 is in
//! `sessions`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use lb_userspace::api::wire::BackendState;
use tests::{
    agent::{Agent, Holdfast},
    clients::{Answers, curl_all},
    servers::Nginx,
    site::{PORT, backend_name},
    topology::{Family, Lab, Shape},
};

use crate::{STEM, sessions, shop, view};

/// As the README shows it.
const CONFIGURATION: &str = include_str!("../../../demo.toml");
const BACKENDS: u8 = 3;
const CLIENTS: u8 = 24;
const REQUESTS: u32 = 30;
/// Clients that come while a backend drains, and after.
const LATE: Range<u8> = CLIENTS..CLIENTS + 12;
const LATER: Range<u8> = LATE.end..LATE.end + 24;
const LATE_REQUESTS: u32 = 3;

const NETWORK: &str = "\
24 clients              balancer                        backends
198.51.100.11 ...       203.0.113.10:80
       eth0 ---------- eth0   eth1 ------ switch ------ web-1  10.0.0.11:8080  nginx
                                             |--------- web-2  10.0.0.12:8080  nginx
                                             '--------- web-3  10.0.0.13:8080  nginx";

type Placed = BTreeMap<IpAddr, String>;

/// What the story is told on, and what did not hold.
pub(crate) struct Story {
    // Dropped in this order.
    agent: Agent,
    /// nginx on each backend.
    pub(crate) servers: Vec<Nginx>,
    /// The command line.
    pub(crate) holdfast: Holdfast,
    /// The network.
    pub(crate) lab: Lab,
    vip: SocketAddr,
    failed: Vec<String>,
}

/// The part of the configuration that the demo begins with, and that which is added for layer 7.
pub(crate) fn parts() -> (&'static str, &'static str) {
    CONFIGURATION.split_once("\n# Layer 7").map_or((CONFIGURATION, ""), |(before, _)| {
        (before, CONFIGURATION.get(before.len() + 1..).unwrap_or_default())
    })
}

/// Tells it all; what did not hold.
pub(crate) fn tell(binary: &Path, keep: bool) -> Vec<String> {
    let start = Instant::now();
    let mut story = begin(binary);
    let first = story.pin();
    let second = story.stop(&first);
    story.come_back(&second);
    story.drain(&second);
    story.expire(&first, &second);
    sessions::tell(&mut story);

    let failed = std::mem::take(&mut story.failed);
    let seconds = start.elapsed().as_secs();
    if failed.is_empty() {
        view::say(&format!("\nAll of it held ({seconds} s)."));
    } else {
        view::say("\nThis did not hold:");
        for claim in &failed {
            view::claim(claim, false);
        }
        view::say(&story.holdfast.last_words());
    }
    if keep {
        story.keep();
    }
    failed
}

fn begin(binary: &Path) -> Story {
    view::heading(1, "A network, and the agent");
    view::say("Network namespaces, joined by veth pairs:\n");
    view::quote(NETWORK);
    let names: Vec<String> = (0..usize::from(BACKENDS)).map(backend_name).collect();
    let lab = Lab::named(STEM, Shape::Routed, LATER.end, &names);
    let servers = names
        .iter()
        .enumerate()
        .map(|(index, name)| Nginx::serving(&lab, index, name, PORT, &shop::pages(name, PORT)))
        .collect();
    let (layer_4, _) = parts();
    let holdfast = Holdfast::with(binary.to_owned(), &lab, layer_4);
    view::say("\nThe configuration, holdfast.toml:\n");
    view::quote(layer_4);
    view::say("");
    view::command("holdfast run --config holdfast.toml");
    let agent = holdfast.start_ready();
    view::command("holdfast status");
    view::quote(&holdfast.verb("status"));
    let vip = SocketAddr::new(lab.vip(Family::V4), 80);
    Story { agent, servers, holdfast, lab, vip, failed: Vec::new() }
}

impl Story {
    /// Says whether something held, and notes it if not.
    pub(crate) fn claim(&mut self, text: &str, held: bool) {
        view::claim(text, held);
        if !held {
            self.failed.push(text.to_owned());
        }
    }

    fn ask(&self, clients: Range<u8>, requests: u32) -> Vec<(IpAddr, Answers)> {
        let clients: Vec<IpAddr> =
            clients.map(|index| self.lab.client(Family::V4, index)).collect();
        curl_all(&self.lab.clients, &clients, self.vip, requests)
    }

    /// Lets the clients make their requests, prints the table, and says where each one is.
    fn round(&mut self, before: &Placed) -> Placed {
        let answers = self.ask(0..CLIENTS, REQUESTS);
        view::table(&answers, before);
        self.claim(
            &format!("every client had all of its {REQUESTS} requests answered by one backend"),
            answers.iter().all(|(_, answers)| sole(answers) == Some(REQUESTS)),
        );
        placed(&answers)
    }

    /// Who is where by `holdfast sessions`.
    fn pinned(&self) -> Placed {
        self.holdfast
            .sessions()
            .into_iter()
            .map(|one| (one.client.address(), one.backend))
            .collect()
    }

    fn pin(&mut self) -> Placed {
        view::heading(
            2,
            &format!(
                "{CLIENTS} clients, {REQUESTS} requests each, every one on a new TCP connection"
            ),
        );
        view::command(&format!("curl --interface CLIENT http://{}/", self.vip.ip()));
        let first = self.round(&Placed::new());
        let used: BTreeSet<&String> = first.values().collect();
        self.claim("the clients are spread over all backends", used.len() == 3);
        let pinned = self.pinned();
        self.claim("`holdfast sessions` says the same", pinned == first);
        first
    }

    fn stop(&mut self, before: &Placed) -> Placed {
        view::heading(3, "web-2 is stopped");
        view::say("  nginx on web-2 is killed; the health check finds out.\n");
        let killed_at = Instant::now();
        self.servers[1].stop();
        let _status = self.holdfast.until_backend("web-2", BackendState::Down);
        view::say(&format!("  down after {} ms\n", killed_at.elapsed().as_millis()));
        let after = self.round(before);
        let (its, others): (Vec<_>, Vec<_>) =
            before.iter().partition(|(_, backend)| *backend == "web-2");
        self.claim(
            &format!("the {} clients of web-2 are pinned anew", its.len()),
            its.iter().all(|(client, _)| {
                after.get(*client).is_some_and(|now| now == "web-1" || now == "web-3")
            }),
        );
        self.claim(
            &format!("none of the other {} moved", others.len()),
            others.iter().all(|(client, backend)| after.get(*client) == Some(*backend)),
        );
        after
    }

    fn come_back(&mut self, before: &Placed) {
        view::heading(4, "web-2 comes back");
        self.servers[1].start_again();
        let _status = self.holdfast.until_backend("web-2", BackendState::Ready);
        let after = self.round(before);
        self.claim("nobody moves for it: pins hold", after == *before);
    }

    fn drain(&mut self, before: &Placed) {
        view::heading(5, "web-1 is drained, and brought back");
        view::command("holdfast backend drain web-1");
        view::quote(&self.holdfast.verb("backend drain web-1"));
        view::say("");
        let after = self.round(before);
        let pinned = before.values().filter(|backend| *backend == "web-1").count();
        self.claim(
            &format!("the {pinned} clients that are pinned to web-1 stay"),
            after == *before,
        );
        let late = self.ask(LATE, LATE_REQUESTS);
        self.claim(
            &format!("{} new clients all go elsewhere", late.len()),
            late.iter().all(|(_, answers)| {
                sole(answers) == Some(LATE_REQUESTS) && !answers.contains_key("web-1")
            }),
        );
        view::say("");
        view::command("holdfast backend ready web-1");
        view::quote(&self.holdfast.verb("backend ready web-1"));
        let later = self.ask(LATER, LATE_REQUESTS);
        let count = later.iter().filter(|(_, answers)| answers.contains_key("web-1")).count();
        self.claim(
            &format!("of {} more new clients, {count} go to web-1 again", later.len()),
            count > 0 && later.iter().all(|(_, answers)| sole(answers) == Some(LATE_REQUESTS)),
        );
    }

    fn expire(&mut self, first: &Placed, before: &Placed) {
        view::heading(6, "A short timeout expires");
        let client = self.lab.client(Family::V4, 0);
        view::command(&format!("holdfast sessions --client {client}"));
        view::quote(&self.holdfast.verb(&format!("sessions --client {client}")));
        view::say("\n  timeout = \"5m\" becomes timeout = \"4s\" in holdfast.toml\n");
        self.write(&parts().0.replace("timeout = \"5m\"", "timeout = \"4s\""));
        // A request each: a pin that is older than the new timeout would be void at once.
        let fresh = self.ask(0..CLIENTS, 1);
        view::command("holdfast reload");
        view::quote(&self.holdfast.verb("reload"));
        let pinned = self.pinned();
        self.claim(
            "it takes nobody's fresh pin",
            placed(&fresh) == *before && before.iter().all(|(who, by)| pinned.get(who) == Some(by)),
        );
        view::say("\n  ... five seconds without a packet ...\n");
        sleep(Duration::from_secs(5));
        view::command("holdfast sessions");
        view::quote(&self.holdfast.verb("sessions"));
        let gone = self.pinned().is_empty();
        self.claim("the pins are gone", gone);
        view::say("");
        let after = self.round(before);
        self.claim(
            "without pins the hash decides, so all are where they were at first",
            after == *first,
        );
    }

    /// Writes holdfast.toml anew.
    pub(crate) fn write(&self, configuration: &str) {
        fs::write(&self.holdfast.config, configuration).expect("holdfast.toml is written");
    }

    fn keep(self) {
        let (stem, vip) = (STEM, self.vip.ip());
        let holdfast =
            format!("{} --socket /run/{stem}/admin.sock", self.holdfast.binary().display());
        let client = self.lab.client(Family::V4, 0);
        view::heading(12, "It stays, for a look around");
        for (what, line) in [
            ("listeners, backends, drops", format!("{holdfast} status")),
            ("who is pinned where", format!("{holdfast} sessions")),
            ("a backend without new clients", format!("{holdfast} backend drain web-3")),
            (
                "a request from a client",
                format!("ip netns exec {stem}-clients curl --interface {client} http://{vip}/"),
            ),
            (
                "a page by cookie, again and again",
                format!(
                    "ip netns exec {stem}-clients curl -c /run/{stem}/jar -b /run/{stem}/jar \
                     http://{}/",
                    shop::ADDRESS
                ),
            ),
            ("a shell on a backend", format!("ip netns exec {stem}-web-1 bash")),
            ("a shell on the balancer", format!("nsenter --net=/run/netns/{stem}-balancer bash")),
            ("the agent's log", format!("tail -f /run/{stem}/agent.log")),
            ("the configuration", format!("/run/{stem}/holdfast.toml")),
            ("take it all down", "cargo xtask demo --down".to_owned()),
        ] {
            view::say(&format!("  {what:<35}{line}"));
        }
        self.agent.keep();
        self.servers.into_iter().for_each(Nginx::keep);
        self.lab.keep();
    }
}

/// How many requests were answered, if it was by one backend and none failed.
fn sole(answers: &Answers) -> Option<u32> {
    match answers.iter().next() {
        Some((name, count)) if answers.len() == 1 && !name.is_empty() => Some(*count),
        _ => None,
    }
}

/// The backend of each client that has one.
fn placed(answers: &[(IpAddr, Answers)]) -> Placed {
    let sole = answers.iter().filter(|(_, answers)| sole(answers).is_some());
    sole.flat_map(|(client, answers)| answers.keys().map(|name| (*client, name.clone()))).collect()
}

#[cfg(test)]
mod tests_of_the_story {
    use super::*;

    #[test]
    fn the_readme_shows_the_same_configuration() {
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&format!("```toml\n{CONFIGURATION}```")), "README.md differs");
    }
}
