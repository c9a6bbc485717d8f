//! `bundle verify`.

use std::path::PathBuf;

use clap::Args;

use serde::Serialize;

use crate::{
    cli::{Context, Format, args::TrustArgs, exit::CliError, values::input},
    human,
    load::ReceiptSignature,
    verify,
};

/// Check that a bundle is trusted and undamaged
///
/// Checks the signatures first, then every byte of the file. Needs no network and no room on a
/// disk.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle verify calico.bundle.tar.zst --key cosign.pub
  bundle verify calico.bundle.tar.zst --key maker.pub --key officer.pub \\
      --threshold 2 --signature calico.bundle.tar.zst.9f2c3a5b7d1e4f60.sigstore.json
  ssh gateway cat calico.bundle.tar.zst | bundle verify - --key cosign.pub")]
pub struct VerifyArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// What makes the bundle trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    name: String,
    version: String,
    root: String,
    created: String,
    threshold: usize,
    signatures: Vec<ReceiptSignature>,
    /// Signatures that did not count, and why.
    rejected: Vec<Rejected>,
    images: usize,
    members: usize,
    content_size: u64,
}

/// A signature that did not count.
#[derive(Debug, Serialize)]
struct Rejected {
    origin: String,
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// With exit code 4 when the bundle is not trusted, 3 when it is damaged.
pub async fn run(args: VerifyArgs, context: &Context) -> Result<(), CliError> {
    let trust = args.trust.trust()?;
    let progress = context.progress.as_ref();
    let verified =
        tokio::task::block_in_place(|| verify::verify(&input(&args.file), &trust, progress))?;
    let metadata = verified.value().metadata();
    let decision = verified.decision();
    let info = &metadata.root.info;
    let members = metadata.plan.contents.members();
    let rejected = decision.rejected.iter().map(|rejected| Rejected {
        origin: rejected.origin.clone(),
        reason: rejected.reason.to_string(),
    });
    let checked = Checked {
        name: info.name.clone(),
        version: info.version.clone(),
        root: metadata.root_digest().to_string(),
        created: info.created.clone(),
        threshold: decision.threshold,
        signatures: decision
            .accepted
            .iter()
            .map(ReceiptSignature::from)
            .collect(),
        rejected: rejected.collect(),
        images: metadata.lock.images.len(),
        members: members.len(),
        content_size: members.iter().map(|member| member.size).sum(),
    };
    match context.format {
        Format::Json => context.output.json(&checked),
        Format::Table => show(&checked, context),
    }
}

fn show(checked: &Checked, context: &Context) -> Result<(), CliError> {
    let output = &context.output;
    for signature in &checked.signatures {
        let ReceiptSignature {
            key,
            fingerprint,
            origin,
        } = signature;
        output.line(&format!("trusted    signed by {key} ({origin})"))?;
        output.line(&format!("key        {fingerprint}"))?;
    }
    if checked.signatures.is_empty() {
        output.line("NOT SIGNED nobody vouches for this bundle")?;
    }
    for Rejected { origin, reason } in &checked.rejected {
        output.line(&format!("ignored    {origin}: {reason}"))?;
    }
    output.line(&format!("root       {}", checked.root))?;
    output.line(&format!(
        "verified   {} {}, made {}",
        checked.name,
        checked.version,
        human::moment(&checked.created),
    ))?;
    output.line(&format!(
        "           {}, {} blobs and documents, {}, every digest as signed",
        human::count(checked.images, "image", "images"),
        checked.members,
        human::bytes(checked.content_size),
    ))
}
