//! Finds the XDP program's object for the agent to embed, as `HOLDFAST_BPF_OBJECT`.
//!
//! It builds nothing: the object needs a BPF toolchain, which `cargo xtask` finds or installs.

#[path = "../xtask/src/bpf_sources.rs"]
mod bpf_sources;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const VARIABLE: &str = "HOLDFAST_BPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    // Who builds the object by other means names it.
    if let Some(given) = env::var_os(VARIABLE).map(PathBuf::from) {
        if given.is_file() {
            embed(&given);
        } else {
            println!("cargo::error={VARIABLE}: there is no file {}", given.display());
        }
        return;
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(&manifest);
    let Some(folder) = object_folder(root) else {
        println!("cargo::error=there is no XDP program yet: run `cargo xtask build-ebpf` first");
        return;
    };
    embed(&folder.join(bpf_sources::OBJECT));
    warn_if_old(root, &folder);
}

/// The folder that `build-ebpf` fills: in the target directory, which is above `OUT_DIR` at a
/// depth that depends on `--target`; or, where cargo keeps its intermediate files apart, in the
/// usual place.
fn object_folder(root: &Path) -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    out.ancestors()
        .chain([root.join("target").as_path()])
        .map(|target| target.join(bpf_sources::FOLDER))
        .find(|folder| folder.join(bpf_sources::OBJECT).is_file())
}

fn embed(object: &Path) {
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env={VARIABLE}={}", object.display());
}

/// A warning, no error: work on the agent goes on while the XDP program's sources are being
/// edited, and every xtask verb builds the object anew before it uses it.
fn warn_if_old(root: &Path, folder: &Path) {
    let recorded = folder.join(bpf_sources::FINGERPRINT);
    println!("cargo::rerun-if-changed={}", recorded.display());
    for name in bpf_sources::CRATES {
        println!("cargo::rerun-if-changed={}", root.join(name).display());
    }
    let built_from = fs::read_to_string(recorded).unwrap_or_default();
    if bpf_sources::fingerprint(root).is_ok_and(|now| now != built_from.trim()) {
        println!(
            "cargo::warning=the XDP program was built from other sources than these: run \
             `cargo xtask build-ebpf`"
        );
    }
}
