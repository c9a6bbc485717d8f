//! `bundle keygen`.

use std::path::PathBuf;

use clap::Args;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    cli::{Context, Format, escape::escape_path, exit::CliError, prompt, values},
    trust::{KeyPair, password_from_env},
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

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Written {
    private_key: PathBuf,
    public_key: PathBuf,
    /// `SHA256:` and the digest of the public key.
    fingerprint: String,
}

/// Runs the command.
///
/// # Errors
/// When there is no password, when a file exists already, or when it cannot be written.
pub async fn run(args: KeygenArgs, context: &Context) -> Result<(), CliError> {
    let password = password(&args, context)?;
    let pair = KeyPair::generate(&password)?;
    let files = pair.write_files(&args.output_key_prefix)?;
    let fingerprint = pair.public().fingerprint();
    let (private, public) = (escape_path(&files.private), escape_path(&files.public));
    if context.format == Format::Json {
        return context.output.json(&Written {
            private_key: files.private,
            public_key: files.public,
            fingerprint,
        });
    }
    let kept = "keep it where only the one who signs can read it";
    context
        .output
        .step("wrote", &format!("{private}   {kept}"), None);
    context
        .output
        .step("wrote", &format!("{public}   {fingerprint}"), None);
    let next = format!("give {public} to those who load bundles, by another way than the bundles");
    context.output.next(&next);
    Ok(())
}

fn password(args: &KeygenArgs, context: &Context) -> Result<Zeroizing<String>, CliError> {
    let from_env = password_from_env()?;
    match (args.no_password, from_env) {
        (true, Some(password)) if !password.is_empty() => Err(CliError::usage(
            "--no-password, but the environment has a password for the key",
        )
        .hint("unset BUNDLE_KEY_PASSWORD and COSIGN_PASSWORD, or leave out --no-password")),
        (true, _) => Ok(Zeroizing::default()),
        (false, Some(password)) => Ok(password),
        (false, None) => prompt::new_password(&context.interrupt, "password of the new key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{exit::Exit, output::Verbosity, tests::context},
        trust::{PublicKey, SigningKey},
    };

    #[tokio::test]
    async fn a_pair_is_written_once_and_never_again() {
        let directory = tempfile::tempdir().unwrap();
        let args = KeygenArgs {
            output_key_prefix: directory.path().join("demo"),
            no_password: true,
        };
        let (mut context, stdout, _) = context(Verbosity::Normal);
        context.format = Format::Json;
        run(args.clone(), &context).await.unwrap();
        let written: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
        let path = |key: &str| PathBuf::from(written[key].as_str().unwrap());
        let public = PublicKey::read_file(&path("public_key")).unwrap();
        let private = SigningKey::read_file(&path("private_key"), "").unwrap();
        assert_eq!(private.public(), public);
        assert_eq!(written["fingerprint"], public.fingerprint());

        let error = run(args, &context).await.unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(PublicKey::read_file(&path("public_key")).unwrap(), public);
    }
}
