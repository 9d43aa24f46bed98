//! Arguments to command to exit code.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use stoppress::cli::{self, Cli, Failure, Terminal};
use stoppress::clock::{HostClock, HostRandom};

/// Orders are read on one thread, written by another and freed by either: the C library's allocator spends a
/// sixth of an admission on its locks there.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut io::stderr(),
        live: io::stderr().is_terminal(),
        clock: Arc::new(HostClock),
        random: Arc::new(HostRandom),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cli::run(cli, &mut terminal)),
        Err(error) => Err(Failure::Failed(format!("cannot start: {error}"))),
    };
    let flushed = out.flush().map_err(Failure::Output);
    ExitCode::from(cli::exit_code(done.and(flushed), &mut io::stderr()))
}
