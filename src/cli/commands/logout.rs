//! `bundle logout`.

use std::path::PathBuf;

use clap::Args;

use serde::Serialize;

use super::login::place;
use crate::{
    cli::{Context, Format, exit::CliError, values},
    registry::{CredentialConfig, login::logout},
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

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct LoggedOut {
    host: String,
    /// Where the credential was; `null` when there was none.
    removed_from: Option<String>,
}

/// Runs the command. It is no failure that there is nothing to remove.
///
/// # Errors
/// When the credentials file cannot be read or written.
pub async fn run(args: LogoutArgs, context: &Context) -> Result<(), CliError> {
    let config = CredentialConfig {
        authfile: args.authfile,
        ..CredentialConfig::default()
    };
    let removed = logout(&config, &args.host).await;
    let removed = removed.map_err(|error| CliError::destination(&error))?;
    let removed_from = removed.as_ref().map(place);
    if context.format == Format::Json {
        return context.output.json(&LoggedOut {
            host: args.host,
            removed_from,
        });
    }
    let text = match removed_from {
        Some(place) => format!("{}   removed from {place}", args.host),
        None => format!("{}   there were no credentials", args.host),
    };
    context.output.step("logged out", &text, None);
    Ok(())
}
