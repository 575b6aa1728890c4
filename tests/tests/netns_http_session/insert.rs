//! `cookie-insert`: who gets a cookie, what it says, and that it holds (C1, C4, C5, C8, C9, C12, C13).

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
};

use tests::{
    http::{
        raw::Raw,
        shop::{self, INSERT, get},
    },
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

/// Runs a script in the clients' namespace, in a folder of the lab.
fn script(site: &Site, text: &str) -> String {
    let mut command: Command = site.lab.clients.command("bash");
    command.args(["-c", text]).current_dir(site.lab.folder());
    let output = command.stdin(Stdio::null()).output().expect("bash runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn servers_of(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn the_questions_of_the_faq() {
    let site = shop::start(1, 3, INSERT);
    let url = format!("http://{}", shop::vip(&site.lab));

    // 7: the string can be seen.
    let _page = script(&site, &format!("curl -s {url} -c cookie123"));
    let jar = std::fs::read_to_string(site.lab.folder().join("cookie123")).expect("a jar");
    assert!(jar.contains("SERVERID"), "{jar}");
    let again = script(&site, &format!("curl -s {url} -b cookie123"));
    assert!(again.starts_with("web-"), "{again}");

    // 9: thirty times the same server.
    let first = script(&site, &format!("curl -s -c test.cookie {url}/check.jsp"));
    let thirty = script(
        &site,
        &format!(
            "for ((a=1;a<=30;a++)); do curl -b test.cookie {url}/check.jsp 2>/dev/null | grep web-; \
             done"
        ),
    );
    let servers = servers_of(&thirty);
    assert_eq!(servers.len(), 30, "{thirty}");
    assert_eq!(BTreeSet::from_iter(servers), BTreeSet::from_iter(servers_of(&first)));

    // Without the jar it need not be one.
    let without =
        script(&site, &format!("for ((a=1;a<=30;a++)); do curl -s {url}/check.jsp; done"));
    let servers = servers_of(&without);
    assert_eq!((servers.len(), BTreeSet::from_iter(servers).len()), (30, 3), "{without}");
}

#[test]
fn only_answers_that_may_get_a_cookie() {
    let site = shop::start(1, 2, INSERT);
    for (status, wanted) in [
        (200, true),
        (201, true),
        (301, true),
        (302, true),
        (303, true),
        (307, true),
        (308, true),
        (400, false),
        (403, false),
        (404, false),
        (500, false),
        (502, false),
        (503, false),
    ] {
        let answer = get(&site, 0, &format!("/status/{status}"), &[]).answer;
        assert_eq!(answer.status, status);
        assert_eq!(answer.cookies().len(), usize::from(wanted), "{answer:?}");
        assert_eq!(answer.field("x-session"), Some("new"), "{answer:?}");
    }
    let lines = INSERT.replace(" }", ", insert_on_error = true }");
    let configuration = Configuration::new(&site.lab, "").pool(&site.lab, Family::V4, "");
    let configuration = configuration.listener("shop", "http", shop::vip(&site.lab), &lines);
    shop::reload(&site, &configuration);
    for status in [404, 500, 503] {
        let answer = get(&site, 0, &format!("/status/{status}"), &[]).answer;
        assert_eq!((answer.status, answer.cookies().len()), (status, 1), "{answer:?}");
    }
}

#[test]
fn redirects_keep_the_session() {
    let site = shop::start(1, 3, INSERT);
    for status in [301, 302, 303, 307, 308] {
        let first = get(&site, 0, "/", &[]).answer;
        let cookie = first.cookies()[0].to_owned();
        let server = first.server();
        for _ in 0..4 {
            let path = format!("/status/{status}");
            let answer = get(&site, 0, &path, &["--cookie", &cookie]).answer;
            assert_eq!(answer.status, status);
            assert_eq!(answer.field("x-server"), Some(&*server), "{answer:?}");
            assert_eq!(answer.field("x-session"), Some("hit"), "{answer:?}");
            assert_eq!(answer.all("set-cookie"), [""; 0], "{answer:?}");
        }
        // A session may begin with a redirect. Then it goes where that leads.
        let jar = site.lab.folder().join(format!("jar{status}"));
        let jar = jar.to_str().expect("a path");
        let arguments = ["--location", "--cookie-jar", jar, "--cookie", jar];
        let followed = get(&site, 0, &format!("/status/{status}"), &arguments);
        let [redirect] = followed.before.as_slice() else { panic!("{followed:?}") };
        assert_eq!((redirect.status, redirect.cookies().len()), (status, 1), "{redirect:?}");
        let answer = &followed.answer;
        assert_eq!(answer.field("x-server"), redirect.field("x-server"), "{followed:?}");
        assert_eq!(answer.field("x-session"), Some("hit"), "{answer:?}");
    }
}

#[test]
fn backends_get_the_other_cookies_byte_for_byte() {
    let site = shop::start(1, 2, INSERT);
    let first = get(&site, 0, "/", &[]).answer;
    let own = first.cookies()[0];
    for (sent, wanted) in [
        (own.to_owned(), ""),
        (format!("a=b; {own}; c=\"d e\"; f"), "a=b; c=\"d e\"; f"),
        (format!("{own};a=b"), "a=b"),
        (format!("a=b;  x{own}; {own}x; {own}"), &*format!("a=b;  x{own}; {own}x")),
        (format!("serverid=1; a==; ;=; {own}"), "serverid=1; a==; ;="),
        (format!("SERVERID=garbage; {own}; a=1"), "a=1"),
    ] {
        // The last of them are the browser's own, of a name that is longer.
        let wanted = wanted.trim_end_matches(&format!("; {own}x"));
        let header = format!("Cookie: {sent}");
        let answer = get(&site, 0, "/", &["--header", &header]).answer;
        let text = answer.text();
        let seen = text.split_once('[').and_then(|(_, rest)| rest.trim_end().strip_suffix(']'));
        let seen = seen.unwrap_or_else(|| panic!("{text}"));
        assert_eq!(seen.trim_end_matches(&format!("; {own}x")), wanted, "{sent}");
        if sent.split(';').any(|one| one.trim() == own) {
            assert_eq!(answer.field("x-session"), Some("hit"), "{sent}");
            assert_eq!(answer.server(), first.server(), "{sent}");
        }
    }
}

#[test]
fn a_cookie_says_what_is_configured() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let cases = [
        ("", "SERVERID", "Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"),
        ("cookie = \"S\", path = \"/a\"", "S", "Max-Age=3600; Path=/a; HttpOnly; SameSite=Lax"),
        (
            "domain = \"shop.example\", http_only = false",
            "SERVERID",
            "Max-Age=3600; Path=/; Domain=shop.example; SameSite=Lax",
        ),
        (
            "secure = true, same_site = \"none\", partitioned = true",
            "SERVERID",
            "Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=None; Partitioned",
        ),
        (
            "max_lifetime = \"1h\", same_site = \"strict\", cookie = \"__Host-s\", secure = true",
            "__Host-s",
            "Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Strict",
        ),
    ];
    let mut configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "");
    for (port, (lines, ..)) in (80..).zip(cases) {
        let comma = if lines.is_empty() { "" } else { ", " };
        configuration = configuration.listener(
            &format!("shop-{port}"),
            "http",
            SocketAddr::new(lab.vip(Family::V4), port),
            &format!("persistence = {{ timeout = \"1h\"{comma}{lines} }}"),
        );
    }
    let servers = shop::servers(&lab);
    let site = shop::serve(lab, servers, &configuration);
    for (port, (lines, name, attributes)) in (80..).zip(cases) {
        let to = SocketAddr::new(site.lab.vip(Family::V4), port);
        let mut one = Raw::open(&site.lab.clients, shop::client(&site.lab, 0), to);
        let answer = one.ask("/public", "");
        let cookie = answer.field("set-cookie").unwrap_or_else(|| panic!("{lines}: {answer:?}"));
        let (pair, rest) = cookie.split_once("; ").expect("attributes");
        assert_eq!((pair.split('=').next(), rest), (Some(name), attributes), "{lines}");
        // Nothing of a backend is in it, and it keeps the answer out of shared caches.
        assert!(!cookie.contains("web-1") && !cookie.contains("10.0.0.11"), "{cookie}");
        assert_eq!(answer.field("cache-control"), Some("private, max-age=60"), "{answer:?}");
        // Only an answer that sets one.
        let answer = one.ask("/public", &format!("Cookie: {pair}\r\n"));
        assert_eq!(answer.all("set-cookie"), [""; 0], "{lines}");
        assert_eq!(answer.field("cache-control"), Some("public, max-age=60"), "{answer:?}");
    }
}

