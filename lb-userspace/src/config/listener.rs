//! `[[listener]]`: what those of both layers have, and those of layer 4.
//!
//! Owns their keys, ranges and defaults; what else layer 7 has is [`super::http`]'s. What listeners
//! and pools must agree on is [`super::check`]'s.

use std::net::SocketAddr;

use super::{
    Protocol,
    error::Read,
    http::{
        cookie,
        listener::{HttpDraft, http},
    },
    raw::{Found, Table, Value},
    source_ip::{PersistenceDraft, source_ip},
    value::NAME,
};

/// A listener whose values are fine each by itself.
pub(super) struct ListenerDraft {
    pub(super) itself: Found<()>,
    pub(super) name: Read<Found<String>>,
    pub(super) address: Read<Found<SocketAddr>>,
    /// Only of layer 7 one may be without.
    pub(super) pool: Read<Option<Found<String>>>,
    pub(super) layer: Read<Layer>,
}

/// What a listener has by its protocol.
pub(super) enum Layer {
    /// `tcp` and `udp`.
    Four { protocol: Protocol, persistence: Read<Option<PersistenceDraft>> },
    /// `http` and `https`.
    Seven(Box<HttpDraft>),
}

impl Layer {
    /// What its packets are.
    pub(super) fn transport(&self) -> Protocol {
        match self {
            Self::Four { protocol, .. } => *protocol,
            Self::Seven(_) => Protocol::Tcp,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Transport(Protocol),
    Http,
    Https,
}

/// Keys whose meaning depends on `protocol`.
const BY_PROTOCOL: [&str; 5] = ["persistence", "tls", "https_redirect", "accept_proxy", "rule"];

const ONLY_HTTP: &str = "only with protocol = \"http\" or \"https\"";

/// Reads one `[[listener]]`.
pub(super) fn listener(table: Table<'_>) -> ListenerDraft {
    table.scan(|table| {
        let itself = table.itself();
        let name = table.required("name", NAME, Value::name);
        let protocol = protocol(table);
        let address = table.required("address", super::address::LISTENER, Value::listener_address);
        let transport = matches!(protocol, Ok(Word::Transport(_)));
        let pool = if transport || !table.has(&["rule", "https_redirect"]) {
            table.required("pool", POOL, pool_name).map(Some)
        } else {
            table.optional("pool", pool_name)
        };
        let layer = protocol.map(|word| match word {
            Word::Transport(protocol) => {
                table.elsewhere(&["tls"], "only with protocol = \"https\"");
                table.elsewhere(&["https_redirect"], "only with protocol = \"http\"");
                table.elsewhere(&["accept_proxy", "rule"], ONLY_HTTP);
                Layer::Four { protocol, persistence: persistence(table) }
            }
            Word::Http => Layer::Seven(Box::new(http(table, false))),
            Word::Https => Layer::Seven(Box::new(http(table, true))),
        });
        if layer.is_err() {
            table.unjudged(&BY_PROTOCOL);
        }
        ListenerDraft { itself, name, address, pool, layer }
    })
}

/// What `pool` holds.
const POOL: &str = "the name of a [[pool]]";

/// A pool's name, which may still be that of none.
pub(super) fn pool_name(value: &Value<'_>) -> Read<String> {
    value.text(POOL).map(str::to_owned)
}

fn protocol(table: &mut Table<'_>) -> Read<Word> {
    let words = [
        ("tcp", Word::Transport(Protocol::Tcp)),
        ("udp", Word::Transport(Protocol::Udp)),
        ("http", Word::Http),
        ("https", Word::Https),
    ];
    let allowed = "\"tcp\", \"udp\", \"http\", \"https\"";
    Ok(table.required("protocol", allowed, |value| value.choice(&words))?.value)
}

fn persistence(table: &mut Table<'_>) -> Read<Option<PersistenceDraft>> {
    let Some(value) = table.value("persistence") else { return Ok(None) };
    value.table()?.scan(|table| {
        let mode = table.or("mode", (), mode);
        for key in cookie::KEYS.into_iter().chain(["header"]) {
            match mode {
                Ok(()) => table.elsewhere(&[key], ONLY_HTTP),
                Err(_) => table.unjudged(&[key]),
            }
        }
        let draft = source_ip(table);
        mode.map(|()| Some(draft))
    })
}

/// Layer 4 sees no cookies.
fn mode(value: &Value<'_>) -> Read<()> {
    if let Some("cookie-insert" | "cookie-rewrite") = value.toml.as_str() {
        return Err(value.refuse(ONLY_HTTP, "\"source-ip\""));
    }
    value.choice(&[("source-ip", ())])
}
