//! The agent's side of interfaces and listener addresses: program on, addresses on, announced.

use std::{collections::BTreeSet, net::IpAddr};

use tracing::{info, warn};

use super::instance::State;
use crate::{
    api::wire,
    config::{Agent, Config},
    loader::{self, Attached, LoadError, Loaded},
    net::{
        self,
        addresses::{self, Changes},
        announce, links,
    },
};

/// Puts the program on every interface of `agent`; the modes it got.
///
/// All or nothing: after an error the interfaces that were attached anew are free again.
pub(super) async fn attach(
    loaded: &mut Loaded,
    agent: &Agent,
    handle: &rtnetlink::Handle,
) -> Result<Vec<wire::Interface>, LoadError> {
    let mut fresh = Vec::new();
    for interface in &agent.interfaces {
        match loaded.attach(interface, agent.xdp_mode) {
            Ok(Attached::Replaced) => info!("{interface}: program replaced"),
            Ok(attached) => {
                info!("{interface}: program attached, {attached:?}");
                fresh.push(interface);
            }
            Err(error) => {
                for interface in fresh {
                    if let Err(error) = loader::detach(loaded.directory(), interface) {
                        warn!("{interface}: the program stays attached: {error}");
                    }
                }
                return Err(error);
            }
        }
    }
    let mut interfaces = Vec::new();
    for name in &agent.interfaces {
        interfaces.push(wire::Interface { name: name.clone(), mode: mode(handle, name).await });
    }
    Ok(interfaces)
}

/// How XDP runs there, for people.
async fn mode(handle: &rtnetlink::Handle, name: &str) -> String {
    match links::xdp_mode(handle, name).await {
        Ok(mode) => mode.unwrap_or(DETACHED).to_owned(),
        Err(_gone) => GONE.to_owned(),
    }
}

const DETACHED: &str = "detached";
const GONE: &str = "not there";

/// Attaches the program again where an interface has gone and come back; notes the modes.
pub(super) async fn look_after(
    loaded: &mut Loaded,
    agent: &Agent,
    handle: &rtnetlink::Handle,
    interfaces: &mut [wire::Interface],
) {
    for interface in interfaces {
        let mut now = mode(handle, &interface.name).await;
        if now == DETACHED {
            match loaded.attach(&interface.name, agent.xdp_mode) {
                Ok(_) => {
                    info!("{}: program attached again", interface.name);
                    now = mode(handle, &interface.name).await;
                }
                Err(error) => warn!("{error}"),
            }
        }
        if now == GONE && interface.mode != GONE {
            warn!("{}: the interface is gone", interface.name);
        }
        interface.mode = now;
    }
}

/// Takes the program off interfaces that `agent` does not name.
pub(super) fn detach_others(agent: &Agent) {
    let attached = match loader::attached(&agent.bpffs) {
        Ok(attached) => attached,
        Err(error) => {
            warn!("{}: {error}", agent.bpffs.display());
            return;
        }
    };
    for interface in attached.iter().filter(|name| !agent.interfaces.contains(name)) {
        match loader::detach(&agent.bpffs, interface) {
            Ok(()) => info!("{interface}: program taken off"),
            Err(error) => warn!("{interface}: the program stays attached: {error}"),
        }
    }
}

/// Brings the listeners' addresses onto the interfaces, or off where the agent is not to manage
/// them. A future of its own: with thousands of addresses it takes the kernel a second or two.
pub(super) fn placing(
    handle: &rtnetlink::Handle,
    config: &Config,
    state: &State,
) -> impl Future<Output = Result<Changes, net::Error>> + Send + 'static {
    let wanted: BTreeSet<IpAddr> = if config.agent.manage_addresses {
        let http = config.http_listeners.iter().map(|listener| listener.address.ip());
        config.listeners.iter().map(|listener| listener.address.ip()).chain(http).collect()
    } else {
        BTreeSet::new()
    };
    let wanted: Vec<IpAddr> = wanted.into_iter().collect();
    let (handle, own) = (handle.clone(), state.addresses.clone());
    let interfaces = config.agent.interfaces.clone();
    async move { addresses::ensure(&handle, &wanted, &interfaces, &own).await }
}

/// Announces what was put on interfaces and notes it in `state`. What failed is logged, and tried
/// again with the next call of [`placing`].
pub(super) fn placed(outcome: Result<Changes, net::Error>, state: &mut State) {
    let changes = match outcome {
        Ok(changes) => changes,
        Err(error) => {
            warn!("listener addresses: {error}");
            return;
        }
    };
    if changes.added.len() + changes.removed.len() > EACH_ADDRESS {
        let (added, removed) = (changes.added.len(), changes.removed.len());
        info!("listener addresses: {added} put on, {removed} taken off");
    } else {
        for placed in &changes.added {
            info!("{}: put on {}", placed.address, placed.name);
        }
        for address in &changes.removed {
            info!("{address}: taken off");
        }
    }
    for error in &changes.failed {
        warn!("{error}");
    }
    announce::in_background(changes.added);
    state.addresses = changes.own;
}

/// More addresses than this at once are logged as a number.
const EACH_ADDRESS: usize = 32;

/// Takes all listener addresses off that the agent has put there.
pub(super) async fn remove_addresses(state: &State) -> Result<Changes, net::Error> {
    let handle = net::connect()?;
    addresses::remove_all(&handle, &state.addresses).await
}
