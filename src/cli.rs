//! The command line: one command, one file.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 78 a fault of the configuration (`EX_CONFIG` of sysexits.h). A reader of the output that goes away ends the command
//! without a word.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

mod check;
mod configured;
mod demo;
mod events;
mod failure;
mod output;
mod portals;
mod run;
mod signal;
mod sim;
mod tap;

/// Moves the offline events of Bitrix24 portals into Apache Kafka and loses none of them.
#[derive(Debug, Parser)]
#[command(name = "b24kafka", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Demo(demo::Demo),
    Sim(sim::Sim),
    Portals(portals::Portals),
    Events(events::Events),
    Tap(tap::Tap),
}

/// The whole program, on the arguments of this process.
pub fn main() -> ExitCode {
    start(std::env::args_os())
}

fn start(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and usage; where nobody reads them any more there is nothing left to say.
            error.print().ok();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let result = match arguments.command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Demo(demo) => demo.run(),
        Command::Sim(sim) => sim.run(),
        Command::Portals(portals) => portals.run(),
        Command::Events(events) => events.run(),
        Command::Tap(tap) => tap.run(),
    };
    result.map_or_else(failure::Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
