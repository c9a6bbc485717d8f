//! `bundle sign`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{
    Context,
    exit::{CliError, Exit},
    keys,
};

/// Add a signature to a bundle, as a file beside it
///
/// For an officer who approves a bundle that someone else has made: the bundle stays as it is, and
/// whoever loads it names the new file with --signature.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle verify calico.bundle.tar.zst --key maker.pub
  bundle sign calico.bundle.tar.zst --key officer.key")]
pub struct SignArgs {
    /// The bundle
    pub file: PathBuf,
    /// Sign with this private key
    #[arg(short, long, value_name = "KEY", env = "BUNDLE_KEY")]
    pub key: PathBuf,
    /// Write the signature to this file [default: FILE.KEY-ID.sigstore.json]
    #[arg(short, long, value_name = "FILE", env = "BUNDLE_SIGNATURE_OUTPUT")]
    pub output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Always, with exit code 1: the flow is not connected yet.
pub async fn run(args: SignArgs, context: &Context) -> Result<(), CliError> {
    let _key = keys::signing_key(&args.key, &context.interrupt)?;
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
