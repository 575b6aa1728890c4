//! Sizes and numbers that clients may not go beyond.

use std::{io, thread::sleep, time::Duration};

use tests::{
    http::{
        backend::{Backend, Conversation},
        raw::Raw,
        shop::{self, INSERT},
    },
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

fn serve(conversation: &mut Conversation) -> io::Result<bool> {
    let (body, _) = conversation.body()?;
    if conversation.target() == "/slow" {
        sleep(Duration::from_millis(700));
    }
    let text = format!("web-1 {}\n", body.len());
    conversation.reply("200 OK", "", &text)
}

fn site(limits: &str, pool: &str) -> (Site, Backend) {
    let lab = Lab::new(Shape::Routed, 3, 1);
    let at = (lab.backend(Family::V4, 0), PORT).into();
    let backend = Backend::start(&lab.backends[0], at, serve);
    let agent = format!("[sidecar]\nworkers = 2\n[sidecar.limits]\n{limits}\n");
    let configuration = Configuration::new(&lab, &agent).pool(&lab, Family::V4, pool).listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    (shop::serve(lab, Vec::new(), &configuration), backend)
}

/// One request on a connection of its own: its status, and that of another one after it.
#[track_caller]
fn check(site: &Site, request: &str, wanted: u16) {
    let mut raw = shop::raw(site, 0);
    raw.send(request);
    let answer = raw.answer();
    let begin = &request[..request.len().min(60)];
    assert_eq!(answer.status, wanted, "{begin:?}: {answer:?}");
    if wanted != 200 {
        let _end = raw.until_closed();
    }
}

#[test]
fn heads_and_bodies_have_bounds() {
    let (site, backend) = site("head_bytes = \"2KiB\"\nhead_fields = 20\nbody_bytes = 1000", "");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    check(&site, &get(&format!("X: {}\r\n", "x".repeat(1500))), 200);
    check(&site, &get(&format!("X: {}\r\n", "x".repeat(2100))), 431);
    // One that never ends is not waited for.
    check(&site, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(2100)), 431);
    check(&site, &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2100)), 414);
    check(&site, &get(&"X: y\r\n".repeat(18)), 200);
    check(&site, &get(&"X: y\r\n".repeat(21)), 431);

    let post = |length: usize| {
        let body = "b".repeat(length);
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    check(&site, &post(1000), 200);
    check(&site, &post(1001), 413);
    let chunked = |length: usize| {
        let body = "b".repeat(length);
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n\
             0\r\n\r\n"
        )
    };
    check(&site, &chunked(1000), 200);
    check(&site, &chunked(1001), 413);
    // The same for HTTP/2.
    let long = format!("X: {}", "x".repeat(2100));
    let arguments = ["--http2-prior-knowledge", "--header", &long];
    assert_eq!(shop::get(&site, 0, "/", &arguments).answer.status, 431);
    let file = site.lab.folder().join("body");
    for (length, wanted) in [(1000, 200), (1001, 413)] {
        std::fs::write(&file, "b".repeat(length)).expect("written");
        let data = format!("@{}", file.display());
        let arguments = ["--http2-prior-knowledge", "--data-binary", &data];
        assert_eq!(shop::get(&site, 0, "/", &arguments).answer.status, wanted);
    }
    let seen = backend.seen_text();
    assert!(seen.contains(&"b".repeat(1000)), "{seen}");
    assert!(!seen.contains(&"b".repeat(1001)), "it got a body that was refused");
}

#[test]
fn connections_have_bounds_for_each_client_and_in_all() {
    let (site, _backend) = site("connections = 12\nclient_connections = 5", "");
    let open = |index: u8, count: usize| -> Vec<Raw> {
        (0..count)
            .map(|_| {
                let mut raw = shop::raw(&site, index);
                assert_eq!(raw.ask("/", "").status, 200, "client {index}");
                raw
            })
            .collect()
    };
    let refused = |index: u8| {
        let mut raw = shop::raw(&site, index);
        let answer = raw.answer();
        assert_eq!(answer.status, 503, "client {index}");
        assert_eq!(answer.field("retry-after"), Some("1"));
    };
    let first = open(0, 5);
    refused(0);
    let second = open(1, 5);
    let third = open(2, 2);
    refused(2);
    // Who goes makes room.
    drop(first);
    shop::settle();
    let more = open(2, 3);
    refused(2);
    drop((second, third, more));
    shop::settle();
    let _again = open(0, 5);
}

#[test]
fn a_queue_has_an_end() {
    let pool = "http = { connections = 2, queue = 2, queue_timeout = \"10s\" }";
    let (site, _backend) = site("", pool);
    let mut raws: Vec<Raw> = (0..12).map(|_| shop::raw(&site, 0)).collect();
    for raw in &mut raws {
        raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut statuses: Vec<u16> = raws.iter_mut().map(|raw| raw.answer().status).collect();
    statuses.sort_unstable();
    let served = statuses.iter().filter(|status| **status == 200).count();
    // Two under way and two that wait, but each of both workers has its own part of that.
    assert!((2..=4).contains(&served), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(shop::raw(&site, 0).ask("/", "").status, 200);
}

#[test]
fn who_waits_too_long_is_told() {
    let pool = "http = { connections = 1, queue = 10, queue_timeout = \"200ms\" }";
    let (site, _backend) = site("", pool);
    let mut raws: Vec<Raw> = (0..6).map(|_| shop::raw(&site, 0)).collect();
    for raw in &mut raws {
        raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let statuses: Vec<u16> = raws.iter_mut().map(|raw| raw.answer().status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
}
