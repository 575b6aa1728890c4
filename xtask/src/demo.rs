//! `demo`: installs what is missing, builds, and becomes the demo, a program of the crate `tests`.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, bail};

use crate::{
    build, packages,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Runs the demo, in place of this process: signals then reach it directly.
pub(crate) fn run(workspace: &Workspace, keep: bool, down: bool) -> anyhow::Result<()> {
    if !packages::is_root() {
        bail!("the demo needs root: it makes network namespaces and loads BPF programs");
    }
    setup::ensure(&[Need::Bpf, Need::Traffic])?;
    let holdfast = build::run(workspace)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--quiet", "--release", "--package", "tests", "--bin", "demo"]);
    workspace::run(&mut cargo, "building the demo")?;
    let mut demo = Command::new(workspace.target().join("release/demo"));
    demo.arg("--holdfast").arg(holdfast);
    demo.args(keep.then_some("--keep")).args(down.then_some("--down"));
    Err(demo.exec()).with_context(|| format!("cannot run {demo:?}"))
}
