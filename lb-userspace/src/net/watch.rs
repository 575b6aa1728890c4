//! The task that follows routes, interfaces and neighbours, and reports how backends are reached.
//!
//! Events of the kernel only say that something changed; what holds now is looked up once a burst
//! is over, and all of it anew from time to time. Next hops are kept resolved as long as a backend
//! needs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, route::RouteFlags},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    AT_ONCE, Error,
    links::{self, Links},
    neighbours::{self, Key, Neighbour, Standing},
    reach::{Target, reach},
    routes::{self, Route},
};
use crate::control::facts::{Reach, ReachReport};

/// Events that come within this time of the first are one burst.
const SETTLE: Duration = Duration::from_millis(20);
/// Looking things up takes at most one part in so many of the time, whatever the kernel reports.
const AT_MOST_ONE_IN: u32 = 10;
/// Longest wait that follows from that.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Everything is looked up anew after this time, in case an event was lost or there is none (next
/// hop groups).
const RESYNC: Duration = Duration::from_secs(30);
/// A next hop without an answer is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// A next hop that stays stale is confirmed again after this time.
const CONFIRM_AGAIN: Duration = Duration::from_secs(10);
/// A backend that there has been no way to for as long is lost: a flap moves nobody.
pub const LOST_AFTER: Duration = Duration::from_secs(5);
/// After a netlink failure.
const RECONNECT: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Backends, names unique.
    pub targets: Vec<Target>,
    /// Names of the interfaces that the program is attached to.
    pub attached: Vec<String>,
}

/// The running task. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Starts on the present tokio runtime, in the network namespace of its thread. Changes go to
    /// `report`, the first for every backend at once.
    #[must_use]
    pub fn start(wanted: Wanted, report: mpsc::Sender<ReachReport>) -> Self {
        let (sender, receiver) = watch::channel(wanted);
        Self { wanted: sender, task: tokio::spawn(follow(receiver, report)) }
    }

    /// Follows these from now on. Waits for nothing, so it may be called by the task that reads
    /// the reports. What is known of backends that stay is reported again.
    pub fn configure(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }
}

async fn follow(mut wanted: watch::Receiver<Wanted>, report: mpsc::Sender<ReachReport>) {
    let mut known = Known::default();
    loop {
        match session(&mut known, &mut wanted, &report).await {
            Ok(()) => return,
            Err(error) => tracing::warn!("following routes and neighbours: {error}; trying again"),
        }
        sleep(RECONNECT).await;
    }
}

/// One connection's life. `Ok`: nobody wants the reports any more.
async fn session(
    known: &mut Known,
    wanted: &mut watch::Receiver<Wanted>,
    report: &mpsc::Sender<ReachReport>,
) -> Result<(), Error> {
    // Events first, so that none is missed between the first look and the first event; on a
    // socket of their own, so that a flood of them cannot push answers out.
    let (connection, _unused, mut events) =
        rtnetlink::new_multicast_connection(&GROUPS).map_err(Error::Open)?;
    tokio::spawn(connection);
    let handle = super::connect()?;

    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resync = interval(RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dirt = Dirt::None;
    let mut look_at = Instant::now();
    let mut not_before = look_at;
    // When to tell of next hops that changed: nothing is asked for that.
    let mut tell_at = None;
    loop {
        let before = dirt;
        let mut heard = Dirt::None;
        tokio::select! {
            event = events.next() => {
                let (event, _) = event.ok_or(Error::Closed)?;
                heard = known.take(event);
            }
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                // Who asked may have forgotten what it was told, if a backend went and came back
                // in between.
                known.reported.clear();
                known.without.clear();
                // By the operator, not by the kernel: at once.
                not_before = Instant::now();
                look_at = look_at.min(not_before + SETTLE);
                heard = Dirt::Routes;
            }
            // The first tick comes at once: that is the first look.
            _ = resync.tick() => heard = Dirt::Everything,
            _ = ticks.tick() => {
                heard = known.refresh(&handle).await?;
                if known.has_lost() {
                    heard = heard.max(Dirt::Neighbours);
                }
            }
            () = sleep_until(look_at), if dirt > Dirt::None => {
                let began = Instant::now();
                // Not marked as seen: a change that is seen first here still gets its look-up.
                let now = wanted.borrow().clone();
                known.update(&handle, &now, dirt).await?;
                dirt = Dirt::None;
                let rest = (began.elapsed() * (AT_MOST_ONE_IN - 1)).min(LONGEST_WAIT);
                not_before = Instant::now() + rest;
                // What has to be resolved is asked for before anybody hears that it is waited for.
                known.refresh(&handle).await?;
                if !known.tell(&now, report).await {
                    return Ok(());
                }
                tell_at = None;
            }
            () = sleep_until(tell_at.unwrap_or(look_at)), if tell_at.is_some() => {
                tell_at = None;
                let now = wanted.borrow().clone();
                if !known.tell(&now, report).await {
                    return Ok(());
                }
            }
        }
        if heard == Dirt::Neighbours {
            tell_at.get_or_insert(Instant::now() + SETTLE);
        } else {
            dirt = dirt.max(heard);
        }
        if dirt > before {
            look_at = not_before.max(Instant::now() + SETTLE);
        }
    }
}

