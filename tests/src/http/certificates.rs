//! Certificates, made with openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Who signs certificates, in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    /// Its own certificate, PEM.
    pub certificate: PathBuf,
    key: PathBuf,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// When openssl fails.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=tests -keyout {} -out {}",
            key.display(),
            certificate.display()
        ));
        Self { folder: folder.to_owned(), certificate, key }
    }

    /// Signs a new certificate for a host, in files of this name.
    ///
    /// # Panics
    ///
    /// When openssl fails.
    #[must_use]
    pub fn sign(&self, file: &str, host: &str) -> Certificate {
        let at = |kind: &str| self.folder.join(format!("{file}.{kind}"));
        let (chain, key, request, names) = (at("pem"), at("key"), at("csr"), at("ext"));
        let text = format!("subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n");
        fs::write(&names, text).expect("a file");
        openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={host} \
             -keyout {} -out {}",
            key.display(),
            request.display()
        ));
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days 2 -extfile {} -out {}",
            request.display(),
            self.certificate.display(),
            self.key.display(),
            names.display(),
            chain.display()
        ));
        Certificate { chain, key }
    }
}

impl Certificate {
    /// As a listener's `tls` has it.
    #[must_use]
    pub fn table(&self) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("{{ certificate = \"{chain}\", key = \"{key}\" }}")
    }

    /// Its serial number, as openssl prints it.
    ///
    /// # Panics
    ///
    /// When openssl fails.
    #[must_use]
    pub fn serial(&self) -> String {
        openssl(&format!("x509 -noout -serial -in {}", self.chain.display())).trim().to_owned()
    }
}

/// Runs it; arguments are separated by spaces.
#[track_caller]
fn openssl(arguments: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    let output = command.output().expect("openssl is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
