//! `bundle keygen`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{
    Context,
    exit::{CliError, Exit},
    values,
};

/// Make a key pair to sign bundles with
///
/// Writes PREFIX.key (private, encrypted with a password) and PREFIX.pub (public), in cosign's
/// format. The password comes from BUNDLE_KEY_PASSWORD or COSIGN_PASSWORD, or is asked for.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle keygen
  bundle keygen --output-key-prefix release
  BUNDLE_KEY_PASSWORD=… bundle keygen")]
pub struct KeygenArgs {
    /// What the names of both files start with
    #[arg(long, value_name = "PREFIX", env = "BUNDLE_OUTPUT_KEY_PREFIX")]
    #[arg(default_value = "cosign")]
    pub output_key_prefix: PathBuf,
    /// Encrypt the private key with the empty password: only the permissions of the file protect
    /// it then
    #[arg(long, env = "BUNDLE_NO_PASSWORD", value_parser = values::switch)]
    pub no_password: bool,
}

/// Runs the command.
pub async fn run(_args: KeygenArgs, _context: &Context) -> Result<(), CliError> {
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