/// What has to be looked at again; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dirt {
    None,
    /// A next hop changed: nothing needs to be asked, only told.
    Neighbours,
    /// Look all routes up.
    Routes,
    /// Ask for everything.
    Everything,
}

/// A next hop that some backend needs.
#[derive(Debug)]
struct NextHop {
    /// As the kernel has it.
    now: Neighbour,
    /// Its last address: kept while the kernel asks for it, also where the table of neighbours has
    /// no room for it.
    mac: Option<[u8; 6]>,
    /// The kernel has asked in vain, and has not heard of it since.
    silent: bool,
    /// When the kernel was last made to resolve or confirm it.
    asked: Option<Instant>,
}

impl NextHop {
    fn set(&mut self, now: Neighbour) {
        self.now = now;
        self.mac = now.mac.or(self.mac);
        self.silent = now.mac.is_none() && (self.silent || now.standing == Standing::Failed);
    }

    /// Its address, unless nobody answers there.
    fn mac(&self) -> Option<[u8; 6]> {
        self.mac.filter(|_| !self.silent)
    }

    fn wants_asking(&self) -> bool {
        let after = match self.now.standing {
            Standing::Unresolved | Standing::Failed => ASK_AGAIN,
            Standing::Stale => CONFIRM_AGAIN,
            Standing::Fresh | Standing::Fixed => return false,
        };
        self.asked.is_none_or(|asked| asked.elapsed() >= after)
    }
}

/// What the kernel holds of a next hop, with its key.
async fn standing(handle: &Handle, key: Key) -> Result<(Key, Neighbour), Error> {
    Ok((key, neighbours::get(handle, key).await?))
}

/// Asks about many things at once; the answers in no order.
async fn at_once<T, A, F, R>(about: impl IntoIterator<Item = T>, ask: F) -> Result<Vec<A>, Error>
where
    F: Fn(T) -> R,
    R: Future<Output = Result<A, Error>>,
{
    stream::iter(about).map(ask).buffer_unordered(AT_ONCE).try_collect().await
}

#[derive(Debug, Default)]
struct Known {
    links: Links,
    routes: BTreeMap<IpAddr, Route>,
    hops: BTreeMap<Key, NextHop>,
    reported: BTreeMap<String, Reach>,
    /// Of targets that there is no way to: since when, and why.
    without: BTreeMap<String, (Instant, String)>,
}

impl Known {
    /// Takes an event in: what does it make necessary?
    #[expect(clippy::wildcard_enum_match_arm, reason = "no way depends on the other messages")]
    fn take(&mut self, event: NetlinkMessage<RouteNetlinkMessage>) -> Dirt {
        use RouteNetlinkMessage as Event;
        let event = match event.payload {
            NetlinkPayload::InnerMessage(event) => event,
            NetlinkPayload::Overrun(_) => return Dirt::Everything,
            _ => return Dirt::None,
        };
        match event {
            Event::NewNeighbour(message) => match neighbours::read(&message) {
                Some((key, neighbour)) => self.heard(key, neighbour),
                None => Dirt::None,
            },
            Event::DelNeighbour(message) => match neighbours::read(&message) {
                Some((key, _)) => self.heard(key, Neighbour::ABSENT),
                None => Dirt::None,
            },
            Event::NewLink(message) => match links::read(&message) {
                Some((index, link)) => {
                    self.links.insert(index, link);
                    Dirt::Routes
                }
                None => Dirt::None,
            },
            Event::DelLink(message) => match links::read(&message) {
                Some((index, _)) => {
                    self.links.remove(&index);
                    Dirt::Routes
                }
                None => Dirt::None,
            },
            Event::NewRoute(message) | Event::DelRoute(message) => {
                // Exceptions (a path's MTU) are no routes.
                let exception = message.header.flags.contains(RouteFlags::Cloned);
                if exception { Dirt::None } else { Dirt::Routes }
            }
            Event::NewAddress(_) | Event::DelAddress(_) | Event::NewRule(_) | Event::DelRule(_) => {
                Dirt::Routes
            }
            _ => Dirt::None,
        }
    }

    fn heard(&mut self, key: Key, neighbour: Neighbour) -> Dirt {
        // Others' neighbours may be many: they are nothing to keep.
        let Some(hop) = self.hops.get_mut(&key) else { return Dirt::None };
        let (mac, asking) = (hop.mac(), hop.wants_asking());
        hop.set(neighbour);
        let changed = hop.mac() != mac || (hop.wants_asking() && !asking);
        if changed { Dirt::Neighbours } else { Dirt::None }
    }

