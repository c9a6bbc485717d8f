//! `create`: from a list of images to one signed file.
//!
//! The steps, each in its own file: fetch the **charts** and find their images (`charts`), **resolve** references to digests and fetch the manifests
//! (`resolve`), find what **refers** to them (`referrers`), **assemble** lock, root, signatures and the layout (`assemble`), open the
//! **output** and pick up what an interrupted run left (`output`), **transfer** the blobs into
//! their places (`transfer`), then seek table, `fsync`, rename.
//!
//! Either the whole bundle appears under its name or nothing does.

mod assemble;
mod charts;
mod error;
mod files;
mod output;
mod plan_report;
mod referrers;
mod resolve;
mod small;
mod source;
mod transfer;

use std::{path::PathBuf, sync::Arc};

pub use assemble::{Assembled, TOOL};
use charts::MAX_VALUES_BYTES;
pub use charts::{
    Advice, ChartFault, ChartOptions, NotRelocatable, ResolvedChart, Suggested, Unsure,
};
pub use error::{CreateError, Unresolved};
use output::{Output, Resume};
pub use plan_report::{FixedImage, ImagePlace, PlanReport, SuggestedImage};
pub use referrers::ReferrerFault;
pub use resolve::{Resolved, ResolvedImage};

use crate::{
    bundle::Lock, human, oci::Digest, progress::Progress, registry::Client, request::Request,
    trust::SigningKey,
};

/// Name of a bundle for which none was given.
const DEFAULT_NAME: &str = "bundle";
/// Version of a bundle for which none was given.
const DEFAULT_VERSION: &str = "0";

/// What to pack, how, and where to.
#[derive(Debug)]
pub struct CreateRequest {
    /// The images and files.
    pub request: Request,
    /// Keys to sign with, in any order; none makes a bundle that says of itself that it is unsigned.
    pub keys: Vec<SigningKey>,
    /// A lock that pins every digest.
    pub lock: Option<Lock>,
    /// When: seconds since 1970. A lock's own time wins.
    pub now: i64,
    /// Where the bundle goes.
    pub output: Destination,
    /// Requests at a time, at least 1.
    pub concurrency: usize,
    /// What holds for all charts.
    pub charts: ChartOptions,
}

/// Where a bundle goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A file, written at several places at once.
    File {
        /// Its name.
        path: PathBuf,
        /// Whether an existing file is replaced.
        force: bool,
        /// Whether an interrupted run is gone on with.
        resume: bool,
    },
    /// Standard output, written strictly in order.
    Stdout,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct CreateReport {
    /// Digest of the root: what identifies the bundle.
    pub root: Digest,
    /// The lock, as it is in the bundle.
    pub lock: Lock,
    /// The file, unless it went to standard output.
    pub path: Option<PathBuf>,
    /// Its size in bytes.
    pub file_size: u64,
    /// Bytes of unique content in it.
    pub content_size: u64,
    /// Bytes that this run fetched.
    pub fetched: u64,
    /// Fingerprints of the keys that signed it.
    pub signed_by: Vec<String>,
}

/// What a bundle would hold.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The lock.
    pub lock: Lock,
    /// Bytes of unique content.
    pub content_size: u64,
    /// What a person should know.
    pub advice: Advice,
}

/// Resolves everything without fetching any layer.
///
/// # Errors
/// When anything does not resolve; all that is wrong is in the one error.
pub async fn plan(
    client: &Client,
    request: &Request,
    charts: &ChartOptions,
    now: i64,
    concurrency: usize,
    progress: &dyn Progress,
) -> Result<Planned, CreateError> {
    let resolver = resolve::Resolver::new(client, concurrency, Default::default());
    let files = files::hash_all(request)?;
    let (request, resolved, advice) =
        resolve_all(&resolver, request, charts, None, progress).await?;
    let resolved = Resolved { files, ..resolved };
    let assembled = assemble::assemble(&request, resolved, None, now, &[])?;
    Ok(Planned {
        content_size: assembled.content_size(),
        lock: assembled.lock,
        advice,
    })
}

