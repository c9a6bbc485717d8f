//! `bundle extract`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{
        Context,
        args::TrustArgs,
        exit::{CliError, Exit},
    },
    oci::Reference,
};

/// Unpack a bundle, or some of its images, into a directory
///
/// Writes an OCI image layout that other tools read, and the plain files beside it.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle extract calico.bundle.tar.zst --output layout --key cosign.pub
  bundle extract calico.bundle.tar.zst --image quay.io/tigera/cni:v3.16.1 \\
      --output cni --key cosign.pub")]
pub struct ExtractArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// The directory to write; it must be empty or not exist
    #[arg(short, long, value_name = "DIR", env = "BUNDLE_OUTPUT_DIR")]
    pub output: PathBuf,
    /// Unpack this image only; may be repeated
    #[arg(long, value_name = "REF", env = "BUNDLE_IMAGE", value_delimiter = ',')]
    pub image: Vec<Reference>,
    /// What makes the bundle trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Runs the command.
///
/// # Errors
/// Always, with exit code 1: the flow is not connected yet.
pub async fn run(args: ExtractArgs, _context: &Context) -> Result<(), CliError> {
    let _policy = args.trust.policy()?;
    let _signatures = args.trust.signatures()?;
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