#[test]
fn first_requests_of_one_browser_go_together() {
    // Two seconds are the default.
    let site = shop::start(4, 3, "persistence = { timeout = \"1h\" }");
    let mut servers_of_all = BTreeSet::new();
    for index in 0..4 {
        let mut connections: Vec<Raw> = (0..6).map(|_| shop::raw(&site, index)).collect();
        let servers: BTreeSet<String> = thread::scope(|scope| {
            let ask = |one: &mut Raw| one.ask("/", "").server();
            let jobs: Vec<_> =
                connections.iter_mut().map(|one| scope.spawn(move || ask(one))).collect();
            jobs.into_iter().map(|job| job.join().expect("an answer")).collect()
        });
        assert_eq!(servers.len(), 1, "client {index}: {servers:?}");
        servers_of_all.extend(servers);
    }
    assert!(servers_of_all.len() > 1, "all clients are on one: {servers_of_all:?}");
    // Then it is forgotten: many may be behind one address.
    thread::sleep(std::time::Duration::from_millis(2300));
    let mut servers = BTreeSet::new();
    for _ in 0..3 {
        servers.insert(get(&site, 0, "/", &[]).answer.server());
        thread::sleep(std::time::Duration::from_millis(2300));
    }
    assert!(servers.len() > 1, "{servers:?}");
}
