//! `bundle plan`.

use std::path::PathBuf;

use clap::Args;

use super::inputs::InputArgs;
use crate::cli::{
    Context,
    args::RegistryArgs,
    exit::{CliError, Exit},
    values,
};

/// Show what a bundle would hold, and write bundle.lock
///
/// Resolves everything as `create` does, prints each image with its digest, size, platforms and
/// who asked for it, and pins it all in a lock. Nothing is downloaded but manifests.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle plan -f bundle.yaml
  bundle plan --images-from images.txt -o images.lock
  bundle plan --check          in CI: fails when a tag has moved since bundle.lock was written")]
pub struct PlanArgs {
    /// What goes in.
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Write the lock to this file [default: bundle.lock beside bundle.yaml, if there is one]
    #[arg(short, long, value_name = "FILE", env = "BUNDLE_LOCK")]
    pub output: Option<PathBuf>,
    /// Write nothing; fail if the lock does not say what would be resolved now
    #[arg(long, env = "BUNDLE_CHECK", value_parser = values::switch)]
    pub check: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

impl PlanArgs {
    /// Refuses what the grammar of the arguments cannot.
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self) -> Result<(), CliError> {
        self.registry.check()?;
        self.inputs.check(self.registry.password_stdin)
    }
}

/// Runs the command.
///
/// # Errors
/// Always, with exit code 1: the flow is not connected yet.
pub async fn run(args: PlanArgs, context: &Context) -> Result<(), CliError> {
    args.check()?;
    let _request = args.inputs.request(&context.output)?;
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
