//! Persistence in a few words, for `status` and `check`.

use super::human;
use crate::api::wire;

/// `30 min, activity, group site`; what is as usual is left out.
pub(super) fn words(persistence: Option<&wire::Persistence>) -> String {
    let Some(persistence) = persistence else { return "none".to_owned() };
    let mut words = vec![human::duration(persistence.timeout_s), persistence.refresh.clone()];
    if let Some(bound) = persistence.max_lifetime_s {
        words.push(format!("at most {}", human::duration(bound)));
    }
    if persistence.prefix_v4 != 32 {
        words.push(format!("v4/{}", persistence.prefix_v4));
    }
    if persistence.prefix_v6 != 128 {
        words.push(format!("v6/{}", persistence.prefix_v6));
    }
    if let Some(group) = &persistence.group {
        words.push(format!("group {group}"));
    }
    words.join(", ")
}

/// `cookie SERVERID, 1 h`; what is as usual is left out.
pub(super) fn http_words(persistence: Option<&wire::HttpPersistence>) -> String {
    let Some(persistence) = persistence else { return words(None) };
    if let Some(by_address) = &persistence.by_address {
        return format!("by address, {}", words(Some(by_address)));
    }
    let cookie = persistence.cookie.as_deref().unwrap_or_default();
    let Some(timeout_s) = persistence.timeout_s else {
        return format!("the backend's cookie {cookie}");
    };
    let bound = persistence
        .max_lifetime_s
        .map_or_else(String::new, |bound_s| format!(", at most {}", human::duration(bound_s)));
    format!("cookie {cookie}, {}{bound}", human::duration(timeout_s))
}
