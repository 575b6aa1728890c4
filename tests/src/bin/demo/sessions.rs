//! The story's second part: layer 7, where a cookie and not an address holds a client.

use std::collections::BTreeSet;

use lb_userspace::api::wire::BackendState;

use crate::{
    shop::{self, Client, fields, tally, told},
    story::{self, Story},
    view,
};

/// Sessions that are there while backends leave.
const SESSIONS: usize = 12;

/// `$(seq 30)`, `[1-30]`.
const REQUESTS: usize = 30;

pub(crate) fn tell(story: &mut Story) {
    let client = begin(story);
    let mut part = Sessions { story, client };
    part.hold();
    part.tell_domains_apart();
    part.redirect();
    part.leave();
}

fn begin(story: &mut Story) -> Client {
    view::heading(7, "Layer 7: an HTTP and an HTTPS listener");
    shop::make_certificate(&story.lab);
    view::say(
        "\nTwo sites, shop.example and api.example, both at 203.0.113.11. Added to holdfast.toml:\n",
    );
    let (layer_4, layer_7) = story::parts();
    view::quote(layer_7);
    view::say("");
    story.write(&format!("{layer_4}\n{layer_7}"));
    view::command("holdfast reload");
    view::quote(&story.holdfast.verb("reload"));
    let _status = story.holdfast.until_backend("api-1", BackendState::Ready);
    let _status = story.holdfast.until_backend("api-2", BackendState::Ready);
    let client = Client::new(&story.lab);
    client.wait_for_sites();
    client
}

struct Sessions<'s> {
    story: &'s mut Story,
    client: Client,
}

