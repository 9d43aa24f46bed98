//! The command line: the tree of commands, and the way from a command to its exit code.
//!
//! A command is one file: its arguments, its help with examples, and a `run`. What it prints for
//! people and programs goes to standard output, what it says on the way to standard error. Exit
//! codes: 0 done, 1 refused or failed, 2 the input or the arguments are wrong.

pub mod backup;
pub mod certify;
pub mod client;
pub mod completions;
pub mod cutoffs;
pub mod demo;
pub mod doctor;
pub mod evidence;
mod import;
mod input;
pub mod keys;
pub mod labs;
pub mod orders;
pub mod records;
mod rotate_links;
pub mod routes;
mod second_factor;
pub mod serve;
pub mod simulate;
pub mod stops;

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::clock::{Clock, Random};
use crate::config::LogConfig;
use crate::domain::Fault;
use crate::{api, app, telemetry};

const AFTER: &str = "\
Commands that speak to a gateway find it by --server or STOPPRESS_SERVER, and take their key from
--key-file or STOPPRESS_KEY. Exit codes: 0 done, 1 refused or failed, 2 wrong input. NO_COLOR is honoured.";

/// Holds print orders until a lab's cutoff, hands them over once, and says truthfully whether an
/// order can still be stopped.
#[derive(Debug, Parser)]
#[command(name = "stoppress", version, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    /// Orders: import, list, show
    #[command(subcommand)]
    Orders(orders::Orders),
    Verdict(stops::VerdictArgs),
    Stop(stops::StopArgs),
    /// Labs: check a file, import it, list
    #[command(subcommand)]
    Labs(labs::Labs),
    /// Routes: explain, list, set
    #[command(subcommand)]
    Route(routes::Routes),
    Cutoffs(cutoffs::Cutoffs),
    /// API keys: create, list, revoke
    #[command(subcommand)]
    Keys(keys::Keys),
    Doctor(doctor::DoctorArgs),
    Backup(backup::BackupArgs),
    /// Tools for labs
    #[command(subcommand)]
    Lab(LabTools),
    Openapi(completions::OpenapiArgs),
    Completions(completions::CompletionsArgs),
}

/// Tools for labs.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum LabTools {
    Certify(Box<certify::CertifyArgs>),
    Simulate(Box<simulate::SimulateArgs>),
    Openapi(completions::LabOpenapiArgs),
}

/// What a command works with.
pub struct Terminal<'a> {
    /// What was asked for: records, answers.
    pub out: &'a mut dyn Write,
    /// What is said on the way: progress, hints.
    pub err: &'a mut dyn Write,
    /// True if a person watches: progress is drawn as a bar.
    pub live: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for keys.
    pub random: Arc<dyn Random>,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Files or arguments are wrong: everything that is, one a line.
    #[error("{}", lines(.0))]
    Input(Vec<Fault>),
    /// The gateway refused.
    #[error("{0}")]
    Refused(Box<client::Problem>),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// What is wrong was printed already.
    #[error("")]
    Told,
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Input(vec![fault])
    }
}

impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Input(faults)
    }
}

impl From<cutoffs::Error> for Failure {
    fn from(error: cutoffs::Error) -> Self {
        match error {
            cutoffs::Error::Input(faults) => Self::Input(faults),
            cutoffs::Error::Output(error) => Self::Output(error),
        }
    }
}

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::Input(fault) => Self::Input(vec![fault]),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<demo::Error> for Failure {
    fn from(error: demo::Error) -> Self {
        match error {
            demo::Error::Input(fault) => Self::Input(vec![fault]),
            demo::Error::Output(error) => Self::Output(error),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs a command.
///
/// # Errors
/// If it did not do what it was asked.
pub async fn run(cli: Cli, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => Ok(serve::run(&args, terminal.out).await?),
        // Its lines are to be seen as they come: not through the buffer.
        Command::Demo(args) => Ok(demo::run(&args, &mut io::stdout()).await?),
        Command::Orders(args) => orders::run(args, terminal).await,
        Command::Verdict(args) => stops::verdict(args, terminal).await,
        Command::Stop(args) => stops::stop(args, terminal).await,
        Command::Labs(args) => labs::run(args, terminal).await,
        Command::Route(args) => routes::run(args, terminal).await,
        Command::Cutoffs(args) => Ok(cutoffs::run(&args, terminal.clock.now(), terminal.out)?),
        Command::Keys(args) => keys::run(args, terminal).await,
        Command::Doctor(args) => doctor::run(args, terminal).await,
        Command::Backup(args) => backup::run(args, terminal).await,
        Command::Lab(LabTools::Certify(args)) => certify::run(*args, terminal).await,
        Command::Lab(LabTools::Openapi(_)) => {
            Ok(terminal.out.write_all(completions::LAB_OPENAPI.as_bytes())?)
        }
        Command::Lab(LabTools::Simulate(args)) => {
            telemetry::log(&LogConfig::default())?;
            Ok(simulate::run(*args).await?)
        }
        Command::Openapi(_) => openapi(terminal.out),
        Command::Completions(args) => completions::run(&args, terminal.out),
    }
}

fn openapi(out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, &api::http::openapi()).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// Says what went wrong, and gives the exit code.
pub fn exit_code(done: Result<(), Failure>, err: &mut dyn Write) -> u8 {
    let Err(failure) = done else { return 0 };
    let code = match &failure {
        // Whoever read the output has seen enough.
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        Failure::Told => return 1,
        Failure::Input(_) => 2,
        Failure::Refused(_) | Failure::Failed(_) | Failure::Output(_) => 1,
    };
    // If this cannot be written either, the exit code has to do.
    let _ = writeln!(err, "stoppress: {failure}");
    code
}
