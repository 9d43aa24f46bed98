//! Arguments to command to exit code.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use stoppress::cli::cutoffs;
use stoppress::clock::{Clock, HostClock};

/// Holds print orders until a lab's cutoff, hands them over once, and says truthfully whether an
/// order can still be stopped.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    Cutoffs(cutoffs::Cutoffs),
}

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match Command::parse() {
        Command::Cutoffs(args) => cutoffs::run(&args, HostClock.now(), &mut out),
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cutoffs::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // If this cannot be written either, the exit code has to do.
            let _ = writeln!(io::stderr(), "stoppress: {error}");
            ExitCode::from(if matches!(error, cutoffs::Error::Input(_)) { 2 } else { 1 })
        }
    }
}