    /// Asks the kernel for what `dirt` says.
    async fn update(&mut self, handle: &Handle, wanted: &Wanted, dirt: Dirt) -> Result<(), Error> {
        if dirt == Dirt::Everything {
            self.links = links::all(handle).await?;
        }
        let addresses: BTreeSet<IpAddr> = wanted.targets.iter().map(|one| one.address).collect();
        let look_up = |address| async move { Ok((address, routes::to(handle, address).await?)) };
        self.routes = at_once(addresses, look_up).await?.into_iter().collect();
        let links = &self.links;
        let hop = |route: &Route| match route {
            Route::Way { interface, next, .. } => {
                let ethernet = links.get(interface).is_some_and(|link| link.mac.is_some());
                ethernet.then_some((*interface, *next))
            }
            Route::None(_) => None,
        };
        let needed: BTreeSet<Key> = self.routes.values().filter_map(hop).collect();
        self.hops.retain(|key, _| needed.contains(key));
        let hops = &self.hops;
        let unknown =
            needed.into_iter().filter(|key| dirt == Dirt::Everything || !hops.contains_key(key));
        let found = at_once(unknown, |key| standing(handle, key)).await?;
        for (key, now) in found {
            let new = || NextHop { now, mac: None, silent: false, asked: None };
            self.hops.entry(key).or_insert_with(new).set(now);
        }
        Ok(())
    }

    /// Has the kernel resolve or confirm the next hops whose time it is.
    async fn refresh(&mut self, handle: &Handle) -> Result<Dirt, Error> {
        let mut dirt = Dirt::None;
        let waiting = self.hops.iter().filter(|(_, hop)| hop.wants_asking());
        let waiting: Vec<Key> = waiting.map(|(key, _)| *key).collect();
        // An operator may have made it permanent in the meantime, which asking would undo.
        let found = at_once(waiting, |key| standing(handle, key)).await?;
        let mut to_ask = Vec::new();
        for (key, now) in found {
            let Some(hop) = self.hops.get_mut(&key) else { continue };
            let mac = hop.mac();
            hop.set(now);
            if hop.mac() != mac {
                dirt = Dirt::Neighbours;
            }
            if hop.wants_asking() {
                hop.asked = Some(Instant::now());
                to_ask.push(key);
            }
        }
        let ask = |key: Key| async move { Ok((key, neighbours::resolve(handle, key).await?)) };
        for (key, asked) in at_once(to_ask, ask).await? {
            if let Err(error) = asked {
                tracing::debug!("cannot resolve {}: {}", key.1, error.desc());
            }
        }
        Ok(dirt)
    }

    /// Is there a target to be reported lost?
    fn has_lost(&self) -> bool {
        self.without.iter().any(|(name, (since, _))| {
            since.elapsed() >= LOST_AFTER
                && !matches!(self.reported.get(name), Some(Reach::Lost(_)))
        })
    }

    /// No way becomes none at all with time, counted anew with each reason: where a link has come
    /// back, its neighbours get their time to answer.
    fn or_lost(&mut self, name: &str, now: Reach) -> Reach {
        let Reach::Pending(why) = now else {
            self.without.remove(name);
            return now;
        };
        match self.without.get(name) {
            Some((since, before)) if *before == why => {
                if since.elapsed() >= LOST_AFTER {
                    Reach::Lost(why)
                } else {
                    Reach::Pending(why)
                }
            }
            _ => {
                self.without.insert(name.to_owned(), (Instant::now(), why.clone()));
                Reach::Pending(why)
            }
        }
    }

    /// Reports what is not as last reported; false: nobody wants to hear it any more.
    async fn tell(&mut self, wanted: &Wanted, report: &mpsc::Sender<ReachReport>) -> bool {
        for change in self.changes(wanted) {
            if report.send(change).await.is_err() {
                return false;
            }
        }
        true
    }

    /// What is not as last reported, which it then is.
    fn changes(&mut self, wanted: &Wanted) -> Vec<ReachReport> {
        let names: BTreeSet<&str> = wanted.targets.iter().map(|one| one.name.as_str()).collect();
        self.reported.retain(|name, _| names.contains(name.as_str()));
        self.without.retain(|name, _| names.contains(name.as_str()));
        let mut changes = Vec::new();
        for target in &wanted.targets {
            // A target that came in after the last look gets its turn with the next.
            let Some(route) = self.routes.get(&target.address) else { continue };
            let mac = match route {
                Route::Way { interface, next, .. } => {
                    self.hops.get(&(*interface, *next)).and_then(NextHop::mac)
                }
                Route::None(_) => None,
            };
            let now = reach(target, route, &self.links, &wanted.attached, mac);
            let now = self.or_lost(&target.name, now);
            if self.reported.get(&target.name) != Some(&now) {
                self.reported.insert(target.name.clone(), now.clone());
                let (backend, address) = (target.name.clone(), target.address);
                changes.push(ReachReport { backend, address, reach: now });
            }
        }
        changes
    }
}
