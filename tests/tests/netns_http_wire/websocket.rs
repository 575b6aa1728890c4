//! WebSocket: the 101 holds the session, and what follows goes through untouched (C11).

use std::io;

use tests::{
    http::{
        backend::{Backend, Conversation},
        shop::{self, INSERT},
        websocket::{check_accepted, echo, handshake, say},
    },
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

fn serve(conversation: &mut Conversation, name: &str) -> io::Result<bool> {
    match conversation.target() {
        "/chat" => echo(conversation, name),
        "/no-chat" => conversation.reply("403 Forbidden", "", &format!("{name} no\n")),
        _ => conversation.reply("200 OK", "", &format!("{name}\n")),
    }
}

fn site(backends: u8) -> (Site, Vec<Backend>) {
    let lab = Lab::new(Shape::Routed, 1, backends);
    let start = |index: usize| {
        let (name, at) = (backend_name(index), (lab.backend(Family::V4, index), PORT).into());
        let serve = move |conversation: &mut Conversation| serve(conversation, &name);
        Backend::start(&lab.backends[index], at, serve)
    };
    let servers = (0..usize::from(backends)).map(start).collect();
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    (shop::serve(lab, Vec::new(), &configuration), servers)
}

#[test]
fn the_handshake_pins_and_messages_flow() {
    let (site, _backends) = site(3);
    for _ in 0..3 {
        let mut chat = shop::raw(&site, 0);
        let answer = chat.ask("/chat", &handshake());
        check_accepted(&answer);
        assert_eq!(answer.field("x-session"), Some("new"), "{answer:?}");
        let cookie = format!("Cookie: {}\r\n", answer.cookies()[0]);
        let hello = say(&mut chat, "hello").expect("an answer");
        let (server, text) = hello.split_once(' ').expect("two words");
        assert_eq!(text, "hello");
        // Requests and further sockets of that browser are on the same server.
        let page = shop::raw(&site, 0).ask("/", &cookie);
        assert_eq!((page.server().as_str(), page.field("x-session")), (server, Some("hit")));
        let mut more = shop::raw(&site, 0);
        let answer = more.ask("/chat", &format!("{}{cookie}", handshake()));
        check_accepted(&answer);
        assert_eq!(answer.all("set-cookie"), [""; 0], "{answer:?}");
        for number in 0..20 {
            let text = format!("message {number}");
            assert_eq!(say(&mut more, &text).expect("an answer"), format!("{server} {text}"));
            assert_eq!(say(&mut chat, &text).expect("an answer"), format!("{server} {text}"));
        }
    }
}

#[test]
fn a_refused_handshake_is_an_answer() {
    let (site, _backends) = site(1);
    let mut raw = shop::raw(&site, 0);
    let answer = raw.ask("/no-chat", &handshake());
    assert_eq!((answer.status, answer.all("set-cookie").len()), (403, 0), "{answer:?}");
    // The connection goes on.
    assert_eq!(raw.ask("/", "").status, 200);
    let answer = raw.ask("/chat", &handshake());
    check_accepted(&answer);
    assert_eq!(say(&mut raw, "late").expect("an answer"), "web-1 late");
}

#[test]
fn a_reload_leaves_sockets_alone() {
    let (site, _backends) = site(2);
    let mut chat = shop::raw(&site, 0);
    check_accepted(&chat.ask("/chat", &handshake()));
    assert!(say(&mut chat, "before").is_ok());
    let text = std::fs::read_to_string(&site.holdfast.config).expect("a file");
    shop::reload(&site, &Configuration { text: text.replace("\"1h\"", "\"2h\"") });
    assert!(say(&mut chat, "after").expect("an answer").ends_with(" after"));
}
