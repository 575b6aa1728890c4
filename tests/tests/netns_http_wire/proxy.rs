//! PROXY headers, in and out; and what is said of clients in forwarding fields.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use lb_userspace::l7::proxy_header::{write_v1, write_v2, write_v2_local};
use tests::{
    http::{
        backend::{Backend, Conversation},
        shop,
    },
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

/// The client that a proxy in front speaks for.
fn far_away() -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 77), 4711).into()
}

fn serve(conversation: &mut Conversation) -> io::Result<bool> {
    let all: Vec<String> =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"]
            .iter()
            .map(|name| conversation.field(name).unwrap_or("-").to_owned())
            .collect();
    let text = all.join(" | ");
    conversation.reply("200 OK", "", &text)
}

fn site(agent: &str, pool: &str, listener: &str) -> (Site, Backend) {
    let lab = Lab::new(Shape::Routed, 2, 1);
    let at = (lab.backend(Family::V4, 0), PORT).into();
    let backend = Backend::start(&lab.backends[0], at, serve);
    let configuration = Configuration::new(&lab, agent).pool(&lab, Family::V4, pool).listener(
        "shop",
        "http",
        shop::vip(&lab),
        listener,
    );
    (shop::serve(lab, Vec::new(), &configuration), backend)
}

#[test]
fn a_trusted_proxy_speaks_for_its_client_and_nobody_else_does() {
    let trusted = "[sidecar]\ntrusted_proxies = [\"198.51.100.11\"]\n";
    let (site, _backend) = site(trusted, "", "accept_proxy = true");
    let vip = shop::vip(&site.lab);
    for header in [write_v1(far_away(), vip), write_v2(far_away(), vip)] {
        let mut raw = shop::raw(&site, 0);
        // In pieces: it may come so.
        for piece in header.chunks(7) {
            raw.send(piece);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        for _ in 0..2 {
            let answer = raw.ask("/", "");
            assert!(answer.text().starts_with("192.0.2.77 "), "{}", answer.text());
        }
    }
    // The proxy's own: a health check.
    let mut raw = shop::raw(&site, 0);
    raw.send(write_v2_local());
    assert!(raw.ask("/", "").text().starts_with("198.51.100.11 "));
    // Without a header, and with one from a stranger: nothing.
    for (index, begin) in [(0, Vec::new()), (1, write_v1(far_away(), vip))] {
        let mut raw = shop::raw(&site, index);
        // At once: a stranger may be gone by the second part.
        raw.send([&begin[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        let _end = raw.until_closed();
    }
}

#[test]
fn what_strangers_say_of_themselves_is_not_passed_on() {
    let (site, _backend) = site("", "", "");
    let fields = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: evil\r\nForwarded: for=10.9.9.9\r\n";
    let text = shop::raw(&site, 0).ask("/", fields).text();
    assert!(text.starts_with("198.51.100.11 | http | shop.example"), "{text}");
    assert!(!text.contains("10.9.9.9") && !text.contains("evil"), "{text}");
}

#[test]
fn a_backend_that_wants_it_is_told_by_a_header() {
    for version in [1, 2] {
        let (site, backend) = site("", &format!("http = {{ send_proxy = {version} }}"), "");
        let clients = [0, 1].map(|index| {
            let mut raw = shop::raw(&site, index);
            assert_eq!(raw.ask("/", "").status, 200);
            assert_eq!(raw.ask("/", "").status, 200);
            raw.stream.local_addr().expect("an address")
        });
        // A connection to the backend is one client's.
        let seen: Vec<String> =
            backend.seen().into_iter().filter(|text| text.contains("GET /")).collect();
        assert_eq!(seen.concat().matches("GET /").count(), 4, "{seen:?}");
        let headers = clients.map(|client| {
            let header = match version {
                1 => write_v1(client, shop::vip(&site.lab)),
                _ => write_v2(client, shop::vip(&site.lab)),
            };
            String::from_utf8_lossy(&header).into_owned()
        });
        for text in &seen {
            let fits = |header: &&String| text.starts_with(header.as_str());
            assert_eq!(headers.iter().filter(fits).count(), 1, "{text:?} of {headers:?}");
        }
        for header in &headers {
            assert!(seen.iter().any(|text| text.starts_with(header)), "{header:?} in {seen:?}");
        }
    }
}
