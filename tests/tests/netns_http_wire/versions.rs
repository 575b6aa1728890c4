//! HTTP/1.0, 1.1 and 2 with clients.

use std::{collections::BTreeMap, process::Stdio};

use tests::{
    http::{
        certificates::Authority,
        curl::{self, Transfer},
        shop::{self, INSERT, get},
    },
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
};

/// `http` on port 80 and `https` on 443.
fn site() -> Site {
    let lab = Lab::new(Shape::Routed, 2, 3);
    let certificate = Authority::new(&lab.folder().join("ca")).sign("shop", "shop.example");
    let https = std::net::SocketAddr::new(lab.vip(Family::V4), 443);
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, "")
        .listener("shop", "http", shop::vip(&lab), INSERT)
        .listener("secure", "https", https, &format!("tls = {}\n{INSERT}", certificate.table()));
    let servers = shop::servers(&lab);
    shop::serve(lab, servers, &configuration)
}

/// A session by curl with these arguments: one server, over `version`.
#[track_caller]
fn check_session(site: &Site, scheme: &str, arguments: &[&str], version: &str) {
    let url = format!("{scheme}://shop.example");
    let vip = site.lab.vip(Family::V4);
    let resolve = [format!("shop.example:80:{vip}"), format!("shop.example:443:{vip}")];
    let ca = site.lab.folder().join("ca/ca.pem").display().to_string();
    let run = |more: &[&str], paths: &[String]| -> Vec<Transfer> {
        let fixed = ["--cacert", &ca, "--resolve", &resolve[0], "--resolve", &resolve[1]];
        let all = fixed.iter().chain(arguments).chain(more).map(|text| (*text).to_owned());
        let urls = paths.iter().map(|path| format!("{url}{path}"));
        curl::transfers(&site.lab.clients, shop::client(&site.lab, 0), all.chain(urls))
    };
    let jar = site.lab.folder().join(format!("jar-{scheme}-{version}"));
    let jar = jar.to_str().expect("a path");
    let first = run(&["--cookie-jar", jar], &["/first".to_owned()]);
    assert_eq!(first[0].version, version, "{first:?}");
    assert_eq!(first[0].answer.field("x-session"), Some("new"), "{first:?}");
    let server = first[0].answer.server();
    let paths: Vec<String> = (0..10).map(|number| format!("/page{number}")).collect();
    // curl before 8.0 cannot use a connection twice by prior knowledge; h2load does.
    let at_once = if arguments.contains(&"--http2-prior-knowledge") { 1 } else { paths.len() };
    let run_all = |more: &[&str]| -> Vec<Transfer> {
        paths.chunks(at_once).flat_map(|some| run(more, some)).collect()
    };
    let rest = run_all(&["--cookie", jar]);
    assert_eq!(rest.len(), 10);
    for (path, one) in paths.iter().zip(&rest) {
        assert_eq!((one.answer.server(), &*one.version), (server.clone(), version), "{one:?}");
        // Its own cookie stays here.
        assert_eq!(one.answer.text(), format!("{server} {path} []\n"), "{one:?}");
        assert_eq!(one.answer.field("x-session"), Some("hit"), "{one:?}");
    }
    // Without the jar they spread, over one connection too.
    let spread = run_all(&[]);
    let names: std::collections::BTreeSet<_> =
        spread.iter().map(|one| one.answer.server()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn sessions_are_the_same_over_every_version() {
    let site = site();
    // curl calls 1.0 so.
    check_session(&site, "http", &["--http1.0"], "1");
    check_session(&site, "http", &["--http1.1"], "1.1");
    check_session(&site, "http", &["--http2-prior-knowledge"], "2");
    check_session(&site, "https", &["--http1.1"], "1.1");
    check_session(&site, "https", &["--http2"], "2");
    // An upgrade to HTTP/2 is not taken: the request is answered as it came (RFC 9113, 3.1).
    let answer = get(&site, 0, "/", &["--http2"]);
    assert_eq!((&*answer.version, answer.answer.status), ("1.1", 200), "{answer:?}");
}

#[test]
fn one_connection_serves_several_sessions() {
    let site = site();
    let mut raw = shop::raw(&site, 0);
    let mut sessions = BTreeMap::new();
    while sessions.len() < 3 {
        let answer = raw.ask("/", "");
        let _before = sessions.insert(answer.server(), answer.cookies()[0].to_owned());
    }
    for _ in 0..5 {
        for (server, cookie) in &sessions {
            let answer = raw.ask("/", &format!("Cookie: {cookie}\r\n"));
            assert_eq!(answer.server(), *server);
            assert_eq!(answer.field("x-session"), Some("hit"));
        }
    }
}

#[test]
fn cookies_that_http_2_has_split_are_one() {
    let site = site();
    let h2 = ["--http2-prior-knowledge"];
    let first = get(&site, 0, "/", &h2).answer;
    let own = first.cookies()[0];
    let fields = ["Cookie: a=1", &format!("Cookie: {own}"), "Cookie: b=2; c=3"];
    let mut arguments = h2.to_vec();
    for field in &fields {
        arguments.extend(["--header", *field]);
    }
    for _ in 0..4 {
        let answer = get(&site, 0, "/", &arguments).answer;
        assert_eq!(answer.text(), format!("{} / [a=1; b=2; c=3]\n", first.server()));
        assert_eq!(answer.field("x-session"), Some("hit"));
    }
}

#[test]
fn old_clients_get_what_they_know() {
    let site = site();
    let mut raw = shop::raw(&site, 0);
    raw.send("GET /old HTTP/1.0\r\nHost: shop.example\r\n\r\n");
    let answer = raw.answer();
    assert_eq!((answer.status, answer.field("transfer-encoding")), (200, None), "{answer:?}");
    let _end = raw.until_closed();
    // HTTP/1.0 keeps a connection only when asked to.
    let mut raw = shop::raw(&site, 0);
    for _ in 0..3 {
        raw.send("GET /old HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(raw.answer().status, 200);
    }
    raw.send("HEAD /old HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let head = raw.try_answer(true).expect("an answer").expect("one");
    assert_eq!(head.status, 200);
    assert!(head.field("content-length").is_some(), "{head:?}");
    assert_eq!(raw.ask("/", "").status, 200);
}

#[test]
fn h2load_has_all_its_answers() {
    let site = site();
    let vip = site.lab.vip(Family::V4);
    for url in [format!("http://{vip}/"), format!("https://{vip}/")] {
        let mut command = site.lab.clients.command("h2load");
        command.args(["--requests=3000", "--clients=6", "--max-concurrent-streams=20", &url]);
        let output = command.stdin(Stdio::null()).output().expect("h2load is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        let wanted = "3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored";
        assert!(text.contains(wanted), "{url}: {text}");
        assert!(text.contains("3000 2xx"), "{url}: {text}");
    }
}
