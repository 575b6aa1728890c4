//! Which rule a request is for: by host, then by path. Pure.

use std::collections::HashMap;

use crate::config::http::{HostPattern, HttpRule};

/// A listener's rules, found by the most specific host, then the longest path.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    below: HashMap<String, Paths>,
    any: Paths,
}

/// Prefixes and rules, the longest first.
type Paths = Vec<(String, usize)>;

impl Routes {
    /// Of rules; they are named by their index.
    #[must_use]
    pub fn new(rules: &[HttpRule]) -> Self {
        let mut routes = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            let paths = match &rule.host {
                HostPattern::Any => &mut routes.any,
                HostPattern::Exact(name) => routes.exact.entry(name.clone()).or_default(),
                HostPattern::Below(name) => routes.below.entry(name.clone()).or_default(),
            };
            paths.push((rule.path.trim_end_matches('/').to_owned(), index));
        }
        let all = routes.exact.values_mut().chain(routes.below.values_mut());
        for paths in all.chain([&mut routes.any]) {
            paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        routes
    }

    /// The rule of a request for `host` (lower case, no port; empty: none) and `path`.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        exact
            .and_then(|paths| of(paths, path))
            .or_else(|| self.find_below(host, path))
            .or_else(|| of(&self.any, path))
    }

    fn find_below(&self, host: &str, path: &str) -> Option<usize> {
        if self.below.is_empty() {
            return None;
        }
        // The longest first: the name without its first label, then without two, and so on.
        let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        parents.filter_map(|parent| self.below.get(parent)).find_map(|paths| of(paths, path))
    }
}

fn of(paths: &Paths, path: &str) -> Option<usize> {
    let begins = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            // `OPTIONS *` and the like are for the whole host.
            || prefix.is_empty()
    };
    paths.iter().find(|(prefix, _)| begins(prefix)).map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_wins() {
        let rule = |host: &str, path: &str| HttpRule {
            host: match host.strip_prefix("*.") {
                Some(parent) => HostPattern::Below(parent.to_owned()),
                None if host.is_empty() => HostPattern::Any,
                None => HostPattern::Exact(host.to_owned()),
            },
            path: path.to_owned(),
            pool: 0,
            persistence: None,
        };
        let rules = [
            rule("a.example", "/"),
            rule("a.example", "/api"),
            rule("*.example", "/"),
            rule("*.deep.example", "/only/"),
            rule("", "/static"),
            rule("b.example", "/api"),
            rule("", "/"),
        ];
        let routes = Routes::new(&rules);
        for (host, path, want) in [
            ("a.example", "/", 0),
            ("a.example", "/x", 0),
            ("a.example", "/api", 1),
            ("a.example", "/api/v1", 1),
            ("a.example", "/apis", 0),
            ("a.example", "*", 0),
            ("c.example", "/api", 2),
            ("x.y.example", "/", 2),
            ("x.deep.example", "/only/this", 3),
            ("x.deep.example", "/only", 3),
            ("x.deep.example", "/other", 2),
            ("example", "/", 6),
            ("other", "/static/x", 4),
            // Its own host has no rule for the path.
            ("b.example", "/", 2),
            ("b.example", "/api/", 5),
            ("", "/", 6),
        ] {
            assert_eq!(routes.find(host, path), Some(want), "{host} {path}");
        }
        let narrow = Routes::new(&[rule("a.example", "/api")]);
        assert_eq!(narrow.find("a.example", "/"), None);
        assert_eq!(narrow.find("b.example", "/api"), None);
    }
}
