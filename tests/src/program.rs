//! A program that uses the harness: what a person reads when a step cannot be done.

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use crate::cleanup;

/// Does the work; `None`: the harness panicked. What is read then is the step, not a trace.
pub fn told<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::set_hook(Box::new(|info| {
        if cleanup::interrupted() {
            return;
        }
        let text = info.payload_as_str().unwrap_or("it panicked");
        eprintln!("\nerror: {text}");
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Does the work, and says what was wrong with it.
pub fn run(work: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match told(work) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}
