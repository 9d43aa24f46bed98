//! `stoppress completions` and `stoppress openapi`: documents that the program writes about itself.

use std::io::Write;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress completions bash > ~/.local/share/bash-completion/completions/stoppress
  stoppress completions zsh > ~/.zfunc/_stoppress
  stoppress completions fish > ~/.config/fish/completions/stoppress.fish")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the description of the HTTP API, OpenAPI 3.1
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress openapi > stoppress.openapi.json

A running gateway serves the same at /openapi.json.")]
pub struct OpenapiArgs {}

/// Print the description of what a lab serves over HTTP, OpenAPI 3.1
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress lab openapi > lab-openapi.json

The same file is in deploy/lab-kit, with examples.")]
pub struct LabOpenapiArgs {}

/// What a lab serves, described.
pub(super) const LAB_OPENAPI: &str = include_str!("../../deploy/lab-kit/lab-openapi.json");

/// Runs `completions`.
pub(super) fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    // Written to memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stoppress", &mut script);
    Ok(out.write_all(&script)?)
}
