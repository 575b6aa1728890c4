//! `cookie-rewrite`: the backend's cookie holds the session, and the backend notices nothing (C2).

use std::io;

use tests::{
    http::{
        backend::{Backend, Conversation},
        shop::{self, get},
    },
    site::{Configuration, PORT, backend_name},
    topology::{Family, Lab, Shape},
};

const REWRITE: &str =
    "persistence = { mode = \"cookie-rewrite\", cookie = \"JSESSIONID\", header = \"X-Session\" }";

#[test]
fn nginx_gets_its_own_cookie_back() {
    let site = shop::start(1, 3, REWRITE);
    for round in 0..6 {
        // Without the backend's cookie there is no session.
        let before = get(&site, 0, "/", &[]).answer;
        assert_eq!(before.all("set-cookie"), [""; 0], "{before:?}");
        let first = get(&site, 0, "/set", &[]).answer;
        let server = first.server();
        let own = format!("JSESSIONID=AB+/c~{server}==");
        let [cookie, other] = first.all("set-cookie")[..] else { panic!("{first:?}") };
        assert_eq!(other, "other=1");
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; HttpOnly; Max-Age=90");
        assert!(pair.ends_with(&format!(".AB+/c~{server}==")), "{pair}");
        assert_eq!(first.field("cache-control"), Some("private"));
        for _ in 0..4 {
            let sent = format!("a=1; {pair}; {other}");
            let answer = get(&site, 0, "/", &["--cookie", &sent]).answer;
            let wanted = format!("{server} / [a=1; {own}; other=1]\n");
            assert_eq!(answer.text(), wanted, "round {round}");
            assert_eq!(answer.field("x-session"), Some("hit"));
            assert_eq!(answer.all("set-cookie"), [""; 0], "{answer:?}");
        }
        // Set again: sealed again, on the same server.
        let again = get(&site, 0, "/set", &["--cookie", pair]).answer;
        assert_eq!((again.server(), again.field("x-session")), (server, Some("hit")));
        assert_ne!(again.cookies()[0], pair);
    }
}

/// Sets a cookie of that value, or says which it got.
fn serve(conversation: &mut Conversation, name: &str) -> io::Result<bool> {
    let got = conversation.field("cookie").unwrap_or_default().to_owned();
    let value = conversation.field("x-value").unwrap_or_default().to_owned();
    let fields = match conversation.target() {
        "/set" => format!("Set-Cookie: JSESSIONID={value}\r\n"),
        _ => String::new(),
    };
    conversation.reply("200 OK", &fields, &format!("{name} {got}\n"))
}

#[test]
fn values_of_any_kind_come_back_byte_for_byte() {
    let lab = Lab::new(Shape::Routed, 1, 2);
    let _backends: Vec<Backend> = (0..2)
        .map(|index| {
            let (name, at) = (backend_name(index), (lab.backend(Family::V4, index), PORT));
            let answer = move |conversation: &mut Conversation| serve(conversation, &name);
            Backend::start(&lab.backends[index], at.into(), answer)
        })
        .collect();
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        REWRITE,
    );
    let site = shop::serve(lab, Vec::new(), &configuration);
    let long = "x".repeat(3900);
    for value in ["1", "a.b.c", "\"q; no\"", "\"q d\"", "=", "%3D%00", "hold.hold", &long] {
        let field = format!("X-Value: {value}");
        let first = get(&site, 0, "/set", &["--header", &field]).answer;
        let pair = first.cookies()[0].to_owned();
        let own = format!("JSESSIONID={}", value.split(';').next().unwrap_or_default());
        assert!(pair.len() > own.len() + 80, "{pair}");
        for _ in 0..3 {
            let sent = format!("Cookie: {pair}; JSESSIONID=mine");
            let answer = get(&site, 0, "/", &["--header", &sent]).answer;
            let wanted = format!("{} {own}; JSESSIONID=mine\n", first.server());
            assert_eq!(answer.text(), wanted, "{value}");
        }
    }
    // One that is deleted stays deleted, and one that browsers would not take is left alone.
    let longer = "x".repeat(4000);
    for value in ["; Max-Age=0", "x; Max-Age=0", &longer] {
        let field = format!("X-Value: {value}");
        let first = get(&site, 0, "/set", &["--header", &field]).answer;
        assert_eq!(first.field("set-cookie"), Some(&*format!("JSESSIONID={value}")));
    }
}
