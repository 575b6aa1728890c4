//! TLS: certificates by name for clients, trust for backends.
//!
//! Owns how rustls is set up. The agent looks at new files with the same functions before it hands
//! them on.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};

use super::snapshot::Pem;
use crate::config::http::{BackendTls, HttpVersion};

/// A certificate, a key or a set of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file.
    #[error("no {what} in PEM: {why}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        why: String,
    },
    /// Key and certificate, or either, are not what rustls takes.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The name that backends are asked for.
    #[error("{0:?} is no DNS name and no address")]
    Name(String),
}

/// Sessions that clients may resume: kept over snapshots.
#[derive(Debug, Clone)]
pub struct Tickets {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// Sessions of TLS 1.2 clients without tickets.
const SESSIONS: usize = 4096;

impl Tickets {
    /// With new keys, which are changed twice a day.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self {
            ticketer: aws_lc_rs::Ticketer::new()?,
            sessions: rustls::server::ServerSessionMemoryCache::new(SESSIONS),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A certificate chain with its key, if they belong together.
pub fn certified(pem: &Pem) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem { what: "certificate", why: error.to_string() })?;
    if chain.is_empty() {
        return Err(TlsError::Pem { what: "certificate", why: "nothing found".to_owned() });
    }
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes())
        .map_err(|error| TlsError::Pem { what: "private key", why: error.to_string() })?;
    let certified = CertifiedKey::from_der(chain, key, &provider())?;
    Ok(certified)
}

/// What an `https` listener serves with.
pub fn incoming(certificates: &[Pem], tickets: &Tickets) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates.iter().map(|pem| certified(pem).map(Arc::new));
    let by_name = ByName::new(certificates.collect::<Result<Vec<_>, _>>()?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(&tickets.ticketer);
    config.session_storage = Arc::clone(&tickets.sessions);
    // One ticket: a browser that wants more asks again.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Certificates by the names that they are for; the first one for all other names.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com` as `example.com`.
    below: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for certificate in &certificates {
            for name in names(certificate) {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut below, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| Arc::clone(certificate));
            }
        }
        Self { exact, below, first: certificates.into_iter().next() }
    }
}

/// DNS names of a certificate, lower case.
#[must_use]
pub fn names(certificate: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = certificate.cert.first() else { return Vec::new() };
    match webpki::EndEntityCert::try_from(leaf) {
        Ok(leaf) => leaf.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        Err(_) => Vec::new(),
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(&name).or_else(|| self.below.get(parent?)).cloned()
        });
        found.or_else(|| self.first.clone())
    }
}

/// What TLS to a pool's backends needs.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// How to connect.
    pub config: Arc<ClientConfig>,
    /// Whom; `None`: by the backend's address.
    pub name: Option<ServerName<'static>>,
}

/// TLS to backends as `settings` want it; `authorities` in PEM may sign their certificates.
pub fn outgoing(
    settings: &BackendTls,
    authorities: Option<&str>,
    version: HttpVersion,
) -> Result<Outgoing, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = if settings.verify {
        let mut roots = RootCertStore::empty();
        let pem = authorities.unwrap_or_default();
        let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Pem { what: "authority", why: error.to_string() })?;
        let (taken, _ignored) = roots.add_parsable_certificates(found);
        if taken == 0 {
            return Err(TlsError::Pem { what: "authority", why: "nothing found".to_owned() });
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let verifier = Arc::new(Anybody(provider().signature_verification_algorithms));
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    };
    config.alpn_protocols = match version {
        HttpVersion::One => vec![b"http/1.1".to_vec()],
        HttpVersion::Two => vec![b"h2".to_vec()],
    };
    let name = match &settings.name {
        None => None,
        Some(name) => {
            let parsed = ServerName::try_from(name.clone());
            Some(parsed.map_err(|_invalid| TlsError::Name(name.clone()))?)
        }
    };
    Ok(Outgoing { config: Arc::new(config), name })
}

/// Takes any certificate: `verify = false`.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
