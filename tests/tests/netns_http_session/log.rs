//! What the access log says of sessions (C14), and sessions by the client's address at layer 7.

use std::{collections::BTreeSet, fs, net::SocketAddr, time::Duration};

use serde_json::Value;
use tests::{
    http::{
        curl,
        shop::{self, INSERT, get},
    },
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
    wait,
};

/// `shop` with these lines, at an address of this family.
fn site(family: Family, agent: &str, lines: &str) -> Site {
    let lab = Lab::new(Shape::Routed, 12, 3);
    let at = SocketAddr::new(lab.vip(family), 80);
    let configuration =
        Configuration::new(&lab, &agent.replace("LAB", &lab.folder().display().to_string()))
            .pool(&lab, Family::V4, "")
            .listener("shop", "http", at, lines);
    let servers = shop::servers(&lab);
    shop::serve(lab, servers, &configuration)
}

/// The lines of the access log, so many, in the order of their requests.
fn lines(site: &Site, count: usize) -> Vec<Value> {
    let path = site.lab.folder().join("access.log");
    wait::until("all lines are there", Duration::from_secs(5), || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        // Each worker writes its own when it comes to it.
        lines.sort_by_key(|line| line["time"].as_str().map(str::to_owned));
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn the_access_log_says_what_became_of_each_session() {
    // Without the answer's field as well.
    let quiet = INSERT.replace(", header = \"X-Session\"", "");
    let site = site(Family::V4, "[sidecar]\naccess_log = \"LAB/access.log\"\n", &quiet);
    let first = get(&site, 0, "/a?b=c", &[]).answer;
    assert_eq!(first.field("x-session"), None);
    let cookie = first.cookies()[0].to_owned();
    let _hit = get(&site, 0, "/", &["--cookie", &cookie]);
    let _forged = get(&site, 0, "/", &["--cookie", "SERVERID=web-1"]);
    site.holdfast.verb(&format!("backend evacuate {}", first.server()));
    shop::settle();
    let moved = get(&site, 0, "/", &["--cookie", &cookie]).answer;
    let all = lines(&site, 4);
    let said: Vec<&str> = all.iter().map(|line| line["session"].as_str().expect("one")).collect();
    assert_eq!(said, ["new", "hit", "forged", "drained"]);
    assert_eq!((&all[0]["target"], &all[0]["status"]), (&"/a?b=c".into(), &200.into()));
    assert_eq!(all[0]["backend"].as_str(), Some(&*first.server()));
    assert_eq!(all[3]["backend"].as_str(), Some(&*moved.server()));
    // The log holds no cookie.
    let text = fs::read_to_string(site.lab.folder().join("access.log")).expect("a log");
    assert!(!text.contains("hold"), "{text}");
    // It may be moved away.
    fs::rename(site.lab.folder().join("access.log"), site.lab.folder().join("old.log"))
        .expect("moved");
    let _said = site.holdfast.verb("reload");
    shop::settle();
    let _more = get(&site, 0, "/", &[]);
    assert_eq!(lines(&site, 1).len(), 1);
}

#[test]
fn addresses_hold_sessions_where_that_is_wanted() {
    let site = site(Family::V4, "", "persistence = { mode = \"source-ip\", timeout = \"5m\" }");
    let mut servers = BTreeSet::new();
    for client in 0..12 {
        let of_one: BTreeSet<String> = (0..4)
            .map(|_| {
                let answer = get(&site, client, "/", &[]).answer;
                assert_eq!(answer.cookies().len(), 0, "{answer:?}");
                answer.server()
            })
            .collect();
        assert_eq!(of_one.len(), 1, "client {client}: {of_one:?}");
        servers.extend(of_one);
    }
    assert_eq!(servers.len(), 3, "{servers:?}");
}

#[test]
fn ipv6_clients_have_sessions_too() {
    let site = site(Family::V6, "", INSERT);
    let url = format!("http://[{}]/", site.lab.vip(Family::V6));
    let ask = |cookie: &str| {
        let client = site.lab.client(Family::V6, 0);
        curl::get(&site.lab.clients, client, ["--cookie", cookie, &url]).answer
    };
    let first = ask("a=b");
    let cookie = first.cookies()[0].to_owned();
    for _ in 0..4 {
        let answer = ask(&cookie);
        assert_eq!((answer.field("x-session"), answer.server()), (Some("hit"), first.server()));
    }
}
