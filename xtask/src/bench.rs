//! `bench`: builds the benchmark, a program of the crate `tests`, and becomes it.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    build_ebpf, guest, packages,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// What is to be measured, and where the results go.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the plot there [default: target/bench/l4.svg]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Also count the instructions of Holdfast's and of IPVS's whole chain, in an emulated machine
    /// (x86-64)
    #[arg(long)]
    guest: bool,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "24")]
    rounds: u32,
}

/// Measures layer 4, in place of this process: signals then reach it directly.
pub(crate) fn l4(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if !packages::is_root() {
        bail!("the benchmark needs root: it loads BPF programs and makes network namespaces");
    }
    setup::ensure(&[Need::Bpf, Need::Bench])?;
    let folder = workspace.target().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let program = build(workspace)?;
    let mut bench = Command::new(&program.binary);
    bench.arg("--object").arg(&program.object);
    bench.args(["--rounds", &options.rounds.to_string()]);
    let svg = options.svg.clone().unwrap_or_else(|| folder.join("l4.svg"));
    bench.arg("--svg").arg(svg);
    for (name, path) in [("--json", options.json.as_deref())] {
        if let Some(path) = path {
            bench.arg(name).arg(path);
        }
    }
    if let Some(only) = &options.only {
        bench.arg("--only").arg(only);
    }
    if options.guest {
        let counted = folder.join("instructions");
        let object = program.object.display().to_string();
        let command = [program.binary.display().to_string(), "--object".to_owned(), object];
        guest::count::run(workspace, &[&command[..], &["--count".to_owned()]].concat(), &counted)?;
        bench.arg("--counted").arg(counted);
    }
    Err(bench.exec()).with_context(|| format!("cannot run {bench:?}"))
}

/// What was built.
struct Program {
    binary: PathBuf,
    object: PathBuf,
}

fn build(workspace: &Workspace) -> anyhow::Result<Program> {
    build_ebpf::run(workspace)?;
    let object = build_ebpf::build(workspace, build_ebpf::BENCH)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--quiet", "--release", "--package", "tests", "--bin", "bench_l4"]);
    workspace::run(&mut cargo, "building the benchmark")?;
    Ok(Program { binary: release(workspace.target(), "bench_l4"), object })
}

fn release(target: &Path, name: &str) -> PathBuf {
    target.join("release").join(name)
}
