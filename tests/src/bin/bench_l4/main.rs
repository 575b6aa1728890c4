//! The benchmark of layer 4: what a packet costs in Holdfast, against what it would cost to do a
//! part of that. `cargo xtask bench l4` builds and runs it.
//!
//! It owns how things are measured; how results are told, packets, networks and clean-up are the test
//! harness's.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

mod answers;
mod guest;
mod measure;
mod round;
mod rows;
mod scene;
mod veth;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use tests::{cpus, program, results};

/// Measures what a packet costs in Holdfast's data path
#[derive(Parser)]
struct Cli {
    /// The object of the benchmark's own programs
    #[arg(long, value_name = "PATH")]
    object: PathBuf,
    #[command(flatten)]
    results: results::Options,
    /// What a guest has counted
    #[arg(long, value_name = "FILE")]
    counted: Option<PathBuf>,
    /// Be that guest: count, and print that
    #[arg(long)]
    count: bool,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "24")]
    rounds: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(|| run(&cli))
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    // The last one: nothing is moved while it is measured.
    cpus::keep_to(*cpus::allowed().last().context("a CPU")?);
    if cli.count {
        for line in guest::count(&cli.object) {
            println!("{line}");
        }
        return Ok(());
    }
    let counted = cli.counted.as_deref().map(guest::Counted::read).transpose()?;
    let bench = rows::Bench {
        counted: counted.as_ref(),
        object: &cli.object,
        rounds: cli.rounds.max(1),
        only: cli.results.only(),
    };
    let rows = bench.run();
    let table = rows::FORM.tell(&rows, &cli.results)?;
    println!("{table}");
    Ok(())
}
