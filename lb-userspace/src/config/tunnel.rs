//! `pool.forward` and `pool.tunnel`, which says more of one of its words.

use lb_common::tunnel::{GUE_PORT, SMALLEST_MTU};

use super::{
    Forward, Prefix, Tunnel, TunnelKind,
    error::Read,
    raw::{Found, Table, Value},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Nat,
    Dsr,
    Tunnel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    IpIp,
    Gue,
}

/// Reads both; also the outer source with its place, for what it must agree on with others.
pub(super) fn forward(table: &mut Table<'_>) -> (Read<Forward>, Option<Found<Prefix>>) {
    let words = [("nat", Word::Nat), ("dsr", Word::Dsr), ("tunnel", Word::Tunnel)];
    let word = table.or("forward", Word::Nat, |value| value.choice(&words));
    let Some(value) = table.value("tunnel") else {
        let default = Tunnel { kind: TunnelKind::IpIp, source: None, mtu: None };
        return (word.map(|word| forwarding(word, default)), None);
    };
    if let Ok(Word::Nat | Word::Dsr) = word {
        let refused = value.refuse("only with forward = \"tunnel\"", "no tunnel");
        return (Err(refused), None);
    }
    let (tunnel, source) = match tunnel(&value) {
        Ok((tunnel, source)) => (Ok(tunnel), source),
        Err(reported) => (Err(reported), None),
    };
    (word.and_then(|word| Ok(forwarding(word, tunnel?))), source)
}

fn forwarding(word: Word, tunnel: Tunnel) -> Forward {
    match word {
        Word::Nat => Forward::Nat,
        Word::Dsr => Forward::Dsr,
        Word::Tunnel => Forward::Tunnel(tunnel),
    }
}

fn tunnel(value: &Value<'_>) -> Read<(Tunnel, Option<Found<Prefix>>)> {
    value.table()?.scan(|table| {
        let kinds = [("ipip", Kind::IpIp), ("gue", Kind::Gue)];
        let kind = table.or("kind", Kind::IpIp, |value| value.choice(&kinds));
        let port = match kind {
            Ok(Kind::IpIp) => match table.value("port") {
                Some(value) => Err(value.refuse("only with kind = \"gue\"", "kind, source, mtu")),
                None => Ok(GUE_PORT),
            },
            _ => table.or("port", GUE_PORT, |value| value.number(1..=u16::MAX)),
        };
        let source = table.optional("source", Value::source_prefix);
        let mtu = table.optional("mtu", |value| value.number(SMALLEST_MTU..=u16::MAX));
        let kind = match kind? {
            Kind::IpIp => TunnelKind::IpIp,
            Kind::Gue => TunnelKind::Gue { port: port? },
        };
        let (_port, source, mtu) = (port?, source?, mtu?.map(|mtu| mtu.value));
        let prefix = source.as_ref().map(|found| found.value);
        Ok((Tunnel { kind, source: prefix, mtu }, source))
    })
}
