//! Exit statuses, and what stands behind one that is not 0.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::table::printable;
use crate::api::client::ClientError;

/// Done.
pub const OK: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// Wrong configuration or usage; the command-line parser ends with the same.
pub const WRONG: u8 = 2;

/// A verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerbError {
    /// The agent was not reached, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The input could not be read.
    #[error("read the input: {0}")]
    Input(#[source] io::Error),
    /// The output could not be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
}

/// Says on `err` what went wrong, if anything. A reader that has gone (`| head`) has had enough,
/// which is no failure.
pub(super) fn report(result: Result<(), VerbError>, err: &mut dyn Write) -> ExitCode {
    let error = match result {
        Ok(()) => return OK.into(),
        Err(VerbError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return OK.into();
        }
        Err(error) => error,
    };
    let (code, details) = match &error {
        VerbError::Client(ClientError::Refused { status: 400..=499, error }) => {
            (WRONG, error.details.as_slice())
        }
        VerbError::Client(ClientError::Refused { error, .. }) => (FAILED, error.details.as_slice()),
        VerbError::Client(_) | VerbError::Input(_) | VerbError::Output(_) => (FAILED, &[][..]),
    };
    // There is nobody left to tell when this fails.
    write_error(&printable(&error.to_string()), details, err).ok();
    code.into()
}

/// An error and its details, a line each.
pub(super) fn write_error(text: &str, details: &[String], err: &mut dyn Write) -> io::Result<()> {
    writeln!(err, "error: {text}")?;
    for detail in details {
        // A detail may have lines of its own: a part of the file with a mark under it.
        for line in detail.lines() {
            writeln!(err, "  {}", printable(line))?;
        }
    }
    err.flush()
}
