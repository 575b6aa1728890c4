//! Certificates and keys of `https` listeners, and who may sign those of backends: read from their
//! files, and again when these change. What is wrong with a new file leaves the old one in force.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tracing::{info, warn};

use crate::{
    config::{
        Config,
        http::{BackendTls, Certificate},
    },
    l7::{snapshot::Pem, tls},
};

/// Where systems keep whom they trust; the first that is there.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file.
    #[error("{}: cannot be read: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is in it.
    #[error("{}: {source}", path.display())]
    Tls {
        /// The certificate's, or the authorities', path.
        path: PathBuf,
        /// What is wrong.
        source: tls::TlsError,
    },
    /// There is no file of the system's.
    #[error("pool.http.tls.ca: there is none of the system's ({})", SYSTEM.join(", "))]
    NoSystem,
}

/// What is wrong with what `config` names.
#[must_use]
pub fn check(config: &Config) -> Vec<CertificateError> {
    let mut errors: Vec<CertificateError> =
        all(config).filter_map(|certificate| pair(certificate).err()).collect();
    errors.extend(backends_tls(config).filter_map(|settings| {
        authorities_path(settings).and_then(|path| authorities(&path, settings)).err()
    }));
    errors
}

/// What was read, by files.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pairs: HashMap<(PathBuf, PathBuf), (Stamp, Pem)>,
    authorities: HashMap<PathBuf, (Stamp, String)>,
    /// What was said of files that are wrong, so that it is said once.
    said: HashMap<PathBuf, Stamp>,
}

/// Tells whether a file changed.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

impl Certificates {
    /// Reads all that `config` names, for the first time or again; what is wrong with any.
    pub(super) fn read(&mut self, config: &Config) -> Result<(), CertificateError> {
        for certificate in all(config) {
            let key = (certificate.chain.clone(), certificate.key.clone());
            let now = [stamp(&certificate.chain), stamp(&certificate.key)];
            if self.pairs.get(&key).is_none_or(|(then, _)| *then != now) {
                let pem = pair(certificate)?;
                let _old = self.pairs.insert(key, (now, pem));
            }
        }
        for settings in backends_tls(config) {
            let path = authorities_path(settings)?;
            let now = [stamp(&path), None];
            if self.authorities.get(&path).is_none_or(|(then, _)| *then != now) {
                let text = authorities(&path, settings)?;
                let _old = self.authorities.insert(path, (now, text));
            }
        }
        Ok(())
    }

    /// Looks whether files have changed, and reads those that have; did any?
    pub(super) fn look_after(&mut self, config: &Config) -> bool {
        let mut changed = false;
        for certificate in all(config) {
            let key = (certificate.chain.clone(), certificate.key.clone());
            let now = [stamp(&certificate.chain), stamp(&certificate.key)];
            if self.pairs.get(&key).is_some_and(|(then, _)| *then == now) {
                continue;
            }
            match pair(certificate) {
                Ok(pem) => {
                    info!("{}: read again", certificate.chain.display());
                    let _old = self.pairs.insert(key, (now, pem));
                    changed = true;
                }
                Err(error) if self.said.insert(key.0, now) != Some(now) => {
                    warn!("{error}; the certificate before stays");
                }
                Err(_) => {}
            }
        }
        changed
    }

    /// A certificate that was read.
    pub(super) fn pem(&self, certificate: &Certificate) -> Option<Pem> {
        let key = (certificate.chain.clone(), certificate.key.clone());
        self.pairs.get(&key).map(|(_, pem)| pem.clone())
    }

    /// Who may sign the certificates of a pool's backends.
    pub(super) fn authorities(&self, settings: &BackendTls) -> Option<String> {
        if !settings.verify {
            return None;
        }
        let path = authorities_path(settings).ok()?;
        self.authorities.get(&path).map(|(_, text)| text.clone())
    }
}

fn all(config: &Config) -> impl Iterator<Item = &Certificate> {
    config.http_listeners.iter().flat_map(|listener| &listener.certificates)
}

fn backends_tls(config: &Config) -> impl Iterator<Item = &BackendTls> {
    config.pools.iter().filter_map(|pool| pool.http.tls.as_ref()).filter(|tls| tls.verify)
}

fn text(path: &Path) -> Result<String, CertificateError> {
    fs::read_to_string(path)
        .map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

fn pair(certificate: &Certificate) -> Result<Pem, CertificateError> {
    let pem = Pem { chain: text(&certificate.chain)?, key: text(&certificate.key)? };
    match tls::certified(&pem) {
        Ok(_) => Ok(pem),
        Err(source) => Err(CertificateError::Tls { path: certificate.chain.clone(), source }),
    }
}

fn authorities_path(settings: &BackendTls) -> Result<PathBuf, CertificateError> {
    match &settings.ca {
        Some(path) => Ok(path.clone()),
        None => SYSTEM
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or(CertificateError::NoSystem),
    }
}

fn authorities(path: &Path, settings: &BackendTls) -> Result<String, CertificateError> {
    let text = text(path)?;
    match tls::outgoing(settings, Some(&text), crate::config::http::HttpVersion::One) {
        Ok(_) => Ok(text),
        Err(source) => Err(CertificateError::Tls { path: path.to_owned(), source }),
    }
}
