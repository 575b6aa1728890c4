use std::path::Path;

use super::*;
use crate::l7::cookie::{samples::random, seal::seal};

const NOW_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;

const FILE: &str = r#"
[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
backend = [{ name = "web-1", address = "10.0.0.1:80" }, { name = "web-2", address = "10.0.0.2:80" }]
[[pool]]
name = "api"
backend = [{ name = "api-1", address = "10.0.0.3:80" }]
[[listener]]
name = "shop"
protocol = "http"
address = "203.0.113.1:80"
pool = "web"
persistence = { timeout = "10m", max_lifetime = "1h" }
rule = [
  { host = "api.example", pool = "api", persistence = { mode = "cookie-rewrite", cookie = "JSESSIONID" } },
  { host = "short.example", pool = "web", persistence = { timeout = "5m" } },
]
"#;

struct Site {
    config: Config,
    backends: Vec<Vec<Backend>>,
    ring: Ring,
}

impl Site {
    fn new() -> Self {
        let config = crate::config::parse(FILE, Path::new("t.toml")).expect("configuration");
        let backend = |backend: &crate::config::Backend| Backend {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            weight: 1,
            generation: 4,
            standing: Standing::InService,
        };
        let pools = config.pools.iter().map(|pool| pool.backends.iter().map(backend).collect());
        let backends = pools.collect();
        Self { config, backends, ring: Ring::new(NOW_MS / 1000 - 3600, &mut random(1)) }
    }

    fn explain(&self, text: &str) -> wire::Explained {
        let known =
            Known { config: &self.config, backends: &self.backends, ring: &self.ring, epoch: 9 };
        explain(text, &known, NOW_MS)
    }

    /// What the one cookie of `text` holds.
    fn one(&self, text: &str) -> wire::ExplainedCookie {
        let mut explained = self.explain(text);
        assert_eq!(explained.cookies.len(), 1, "{text}");
        explained.cookies.remove(0)
    }

    fn seal(&self, scope: &str, pin: &Pin) -> String {
        seal(&Sealer::new(&self.ring), scope.as_bytes(), pin, NOW_MS, &mut random(2))
    }
}

/// Of web-1 in its present life, eleven minutes old, renewed a minute ago.
fn pin() -> Pin {
    Pin {
        backend: view::identity("web-1", [10, 0, 0, 1].into(), Some(80)),
        epoch: 9,
        generation: 4,
        session: 0xabc,
        issued_ms: NOW_MS - 11 * MINUTE_MS,
        renewed_ms: NOW_MS - MINUTE_MS,
        idle_s: 600,
        absolute_s: 3600,
    }
}

fn verdicts(cookie: &wire::ExplainedCookie) -> Vec<(Option<&str>, &str)> {
    let rules = cookie.session.iter().flat_map(|session| &session.rules);
    rules.map(|rule| (rule.host.as_deref(), rule.verdict.as_str())).collect()
}

#[test]
fn a_cookie_is_found_however_it_is_pasted() {
    let site = Site::new();
    let seal = site.seal("shop web", &pin());
    let check = |text: &str, name: Option<&str>, rewritten: bool, others: u64| {
        let explained = site.explain(text);
        assert_eq!(explained.others, others, "{text}");
        let cookie = explained.cookies.first().expect(text);
        assert_eq!((cookie.name.as_deref(), cookie.rewritten), (name, rewritten), "{text}");
        assert!(cookie.session.is_some() && explained.cookies.len() == 1, "{text}");
    };
    check(&seal, None, false, 0);
    check(&format!("  {seal}\n"), None, false, 0);
    check(&format!("SERVERID={seal}"), Some("SERVERID"), false, 0);
    check(&format!("Cookie: a=b; SERVERID={seal}; c=d"), Some("SERVERID"), false, 2);
    check(&format!("> cookie: a=b\n> Cookie: SERVERID={seal}"), Some("SERVERID"), false, 1);
    check(
        &format!("< Set-Cookie: SERVERID={seal}; Path=/; Max-Age=600; HttpOnly"),
        Some("SERVERID"),
        false,
        0,
    );
    let api = site.seal("shop api", &pin());
    check(&format!("{api}.own=value.x"), None, true, 0);
    check(&format!("JSESSIONID={api}.own=value"), Some("JSESSIONID"), true, 0);
    check(&format!("JSESSIONID=\"{api}.own\""), Some("JSESSIONID"), true, 0);
    let none = site.explain("a=b; c=d");
    assert_eq!((none.cookies.len(), none.others), (0, 2));
    assert_eq!(site.explain(" ;; \n"), wire::Explained { cookies: vec![], others: 0 });
}

#[test]
fn what_it_says() {
    let mut site = Site::new();
    let text = format!("SERVERID={}", site.seal("shop web", &pin()));
    let cookie = site.one(&text);
    assert_eq!(cookie.key, Some(site.ring.keys()[0].id));
    let session = cookie.session.as_ref().expect("it opens");
    assert_eq!((session.listener.as_str(), session.pool.as_str()), ("shop", "web"));
    assert_eq!(
        (session.id.as_str(), session.issued_ago_s, session.renewed_ago_s),
        ("0000000000000abc", 660, 60)
    );
    assert_eq!(session.renewed, "2027-01-15T07:59:00Z");
    assert!(session.key_seals);
    let backend = session.backend.as_ref().expect("it is there");
    assert_eq!((backend.name.as_str(), backend.same_life), ("web-1", Some(true)));
    // The rule with the shorter time cuts it short, and makes it anew.
    let limits = |rule: &wire::ExplainedRule| {
        let left = |limit: &Option<wire::ExplainedLimit>| limit.as_ref().map(|it| it.left_s);
        (rule.host.clone(), rule.renews, left(&rule.idle), left(&rule.absolute))
    };
    let rules: Vec<_> = session.rules.iter().map(limits).collect();
    let short = Some("short.example".to_owned());
    assert_eq!(rules, [(short, true, Some(240), Some(2940)), (None, false, Some(540), Some(2940))]);
    // Another key seals: the cookie is good, and made anew.
    site.ring.rotate(NOW_MS / 1000 - 1, 0, &mut random(5));
    let cookie = site.one(&text);
    let session = cookie.session.expect("it opens");
    assert!(!session.key_seals && session.rules.iter().all(|rule| rule.renews));
}

#[test]
fn the_verdict_is_that_of_a_request() {
    let check = |change: &dyn Fn(&mut Site, &mut Pin), want: &str, same_life: Option<bool>| {
        let (mut site, mut pin) = (Site::new(), pin());
        change(&mut site, &mut pin);
        let cookie = site.one(&site.seal("shop web", &pin));
        assert_eq!(verdicts(&cookie), [(Some("short.example"), want), (None, want)]);
        let backend = cookie.session.and_then(|session| session.backend);
        assert_eq!(backend.and_then(|backend| backend.same_life), same_life, "{want}");
    };
    check(&|_, _| {}, "hit", Some(true));
    check(&|site, _| site.backends[0][0].standing = Standing::Draining, "hit", Some(true));
    check(&|site, _| site.backends[0][0].standing = Standing::Evacuating, "drained", Some(true));
    check(&|site, _| site.backends[0][0].standing = Standing::Down, "down", Some(true));
    check(&|site, _| site.backends[0][0].generation = 5, "down", Some(false));
    check(&|_, pin| pin.epoch = 8, "hit", None);
    check(&|site, _| drop(site.backends[0].remove(0)), "down", None);
    check(&|_, pin| pin.renewed_ms -= 9 * MINUTE_MS, "expired", Some(true));
    check(&|_, pin| pin.issued_ms -= 49 * MINUTE_MS, "expired", Some(true));
}

#[test]
fn a_cookie_of_another_name_or_kind_means_nothing_to_rules() {
    let site = Site::new();
    let seal = site.seal("shop web", &pin());
    assert_eq!(verdicts(&site.one(&format!("OTHER={seal}"))), []);
    assert_eq!(verdicts(&site.one(&format!("SERVERID={seal}.x"))), []);
    let api = site.seal("shop api", &Pin { idle_s: 0, absolute_s: 0, ..pin() });
    assert_eq!(verdicts(&site.one(&format!("JSESSIONID={api}"))), []);
    let cookie = site.one(&format!("JSESSIONID={api}.x"));
    // Its backend is not of that pool.
    assert_eq!(verdicts(&cookie), [(Some("api.example"), "down")]);
    let session = cookie.session.expect("it opens");
    assert_eq!((session.backend, &session.rules[0].idle), (None, &None));
}

#[test]
fn why_it_does_not_open() {
    let site = Site::new();
    let check = |text: &str, key: Option<u32>, want: &str| {
        let cookie = site.one(text);
        assert_eq!((cookie.key, &cookie.session), (key, &None), "{text}");
        let error = cookie.error.unwrap_or_default();
        assert!(error.contains(want), "{text}: {error}");
    };
    let id = site.ring.keys()[0].id;
    check("hold", None, "it is no seal: they begin with `hold` and are 112 characters long");
    check("SERVERID=10.0.0.1", None, "it is no seal");
    check("JSESSIONID=own", None, "there is no seal before its value");
    let seal = site.seal("shop web", &pin());
    let changed = format!("{}A", &seal[..seal.len() - 1]);
    assert_ne!(changed, seal);
    check(&changed, Some(id), "did not seal it for any of the 2 listeners and pools here");
    check(
        &site.seal("mall web", &pin()),
        Some(id),
        "for a listener or pool that is not configured",
    );
    let other = Site { ring: Ring::new(0, &mut random(77)), ..Site::new() };
    let theirs = other.ring.keys()[0].id;
    check(
        &other.seal("shop web", &pin()),
        Some(theirs),
        &format!("key {theirs}, which it names, is not in the ring"),
    );
}

#[test]
fn no_secret_is_told() {
    let site = Site::new();
    let json = site.ring.to_json().expect("JSON");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let secret = json["keys"][0]["secret"].as_str().expect("a secret");
    let explained = site.explain(&format!("SERVERID={}", site.seal("shop web", &pin())));
    let said = serde_json::to_string(&explained).expect("JSON");
    assert!(said.contains("web-1") && !said.contains(secret), "{said}");
}

#[test]
fn any_text_is_answered() {
    let site = Site::new();
    let mut draw = random(3);
    for length in 0..300 {
        let mut bytes = vec![0; length];
        draw(&mut bytes);
        let _answer = site.explain(&String::from_utf8_lossy(&bytes));
    }
    let many = format!("{};", site.seal("shop web", &pin())).repeat(1000);
    assert_eq!(site.explain(&many).cookies.len(), LOOKED_AT);
}
