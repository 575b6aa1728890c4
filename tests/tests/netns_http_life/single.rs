//! A request that was sent once may be sent again only if nothing can be lost or done twice.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tests::{
    http::{
        backend::{Backend, Conversation},
        shop::{self, INSERT},
    },
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

/// Two backends that close on the first so many requests for `/break`, after they have read them.
fn site(breaks: u32) -> (Site, Vec<Backend>, Arc<AtomicU32>) {
    let lab = Lab::new(Shape::Routed, 1, 2);
    let broken = Arc::new(AtomicU32::new(0));
    let backends = (0..2)
        .map(|index| {
            let (name, broken) = (backend_name(index), Arc::clone(&broken));
            let at = (lab.backend(Family::V4, index), PORT).into();
            let serve = move |conversation: &mut Conversation| -> io::Result<bool> {
                let _body = conversation.body()?;
                if conversation.target() == "/break"
                    && broken.fetch_add(1, Ordering::Relaxed) < breaks
                {
                    return Ok(false);
                }
                conversation.reply("200 OK", "", &format!("{name}\n"))
            };
            Backend::start(&lab.backends[index], at, serve)
        })
        .collect();
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    (shop::serve(lab, Vec::new(), &configuration), backends, broken)
}

#[track_caller]
fn check(breaks: u32, request: &str, wanted: u16, sent: u32) {
    let (site, _backends, broken) = site(breaks);
    let mut raw = shop::raw(&site, 0);
    raw.send(request);
    let answer = raw.answer();
    assert_eq!(answer.status, wanted, "{request}: {answer:?}");
    assert_eq!(broken.load(Ordering::Relaxed), sent, "{request}");
}

#[test]
fn a_request_that_is_safe_to_repeat_is_repeated() {
    check(1, "GET /break HTTP/1.1\r\nHost: x\r\n\r\n", 200, 2);
}

#[test]
fn one_that_may_have_been_done_is_not() {
    check(1, "POST /break HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 502, 1);
}

#[test]
fn repeating_has_an_end() {
    let (site, _backends, broken) = site(u32::MAX);
    let mut raw = shop::raw(&site, 0);
    raw.send("GET /break HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = raw.answer();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!((2..=4).contains(&broken.load(Ordering::Relaxed)), "{broken:?}");
    // The connection goes on.
    assert_eq!(raw.ask("/", "").status, 200);
}
