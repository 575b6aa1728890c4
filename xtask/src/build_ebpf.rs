//! `build-ebpf`: builds the XDP programs, and puts the objects where `lb-userspace` looks for it.
//!
//! The benchmark's programs are built in the same way, when `bench` asks for them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    bpf_sources::{DECAP, FINGERPRINT, FOLDER, OBJECT, fingerprint},
    setup::{self, Need},
    toolchain::{self, Compiler, TARGET},
    workspace::{self, Workspace},
};

/// The crate of the XDP program.
pub(crate) const PROGRAM: &str = OBJECT;
/// The crate of the benchmark's programs.
pub(crate) const BENCH: &str = "bench-ebpf";

/// Builds the objects; returns where the first one is.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    setup::ensure(&[Need::Bpf])?;
    // Before the build: an edit during it leaves the object marked as old.
    let sources = fingerprint(workspace.root()).context("the XDP program's sources")?;
    let folder = workspace.target().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let object = folder.join(OBJECT);
    for package in [PROGRAM, DECAP] {
        let built = build(workspace, package)?;
        let bytes = fs::read(&built).with_context(|| built.display().to_string())?;
        replace(&folder.join(package), &bytes)?;
    }
    replace(&folder.join(FINGERPRINT), format!("{sources}\n").as_bytes())?;
    Ok(object)
}

/// Builds the object of a crate of XDP programs; returns where cargo left it.
pub(crate) fn build(workspace: &Workspace, package: &str) -> anyhow::Result<PathBuf> {
    let compiler = Compiler::find().context("no compiler for BPF")?;
    let linker = toolchain::linker().context("no bpf-linker")?;
    let mut cargo = compiler.cargo(workspace, &linker, "build", package);
    workspace::run(cargo.arg("--quiet"), &format!("building {package}"))?;
    Ok(toolchain::build_folder(workspace).join(TARGET).join("release").join(package))
}

/// Writes a file whole, and only if it would change: cargo goes by times, and an object that is as
/// before must not have the agent compiled anew.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let new = path.with_added_extension("new");
    fs::write(&new, bytes).with_context(|| new.display().to_string())?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_leave_the_file_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("object");
        let time = || fs::metadata(&path).and_then(|data| data.modified()).expect("its time");
        replace(&path, b"one").expect("write");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let file = fs::File::options().write(true).open(&path).expect("open");
        file.set_modified(old).expect("set its time");
        replace(&path, b"one").expect("write");
        assert_eq!(time(), old);
        replace(&path, b"two").expect("write");
        assert_ne!(time(), old);
        assert_eq!(fs::read(&path).expect("read"), b"two");
    }

    #[test]
    fn the_fingerprint_follows_names_and_contents() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for name in crate::bpf_sources::CRATES {
            fs::create_dir_all(root.join(name).join("src/deep")).expect("folders");
            fs::write(root.join(name).join("Cargo.toml"), name).expect("a manifest");
        }
        let now = || fingerprint(root).expect("a fingerprint");
        let mut seen = vec![now()];
        let file = root.join("lb-ebpf/src/deep/a.rs");
        fs::write(&file, "ab").expect("a source");
        seen.push(now());
        fs::write(&file, "ba").expect("a source");
        seen.push(now());
        fs::rename(&file, file.with_file_name("b.rs")).expect("another name");
        seen.push(now());
        fs::rename(file.with_file_name("b.rs"), &file).expect("the old name");
        assert_eq!(now(), seen[2]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}
