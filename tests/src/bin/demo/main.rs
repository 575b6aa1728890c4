//! The demo: Holdfast's main job on real traffic, told step by step. `cargo xtask demo` builds and
//! runs it.
//!
//! It owns the story; networks, servers and clients are the test harness's.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

mod sessions;
mod shop;
mod story;
mod view;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use tests::{cleanup, program};

/// What the demo's namespaces and folder are named with. The configuration names the folder too.
const STEM: &str = "holdfast-demo";

/// Shows Holdfast on real traffic in network namespaces
#[derive(Parser)]
struct Cli {
    /// The binary to show
    #[arg(long, value_name = "PATH")]
    holdfast: PathBuf,
    /// Leave all running at the end, for a look around
    #[arg(long)]
    keep: bool,
    /// Take down what --keep left running
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("error: the demo needs root: it makes network namespaces and loads BPF programs");
        return ExitCode::FAILURE;
    }
    if cli.down {
        cleanup::take_down(STEM);
        println!("The demo is taken down.");
        return ExitCode::SUCCESS;
    }
    if cleanup::folder(STEM).exists() {
        eprintln!("error: a demo is there already: take it down with `cargo xtask demo --down`");
        return ExitCode::FAILURE;
    }
    match program::told(|| story::tell(&cli.holdfast, cli.keep)) {
        Some(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Some(_) | None => ExitCode::FAILURE,
    }
}
