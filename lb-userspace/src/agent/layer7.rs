//! What the operator asks of layer 7: its keys, a cookie's meaning, another sidecar.

use tracing::info;

use super::{
    explain::{self, Known, time},
    sidecar::keys,
    writer::{Writer, internal},
};
use crate::{
    api::{CommandError, convert, wire},
    l7::{cookie::ring::Key, wall},
};

impl Writer {
    /// Which keys there are.
    pub(super) fn keys(&self) -> wire::Keys {
        let ring = self.sidecar.ring();
        let now_s = keys::now_s();
        let sealing = ring.sealing(now_s).id;
        wire::Keys {
            file: keys::path(&self.keeper.controller.config().agent.state).display().to_string(),
            keys: ring.keys().iter().map(|one| key(one, sealing, now_s)).collect(),
        }
    }

    /// Adds a key.
    pub(super) fn rotate_keys(&mut self, after_s: u64) -> Result<wire::Rotated, CommandError> {
        let before: Vec<u32> = self.sidecar.ring().keys().iter().map(|key| key.id).collect();
        let state = &self.keeper.controller.config().agent.state;
        let _count = self.sidecar.rotate(state, after_s).map_err(internal)?;
        // Its cookies open from now on.
        self.told = None;
        let keys = self.keys();
        let added = keys.keys.iter().find(|key| !before.contains(&key.id)).cloned();
        let key = added.ok_or_else(|| internal("the new key is not in the ring"))?;
        let kept = keys.keys.len() - 1;
        info!("keys: {} seals from {} on, by the operator", key.id, key.seals_from);
        Ok(wire::Rotated { key, dropped: before.len().saturating_sub(kept) as u64, keys })
    }

    /// What a cookie means.
    pub(super) fn explain_cookie(&mut self, value: &str) -> Result<wire::Explained, CommandError> {
        let backends = self.keeper.controller.http_backends().map_err(internal)?;
        let known = Known {
            config: self.keeper.controller.config(),
            backends: &backends,
            ring: self.sidecar.ring(),
            epoch: self.sidecar.epoch(),
        };
        Ok(explain::explain(value, &known, wall::now_ms()))
    }

    /// Puts another sidecar in the place of the one that runs.
    pub(super) fn replace_sidecar(&mut self) -> Result<wire::Replaced, CommandError> {
        let config = self.keeper.controller.config();
        if config.http_listeners.is_empty() {
            return Err(CommandError::Invalid(
                "there is no sidecar to replace: no listener is http or https".to_owned(),
            ));
        }
        let drain_s = config.sidecar.drain.as_secs();
        self.sidecar.replace();
        self.told = None;
        let pid = self.sidecar.standing().pid;
        info!("sidecar: process {} is to be replaced, by the operator", pid.unwrap_or_default());
        Ok(wire::Replaced { pid, drain_s })
    }

    /// An error that says so, where `name` is a listener whose sessions are in no table.
    pub(super) fn kept_in_cookies(&self, name: &str) -> Result<(), CommandError> {
        let mut listeners = self.keeper.controller.config().http_listeners.iter();
        match listeners.find(|listener| listener.name == name) {
            None => Ok(()),
            Some(listener) => Err(CommandError::Invalid(format!(
                "the sessions of `{name}` are not listed: it is an {} listener, and its clients keep \
                 them, in cookies; `holdfast status` counts them, `holdfast cookie explain` reads one",
                convert::http_protocol(listener)
            ))),
        }
    }
}

fn key(key: &Key, sealing: u32, now_s: u64) -> wire::Key {
    wire::Key {
        id: key.id,
        seals_from: time(key.seals_from_s.saturating_mul(1000)),
        seals_in_s: key.seals_from_s.checked_sub(now_s).filter(|left_s| *left_s > 0),
        seals: key.id == sealing,
    }
}
