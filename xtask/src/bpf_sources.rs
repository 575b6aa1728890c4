//! A fingerprint of the sources that the XDP program is built from.
//!
//! `build-ebpf` leaves it beside the object; the build script of `lb-userspace`, which includes
//! this file, compares it with the sources that it sees. It reads files, and knows nothing of how
//! the object is built.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Folder in cargo's target directory that holds the object and its fingerprint.
pub(crate) const FOLDER: &str = "bpf";
/// The object's file name there.
pub(crate) const OBJECT: &str = "lb-ebpf";
/// That of the backends' program.
pub(crate) const DECAP: &str = "decap-ebpf";
/// The fingerprint's file name there.
pub(crate) const FINGERPRINT: &str = "lb-ebpf.sources";
/// The crates whose sources go into the objects.
pub(crate) const CRATES: [&str; 3] = ["lb-common", "lb-ebpf", "lb-ebpf/decap"];

/// The fingerprint of the checkout at `root`: file names and contents, not times, so that a fresh
/// checkout of the same sources has the same one.
pub(crate) fn fingerprint(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for name in CRATES {
        let folder = root.join(name);
        files.push(folder.join("Cargo.toml"));
        collect(&folder.join("src"), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv::default();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        hash.add(name.as_os_str().as_encoded_bytes());
        hash.add(&fs::read(&file)?);
    }
    Ok(format!("{:016x}", hash.0))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a: the same in every compiler, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        // The length first: no two lists of byte strings then read the same.
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
