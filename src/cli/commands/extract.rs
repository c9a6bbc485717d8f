//! `bundle extract`.

use std::path::PathBuf;

use clap::Args;

use serde::Serialize;

use crate::{
    cli::{Context, Format, args::TrustArgs, escape::escape_path, exit::CliError, values::input},
    extract, human,
    oci::Reference,
    open,
};

/// Unpack a bundle, or some of its images and charts, into a directory
///
/// Writes an OCI image layout that other tools read. With all of them come the plain files
/// (`files`), the charts' archives (`charts`) and their values (`values`).
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle extract calico.bundle.tar.zst --output layout --key cosign.pub
  bundle extract calico.bundle.tar.zst --image quay.io/tigera/cni:v3.16.1 \\
      --output cni --key cosign.pub")]
pub struct ExtractArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// The directory to write; it must not exist yet
    #[arg(short, long, value_name = "DIR", env = "BUNDLE_OUTPUT_DIR")]
    pub output: PathBuf,
    /// Unpack this image or chart only; may be repeated
    #[arg(long, value_name = "REF", env = "BUNDLE_IMAGE", value_delimiter = ',')]
    pub image: Vec<Reference>,
    /// What makes the bundle trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Written {
    directory: PathBuf,
    images: Vec<String>,
    files: Vec<PathBuf>,
    bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// When the bundle is not trusted or damaged, or the directory cannot be made.
pub async fn run(args: ExtractArgs, context: &Context) -> Result<(), CliError> {
    let trust = args.trust.trust()?;
    let extracted = tokio::task::block_in_place(|| -> Result<_, CliError> {
        let verified = open::open(&input(&args.file), &trust, &mut |_, _, _, _| ())?;
        let mut medium = verified.into_value();
        let progress = context.progress.as_ref();
        Ok(extract::extract(
            &mut medium,
            &args.image,
            &args.output,
            progress,
        )?)
    })?;
    if context.format == Format::Json {
        return context.output.json(&Written {
            directory: args.output,
            images: extracted.images.iter().map(ToString::to_string).collect(),
            files: extracted.files,
            bytes: extracted.bytes,
        });
    }
    let what = human::count(extracted.images.len(), "image", "images");
    let text = format!(
        "{}   {what}, {}",
        escape_path(&args.output),
        human::bytes(extracted.bytes)
    );
    context.output.step("wrote", &text, None);
    for file in &extracted.files {
        context.output.step("wrote", &escape_path(file), None);
    }
    Ok(())
}
