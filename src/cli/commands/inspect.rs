//! `bundle inspect`.

use std::path::PathBuf;

use clap::Args;

use super::plan::{platforms, show_absent};
use crate::{
    bundle::Origin,
    cli::{
        Context, Format,
        exit::CliError,
        keys,
        output::Output,
        table::{Align, Table},
        values::{RawDocument, input},
    },
    human,
    inspect::{self, Inspection, Raw},
    oci::{Digest, Document, DocumentKind, Reference},
    open::{self, Medium, Trust},
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
  bundle inspect calico.bundle.tar.zst --format json \\
      | jq -r '.images[].reference'")]
pub struct InspectArgs {
    /// The bundle (`-` for standard input)
    pub file: PathBuf,
    /// Show this image or chart only, with its layers
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
    /// Write a document out as it is: `root`, `index`, `lock`, `signature`, or the manifest or index
    /// of a reference or a digest
    #[arg(long, value_name = "DOCUMENT", env = "BUNDLE_RAW")]
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
/// When the bundle is damaged, does not hold what is asked for, or (with --key) is not trusted.
pub async fn run(args: InspectArgs, context: &Context) -> Result<(), CliError> {
    let file = input(&args.file);
    let policy = args.policy()?;
    let (medium, embedded, decision) = tokio::task::block_in_place(|| -> Result<_, CliError> {
        let mut nothing = |_: &_, _: &_, _: &[u8], _: &_| ();
        let Some(policy) = policy else {
            let (medium, embedded) = open::look(&file, &mut nothing)?;
            return Ok((medium, embedded, None));
        };
        let trust = Trust::Keys {
            policy,
            detached: Vec::new(),
        };
        let verified = open::open(&file, &trust, &mut nothing)?;
        let decision = verified.decision().clone();
        let embedded = decision.accepted.len() + decision.rejected.len();
        Ok((verified.into_value(), embedded, Some(decision)))
    })?;
    if let Some(raw) = args.raw {
        return context.output.raw(&inspect::raw(&medium, &raw.into())?);
    }
    let mut inspection = inspect::inspect(&medium, embedded, decision.as_ref());
    if let Some(image) = &args.image {
        let wanted = image.to_string();
        inspection
            .images
            .retain(|found| found.locked.reference == wanted);
        inspection.charts.retain(|found| found.reference == wanted);
        inspection.releases.retain(|found| found.chart == wanted);
        if inspection.images.is_empty() && inspection.charts.is_empty() {
            return Err(CliError::usage(format!("{image} is not in the bundle"))
                .hint("bundle inspect without an image lists all"));
        }
    }
    match (context.format, &args.image) {
        (Format::Json, _) => context.output.json(&inspection),
        (Format::Table, None) => show(&inspection, &context.output),
        (Format::Table, Some(image)) => show_image(&medium, image, &inspection, &context.output),
    }
}

impl From<RawDocument> for Raw {
    fn from(document: RawDocument) -> Self {
        match document {
            RawDocument::Root => Self::Root,
            RawDocument::Index => Self::Index,
            RawDocument::Lock => Self::Lock,
            RawDocument::Signature => Self::Signature,
            RawDocument::Digest(digest) => Self::Digest(digest),
            RawDocument::Reference(reference) => Self::Image(Box::new(reference)),
        }
    }
}

fn show(inspection: &Inspection, output: &Output) -> Result<(), CliError> {
    let name = &inspection.bundle;
    output.line(&format!(
        "{} {}   made {}",
        name.name,
        name.version,
        human::moment(&inspection.created)
    ))?;
    output.line(&format!("root       {}", inspection.root))?;
    output.line(&format!("signature  {}", signature_line(inspection)))?;
    for signature in &inspection.signatures {
        output.line(&format!("key        {}", signature.fingerprint))?;
    }
    let file = inspection
        .file_size
        .map(|size| format!(", a file of {}", human::bytes(size)));
    let mut contents = human::count(inspection.images.len(), "image", "images");
    if !inspection.charts.is_empty() {
        let charts = human::count(inspection.charts.len(), "chart", "charts");
        contents.push_str(&format!(", {charts}"));
    }
    output.line(&format!(
        "contents   {}, {} in {} blobs and documents{}",
        contents,
        human::bytes(inspection.content_size),
        inspection.members,
        file.unwrap_or_default(),
    ))?;
    output.line("")?;
    let mut table = Table::new([
        ("IMAGE", Align::Left),
        ("DIGEST", Align::Left),
        ("PLATFORMS", Align::Left),
        ("SIZE", Align::Right),
        ("UNSHARED", Align::Right),
    ]);
    for image in &inspection.images {
        table.row([
            image.locked.reference.clone(),
            image.locked.digest.short(),
            platforms(&image.locked.platforms),
            human::bytes(image.locked.content_size),
            human::bytes(image.own_size),
        ]);
    }
    if !inspection.images.is_empty() {
        output.table(&table)?;
    }
    for chart in &inspection.charts {
        output.line(&format!(
            "chart      {} {}   {}   {}   from {}",
            chart.name,
            chart.version,
            chart.digest.short(),
            human::bytes(chart.content_size),
            chart.source
        ))?;
    }
    for release in &inspection.releases {
        let values = release.values.iter().map(|file| file.name.as_str());
        let values: Vec<_> = values.collect();
        let values = match values.is_empty() {
            true => String::new(),
            false => format!("   values {}", values.join(", ")),
        };
        output.line(&format!(
            "release    {} in {}   {}{values}",
            release.name, release.namespace, release.chart
        ))?;
    }
    for file in &inspection.files {
        let size = human::bytes(file.size);
        output.line(&format!("file       {}   {size}", file.name))?;
    }
    show_absent(&inspection.absent, output)
}

fn signature_line(inspection: &Inspection) -> String {
    if inspection.signature_checked {
        let signed = inspection.signatures.iter();
        let by: Vec<_> = signed.map(|s| s.key.as_str()).collect();
        return format!("good, by {}", by.join(", "));
    }
    if inspection.unsigned {
        return "NOT SIGNED, on purpose".to_owned();
    }
    let count = human::count(inspection.embedded_signatures, "signature", "signatures");
    format!("{count}, not checked: --key PUB checks")
}

/// What is shown of an image or a chart by itself.
struct Shown<'a> {
    digest: Digest,
    media_type: &'a str,
    content_size: u64,
    requested_by: &'a [Origin],
}

/// One image or chart with all documents and blobs below it.
fn show_image(
    medium: &Medium,
    image: &Reference,
    inspection: &Inspection,
    output: &Output,
) -> Result<(), CliError> {
    let contents = &medium.metadata().plan.contents;
    let images = inspection.images.iter().map(|found| Shown {
        digest: found.locked.digest,
        media_type: &found.locked.media_type,
        content_size: found.locked.content_size,
        requested_by: &found.locked.requested_by,
    });
    let charts = inspection.charts.iter().map(|chart| Shown {
        digest: chart.digest,
        media_type: &chart.media_type,
        content_size: chart.content_size,
        requested_by: &chart.requested_by,
    });
    for locked in images.chain(charts) {
        output.line(&format!("{image}   {}", human::bytes(locked.content_size)))?;
        output.line(&format!("digest     {}", locked.digest))?;
        output.line(&format!("type       {}", locked.media_type))?;
        for origin in locked.requested_by {
            output.line(&format!("asked for  {origin}"))?;
        }
        let Some(top) = contents.find(&locked.digest) else {
            continue;
        };
        for id in contents.closure(top) {
            let media_type = contents.media_type(id);
            if media_type.is_empty() {
                continue;
            }
            let bytes = inspect::raw(medium, &Raw::Digest(contents.member(id).digest))?;
            let Ok(document) = Document::parse(&bytes, media_type) else {
                continue;
            };
            if let DocumentKind::Index(_) = &document.kind {
                continue;
            }
            output.line("")?;
            output.line(&format!("manifest   {}", contents.member(id).digest))?;
            for blob in document.blobs() {
                let absent = if contents.find(&blob.digest).is_some() {
                    ""
                } else {
                    "  (absent)"
                };
                let (size, digest) = (human::bytes(blob.size), blob.digest);
                output.line(&format!(
                    "  {size:>9}  {digest}  {}{absent}",
                    blob.media_type
                ))?;
            }
        }
    }
    Ok(())
}
