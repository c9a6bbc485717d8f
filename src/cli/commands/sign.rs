//! `bundle sign`.

use std::{
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        Context, Format,
        escape::escape_path,
        exit::{CliError, Exit},
        keys,
        values::input,
    },
    open,
    trust::detached_signature_path,
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

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Signed {
    root: String,
    fingerprint: String,
    signature: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the bundle's metadata are damaged, the key cannot sign, or the file exists.
pub async fn run(args: SignArgs, context: &Context) -> Result<(), CliError> {
    let (medium, _) =
        tokio::task::block_in_place(|| open::look(&input(&args.file), &mut |_, _, _, _| ()))?;
    let metadata = medium.metadata();
    let key = keys::signing_key(&args.key, &context.interrupt)?;
    let signature = key.sign_root(&metadata.root_bytes)?.to_json();
    let path = args
        .output
        .unwrap_or_else(|| detached_signature_path(&args.file, &key.public()));
    write_new(&path, &signature)?;
    let root = metadata.root_digest().to_string();
    let fingerprint = key.public().fingerprint();
    if context.format == Format::Json {
        return context.output.json(&Signed {
            root,
            fingerprint,
            signature: path,
        });
    }
    let shown = escape_path(&path);
    context
        .output
        .step("signed", &format!("root {root} with {fingerprint}"), None);
    context.output.step("wrote", &shown, None);
    context
        .output
        .next(&format!("bundle load … --key PUB --signature {shown}"));
    Ok(())
}

/// Writes a file that does not exist yet: all of it or nothing.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let shown = escape_path(path);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return CliError::usage(format!("{shown} exists")).hint("name another file with -o");
        }
        CliError::new(Exit::LocalIo, format!("{shown}: {error}"))
    };
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|error| failed(error.error))?;
    Ok(())
}
