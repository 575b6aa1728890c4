//! `test`: runs the layers of tests in order, and counts over all of them.
//!
//! Nothing is skipped in silence: a layer that cannot run here, or that has no tests, fails.

mod tally;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::{
    build, build_ebpf, lint, packages,
    setup::{self, Need},
    test::tally::Tally,
    workspace::Workspace,
};

/// A layer of tests, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Layer {
    /// The pure halves, beside the code
    Unit,
    /// Configuration and events in, map contents out, on maps in memory
    Control,
    /// Single packets through the loaded program (root)
    Packet,
    /// Real clients and servers in network namespaces (root)
    Netns,
    /// The same behind VLAN devices, which not every kernel has (root); only when named
    Vlan,
}

/// Those that run on every kernel.
const ALL: [Layer; 4] = [Layer::Unit, Layer::Control, Layer::Packet, Layer::Netns];

impl Layer {
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Control => "control",
            Self::Packet => "packet",
            Self::Netns => "netns",
            Self::Vlan => "vlan",
        }
    }

    /// Whether it loads BPF programs.
    const fn needs_root(self) -> bool {
        matches!(self, Self::Packet | Self::Netns | Self::Vlan)
    }

    /// Whether it makes network namespaces with servers in them.
    const fn is_traffic(self) -> bool {
        matches!(self, Self::Netns | Self::Vlan)
    }
}

/// Runs these layers, or `lint` and [`ALL`] if none is named; `only` is a part of the names of
/// the tests to run.
pub(crate) fn run(
    workspace: &Workspace,
    mut layers: Vec<Layer>,
    only: Option<&str>,
) -> anyhow::Result<()> {
    let everything = layers.is_empty();
    if everything {
        layers = ALL.to_vec();
    }
    layers.sort_unstable();
    layers.dedup();
    refuse_without_root(&layers)?;
    if everything {
        // Ahead of the lints: what can be installed is missed before the long part, not after it.
        setup::run()?;
        lint::run(workspace)?;
    }

    let mut total = Tally::default();
    let mut failed = Vec::new();
    for layer in layers {
        let mut cargo = prepare(workspace, layer)?;
        cargo.arg("--").args(arguments(layer, only));
        println!("\n=== {} ===", layer.name());
        let (tally, passed) = watch(&mut cargo)?;
        total += tally;
        let empty = only.is_none() && tally.ran() == 0;
        if !passed || tally.failed > 0 || empty {
            failed.push(layer.name());
        }
        if passed && empty {
            println!("the {} layer has no tests", layer.name());
        }
    }
    println!("\n{total}");
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if total.ran() == 0 {
        bail!("no test has a name with `{}` in it", only.unwrap_or_default());
    }
    Ok(())
}

fn refuse_without_root(layers: &[Layer]) -> anyhow::Result<()> {
    let names: Vec<_> =
        layers.iter().filter(|layer| layer.needs_root()).map(|layer| layer.name()).collect();
    if names.is_empty() || packages::is_root() {
        return Ok(());
    }
    bail!(
        "THE TESTS `{}` NEED ROOT: they load BPF programs and make network namespaces. Nothing was \
         run. Run this as root, or only the rest: `cargo xtask test unit control`",
        names.join("` and `")
    )
}

/// What a layer's test programs are called with.
pub(crate) fn arguments(layer: Layer, only: Option<&str>) -> Vec<&str> {
    // On real traffic they share the machine: its CPUs, when they count packets under load.
    let threads = layer.is_traffic().then_some("--test-threads=1");
    only.into_iter().chain(threads).collect()
}

/// Builds what a layer needs, and makes its cargo command, without arguments for its programs.
pub(crate) fn prepare(workspace: &Workspace, layer: Layer) -> anyhow::Result<Command> {
    // Every layer compiles the agent's crate, which embeds the object.
    build_ebpf::run(workspace)?;
    let mut cargo = workspace.cargo("test");
    cargo.arg("--no-fail-fast");
    match layer {
        Layer::Unit => {
            cargo.args(["--lib", "--bins"]);
            cargo.args(["--package", "lb-common", "--package", "lb-userspace"]);
            cargo.args(["--package", "tests", "--package", "xtask"]);
        }
        Layer::Control | Layer::Packet | Layer::Netns | Layer::Vlan => {
            cargo.args(["--package", "tests"]);
            for name in cases(&workspace.root().join("tests/tests"), layer)? {
                cargo.args(["--test", &name]);
            }
        }
    }
    if layer.is_traffic() {
        setup::ensure(&[Need::Traffic])?;
        if layer == Layer::Netns {
            setup::ensure(&[Need::Browser])?;
        }
        // What is tested on real traffic is what people run.
        cargo.env("HOLDFAST_BIN", build::run(workspace)?);
        let generator = build_ebpf::build(workspace, build_ebpf::BENCH)?;
        cargo.env("HOLDFAST_BENCH_OBJECT", generator);
    }
    Ok(cargo)
}

/// The test targets of a layer: the files, or folders with a `main.rs`, named after it.
fn cases(folder: &Path, layer: Layer) -> anyhow::Result<Vec<String>> {
    let prefix = format!("{}_", layer.name());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_target =
            path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").is_file();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_target && name.starts_with(&prefix) {
            names.push(name.into_owned());
        }
    }
    if names.is_empty() {
        bail!("{} holds no {prefix}*.rs", folder.display());
    }
    names.sort();
    Ok(names)
}

/// Runs cargo, passes on what the tests print as it comes, and counts their results; also whether
/// cargo succeeded.
fn watch(cargo: &mut Command) -> anyhow::Result<(Tally, bool)> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut output = child.stdout.take().context("cargo test has no output")?;
    let mut counter = tally::Counter::default();
    let mut bytes = [0; 4096];
    loop {
        let length = match output.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("the output of cargo test"),
        };
        let part = bytes.get(..length).unwrap_or_default();
        let mut stdout = io::stdout();
        stdout.write_all(part).and_then(|()| stdout.flush()).context("standard output")?;
        counter.take(part);
    }
    let status = child.wait().context("cargo test")?;
    Ok((counter.end(), status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layers_cases_are_found_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["packet_b.rs", "packet_a.rs", "netns_a.rs", "packet_notes.txt"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        fs::create_dir(folder.path().join("packet_c")).expect("a folder");
        fs::write(folder.path().join("packet_c/main.rs"), "").expect("a file");
        fs::create_dir(folder.path().join("packet_common")).expect("a folder");
        let found = |layer| cases(folder.path(), layer).ok();
        let names = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
        assert_eq!(found(Layer::Packet), names(&["packet_a", "packet_b", "packet_c"]));
        assert_eq!(found(Layer::Netns), names(&["netns_a"]));
        assert_eq!(found(Layer::Control), None);
    }
}
