//! Holdfast's own verbs, `cargo xtask VERB`: one module per verb, and what they share.
//!
//! It owns how the project is built, checked and shown; it never depends on the crates that it
//! builds, so that it runs before any of them compiles.
#![expect(clippy::print_stdout, reason = "a command line tool reports on its standard output")]

mod bench;
mod bpf_sources;
mod build;
mod build_ebpf;
mod demo;
mod guest;
mod lint;
mod packages;
mod setup;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{test::Layer, workspace::Workspace};

/// Builds, checks and tests Holdfast.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find what building and testing need, and install what is missing
    Setup,
    /// Build the XDP program
    BuildEbpf,
    /// Build the XDP program and a release binary of `holdfast`
    Build,
    /// Check the formatting, and run clippy over the host's crates and the XDP program
    Lint,
    /// Measure what packets and requests cost
    #[command(subcommand)]
    Bench(Bench),
    /// Show Holdfast's main job on real traffic, in network namespaces
    Demo {
        /// Leave it running at the end, for a look around
        #[arg(long)]
        keep: bool,
        /// Take down what --keep left running
        #[arg(long, conflicts_with = "keep")]
        down: bool,
    },
    /// Run tests, or any command, on another kernel in an emulated machine (x86-64)
    Guest {
        /// A version of which apt knows a kernel, as 6.1, or a folder with an unpacked one
        kernel: String,
        /// The tests of this layer
        #[arg(long, default_value = "packet")]
        layer: Layer,
        /// Only the tests whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// A command instead of tests
        #[arg(last = true, conflicts_with_all = ["layer", "only"])]
        command: Vec<String>,
    },
    /// Run layers of tests; without a name: `lint`, then all of them but vlan
    Test {
        /// Which layers; they run in the order unit, control, packet, netns, vlan
        layers: Vec<Layer>,
        /// Only the tests whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Layer 4, packet by packet, against what each step of it would cost elsewhere (root)
    L4(bench::L4),
    /// Layer 7, beside other proxies, each alone on one core (root; two CPUs)
    L7(bench::L7),
}

fn main() -> ExitCode {
    match run(&Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: that prints a backtrace of xtask too where one is asked for,
            // and it is the tests for which people ask.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Setup => setup::run(),
        Verb::BuildEbpf => {
            let object = build_ebpf::run(&workspace)?;
            println!("{}", object.display());
            Ok(())
        }
        Verb::Build => {
            let binary = build::run(&workspace)?;
            println!("{}", binary.display());
            Ok(())
        }
        Verb::Bench(Bench::L4(options)) => bench::l4(&workspace, options),
        Verb::Bench(Bench::L7(options)) => bench::l7(&workspace, options),
        Verb::Demo { keep, down } => demo::run(&workspace, *keep, *down),
        Verb::Guest { kernel, layer, only, command } => {
            guest::run(&workspace, kernel, *layer, only.as_deref(), command)
        }
        Verb::Lint => lint::run(&workspace),
        Verb::Test { layers, only } => test::run(&workspace, layers.clone(), only.as_deref()),
    }
}
