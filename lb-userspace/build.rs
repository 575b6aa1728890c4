//! Finds the XDP programs' objects for the agent to embed.
//!
//! It builds nothing: they need a BPF toolchain, which `cargo xtask` finds or installs.

#[path = "../xtask/src/bpf_sources.rs"]
mod bpf_sources;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The objects: who builds one by other means names it in a variable, by which the agent then
/// embeds it.
const OBJECTS: [(&str, &str); 2] =
    [("HOLDFAST_BPF_OBJECT", bpf_sources::OBJECT), ("HOLDFAST_DECAP_OBJECT", bpf_sources::DECAP)];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(&manifest);
    let folder = object_folder(root);
    let mut built_here = false;
    for (variable, name) in OBJECTS {
        println!("cargo::rerun-if-env-changed={variable}");
        if let Some(given) = env::var_os(variable).map(PathBuf::from) {
            if given.is_file() {
                embed(variable, &given);
            } else {
                println!("cargo::error={variable}: there is no file {}", given.display());
            }
        } else if let Some(folder) = &folder {
            embed(variable, &folder.join(name));
            built_here = true;
        } else {
            println!(
                "cargo::error=there is no XDP program yet: run `cargo xtask build-ebpf` first"
            );
            return;
        }
    }
    if let Some(folder) = folder.filter(|_| built_here) {
        warn_if_old(root, &folder);
    }
}

/// The folder that `build-ebpf` fills: in the target directory, which is above `OUT_DIR` at a
/// depth that depends on `--target`; or, where cargo keeps its intermediate files apart, in the
/// usual place.
fn object_folder(root: &Path) -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    out.ancestors()
        .chain([root.join("target").as_path()])
        .map(|target| target.join(bpf_sources::FOLDER))
        .find(|folder| OBJECTS.iter().all(|(_, name)| folder.join(name).is_file()))
}

fn embed(variable: &str, object: &Path) {
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env={variable}={}", object.display());
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
