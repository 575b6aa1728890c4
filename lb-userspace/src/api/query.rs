//! The query part of a request's target. Pure.

use super::{
    PAGE_DEFAULT, PAGE_MAX,
    command::{Filter, SessionsQuery},
    cursor,
};

/// What `GET /v1/sessions` takes.
const SESSIONS_KEYS: &str = "listener, backend, client, limit, cursor";

/// Reads the query of `GET /v1/sessions`; an error says what is allowed.
pub(super) fn sessions(query: Option<&str>) -> Result<SessionsQuery, String> {
    let mut filter = Filter::default();
    let mut limit = None;
    let mut position = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key)?, decoded(value)?);
        let twice = match key.as_str() {
            "listener" => filter.listener.replace(not_empty(&key, value)?).is_some(),
            "backend" => filter.backend.replace(not_empty(&key, value)?).is_some(),
            "client" => filter.client.replace(value.parse()?).is_some(),
            "limit" => limit.replace(page_limit(&value)?).is_some(),
            "cursor" => {
                let decoded = cursor::decode(&value)
                    .ok_or("`cursor` is none that an answer's `next` gave out")?;
                position.replace(decoded).is_some()
            }
            _ => return Err(format!("`{key}` is not known here; allowed: {SESSIONS_KEYS}")),
        };
        if twice {
            return Err(format!("`{key}` stands there twice"));
        }
    }
    let position = position.unwrap_or_default();
    Ok(SessionsQuery { filter, limit: limit.unwrap_or(PAGE_DEFAULT), position })
}

/// Refuses a query where none is taken.
pub(super) fn none(query: Option<&str>) -> Result<(), String> {
    match query {
        None | Some("") => Ok(()),
        Some(query) => Err(format!("`{query}`: no query is taken here")),
    }
}

/// `text` as a value of a query, for [`super::client`].
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn not_empty(key: &str, value: String) -> Result<String, String> {
    if value.is_empty() { Err(format!("`{key}` is empty: a name is wanted")) } else { Ok(value) }
}

fn page_limit(value: &str) -> Result<usize, String> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=PAGE_MAX).contains(limit))
        .ok_or_else(|| format!("`limit` is `{value}`; allowed: 1 to {PAGE_MAX}"))
}

/// Undoes percent-encoding (RFC 3986, 2.1). A plus sign is itself.
pub(super) fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
            u8::try_from(high * 16 + low).ok().ok_or_else(wrong)?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken() {
        let check = |query: &str, want: SessionsQuery| {
            assert_eq!(sessions(Some(query)), Ok(want), "{query}");
        };
        let all =
            SessionsQuery { filter: Filter::default(), limit: PAGE_DEFAULT, position: vec![] };
        assert_eq!(sessions(None), Ok(all.clone()));
        check("", all.clone());
        check("limit=1", SessionsQuery { limit: 1, ..all.clone() });
        check("limit=999", SessionsQuery { limit: 999, ..all.clone() });
        check("cursor=00ff&", SessionsQuery { position: vec![0, 255], ..all.clone() });
        let filter = Filter {
            listener: Some("web".to_owned()),
            backend: Some("web-1".to_owned()),
            client: "10.0.0.0/24".parse().ok(),
        };
        check(
            "listener=web&backend=%77eb-1&client=10.0.0.0%2F24",
            SessionsQuery { filter: filter.clone(), ..all.clone() },
        );
        check("client=10.0.0.0/24&backend=web-1&listener=web", SessionsQuery { filter, ..all });
    }

    #[test]
    fn what_is_refused_and_how() {
        let check = |query: &str, want: &str| {
            let error = sessions(Some(query)).expect_err(query);
            assert!(error.contains(want), "{query}: {error}");
        };
        check("listner=web", "allowed: listener, backend, client, limit, cursor");
        check("listener", "a name is wanted");
        check("listener=a&listener=b", "twice");
        check("client=10.0.0", "192.0.2.0/24");
        check("limit=0", "allowed: 1 to 1000");
        check("limit=1001", "allowed: 1 to 1000");
        check("limit=-1", "allowed: 1 to 1000");
        check("limit=99999999999999999999", "allowed: 1 to 1000");
        check("cursor=xyz", "`next`");
        check("cursor=", "`next`");
        check("backend=%", "percent-encoded");
        check("backend=%f", "percent-encoded");
        check("backend=%ff", "percent-encoded");
        assert!(none(Some("a=b")).is_err());
        assert_eq!(none(None), Ok(()));
    }

    #[test]
    fn encoding_is_undone() {
        for text in ["web-1", "2001:db8::/48", "a b&c=d%+#?", "ä\u{1F600}"] {
            let word = encoded(text);
            assert!(!word.contains(['&', '=', ' ', '#', '?', '+']), "{word}");
            assert_eq!(decoded(&word).as_deref(), Ok(text));
        }
    }
}
