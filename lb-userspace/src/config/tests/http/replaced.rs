//! All pairs of rules against a browser that asks for everything: two rules are refused exactly
//! where one cookie of its would be set for two pools.

use std::collections::HashMap;

use super::BASE;
use crate::config::tests::parsed;

const HOSTS: [&str; 5] = ["", "a", "b.a", "*.a", "*.b.a"];
const PATHS: [&str; 3] = ["", "/x", "/x/y"];
const COOKIE_PATHS: [&str; 2] = ["", "/"];
const DOMAINS: [&str; 2] = ["", "a"];

/// What is asked for.
const ASKED_HOSTS: [&str; 5] = ["a", "b.a", "c.b.a", "d.a", "z"];
const ASKED_PATHS: [&str; 4] = ["/", "/x", "/x/y", "/xy"];

#[derive(Clone, Copy)]
struct Rule {
    host: &'static str,
    path: &'static str,
    cookie_path: &'static str,
    domain: &'static str,
}

impl Rule {
    /// In the file.
    fn text(self, pool: &str) -> String {
        let key = |key: &str, value: &str| match value {
            "" => String::new(),
            value => format!("{key} = {value:?}, "),
        };
        format!(
            "{{ {}{}pool = {pool:?}, persistence = {{ {}{}timeout = 5 }} }}",
            key("host", self.host),
            key("path", self.path),
            key("path", self.cookie_path),
            key("domain", self.domain)
        )
    }

    fn takes(self, host: &str, path: &str) -> bool {
        let host_fits = match self.host.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            None => self.host.is_empty() || self.host == host,
        };
        let below = path.strip_prefix(self.path);
        host_fits && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// By what a browser knows the cookie.
    fn key(self, host: &str) -> (String, &'static str) {
        let own = if self.path.is_empty() { "/" } else { self.path };
        let path = if self.cookie_path.is_empty() { own } else { self.cookie_path };
        let domain =
            if self.domain.is_empty() { host.to_owned() } else { format!(".{}", self.domain) };
        (domain, path)
    }

    /// The narrower host counts more, a name more than what is below one.
    fn narrow(self) -> usize {
        2 * self.host.len() + usize::from(!self.host.starts_with('*'))
    }
}

/// Is one key set for both, when the narrower host decides, or the longer path?
fn replaced(rules: [Rule; 2]) -> bool {
    let by_host = |rule: Rule| (rule.narrow(), rule.path.len());
    let by_path = |rule: Rule| (rule.path.len(), rule.narrow());
    let orders: [&dyn Fn(Rule) -> (usize, usize); 2] = [&by_host, &by_path];
    orders.into_iter().any(|order| {
        let mut set: HashMap<_, usize> = HashMap::new();
        let mut twice = false;
        for (host, path) in
            ASKED_HOSTS.iter().flat_map(|host| ASKED_PATHS.iter().map(move |path| (host, path)))
        {
            let taking = (0..2).filter(|&index| rules[index].takes(host, path));
            let Some(index) = taking.max_by_key(|&index| order(rules[index])) else { continue };
            twice |= *set.entry(rules[index].key(host)).or_insert(index) != index;
        }
        twice
    })
}

#[test]
fn exactly_what_a_browser_would_replace() {
    let mut all = Vec::new();
    for (host, path) in HOSTS.iter().flat_map(|host| PATHS.iter().map(move |path| (host, path))) {
        for (cookie_path, domain) in
            COOKIE_PATHS.iter().flat_map(|path| DOMAINS.iter().map(move |domain| (path, domain)))
        {
            // Without either it is the listener itself.
            if !(host.is_empty() && path.is_empty()) {
                all.push(Rule { host, path, cookie_path, domain });
            }
        }
    }
    let base = BASE.replace("pool = \"web\"\n", "");
    let (mut refused, mut fine) = (0, 0);
    for first in &all {
        for second in &all {
            if (first.host, first.path) == (second.host, second.path) {
                continue;
            }
            let lines = format!("rule = [{}, {}]\n", first.text("web"), second.text("api"));
            let said = parsed(&format!("{base}{lines}")).err().map(|errors| errors.to_string());
            let want = replaced([*first, *second]);
            match &said {
                Some(said) if said.contains("replace one another") => refused += 1,
                None => fine += 1,
                Some(said) => panic!("{lines}: {said}"),
            }
            assert_eq!(said.is_some(), want, "{lines}{said:?}");
        }
    }
    assert!(refused > 300 && fine > 300, "{refused} refused, {fine} fine");
}
