//! Whether browsers bring the cookies of a listener's rules back, each to its rule.
//!
//! A cookie is replaced by the next of the same name, domain and path (RFC 6265, 5.3). Of two rules
//! with different pools that would end the session of a client that goes from one to the other.

use std::collections::{HashMap, HashSet};

use super::rules::Way;
use crate::config::{
    error::Report,
    http::{CookieInsert, HostPattern, cookie::InsertDraft, persistence::ModeDraft},
};

/// A rule's cookie.
struct Cookie<'a> {
    way: &'a Way<'a>,
    draft: &'a InsertDraft,
    insert: CookieInsert,
}

/// Checks the cookies of one listener.
pub(super) fn check(ways: &[Way<'_>], report: &Report<'_>) {
    let cookies: Vec<Cookie<'_>> = ways
        .iter()
        .filter_map(|way| {
            let ModeDraft::Insert(draft) = &way.persistence?.mode else { return None };
            let insert = draft.build(way.path).ok()??;
            Some(Cookie { way, draft, insert })
        })
        .collect();
    refused_by_browsers(&cookies, report);
    of_one_domain(&cookies, report);
    of_one_host(&cookies, report);
}

/// Each key is told of once, however many rules inherit it.
fn refused_by_browsers(cookies: &[Cookie<'_>], report: &Report<'_>) {
    let mut told = HashSet::new();
    for Cookie { way, draft, .. } in cookies {
        let line = report.line(way.place.at);
        if let Ok(Some(domain)) = &draft.domain
            && !way.host.may_set_for(&domain.value)
            && told.insert(domain.at)
        {
            let problem = format!("browsers refuse it from {}, the host in line {line}", way.host);
            domain.refuse(report, problem, "the host itself, or a domain that it is in");
        }
        if let Ok(Some(path)) = &draft.path
            && !(covers(&path.value, way.path) || covers(way.path, &path.value))
            && told.insert(path.at)
        {
            let rule = way.path;
            let problem = format!("browsers never send it to {rule}, the path in line {line}");
            path.refuse(report, problem, "that path, or one above or below it");
        }
    }
}

/// Is `path` at `begin` or below (RFC 6265, 5.1.4)?
fn covers(begin: &str, path: &str) -> bool {
    path.strip_prefix(begin)
        .is_some_and(|rest| rest.is_empty() || begin.ends_with('/') || rest.starts_with('/'))
}

/// With `domain` the hosts do not matter.
fn of_one_domain(cookies: &[Cookie<'_>], report: &Report<'_>) {
    let mut first = HashMap::new();
    for cookie in cookies {
        let attributes = &cookie.insert.attributes;
        let Some(domain) = &attributes.domain else { continue };
        let key = (&cookie.insert.cookie, domain, &attributes.path);
        let other: &Cookie<'_> = first.entry(key).or_insert(cookie);
        if other.way.pool.value != cookie.way.pool.value {
            replaces(cookie, other, report);
        }
    }
}

/// Without `domain` a cookie is that of the request's host. Of two patterns that share hosts one is
/// wider than the other or the same.
fn of_one_host(cookies: &[Cookie<'_>], report: &Report<'_>) {
    let alone = || cookies.iter().filter(|cookie| cookie.insert.attributes.domain.is_none());
    let mut by_host: HashMap<(&str, &str, HostPattern), Vec<&Cookie<'_>>> = HashMap::new();
    for cookie in alone() {
        let key = (
            cookie.insert.cookie.as_str(),
            cookie.insert.attributes.path.as_str(),
            cookie.way.host.clone(),
        );
        let others = by_host.entry(key).or_default();
        // Two of a pool say all that the rest would: no two have the same path here.
        let pool = |other: &&&Cookie<'_>| other.way.pool.value == cookie.way.pool.value;
        if others.iter().filter(pool).count() < 2 {
            others.push(cookie);
        }
    }
    for cookie in alone() {
        let (name, path) = (&*cookie.insert.cookie, &*cookie.insert.attributes.path);
        let wider = cookie.way.host.wider();
        let others =
            wider.into_iter().filter_map(|host| by_host.get(&(name, path, host))).flatten();
        let replaced = others.copied().find(|other| {
            let pools = other.way.pool.value != cookie.way.pool.value;
            // Of rules with the same path only that for the narrower host is met there.
            let met = other.way.path != cookie.way.path;
            let first =
                other.way.host != cookie.way.host || other.way.place.at < cookie.way.place.at;
            pools && met && first
        });
        if let Some(other) = replaced {
            replaces(cookie, other, report);
        }
    }
}

fn replaces(cookie: &Cookie<'_>, other: &Cookie<'_>, report: &Report<'_>) {
    let name = &cookie.insert.cookie;
    let line = report.line(other.way.place.at);
    let problem = format!(
        "its cookie {name} and that of line {line} would replace one another, for pools {:?} and \
         {:?}",
        cookie.way.pool.value, other.way.pool.value
    );
    let allowed = "another persistence.cookie, path or domain for one of them, or one pool";
    cookie.way.place.refuse(report, problem, allowed);
}
