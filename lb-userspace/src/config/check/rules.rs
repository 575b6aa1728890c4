//! What the rules of a layer-7 listener must agree on, and the listener that comes out.

use super::{chosen::Pools, cookies, unique};
use crate::config::{
    error::{Read, Report},
    http::{
        HostPattern, HttpListener, HttpRule, Sidecar,
        listener::{HttpDraft, RuleDraft},
        persistence::HttpPersistenceDraft,
    },
    listener::ListenerDraft,
    raw::Found,
};

/// What a request can come to: a rule, or the listener itself. Of those that could be read.
pub(in crate::config) struct Way<'a> {
    /// The rule or the listener.
    pub(in crate::config) place: &'a Found<()>,
    pub(in crate::config) host: &'a HostPattern,
    pub(in crate::config) path: &'a str,
    pub(in crate::config) pool: &'a Found<String>,
    pub(in crate::config) persistence: Option<&'a HttpPersistenceDraft>,
    /// A rule with the listener's persistence.
    pub(in crate::config) inherits: bool,
}

/// The listener's ways, itself first.
pub(in crate::config) fn ways<'a>(
    listener: &'a ListenerDraft,
    http: &'a HttpDraft,
) -> Vec<Way<'a>> {
    let own_pool = listener.pool.as_ref().ok().and_then(Option::as_ref);
    let own_persistence = http.persistence.as_ref().ok().and_then(Option::as_ref);
    let itself = own_pool.map(|pool| Way {
        place: &listener.itself,
        host: &HostPattern::Any,
        path: "/",
        pool,
        persistence: own_persistence,
        inherits: false,
    });
    let rules = http.rules.iter().flatten().filter_map(|rule| {
        let own = rule.persistence.as_ref().ok()?.as_ref();
        Some(Way {
            place: &rule.itself,
            host: rule.host.as_ref().ok()?,
            path: rule.path.as_ref().ok()?,
            pool: rule.pool.as_ref().ok()?.as_ref().or(own_pool)?,
            persistence: own.or(own_persistence),
            inherits: own.is_none(),
        })
    });
    itself.into_iter().chain(rules).collect()
}

/// Checks a listener without looking at others.
pub(super) fn check(
    listener: &ListenerDraft,
    http: &HttpDraft,
    sidecar: &Read<Sidecar>,
    report: &Report<'_>,
) {
    if let (Ok(Some(accept @ Found { value: true, .. })), Ok(sidecar)) =
        (&http.accept_proxy, sidecar)
        && sidecar.trusted_proxies.is_empty()
    {
        let problem = "nobody's PROXY header would be believed: sidecar.trusted_proxies is empty";
        accept.refuse(report, problem, "false, or the proxies' addresses there");
    }
    let keyed = http.rules.iter().flatten().filter_map(|rule| {
        let key = (rule.host.as_ref().ok()?, rule.path.as_ref().ok()?);
        // Without either it was refused.
        (key != (&HostPattern::Any, &"/".to_owned())).then(|| (key, rule.itself.clone()))
    });
    let twice = |line| format!("host and path already used in line {line}");
    unique(keyed, report, twice, "each host with a path once in a listener");
    cookies::check(&ways(listener, http), report);
}

/// The listener itself, if every part of it could be read.
pub(super) fn build(
    listener: &ListenerDraft,
    http: &HttpDraft,
    names: &Pools<'_>,
    report: &Report<'_>,
) -> Read<HttpListener> {
    let own = match &listener.pool {
        Ok(Some(pool)) => names.index(pool, report).map(Some),
        Ok(None) => Ok(None),
        Err(reported) => Err(*reported),
    };
    let redirect = http.https_redirect;
    if matches!((own, redirect), (Ok(None), Ok(None))) && http.rules.is_empty() {
        let problem = "no pool and no rule: every request would be answered with 404";
        listener.itself.refuse(report, problem, "pool, or at least one [[listener.rule]]");
    }
    let inherited = http.persistence.as_ref().map_err(|&r| r);
    let each: Vec<Read<HttpRule>> = http
        .rules
        .iter()
        .map(|one| rule(one.as_ref().map_err(|&r| r)?, own, inherited, names, report))
        .collect();
    let mut rules = each.into_iter().collect::<Read<Vec<HttpRule>>>();
    if let (Ok(rules), Some(pool)) = (&mut rules, own?) {
        let persistence = inherited?.as_ref().map(|draft| draft.build("/")).transpose()?.flatten();
        rules.push(HttpRule { host: HostPattern::Any, path: "/".to_owned(), pool, persistence });
    }
    Ok(HttpListener {
        name: listener.name.as_ref().map_err(|&r| r)?.value.clone(),
        address: listener.address.as_ref().map_err(|&r| r)?.value,
        certificates: http.certificates.as_ref().map_err(|&r| r)?.clone(),
        https_redirect: redirect?,
        accept_proxy: http
            .accept_proxy
            .as_ref()
            .map_err(|&r| r)?
            .as_ref()
            .is_some_and(|on| on.value),
        rules: rules?,
    })
}

/// `own` and `inherited` are the listener's pool and persistence.
fn rule(
    rule: &RuleDraft,
    own: Read<Option<usize>>,
    inherited: Read<&Option<HttpPersistenceDraft>>,
    names: &Pools<'_>,
    report: &Report<'_>,
) -> Read<HttpRule> {
    let pool = match rule.pool.as_ref().map_err(|&r| r)? {
        Some(pool) => names.index(pool, report),
        None => own?.ok_or_else(|| {
            let problem = "no pool, and the listener has none";
            rule.itself.refuse(report, problem, "the name of a [[pool]], here or in the listener")
        }),
    };
    let path = rule.path.as_ref().map_err(|&r| r)?.clone();
    let own_persistence = rule.persistence.as_ref().map_err(|&r| r)?;
    let draft = match own_persistence {
        Some(draft) => Some(draft),
        None => inherited?.as_ref(),
    };
    let persistence = draft.map(|draft| draft.build(&path)).transpose()?.flatten();
    Ok(HttpRule {
        host: rule.host.as_ref().map_err(|&r| r)?.clone(),
        path,
        pool: pool?,
        persistence,
    })
}
