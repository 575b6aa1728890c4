//! The agent's side of layer 7: what the sidecar is to serve, and the process that does.
//!
//! Owns keys and certificates. What a backend is there for is the controller's to say.

pub mod certificates;
mod child;
mod handover;
pub mod keys;
mod sockets;
mod supervisor;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tracing::error;

pub(super) use self::supervisor::Standing;
use self::{
    certificates::{CertificateError, Certificates},
    keys::KeysError,
    supervisor::{Supervisor, Wanted},
};
use crate::{
    config::{Config, http::HttpListener},
    l7::{
        cookie::ring::Ring,
        random,
        snapshot::{Backend, Listener, Pool, Snapshot},
    },
};

/// Why layer 7 cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The key ring.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The sidecar, as the writer has it.
pub(super) struct Sidecar {
    wanted: watch::Sender<Option<Wanted>>,
    standing: Arc<Mutex<Standing>>,
    certificates: Certificates,
    ring: Ring,
    /// The same, as the sidecar reads it.
    ring_text: String,
    epoch: u32,
    seed: [u64; 2],
    log_turn: u64,
    replacement: u64,
    /// The supervisor was told what is wanted, if only nothing.
    told: bool,
}

impl Sidecar {
    /// Reads keys and certificates; takes over from the sidecar of the agent before, if it left one.
    pub(super) async fn start(
        config: &Config,
        epoch: u32,
        seed: [u64; 2],
    ) -> Result<Self, SidecarError> {
        let ring = keys::load(&config.agent.state)?;
        let mut certificates = Certificates::default();
        certificates.read(config)?;
        let (wanted, receiver) = watch::channel(None);
        let standing = Arc::new(Mutex::new(Standing::default()));
        let adopted = handover::adopt(&config.agent.admin).await;
        match handover::Door::open(&config.agent.admin) {
            Ok(door) => {
                let supervisor = Supervisor::new(receiver, Arc::clone(&standing), door, adopted);
                drop(tokio::spawn(supervisor.run()));
            }
            Err(error) => error!("the sidecar cannot be started: {error}"),
        }
        Ok(Self {
            wanted,
            standing,
            certificates,
            ring_text: keys::text(&ring)?,
            ring,
            epoch,
            seed,
            log_turn: 0,
            replacement: 0,
            told: false,
        })
    }

    /// Reads what a new configuration names; what is wrong with it, before anything changes.
    pub(super) fn accept(&mut self, config: &Config) -> Result<(), SidecarError> {
        self.certificates.read(config)?;
        self.ring = keys::load(&config.agent.state)?;
        self.ring_text = keys::text(&self.ring)?;
        // The log may have been moved away.
        self.log_turn += 1;
        Ok(())
    }

    /// Reads certificates that have changed; did any?
    pub(super) fn look_after(&mut self, config: &Config) -> bool {
        self.certificates.look_after(config)
    }

    /// Lets another process take the place of the sidecar's.
    pub(super) fn replace(&mut self) {
        self.replacement += 1;
    }

    /// Adds a key that seals from `after_s` seconds on; how many there are now.
    pub(super) fn rotate(&mut self, state: &Path, after_s: u64) -> Result<usize, KeysError> {
        let mut ring = self.ring.clone();
        let now = keys::now_s();
        ring.rotate(now, after_s, &mut random::fill);
        let _dropped = ring.drop_old(now, LONGEST_SESSION_S);
        keys::save(state, &ring)?;
        self.ring_text = keys::text(&ring)?;
        self.ring = ring;
        Ok(self.ring.keys().len())
    }

    /// The keys.
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Which instance counts generations.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves by this from now on; `backends` are those of each pool, as they are now.
    pub(super) fn serve(&mut self, config: &Config, backends: Vec<Vec<Backend>>) {
        let next = (!config.http_listeners.is_empty()).then(|| self.want(config, backends));
        let first = !std::mem::replace(&mut self.told, true);
        self.wanted.send_if_modified(|there| {
            let same = match (there.as_ref(), &next) {
                (None, None) => true,
                (Some(there), Some(next)) => {
                    there.snapshot == next.snapshot
                        && (there.workers, there.log_turn, there.replacement)
                            == (next.workers, next.log_turn, next.replacement)
                }
                _ => false,
            };
            if !same {
                *there = next;
            }
            first || !same
        });
    }

    fn want(&self, config: &Config, backends: Vec<Vec<Backend>>) -> Wanted {
        let pools = config.pools.iter().zip(backends).map(|(pool, backends)| Pool {
            name: pool.name.clone(),
            http: pool.http.clone(),
            authorities: pool
                .http
                .tls
                .as_ref()
                .and_then(|settings| self.certificates.authorities(settings)),
            backends,
        });
        let snapshot = Snapshot {
            settings: config.sidecar.clone(),
            epoch: self.epoch,
            seed: self.seed,
            ring: self.ring_text.clone(),
            listeners: config.http_listeners.iter().map(|one| self.listener(one)).collect(),
            pools: pools.collect(),
        };
        let workers = config.sidecar.workers.unwrap_or_else(|| {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            u16::try_from(cpus).unwrap_or(u16::MAX).min(256)
        });
        Wanted {
            snapshot: Arc::new(snapshot),
            workers,
            log_turn: self.log_turn,
            replacement: self.replacement,
        }
    }

    fn listener(&self, listener: &HttpListener) -> Listener {
        let certificates = listener.certificates.iter();
        Listener {
            name: listener.name.clone(),
            address: listener.address,
            certificates: certificates.filter_map(|one| self.certificates.pem(one)).collect(),
            https_redirect: listener.https_redirect,
            accept_proxy: listener.accept_proxy,
            rules: listener.rules.clone(),
        }
    }
}

/// `max_lifetime` goes up to 30 days.
const LONGEST_SESSION_S: u64 = 30 * 24 * 3600;

/// Ends the sidecar that an agent left behind.
pub(super) async fn end(admin: &Path) {
    if let Some((adopted, sockets)) = handover::adopt(admin).await {
        drop(sockets);
        adopted.finish_now().await;
    }
    // There may be none.
    let _gone = std::fs::remove_file(handover::path(admin));
}
