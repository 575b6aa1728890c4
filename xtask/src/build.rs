//! `build`: the XDP program, then the release binary that embeds it.

use std::path::PathBuf;

use crate::{
    build_ebpf,
    workspace::{self, Workspace},
};

/// Builds both; returns where the binary is.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    build_ebpf::run(workspace)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "--package", "lb-userspace", "--bin", "holdfast"]);
    workspace::run(&mut cargo, "building holdfast")?;
    Ok(workspace.target().join("release/holdfast"))
}
