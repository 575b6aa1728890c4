//! `persistence` of `http` and `https` listeners and their rules.
//!
//! Owns the modes, and which keys each has (C1 to C3 of the persistence contract).

use super::{
    super::{
        error::Read,
        raw::{Found, Table, Value},
        source_ip::{self, PersistenceDraft, source_ip},
    },
    HttpMode, HttpPersistence,
    cookie::{self, COOKIE, InsertDraft, cookie_name, insert, is_token},
};

/// A persistence whose values are fine each by itself.
pub(in crate::config) struct HttpPersistenceDraft {
    pub(in crate::config) mode: ModeDraft,
    header: Read<Option<Found<String>>>,
}

/// Its mode, with the mode's keys.
pub(in crate::config) enum ModeDraft {
    Insert(InsertDraft),
    Rewrite { cookie: Read<Found<String>> },
    SourceIp(PersistenceDraft),
}

impl HttpPersistenceDraft {
    /// The persistence of a rule with that path, if every part of it could be read; `None` where it
    /// is off.
    pub(in crate::config) fn build(&self, rule_path: &str) -> Read<Option<HttpPersistence>> {
        let mode = match &self.mode {
            ModeDraft::Insert(insert) => insert.build(rule_path)?.map(HttpMode::Insert),
            ModeDraft::Rewrite { cookie } => {
                let cookie = cookie.as_ref().map_err(|&r| r)?.value.clone();
                Some(HttpMode::Rewrite { cookie })
            }
            ModeDraft::SourceIp(draft) => draft.build()?.map(HttpMode::SourceIp),
        };
        let header = self.header.as_ref().map_err(|&r| r)?;
        let header = header.as_ref().map(|header| header.value.clone());
        Ok(mode.map(|mode| HttpPersistence { mode, header }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Insert,
    Rewrite,
    SourceIp,
}

impl Mode {
    /// Each with its word in the file.
    const WORDS: [(&'static str, Self); 3] = [
        ("cookie-insert", Self::Insert),
        ("cookie-rewrite", Self::Rewrite),
        ("source-ip", Self::SourceIp),
    ];

    /// The keys that it alone has, or with others.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Insert => &cookie::KEYS,
            Self::Rewrite => &["cookie"],
            Self::SourceIp => &source_ip::KEYS,
        }
    }
}

/// Reads `persistence`. `https`: whether clients come by TLS.
pub(super) fn persistence(
    table: &mut Table<'_>,
    https: bool,
) -> Read<Option<HttpPersistenceDraft>> {
    let Some(value) = table.value("persistence") else { return Ok(None) };
    value.table()?.scan(|table| {
        let mode = table.or("mode", Mode::Insert, |value| value.choice(&Mode::WORDS));
        let draft = mode.map(|mode| match mode {
            Mode::Insert => ModeDraft::Insert(insert(table, https)),
            Mode::Rewrite => {
                ModeDraft::Rewrite { cookie: table.required("cookie", COOKIE, cookie_name) }
            }
            Mode::SourceIp => ModeDraft::SourceIp(source_ip(table)),
        });
        for key in Mode::WORDS.iter().flat_map(|(_, mode)| mode.keys()) {
            match mode {
                Ok(_) => table.elsewhere(&[key], &modes_with(key)),
                Err(_) => table.unjudged(&[key]),
            }
        }
        let header = table.optional("header", header);
        Ok(Some(HttpPersistenceDraft { mode: draft?, header }))
    })
}

/// `only with mode = "cookie-insert" or "source-ip"`.
fn modes_with(key: &str) -> String {
    let having = Mode::WORDS.iter().filter(|(_, mode)| mode.keys().contains(&key));
    let words: Vec<String> = having.map(|(word, _)| format!("{word:?}")).collect();
    format!("only with mode = {}", words.join(" or "))
}

/// Fields that mean something to browsers, proxies or HTTP itself.
const TAKEN: [&str; 30] = [
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "expires",
    "host",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
];

/// The name of a field (RFC 9110, 5.1) that means nothing yet.
fn header(value: &Value<'_>) -> Read<String> {
    let text = value.text("the name of a field")?;
    let allowed = "1 to 64 letters, digits, - and _, such as \"X-Session\"";
    if !is_token(text, 64) {
        return Err(value.refuse("not the name of a field", allowed));
    }
    let lower = text.to_ascii_lowercase();
    let prefixes = ["proxy-", "access-control-", "sec-"];
    if TAKEN.contains(&&*lower) || prefixes.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(value.refuse("that field has a meaning of its own", allowed));
    }
    Ok(text.to_owned())
}
