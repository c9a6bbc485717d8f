//! `bundle inspect`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{
        Context,
        exit::{CliError, Exit},
        keys,
        values::RawDocument,
    },
    oci::Reference,
    trust::TrustPolicy,
};

/// Show what is in a bundle
///
/// Reads the beginning of the file only. Without --key it says that the signature was not
/// checked.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle inspect calico.bundle.tar.zst
  bundle inspect calico.bundle.tar.zst quay.io/tigera/cni:v3.16.1
  bundle inspect calico.bundle.tar.zst --raw root > root.json
  bundle inspect calico.bundle.tar.zst --format json | jq -r '.images[].reference'")]
pub struct InspectArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// Show this image only, with its layers
    #[arg(conflicts_with = "raw")]
    pub image: Option<Reference>,
    /// Check that this public key has signed; may be repeated, one of them is enough
    #[arg(
        short,
        long,
        value_name = "PUB",
        env = "BUNDLE_KEY",
        value_delimiter = '\n'
    )]
    pub key: Vec<PathBuf>,
    /// Write a document out as it is: root, index, lock, or the one of an image or a digest
    #[arg(
        long,
        value_name = "root|index|lock|REFERENCE|sha256:…",
        env = "BUNDLE_RAW"
    )]
    pub raw: Option<RawDocument>,
}

impl InspectArgs {
    /// The policy that `--key` makes; `None` when the signature is not to be checked.
    ///
    /// # Errors
    /// With exit code 2 when a key cannot be used.
    pub fn policy(&self) -> Result<Option<TrustPolicy>, CliError> {
        if self.key.is_empty() {
            return Ok(None);
        }
        keys::policy(&self.key, 1).map(Some)
    }
}

/// Runs the command.
///
/// # Errors
/// Always, with exit code 1: the flow is not connected yet.
pub async fn run(args: InspectArgs, _context: &Context) -> Result<(), CliError> {
    let _policy = args.policy()?;
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
