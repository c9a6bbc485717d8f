//! `bundle logout`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{
    Context,
    exit::{CliError, Exit},
    values,
};

/// Remove the stored credentials of a registry
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle logout quay.io")]
pub struct LogoutArgs {
    /// The registry
    #[arg(value_name = "HOST[:PORT]", value_parser = values::host)]
    pub host: String,
    /// Remove them from this file
    #[arg(long, value_name = "FILE", env = "BUNDLE_AUTHFILE")]
    pub authfile: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(_args: LogoutArgs, _context: &Context) -> Result<(), CliError> {
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
