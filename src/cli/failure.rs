//! How a command fails: what is said and which exit code it gives.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{chain::chain, config::Faults, telemetry};

/// `EX_CONFIG` of sysexits.h: supervisors can tell it from a failure that a restart may cure.
const CONFIGURATION: u8 = 78;

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration has faults, which are still to be said.
    Configuration(Faults),
    /// The configuration has faults, which the result on standard output tells.
    ConfigurationTold,
    /// Something failed; its chain of causes is said in one line.
    Error(Box<dyn Error + Send + Sync>),
    /// The result could not be written.
    Output(io::Error),
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

impl Failure {
    /// Says what is wrong and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Configuration(faults) => {
                writeln!(io::stderr(), "{faults}").ok();
                ExitCode::from(CONFIGURATION)
            }
            Self::ConfigurationTold => ExitCode::from(CONFIGURATION),
            Self::Error(error) => failed(&chain(&*error)),
            // Whoever closed the pipe has read what he wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(error) => failed(&format!("cannot write the result: {error}")),
        }
    }
}

/// Says why the process ends: for people, or as one more object where a machine reads the log.
fn failed(error: &str) -> ExitCode {
    if telemetry::is_json() && tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(error, "b24kafka has failed");
    } else {
        writeln!(io::stderr(), "b24kafka: {error}").ok();
    }
    ExitCode::FAILURE
}
