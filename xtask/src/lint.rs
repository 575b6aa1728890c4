//! `lint`: rustfmt and clippy over the host's crates, and clippy over the XDP program.

use anyhow::Context as _;

use crate::{
    bpf_sources, build_ebpf,
    setup::{self, Need},
    toolchain::{self, Compiler},
    workspace::{self, Workspace},
};

/// The crates for BPF.
const BPF: [&str; 3] = [build_ebpf::PROGRAM, bpf_sources::DECAP, build_ebpf::BENCH];

/// Checks everything; the first check that fails ends it.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    setup::ensure(&[Need::HostLints, Need::Bpf, Need::BpfClippy])?;

    let mut fmt = workspace.cargo("fmt");
    workspace::run(fmt.args(["--all", "--", "--check"]), "cargo fmt --check")?;

    // The agent's crate compiles only with the object that it embeds.
    build_ebpf::run(workspace)?;
    let mut host = workspace.cargo("clippy");
    host.arg("--workspace").args(BPF.iter().flat_map(|package| ["--exclude", package]));
    host.arg("--all-targets");
    workspace::run(host.args(["--", "-D", "warnings"]), "clippy")?;

    // A command of its own, for the real target: in one command with the host's crates lb-common
    // would get their features, and on the host's target lb-ebpf has neither helpers nor its
    // panic handler. It takes the clippy of the compiler that has `core` for BPF, as rustup's
    // cannot read another version's libraries.
    let compiler = Compiler::find().context("no compiler for BPF")?;
    let linker = toolchain::linker().context("no bpf-linker")?;
    for package in BPF {
        let mut bpf = compiler.cargo(workspace, &linker, "clippy", package);
        workspace::run(bpf.args(["--", "-D", "warnings"]), &format!("clippy of {package}"))?;
    }
    Ok(())
}
