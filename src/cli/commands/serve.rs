//! `bundle serve`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::cli::{
    Context,
    exit::{CliError, Exit},
    values,
};

/// Be a registry, where there is none yet
///
/// Serves a directory by the OCI distribution specification until it is interrupted. There is no
/// authentication: whoever reaches the address may push, unless --read-only says otherwise.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle serve --store /srv/registry
  bundle serve --store /srv/registry --listen 0.0.0.0:5000 --read-only")]
pub struct ServeArgs {
    /// Directory of the content; made when it does not exist
    #[arg(long, value_name = "DIR", env = "BUNDLE_STORE")]
    pub store: PathBuf,
    /// Address and port to listen on; port 0 takes any that is free
    #[arg(
        long,
        value_name = "ADDR",
        env = "BUNDLE_LISTEN",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: SocketAddr,
    /// Take no pushes
    #[arg(long, env = "BUNDLE_READ_ONLY", value_parser = values::switch)]
    pub read_only: bool,
    /// Allow manifests, tags and blobs to be deleted
    #[arg(long, env = "BUNDLE_ALLOW_DELETE", value_parser = values::switch)]
    pub allow_delete: bool,
    /// Misbehave by this rule, for tests of clients; may be repeated
    #[arg(long, value_name = "RULE", env = "BUNDLE_FAULT", hide = true)]
    pub fault: Vec<String>,
}

/// Runs the command.
pub async fn run(_args: ServeArgs, _context: &Context) -> Result<(), CliError> {
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
