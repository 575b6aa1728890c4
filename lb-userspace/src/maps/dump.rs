//! The maps as text, for tests and for bug reports: a line an entry, names in place of numbers.
//!
//! ```text
//! scope 1 listener web
//! vip 203.0.113.10:80/tcp listener web=1 pool web=1 scope=1 timeout=60s refresh=activity mask=/32
//! vip 203.0.113.10:443/tcp listener shop=2 sidecar
//! own 203.0.113.10 10.0.0.1
//! pool web=1 nat table=1 web-1:126 web-2:125
//! backend web-1=1 10.0.0.11:8080 pool web=1 ready generation=1 since=1 interface=2 sources=1
//! pin scope=1 198.51.100.7 web-1=1 generation=1 made=3s seen=4s
//! ```

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    address::Address,
    layout::{
        Backend, BackendRef, BackendState, Encapsulation, Flow, Forward, IdentityKey, Kind,
        ON_DOWN_KEEP, Pin, PinKey, Pool, Protocol, Refresh, TcpState, Tunnel, Vip, VipKey,
    },
};

use super::{Cursor, LbMaps, MapError};

/// Everything but counters and replies.
pub fn dump(maps: &impl LbMaps) -> Result<String, MapError> {
    let identities = maps.identities()?;
    let names: Names = identities
        .into_iter()
        .map(|(key, name)| (key, name.as_str().unwrap_or("?").to_owned()))
        .collect();
    let dump = Dump { names };
    let mut lines = dump.scopes();
    let mut vips = maps.vips()?;
    vips.sort_by_key(|(key, _)| *key);
    lines.extend(vips.iter().map(|(key, vip)| dump.vip(key, vip)));
    lines.extend(own(maps)?);
    for id in dump.of_kind(Kind::Pool) {
        let row = maps.pool(id)?;
        let slots = if row.table == 0 { Vec::new() } else { maps.table(row.table)? };
        lines.push(dump.pool(id, row, &slots));
    }
    let mut backends = maps.backends()?;
    backends.sort_by_key(|(id, _)| *id);
    lines.extend(backends.iter().map(|(id, backend)| dump.backend(*id, backend)));
    let mut pins = all(|cursor| maps.scan_pins(cursor))?;
    pins.sort_by_key(|(key, _)| *key);
    lines.extend(pins.iter().map(|(key, pin)| dump.pin(key, pin)));
    let mut flows: Vec<_> = all(|cursor| maps.scan_flows(cursor))?;
    flows.sort_by_key(|flow| (flow.backend, flow.generation, flow.seen));
    lines.extend(flows.iter().map(|flow| dump.flow(flow)));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// The set of own addresses, in one line; none when it is empty.
fn own(maps: &impl LbMaps) -> Result<Option<String>, MapError> {
    let mut own: Vec<_> =
        maps.own()?.into_iter().map(|(address, _)| IpAddr::from(address)).collect();
    own.sort_unstable();
    let words: Vec<String> = own.iter().map(ToString::to_string).collect();
    Ok((!words.is_empty()).then(|| format!("own {}", words.join(" "))))
}

type Names = BTreeMap<IdentityKey, String>;

struct Dump {
    names: Names,
}

impl Dump {
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = u32> {
        let kind = u32::from(kind.code());
        self.names.keys().filter(move |key| key.kind == kind).map(|key| key.id)
    }

    fn name(&self, kind: Kind, id: u32) -> String {
        let name = self.names.get(&IdentityKey { kind: kind.code().into(), id });
        format!("{}={id}", name.map_or("-", String::as_str))
    }

    fn scopes(&self) -> Vec<String> {
        let line = |word: &str, kind: Kind, id: u32| {
            let name = &self.names[&IdentityKey { kind: kind.code().into(), id }];
            (id, format!("scope {id} {word} {name}"))
        };
        let alone = self.of_kind(Kind::ListenerScope);
        let mut scopes: Vec<_> =
            alone.map(|id| line("listener", Kind::ListenerScope, id)).collect();
        scopes.extend(self.of_kind(Kind::GroupScope).map(|id| line("group", Kind::GroupScope, id)));
        scopes.sort();
        scopes.into_iter().map(|(_, line)| line).collect()
    }

    fn vip(&self, key: &VipKey, vip: &Vip) -> String {
        let listener = self.name(Kind::Listener, vip.listener);
        let at = socket(key.address, key.port_be);
        let line = format!("vip {at}/{} listener {listener}", protocol(key.protocol));
        if vip.is_sidecars() {
            return format!("{line} sidecar");
        }
        let line = format!("{line} pool {}", self.name(Kind::Pool, vip.pool));
        if vip.scope == 0 {
            return line;
        }
        let ones = u128::from_be_bytes(vip.client_mask.v6()).leading_ones();
        let bits = if key.address.is_v4() { ones.saturating_sub(96) } else { ones };
        let refresh = match Refresh::from_code(vip.refresh) {
            Some(Refresh::Activity) => "activity",
            Some(Refresh::NewConnection) => "new-connection",
            Some(Refresh::Never) => "never",
            None => "?",
        };
        let timeout = seconds(vip.timeout_ns);
        let bound = match vip.max_lifetime_ns {
            0 => String::new(),
            bound => format!(" max_lifetime={}", seconds(bound)),
        };
        let scope = vip.scope;
        format!("{line} scope={scope} timeout={timeout} refresh={refresh} mask=/{bits}{bound}")
    }

    fn pool(&self, id: u32, row: Pool, slots: &[u16]) -> String {
        let forward = match Forward::from_code(row.forward) {
            Some(Forward::Nat) => "nat",
            Some(Forward::Dsr) => "dsr",
            Some(Forward::Tunnel) => "tunnel",
            None => "?",
        };
        let name = self.name(Kind::Pool, id);
        let mut words = vec![format!("pool {name} {forward} table={}", row.table)];
        let mut shares: BTreeMap<u16, usize> = BTreeMap::new();
        for backend in slots {
            *shares.entry(*backend).or_default() += 1;
        }
        for (backend, share) in shares {
            words.push(format!("{}:{share}", self.name(Kind::Backend, backend.into())));
        }
        words.join(" ")
    }

    fn backend(&self, id: u32, backend: &Backend) -> String {
        let state = match BackendState::from_code(backend.state) {
            Some(BackendState::Unset) => "unset",
            Some(BackendState::Ready) => "ready",
            Some(BackendState::Draining) => "draining",
            Some(BackendState::Evacuating) => "evacuating",
            Some(BackendState::Down) => "down",
            None => "?",
        };
        let mut words = vec![format!(
            "backend {} {} pool {} {state} generation={} since={}",
            self.name(Kind::Backend, id),
            socket(backend.address, backend.port_be),
            self.name(Kind::Pool, backend.pool),
            backend.generation,
            backend.flows_since,
        )];
        if backend.hop.interface != 0 {
            words.push(format!("interface={}", backend.hop.interface));
        }
        if backend.nat_source_mask != 0 {
            words.push(format!("sources={}", backend.nat_source_mask.count_ones()));
        }
        words.extend(tunnel(&backend.tunnel));
        if backend.flags & ON_DOWN_KEEP != 0 {
            words.push("keep".to_owned());
        }
        words.join(" ")
    }

    fn named(&self, backend: BackendRef) -> String {
        let name = self.name(Kind::Backend, backend.id());
        format!("{name} generation={}", backend.generation())
    }

    fn pin(&self, key: &PinKey, pin: &Pin) -> String {
        format!(
            "pin scope={} {} {} made={} seen={}",
            key.scope,
            IpAddr::from(key.client),
            self.named(pin.backend),
            seconds(pin.created_ns),
            seconds(pin.last_seen_ns)
        )
    }

    fn flow(&self, flow: &Flow) -> String {
        let state = TcpState::from_code(flow.state)
            .map_or_else(|| "?".to_owned(), |state| format!("{state:?}"));
        format!(
            "flow {} {state} seen={}",
            self.named(BackendRef::new(flow.backend, flow.generation)),
            flow.seen
        )
    }
}

fn tunnel(tunnel: &Tunnel) -> Option<String> {
    let kind = match Encapsulation::from_code(tunnel.kind) {
        Some(Encapsulation::None) => return None,
        Some(Encapsulation::IpIp) => "ipip".to_owned(),
        Some(Encapsulation::Gue) => format!("gue:{}", u16::from_be(tunnel.port_be)),
        None => "?".to_owned(),
    };
    let free = u128::from_be_bytes(tunnel.spread.v6()).count_ones();
    let bits = if tunnel.source.is_v4() { 32 } else { 128_u32 }.saturating_sub(free);
    let source = IpAddr::from(tunnel.source);
    Some(format!("{kind} from {source}/{bits} mtu={}", tunnel.mtu))
}

fn socket(address: Address, port_be: u16) -> String {
    SocketAddr::new(address.into(), u16::from_be(port_be)).to_string()
}

fn protocol(code: u8) -> &'static str {
    match Protocol::from_code(code) {
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
        None => "?",
    }
}

fn seconds(nanoseconds: u64) -> String {
    let (whole, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if rest == 0 { format!("{whole}s") } else { format!("{whole}.{rest:09}s") }
}

fn all<E>(
    mut scan: impl FnMut(&mut Cursor) -> Result<Vec<E>, MapError>,
) -> Result<Vec<E>, MapError> {
    let mut cursor = Cursor::default();
    let mut entries = Vec::new();
    while !cursor.done {
        entries.extend(scan(&mut cursor)?);
    }
    Ok(entries)
}
