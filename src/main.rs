//! Arguments to command to exit code.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use stoppress::app;
use stoppress::cli::{cutoffs, demo, serve};
use stoppress::clock::{Clock, HostClock};

/// Holds print orders until a lab's cutoff, hands them over once, and says truthfully whether an
/// order can still be stopped.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    Cutoffs(cutoffs::Cutoffs),
    Demo(demo::Demo),
    Serve(serve::Serve),
}

fn main() -> ExitCode {
    if let Command::Serve(args) = Command::parse() {
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(_) => return ExitCode::FAILURE,
        };
        return match runtime.block_on(serve::run(&args, &mut io::stdout())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "stoppress: {error}");
                ExitCode::from(if matches!(error, app::Error::Input(_)) { 2 } else { 1 })
            }
        };
    }
    if let Command::Demo(args) = Command::parse() {
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(_) => return ExitCode::FAILURE,
        };
        return match runtime.block_on(demo::run(&args, &mut io::stdout())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(demo::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "stoppress: {error}");
                ExitCode::from(if matches!(error, demo::Error::Input(_)) { 2 } else { 1 })
            }
        };
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match Command::parse() {
        Command::Cutoffs(args) => cutoffs::run(&args, HostClock.now(), &mut out),
        Command::Demo(_) | Command::Serve(_) => Ok(()),
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
