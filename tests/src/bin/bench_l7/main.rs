//! The benchmark of layer 7: Holdfast against `HAProxy` and nginx, each alone on one core, with load
//! and backends on another. `cargo xtask bench l7` builds and runs it.
//!
//! It owns what is compared and how it is measured; how results are told, networks and clean-up are
//! the test harness's.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

mod cores;
mod idle;
mod load;
mod measure;
mod process;
mod proxy;
mod rows;
mod scene;
mod server;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use tests::{program, results};

/// Measures what a request costs in Holdfast's sidecar, beside other proxies
#[derive(Parser)]
struct Cli {
    /// The binary that is measured
    #[arg(long, value_name = "PATH")]
    holdfast: PathBuf,
    #[command(flatten)]
    results: results::Options,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "12")]
    rounds: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(|| run(&cli))
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let cores = cores::Cores::find()?;
    idle::raise_file_limit();
    let bench = rows::Bench {
        holdfast: &cli.holdfast,
        cores,
        rounds: cli.rounds.max(1),
        only: cli.results.only(),
    };
    let table = rows::FORM.tell(&bench.run(), &cli.results)?;
    println!("{table}");
    Ok(())
}