/// Charts, then the images that were asked for and those that the charts need. Gives the request
/// with all of them.
async fn resolve_all(
    resolver: &resolve::Resolver<'_>,
    request: &Request,
    options: &ChartOptions,
    pins: Option<&Lock>,
    progress: &dyn Progress,
) -> Result<(Request, Resolved, Advice), CreateError> {
    let mut charts = charts::resolve(resolver.client(), request, options, pins, progress).await?;
    let mut request = request.clone();
    request.add_images(std::mem::take(&mut charts.images));
    // Who lists a chart as an image gets it once, as the chart that it is.
    for chart in &mut charts.charts {
        chart.origins.extend(request.take_image(&chart.reference));
        chart.origins.sort();
        chart.origins.dedup();
    }
    if let Some(pins) = pins {
        charts.check_pins(pins)?;
        referrers::pinned(&mut request, pins)?;
    }
    let mut resolved = resolver.resolve(&request, pins, progress).await?;
    if pins.is_none() {
        let mut subjects = resolved.subjects(|_| None);
        subjects.extend(charts.subjects());
        referrers::collect(resolver, &mut request, &mut resolved, subjects, progress).await?;
    }
    charts.check_relocation(&resolved).await?;
    resolved.releases = charts.releases();
    resolved.contents.extend(charts.contents);
    resolved.charts = charts.charts;
    Ok((request, resolved, charts.advice))
}

/// Makes the bundle.
///
/// # Errors
/// When anything fails; no bundle appears then. What was fetched is kept beside the output for the
/// next run, under a name that no bundle has.
pub async fn create(
    client: &Client,
    mut create: CreateRequest,
    progress: &dyn Progress,
) -> Result<CreateReport, CreateError> {
    if create.request.is_empty() {
        return Err(CreateError::Nothing);
    }
    // So that the order of arguments leaves no trace in the bundle.
    create.keys.sort_by_key(|key| key.public().fingerprint());
    create.keys.dedup_by_key(|key| key.public().fingerprint());
    let files = files::hash_all(&create.request)?;
    let fingerprint = output::fingerprint(&create, &files)?;
    let (mut output, resume) = Output::open(&create.output, &fingerprint)?;
    if let Some(resume) = &resume {
        progress.step("resuming", &format!("resolved {}", resume.lock.created));
    }
    let made = make(client, &mut create, files, &mut output, resume, progress).await;
    if made.is_err() {
        output.give_up();
    }
    made
}

async fn make(
    client: &Client,
    create: &mut CreateRequest,
    files: Vec<files::HashedFile>,
    output: &mut Output,
    resume: Option<Resume>,
    progress: &dyn Progress,
) -> Result<CreateReport, CreateError> {
    let (pins, salvaged) = match resume {
        Some(resume) => (Some(resume.lock), resume.salvaged),
        None => (create.lock.take(), Default::default()),
    };
    let resolver = resolve::Resolver::new(client, create.concurrency, salvaged.clone());
    let (request, mut resolved, advice) = resolve_all(
        &resolver,
        &create.request,
        &create.charts,
        pins.as_ref(),
        progress,
    )
    .await?;
    create.request = request;
    resolved.files = files;
    // Only what the bundle names is looked up in there.
    for (digest, content) in salvaged {
        resolved.contents.entry(digest).or_insert(content);
    }
    progress.step("resolved", &counted(create));
    advice.tell(progress);
    let assembled = assemble::assemble(
        &create.request,
        resolved,
        pins.as_ref(),
        create.now,
        &create.keys,
    )?;
    let assembled = Arc::new(assembled);
    for key in &create.keys {
        let root = assembled.root_digest();
        progress.step(
            "signed",
            &format!(
                "root {root}  key {}",
                human::short_fingerprint(&key.public().fingerprint())
            ),
        );
    }
    output.prepare(&assembled)?;
    let transfer = transfer::Transfer::new(client, &assembled, create.concurrency, progress);
    let file_size = transfer.run(output).await?;
    output.commit()?;
    let path = output.path();
    let name = path
        .as_ref()
        .map_or_else(|| "-".into(), |p| p.display().to_string());
    let size = human::bytes(file_size);
    progress.step("wrote", &format!("{name}  {size}  {}", counted(create)));
    Ok(CreateReport {
        root: assembled.root_digest(),
        path,
        file_size,
        content_size: assembled.content_size(),
        fetched: transfer.fetched() + resolver.fetched(),
        signed_by: create
            .keys
            .iter()
            .map(|key| key.public().fingerprint())
            .collect(),
        lock: assembled.lock.clone(),
    })
}

fn counted(create: &CreateRequest) -> String {
    let images = &create.request.images;
    let referrers = images.iter().filter(|image| image.is_only_referrer());
    let referrers = referrers.count();
    let mut text = human::count(images.len() - referrers, "image", "images");
    for (count, one, many) in [
        (referrers, "referrer", "referrers"),
        (create.request.charts.len(), "chart", "charts"),
        (create.request.files.len(), "file", "files"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {}", human::count(count, one, many)));
        }
    }
    text
}
