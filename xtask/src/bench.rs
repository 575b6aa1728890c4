//! `bench`: builds a benchmark, a program of the crate `tests`, and becomes it.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    build, build_ebpf, guest, packages,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Which rows, and where the results go.
#[derive(clap::Args)]
struct Results {
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the plot there [default: in target/bench]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

impl Results {
    /// As options of the benchmark; its plot is `default` in this folder unless it is to be elsewhere.
    fn hand_on(&self, bench: &mut Command, folder: &Path, default: &str) {
        bench.arg("--svg").arg(self.svg.clone().unwrap_or_else(|| folder.join(default)));
        if let Some(json) = &self.json {
            bench.arg("--json").arg(json);
        }
        if let Some(only) = &self.only {
            bench.arg("--only").arg(only);
        }
    }
}

/// What of layer 4 is to be measured.
#[derive(clap::Args)]
pub(crate) struct L4 {
    #[command(flatten)]
    results: Results,
    /// Also count the instructions of Holdfast's and of IPVS's whole chain, in an emulated machine
    /// (x86-64)
    #[arg(long)]
    guest: bool,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "24")]
    rounds: u32,
}

/// What of layer 7 is to be measured.
#[derive(clap::Args)]
pub(crate) struct L7 {
    #[command(flatten)]
    results: Results,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "12")]
    rounds: u32,
}

/// Measures layer 4, in place of this process: signals then reach it directly.
pub(crate) fn l4(workspace: &Workspace, options: &L4) -> anyhow::Result<()> {
    let folder = ready(workspace, &[Need::Bpf, Need::Bench])?;
    build_ebpf::run(workspace)?;
    let object = build_ebpf::build(workspace, build_ebpf::BENCH)?;
    let program = build(workspace, "bench_l4")?;
    let mut bench = Command::new(&program);
    bench.arg("--object").arg(&object).args(["--rounds", &options.rounds.to_string()]);
    options.results.hand_on(&mut bench, &folder, "l4.svg");
    if options.guest {
        let counted = folder.join("instructions");
        let [program, object] = [&program, &object].map(|path| path.display().to_string());
        let command = [program.as_str(), "--object", &object, "--count"].map(str::to_owned);
        guest::count::run(workspace, &command, &counted)?;
        bench.arg("--counted").arg(counted);
    }
    Err(bench.exec()).with_context(|| format!("cannot run {bench:?}"))
}

/// Measures layer 7, in place of this process: signals then reach it directly.
pub(crate) fn l7(workspace: &Workspace, options: &L7) -> anyhow::Result<()> {
    let folder = ready(workspace, &[Need::Bpf, Need::Proxies])?;
    let holdfast = build::run(workspace)?;
    let mut bench = Command::new(build(workspace, "bench_l7")?);
    bench.arg("--holdfast").arg(holdfast).args(["--rounds", &options.rounds.to_string()]);
    options.results.hand_on(&mut bench, &folder, "l7.svg");
    Err(bench.exec()).with_context(|| format!("cannot run {bench:?}"))
}

/// Where results go, when all that is needed is there.
fn ready(workspace: &Workspace, needs: &[Need]) -> anyhow::Result<PathBuf> {
    if !packages::is_root() {
        bail!("the benchmark needs root: it loads BPF programs and makes network namespaces");
    }
    setup::ensure(needs)?;
    let folder = workspace.target().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

fn build(workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--quiet", "--release", "--package", "tests", "--bin", name]);
    workspace::run(&mut cargo, "building the benchmark")?;
    Ok(workspace.target().join("release").join(name))
}
