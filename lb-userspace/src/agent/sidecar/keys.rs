//! The key ring's file: made by the agent, mode 0600, in the state directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    agent::instance::write_whole,
    l7::{
        cookie::ring::{Ring, RingError},
        random, wall,
    },
};

/// Its name in the state directory.
const KEYS: &str = "keys.json";

/// The key ring cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Its file.
    #[error("{path}: cannot {operation}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{path} is damaged: {source}; it holds the keys of cookies: restore it, or remove it and lose \
         all sessions that cookies hold"
    )]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: RingError,
    },
}

/// The ring in the state directory; a new one where there is none.
pub fn load(state: &Path) -> Result<Ring, KeysError> {
    let path = path(state);
    match fs::read(&path) {
        Ok(text) => Ring::from_json(&text).map_err(|source| KeysError::Damaged { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let ring = Ring::new(now_s(), &mut random::fill);
            save(state, &ring)?;
            Ok(ring)
        }
        Err(source) => Err(KeysError::File { path, operation: "read", source }),
    }
}

/// Writes the ring: the old one is there until the new one is whole and on disk.
pub fn save(state: &Path, ring: &Ring) -> Result<(), KeysError> {
    let write = || write_whole(state, KEYS, &ring.to_json()?);
    write().map_err(|source| KeysError::File { path: path(state), operation: "write", source })
}

/// The ring as the sidecar reads it.
pub fn text(ring: &Ring) -> Result<String, KeysError> {
    let failed = |source: io::Error| KeysError::File {
        path: PathBuf::from(KEYS),
        operation: "write",
        source,
    };
    let json = ring.to_json().map_err(|error| failed(error.into()))?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// Unix time in seconds.
#[must_use]
pub fn now_s() -> u64 {
    wall::now_ms() / 1000
}

/// Its file in the state directory.
#[must_use]
pub fn path(state: &Path) -> PathBuf {
    state.join(KEYS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_ring_is_made_once_and_comes_back() {
        let directory = tempfile::tempdir().expect("directory");
        let ring = load(directory.path()).expect("new");
        let again = load(directory.path()).expect("there");
        let text = |ring: &Ring| ring.to_json().expect("JSON");
        assert_eq!(text(&ring), text(&again));
        let mode = fs::metadata(path(directory.path())).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(path(directory.path()), "{").expect("written");
        let error = load(directory.path()).expect_err("damaged").to_string();
        assert!(error.contains("keys.json is damaged"), "{error}");
        assert_eq!(fs::read(path(directory.path())).expect("file"), b"{");
    }
}
