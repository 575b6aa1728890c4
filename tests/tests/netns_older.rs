//! An instance that an earlier version has made is taken over under traffic: numbered packets go on,
//! who is pinned stays pinned, whatever kills the agent on the way.
#![expect(clippy::print_stdout, reason = "how much was sent tells what the test is worth")]

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};
use lb_common::{
    address::Address,
    hash::Seed,
    layout::{Backend, Meta, Pin, PinKey, Tunnel, VipKey},
    maps::{BACKENDS, IDENTITIES, LAYOUT_VERSION, META, PINS, POOLS, VIPS},
};
use lb_userspace::{
    api::wire::{BackendState, Intent, Status},
    maps::{LbMaps as _, kernel::KernelMaps},
};
use tests::{
    agent::{check_refused, said},
    clients::{ask_udp, curl_all, placed, udp},
    numbered::{Halt, numbered},
    raw_map::{self, ARRAY, HASH},
    servers::Echo,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

const CLIENTS: u8 = 8;
/// Of the harness's state file.
const SEED: Seed = Seed([20_071, 4711]);

/// Bytes of a row of `BACKENDS` before tunnels, and where the tunnel has come in.
const OLD_BACKEND: usize = size_of::<Backend>() - size_of::<Tunnel>();
const TUNNEL_AT: usize = 112;
/// Where the ticks have come into a VIP.
const TICKS_AT: usize = 52;

fn beside(directory: &Path, what: &str) -> PathBuf {
    directory.with_file_name(format!(
        "{}{what}",
        directory.file_name().expect("a name").to_str().expect("text")
    ))
}

fn array<V: Pod>(path: PathBuf) -> Array<MapData, V> {
    let data = MapData::from_pin(path).expect("a map");
    Array::try_from(Map::Array(data)).expect("an array")
}

fn set_version(directory: &Path, version: u32) {
    let mut meta: Array<_, Meta> = array(directory.join(META));
    let there = meta.get(&0, 0).expect("read");
    meta.set(0, Meta { layout_version: version, ..there }, 0).expect("written");
}

/// Makes an instance as version 3 had them of one that serves: VIPs in a hash map, backends without
/// tunnels. The program goes on with the very pins.
fn as_version_3(instance: &Path) {
    let now = beside(instance, "-now");
    fs::rename(instance, &now).expect("renamed");
    fs::create_dir(instance).expect("made");
    for entry in fs::read_dir(&now).expect("it is there") {
        let name = entry.expect("an entry").file_name();
        let text = name.to_str().expect("text");
        if text.starts_with("link-") || [PINS, IDENTITIES, POOLS, META].contains(&text) {
            fs::rename(now.join(&name), instance.join(&name)).expect("moved");
        }
    }
    // What `KernelMaps` is opened for has to be there.
    for name in [PINS, IDENTITIES, POOLS, META] {
        let data = MapData::from_pin(instance.join(name)).expect("a map");
        data.pin(now.join(name)).expect("pinned");
    }
    let maps = KernelMaps::look(&now, SEED).expect("maps");
    let meta = maps.meta().expect("read");
    set_version(instance, 3);

    raw_map::pin(&instance.join(BACKENDS), ARRAY, 4, OLD_BACKEND, meta.backends + 1);
    let mut backends: Array<_, [u8; OLD_BACKEND]> = array(instance.join(BACKENDS));
    for (id, mut backend) in maps.backends().expect("read") {
        // A number of them, in the place of which ones.
        backend.nat_source_mask = backend.nat_source_mask.count_ones();
        let bytes = bytemuck::bytes_of(&backend);
        let old = [&bytes[..TUNNEL_AT], &bytes[TUNNEL_AT + size_of::<Tunnel>()..]].concat();
        backends.set(id, <[u8; OLD_BACKEND]>::try_from(old).expect("its size"), 0).expect("set");
    }
    let listeners = meta.listeners;
    raw_map::pin(&instance.join(VIPS), HASH, size_of::<VipKey>(), 56, listeners);
    let data = MapData::from_pin(instance.join(VIPS)).expect("a map");
    let mut vips = HashMap::<_, VipKey, [u8; 56]>::try_from(Map::HashMap(data)).expect("a hash");
    for (key, vip) in maps.vips().expect("read") {
        let bytes = bytemuck::bytes_of(&vip);
        // Without ticks, and with less to fill it up.
        let old = [&bytes[..TICKS_AT], &bytes[TICKS_AT + 4..TICKS_AT + 8]].concat();
        vips.insert(key, <[u8; 56]>::try_from(old).expect("its size"), 0).expect("inserted");
    }
    // The program holds what it needs.
    for entry in fs::read_dir(&now).expect("it is there") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    fs::remove_dir(&now).expect("removed");
}

/// Makes an instance of version 3 with what is carried last: a pin of its own beside one of the next
/// instance's.
fn with_one_pin(next: &Path, old: &Path) {
    fs::create_dir(old).expect("made");
    let meta: Meta = array(next.join(META)).get(&0, 0).expect("read");
    raw_map::pin(&old.join(META), ARRAY, 4, size_of::<Meta>(), 1);
    array(old.join(META)).set(0, Meta { layout_version: 3, ..meta }, 0).expect("written");
    let data = MapData::from_pin(next.join(PINS)).expect("a map");
    let there = HashMap::<_, PinKey, Pin>::try_from(Map::LruHashMap(data)).expect("an LRU map");
    let (key, pin) = there.iter().next().expect("a pin").expect("read");
    raw_map::pin(&old.join(PINS), HASH, size_of::<PinKey>(), size_of::<Pin>(), 2);
    let data = MapData::from_pin(old.join(PINS)).expect("a map");
    let mut pins = HashMap::<_, PinKey, Pin>::try_from(Map::HashMap(data)).expect("a hash");
    let client = Address::from_v4([198, 18, 0, 1]);
    for key in [key, PinKey { client, ..key }] {
        pins.insert(key, pin, 0).expect("inserted");
    }
}

/// Pins by scope and client: the backend, and how old they are.
fn pins(site: &Site) -> BTreeMap<(String, String), (String, u64)> {
    let sessions = site.holdfast.sessions().into_iter();
    sessions.map(|one| ((one.scope, one.client.to_string()), (one.backend, one.age_s))).collect()
}

fn generations(status: &Status) -> Vec<(String, u32, Intent)> {
    let backends = status.backends.iter();
    backends.map(|one| (one.name.clone(), one.generation, one.intent)).collect()
}

fn check(shape: Shape, pool: &str, kills: u64) {
    let lab = Lab::new(shape, CLIENTS, 3);
    let dsr = pool.contains("dsr");
    if dsr {
        lab.backends_own_vips();
    }
    let web = SocketAddr::new(lab.vip(Family::V4), 80);
    let dns = SocketAddr::new(lab.vip(Family::V4), 5353);
    let persistence = "persistence = { timeout = \"1h\" }";
    let configuration = Configuration::new(&lab, "")
        .pool(&lab, Family::V4, pool)
        .listener("web", "tcp", web, persistence)
        .listener("dns", "udp", dns, persistence);
    let echoes: Vec<Echo> = (0..3)
        .map(|index| {
            let own = SocketAddr::new(lab.backend(Family::V4, index), PORT);
            Echo::start(&lab.backends[index], &backend_name(index), &[if dsr { dns } else { own }])
        })
        .collect();
    let mut site = Site::start(lab, &configuration);
    // A second life, and something that the operator wants.
    site.holdfast.verb("backend down web-1");
    site.holdfast.verb("backend ready web-1");
    let clients: Vec<IpAddr> =
        (0..CLIENTS).map(|index| site.lab.client(Family::V4, index)).collect();
    let before = placed(&curl_all(&site.lab.clients, &clients, web, 2), 2);
    let sockets: Vec<UdpSocket> =
        clients.iter().map(|client| udp(&site.lab.clients, *client, dns)).collect();
    for socket in &sockets {
        for payload in ["warm", "up"] {
            let _name = ask_udp(socket, payload).expect("an answer");
        }
    }
    site.holdfast.verb("backend drain web-3");
    let (pinned, lives) = (pins(&site), generations(&site.holdfast.status()));
    assert_eq!(pinned.len(), 2 * usize::from(CLIENTS), "{pinned:?}");
    assert!(lives[0].1 > lives[1].1, "a second life: {lives:?}");

    assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
    let instance = site.lab.instance();
    as_version_3(&instance);
    let (code, text) = said(&site.holdfast.try_with_config("check"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("layout 3"), "{text}");

    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (stop, sent) = (&stop, &sent);
    let lost: usize = thread::scope(|scope| {
        // A panic on the way must not leave the clients at work.
        let halt = Halt(stop);
        let numbered: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(move || numbered(socket, stop, sent)))
            .collect();
        thread::sleep(Duration::from_millis(200));
        for kill in 0..kills {
            let agent = site.holdfast.start_only();
            thread::sleep(Duration::from_millis(40 * kill));
            agent.kill();
        }
        site.agent = Some(site.holdfast.start_ready_but(&[("web-3", BackendState::Draining)]));
        thread::sleep(Duration::from_millis(300));
        drop(halt);
        numbered.into_iter().map(|one| one.join().expect("packets").len()).sum()
    });
    let sent = sent.load(Ordering::Relaxed);
    println!("{sent} numbered packets, {kills} kills, {lost} without an answer");
    assert!(sent > 100, "{sent}");
    // An answer on its way finds no entry where it has to be translated back.
    assert!(lost <= if dsr { 0 } else { usize::from(CLIENTS) }, "{lost}");

    let status = site.holdfast.status();
    assert_eq!(status.layout, LAYOUT_VERSION);
    assert_eq!(generations(&status), lives);
    let after = pins(&site);
    for (key, (backend, age)) in &pinned {
        let (now, now_age) = after.get(key).unwrap_or_else(|| panic!("{key:?} is gone"));
        assert_eq!(now, backend, "{key:?}");
        assert!(now_age >= age, "{key:?} was made anew: {now_age} s old, before {age} s");
    }
    assert_eq!(after.len(), pinned.len());
    assert_eq!(placed(&curl_all(&site.lab.clients, &clients, web, 2), 2), before);
    assert_eq!(site.holdfast.status().events.dropped, []);
    for what in ["+next", "+old"] {
        assert!(!beside(&instance, what).exists(), "{what} is left");
    }
    // From here on as ever.
    let _again = site.agent.take().expect("an agent").stop();
    site.agent = Some(site.holdfast.start_ready_but(&[("web-3", BackendState::Draining)]));
    assert_eq!(pins(&site).len(), pinned.len());
    // As it is when it was killed before the next instance had the old one's name: whether the old
    // one has been moved away already, or is there with a pin that was made late.
    for late in [0, 1] {
        let _again = site.agent.take().expect("an agent").stop();
        fs::rename(&instance, beside(&instance, "+next")).expect("renamed");
        if late > 0 {
            with_one_pin(&beside(&instance, "+next"), &instance);
        }
        site.agent = Some(site.holdfast.start_ready_but(&[("web-3", BackendState::Draining)]));
        assert_eq!(pins(&site).len(), pinned.len() + late);
        assert!(!beside(&instance, "+next").exists());
    }
    drop(echoes);
}

#[test]
fn version_3_straight_to_the_client() {
    check(Shape::OneArm, "forward = \"dsr\"", 0);
}

#[test]
fn version_3_translated() {
    check(Shape::Routed, "", 0);
}

#[test]
fn version_3_and_kills_on_the_way() {
    check(Shape::OneArm, "forward = \"dsr\"", 8);
}

/// Pins that this version does not know are in it, as earlier ones had them and newer may.
#[test]
fn an_instance_of_any_version_is_taken_off() {
    let mut site = tests::site::usual(1, 1);
    let vip = site.lab.vip(Family::V4).to_string();
    let addresses = |site: &Site| site.lab.balancer.ip("address show");
    for version in [3, LAYOUT_VERSION + 1] {
        assert!(addresses(&site).contains(&vip));
        assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
        let instance = site.lab.instance();
        if version == 3 {
            as_version_3(&instance);
        } else {
            set_version(&instance, version);
        }
        for name in ["sweep_flows", "UNKNOWN"] {
            raw_map::pin(&instance.join(name), HASH, 4, 4, 1);
        }
        let (code, text) = said(&site.holdfast.try_with_config("detach"));
        assert_eq!(code, Some(0), "{text}");
        assert!(!instance.exists());
        assert!(!addresses(&site).contains(&vip), "{}", addresses(&site));
        assert!(!site.lab.balancer.ip("link show").contains("xdp"));
        site.agent = Some(site.holdfast.start_ready());
    }
}

#[test]
fn a_newer_version_is_refused() {
    let mut site = tests::site::usual(1, 1);
    assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
    let instance = site.lab.instance();
    for version in [LAYOUT_VERSION + 1, 2] {
        set_version(&instance, version);
        let told = format!("an instance of layout version {version}");
        for verb in ["check", "run"] {
            let output = site.holdfast.try_with_config(verb);
            check_refused(&output, 2, &[&told, "takes over versions from 3 on"]);
        }
    }
    set_version(&instance, LAYOUT_VERSION);
    site.agent = Some(site.holdfast.start_ready());
}
