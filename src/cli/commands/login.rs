//! `bundle login`.

use clap::Args;

use crate::cli::{
    Context,
    args::ConnectionArgs,
    exit::{CliError, Exit},
    values,
};

/// Store the credentials of a registry
///
/// Checks them with the registry first, then stores them where Docker and the containers tools
/// find them too.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle login quay.io
  bundle login registry.local:5000 --username robot --password-stdin < password.txt")]
pub struct LoginArgs {
    /// The registry
    #[arg(value_name = "HOST[:PORT]", value_parser = values::host)]
    pub host: String,
    /// User name; asked for when left out
    #[arg(short, long, value_name = "NAME", env = "BUNDLE_USERNAME")]
    pub username: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long, env = "BUNDLE_PASSWORD_STDIN", value_parser = values::switch)]
    pub password_stdin: bool,
    /// How connections are made.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the command.
pub async fn run(_args: LoginArgs, _context: &Context) -> Result<(), CliError> {
    Err(CliError::new(Exit::Internal, "internal: not wired"))
}
