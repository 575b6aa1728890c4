//! Persistence in a few words, for `status` and `check`.

use super::human;
use crate::{
    api::wire,
    config::http::{HttpMode, HttpPersistence},
};

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
pub(super) fn http_words(persistence: Option<&HttpPersistence>) -> String {
    let Some(HttpPersistence { mode, header: _ }) = persistence else { return words(None) };
    match mode {
        HttpMode::Insert(insert) => {
            let timeout = human::duration(insert.timeout.as_secs());
            let bound = insert.max_lifetime.map_or_else(String::new, |bound| {
                format!(", at most {}", human::duration(bound.as_secs()))
            });
            format!("cookie {}, {timeout}{bound}", insert.cookie)
        }
        HttpMode::Rewrite { cookie } => format!("the backend's cookie {cookie}"),
        HttpMode::SourceIp(by_address) => {
            format!("by address, {}", words(Some(&wire::Persistence::from(by_address))))
        }
    }
}
