//! `bundle verify`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{
    Context,
    args::TrustArgs,
    exit::{CliError, Exit},
};

/// Check that a bundle is trusted and undamaged
///
/// Checks the signatures first, then every byte of the file. Needs no network and no room on a
/// disk.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle verify calico.bundle.tar.zst --key cosign.pub
  bundle verify calico.bundle.tar.zst --key maker.pub --key officer.pub --threshold 2 \\
      --signature calico.bundle.tar.zst.9f2c3a5b7d1e4f60.sigstore.json
  ssh gateway cat calico.bundle.tar.zst | bundle verify - --key cosign.pub")]
pub struct VerifyArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// What makes the bundle trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Runs the command.
///
/// # Errors
/// Always, with exit code 1: the flow is not connected yet.
pub async fn run(args: VerifyArgs, _context: &Context) -> Result<(), CliError> {
    let _policy = args.trust.policy()?;
    let _signatures = args.trust.signatures()?;
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
