//! `bundle login`.

use clap::Args;

use serde::Serialize;

use crate::{
    cli::{ConnectionArgs, Context, Format, escape::escape_path, exit::CliError, prompt, values},
    registry::{
        ProxyUse, Secret,
        login::{Check, Keeper, LoginReport, login},
    },
};

/// Store the credentials of a registry
///
/// Checks them with the registry first, then stores them where Docker and the containers tools
/// find them too.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle login quay.io
  bundle login registry.local:5000 --username robot \\
      --password-stdin < password.txt")]
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
    /// Store them without asking the host: for the web server of a chart repository, which is no
    /// registry
    #[arg(long, env = "BUNDLE_NO_CHECK", value_parser = values::switch)]
    pub no_check: bool,
    /// How connections are made.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct LoggedIn<'a> {
    host: &'a str,
    username: &'a str,
    /// Where the credential is now.
    kept_in: String,
    /// Whether the registry has checked it.
    verified: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no name or password, when the registry refuses them, or when they cannot be
/// stored.
pub async fn run(args: LoginArgs, context: &Context) -> Result<(), CliError> {
    let username = match args.username {
        Some(username) => username,
        None => prompt::line("user name")?,
    };
    let password = if args.password_stdin {
        prompt::password_from_stdin()?
    } else {
        let what = format!("password of {username} at {}", args.host);
        prompt::password(&context.interrupt, &what)?
    };
    let mut config = args.connection.client_config(ProxyUse::Environment);
    config
        .client_certificates
        .extend(args.connection.client_certificate(&args.host));
    let report = login(
        config,
        &args.host,
        &username,
        Secret::new(password.as_str()),
        match args.no_check {
            true => Check::No,
            false => Check::WithRegistry,
        },
    )
    .await
    .map_err(|error| CliError::destination(&error))?;
    tell(&report, &username, !args.no_check, context)
}

fn tell(
    report: &LoginReport,
    username: &str,
    asked: bool,
    context: &Context,
) -> Result<(), CliError> {
    let LoginReport {
        host,
        kept_in,
        verified,
    } = report;
    if asked && !verified {
        context.output.warn(&format!(
            "{host} asks for no credentials, so these were not checked"
        ));
    }
    let kept_in = place(kept_in);
    if context.format == Format::Json {
        return context.output.json(&LoggedIn {
            host,
            username,
            kept_in,
            verified: *verified,
        });
    }
    let text = format!("{username} at {host}   kept in {kept_in}");
    context.output.step("logged in", &text, None);
    Ok(())
}

/// Where a credential is kept, in words.
pub(super) fn place(keeper: &Keeper) -> String {
    match keeper {
        Keeper::File(path) => escape_path(path),
        Keeper::Helper(name) => format!("docker-credential-{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{output::Verbosity, tests::context};

    #[test]
    fn a_credential_that_nobody_checked_is_told() {
        let (context, _, stderr) = context(Verbosity::Normal);
        let report = |verified| LoginReport {
            host: "r.local".to_owned(),
            kept_in: Keeper::File("config.json".into()),
            verified,
        };
        tell(&report(true), "me", true, &context).unwrap();
        assert_eq!(
            stderr.text(),
            "logged in  me at r.local   kept in config.json\n"
        );
        tell(&report(false), "me", true, &context).unwrap();
        assert!(
            stderr
                .text()
                .contains("warning: r.local asks for no credentials")
        );
    }
}
