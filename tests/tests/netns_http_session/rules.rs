//! Different sessions in one listener: by host and by path (C3, question 5 of the FAQ).

use std::{collections::BTreeSet, fmt::Write as _};

use tests::{
    http::shop::{self, get},
    site::{Configuration, PORT, Site},
    topology::{Family, Lab, Shape},
};

const RULES: &str = r#"
persistence = { timeout = "1h", header = "X-Session", first_flight = 0 }
[[listener.rule]]
host = "api.shop.example"
pool = "api"
persistence = { mode = "cookie-rewrite", cookie = "JSESSIONID", header = "X-Session" }
[[listener.rule]]
host = "*.old.example"
persistence = { cookie = "OLD", timeout = "90s", header = "X-Was", first_flight = 0 }
[[listener.rule]]
host = "shop.example"
path = "/cart"
pool = "api"
persistence = { cookie = "CART", timeout = "5m", header = "X-Session", first_flight = 0 }
[[listener.rule]]
host = "static.example"
persistence = { timeout = 0 }
"#;

fn site() -> Site {
    let lab = Lab::new(Shape::Routed, 8, 4);
    let servers = shop::servers(&lab);
    let mut configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "");
    // The last two are for `api`.
    let last = configuration.text.find("[[pool.backend]]\nname = \"web-3\"").expect("four");
    configuration.text.truncate(last);
    configuration.text += "[[pool]]\nname = \"api\"\nhealth = { kind = \"tcp\" }\n";
    for index in 2..4 {
        let address = lab.backend(Family::V4, index);
        let name = index + 1;
        write!(
            configuration.text,
            "[[pool.backend]]\nname = \"web-{name}\"\naddress = \"{address}:{PORT}\"\n"
        )
        .expect("memory");
    }
    let configuration = configuration.listener("shop", "http", shop::vip(&lab), RULES);
    shop::serve(lab, servers, &configuration)
}

fn servers(site: &Site, host: &str, path: &str, cookie: &str) -> BTreeSet<String> {
    let host = format!("Host: {host}");
    let cookie = format!("Cookie: {cookie}");
    // Each from an address of its own: cookie-rewrite keeps an address's first requests together.
    let ask =
        |client| get(site, client, path, &["--header", &host, "--header", &cookie]).answer.server();
    (0..8).map(ask).collect()
}

#[track_caller]
fn check(site: &Site, host: &str, path: &str, cookie: &str, pool: [&str; 2]) -> String {
    let pool: BTreeSet<String> = pool.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(servers(site, host, path, ""), pool, "{host}{path} without a cookie");
    let host_field = format!("Host: {host}");
    let first = get(site, 0, path, &["--header", &host_field]).answer;
    let set = first.cookies().into_iter().find(|set| set.starts_with(cookie));
    let set = set.unwrap_or_else(|| panic!("{host}{path}: {first:?}")).to_owned();
    let wanted = BTreeSet::from([first.server()]);
    assert_eq!(servers(site, host, path, &set), wanted, "{host}{path} with {set}");
    set
}

#[test]
fn each_domain_and_path_has_its_own() {
    let site = site();
    let (web, api) = (["web-1", "web-2"], ["web-3", "web-4"]);
    let shop = check(&site, "shop.example", "/", "SERVERID=", web);
    // A host is not told apart by its case, its port, or the dot at its end.
    let other = check(&site, "API.shop.example:8000", "/set", "JSESSIONID=", api);
    let old = check(&site, "a.b.old.example", "/", "OLD=", web);
    let cart = check(&site, "shop.example", "/cart/1", "CART=", api);
    assert_eq!(servers(&site, "shop.example", "/carts", &shop).len(), 1);

    let first = get(&site, 0, "/", &["--header", "Host: a.old.example"]).answer;
    let cookie = first.field("set-cookie").expect("one");
    assert!(cookie.contains("; Max-Age=90; Path=/;"), "{cookie}");
    assert_eq!((first.field("x-was"), first.field("x-session")), (Some("new"), None));
    let first = get(&site, 0, "/cart", &["--header", "Host: shop.example"]).answer;
    let cookie = first.field("set-cookie").expect("one");
    assert!(cookie.contains("; Max-Age=300; Path=/cart;"), "{cookie}");

    let none = get(&site, 0, "/", &["--header", "Host: static.example"]).answer;
    assert_eq!((none.all("set-cookie").len(), none.field("x-session")), (0, None), "{none:?}");

    // A cookie of one rule is nothing to a rule with another pool, even under its name.
    let value = |pair: &str| pair.split_once('=').expect("a pair").1.to_owned();
    for (pair, host, path) in [
        (format!("SERVERID={}", value(&cart)), "shop.example", "/"),
        (format!("CART={}", value(&shop)), "shop.example", "/cart"),
        (format!("JSESSIONID={}.x", value(&old)), "api.shop.example", "/"),
        (format!("SERVERID={}", value(&other)), "shop.example", "/"),
    ] {
        let (host, cookie) = (format!("Host: {host}"), format!("Cookie: {pair}"));
        let answer = get(&site, 0, path, &["--header", &host, "--header", &cookie]).answer;
        assert_eq!(answer.field("x-session"), Some("forged"), "{host} {pair}: {answer:?}");
    }
}
