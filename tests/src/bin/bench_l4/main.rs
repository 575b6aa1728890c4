//! The benchmark of layer 4: what a packet costs in Holdfast, against what it would cost to do a
//! part of that. `cargo xtask bench l4` builds and runs it.
//!
//! It owns how things are measured and told; packets, networks and clean-up are the test
//! harness's.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

mod answers;
mod guest;
mod measure;
mod report;
mod rows;
mod scene;
mod stats;
mod veth;

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use tests::cleanup;

/// Measures what a packet costs in Holdfast's data path
#[derive(Parser)]
struct Cli {
    /// The object of the benchmark's own programs
    #[arg(long, value_name = "PATH")]
    object: PathBuf,
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the plot there
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
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
    // The harness panics when a step cannot be done. What is read then is the step, not a trace.
    panic::set_hook(Box::new(|info| {
        if cleanup::interrupted() {
            return;
        }
        let text = info.payload_as_str().unwrap_or("it panicked");
        eprintln!("\nerror: {text}");
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| run(&cli))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    measure::keep_to_one_cpu();
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
        only: cli.only.as_deref().unwrap_or_default(),
    };
    let rows = bench.run();
    if rows.is_empty() {
        anyhow::bail!("no row has a name with `{}` in it", bench.only);
    }
    let machine = report::Machine::this();
    if let Some(path) = &cli.json {
        report::json::write(path, &rows)?;
    }
    if let Some(path) = &cli.svg {
        report::svg::write(path, &machine, &rows)?;
    }
    println!("{}", report::table::text(&machine, &rows));
    Ok(())
}