impl Sessions<'_> {
    /// Runs a command line, shows how often it printed what, and returns what it printed.
    fn count(&self, line: &str) -> Vec<String> {
        let lines = self.client.run(line);
        let counts: Vec<String> =
            tally(&lines).iter().map(|(line, count)| format!("{count:>3} x {line}")).collect();
        view::quote(&counts.join("\n"));
        lines
    }

    /// Runs a command line, shows of the answers what the story is about, and returns all.
    fn ask(&self, line: &str) -> Vec<String> {
        let lines = self.client.run(line);
        view::quote(&told(&lines));
        lines
    }

    fn hold(&mut self) {
        view::heading(8, "A cookie holds a session");
        view::say("  The page of each backend shows its address.\n");
        let first = self.ask("curl -i -c jar http://shop.example/");
        let again = self.count("for i in $(seq 30); do curl -b jar http://shop.example/; done");
        let cookies = fields(&first, "set-cookie");
        self.story.claim(
            "the first answer set one cookie, SERVERID; it shows no address",
            cookies.len() == 1
                && cookies[0].starts_with("SERVERID=")
                && !cookies[0].contains("10.0.0."),
        );
        self.story.claim(
            "with it, one backend answered 30 times",
            again.len() == REQUESTS && tally(&again).len() == 1 && first.last() == again.first(),
        );
        view::say("");
        let line = "for i in $(seq 30); do curl --interface 198.51.100.$((10 + i)) \
                    http://shop.example/; done";
        let spread = self.count(line);
        self.story
            .claim("without it, several did", spread.len() == REQUESTS && tally(&spread).len() > 1);
        view::say(
            "  From 30 addresses, since one address's requests without a cookie are taken for one\n  \
             browser's for two seconds (first_flight): its page's images go where the page went.\n",
        );
        let first = self.ask("curl -i -c jar-tls https://shop.example/");
        let again = self.count("curl -b jar-tls 'https://shop.example/?[1-30]'");
        let cookies = fields(&first, "set-cookie");
        self.story.claim(
            "the same over HTTPS, on one connection; that cookie is Secure",
            cookies.len() == 1
                && cookies[0].starts_with("SHOP=")
                && cookies[0].split("; ").any(|part| part == "Secure")
                && again.len() == REQUESTS
                && tally(&again).len() == 1
                && first.last() == again.first(),
        );
    }

    fn tell_domains_apart(&mut self) {
        view::heading(9, "Another domain of the same listener: its backend's own cookie");
        view::say(
            "  This page shows the backend's address, and the session that the backend knows.\n",
        );
        let first = self.ask("curl -i -c jar-api http://api.example/");
        let again = self.count("curl -b jar-api 'http://api.example/?[1-30]'");
        let page = first.last().cloned().unwrap_or_default();
        let own = page.split(' ').nth(1).unwrap_or_default();
        let cookies = fields(&first, "set-cookie");
        self.story.claim(
            "the backend's JSESSIONID, and no other cookie, now also holds the session",
            cookies.len() == 1 && cookies[0].starts_with("JSESSIONID=") && cookies[0].contains(own),
        );
        self.story.claim(
            "one backend answered 30 times, of this domain's pool, and got its own value back",
            !own.is_empty()
                && again.len() == REQUESTS
                && again.iter().all(|line| *line == page)
                && !page.starts_with("10.0.0.11 "),
        );
    }

    fn redirect(&mut self) {
        view::heading(10, "A redirect, and an error");
        let followed = self.ask("curl -i -L -b jar http://shop.example/login");
        let page = self.ask("curl -b jar http://shop.example/");
        let backends: BTreeSet<_> = fields(&followed, "x-backend")
            .into_iter()
            .chain(page.iter().map(String::as_str))
            .collect();
        self.story.claim(
            "the session is where it was, before and behind the redirect",
            backends.len() == 1
                && followed.iter().filter(|line| line.starts_with("HTTP/")).count() == 2
                && fields(&followed, "set-cookie").is_empty(),
        );
        view::say("");
        let missing = self.ask("curl -i http://shop.example/missing");
        self.story.claim(
            "a 404 carries no cookie",
            missing.first().is_some_and(|line| line.starts_with("HTTP/1.1 404"))
                && fields(&missing, "set-cookie").is_empty(),
        );
    }

    fn leave(&mut self) {
        view::heading(11, "Backends leave");
        let first = self.count(
            "for i in $(seq 12); do curl -c jar-$i --interface 198.51.100.$((10 + i)) \
             http://shop.example/; done",
        );
        let spread = first.len() == SESSIONS && tally(&first).len() == 3;
        self.story.claim("twelve sessions, on all three backends", spread);
        view::say("");
        view::command("holdfast backend drain web-1");
        view::quote(&self.story.holdfast.verb("backend drain web-1"));
        let drained = self.again();
        self.story.claim("every session stays where it was", drained == first);
        let late = self.count(
            "for i in $(seq 12); do curl --interface 198.51.100.$((40 + i)) http://shop.example/; done",
        );
        self.story.claim(
            "new ones go elsewhere",
            late.len() == SESSIONS && !late.iter().any(|at| at == "10.0.0.11"),
        );

        view::say("\n  nginx on web-2 is killed; nobody waits for the health check.\n");
        self.story.servers[1].stop();
        let moved = self.again();
        let held = first.iter().zip(&moved).all(|(before, after)| match before.as_str() {
            "10.0.0.12" => after == "10.0.0.13",
            _ => after == before,
        });
        self.story.claim(
            "its sessions are answered by web-3, since web-1 is drained; nobody else moved",
            moved.len() == SESSIONS && held,
        );
        let _status = self.story.holdfast.until_backend("web-2", BackendState::Down);
        let stay = self.again();
        self.story.servers[1].start_again();
        let _status = self.story.holdfast.until_backend("web-2", BackendState::Ready);
        view::say("\n  web-2 is back.\n");
        let back = self.again();
        self.story.claim("they moved once, and stay there", stay == moved && back == moved);
        view::say("");
        view::command("holdfast backend ready web-1");
        view::quote(&self.story.holdfast.verb("backend ready web-1"));
    }

    /// A request of each of the sessions, with what it brings back kept.
    fn again(&self) -> Vec<String> {
        self.count("for i in $(seq 12); do curl -b jar-$i -c jar-$i http://shop.example/; done")
    }
}
