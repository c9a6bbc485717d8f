//! `load`: from one signed file into a registry.
//!
//! The steps: **open** (signatures, metadata and framing, before any request; [`crate::open`]),
//! **plan** (`plan`: where everything goes, what is there, what clashes), **blobs** (`blobs`), then
//! **manifests**, read back (`manifests`), and only when all of that is done lists of **referrers** that
//! are kept under tags (`referrers`) and the **tags** themselves (`tags`), then the **hand-off**
//! (`handoff`) and a **receipt**. A load that dies leaves every old tag as it was; run again, it goes on.

mod belonging;
mod blobs;
mod directory;
mod error;
mod handoff;
mod index;
mod manifests;
mod plan;
mod receipt;
mod referrers;
mod refusal;
mod relocation;
mod tags;

pub use error::{Clash, Conflict, HandoffFailure, HandoffFault, LoadError};
pub use handoff::{HandedOff, HandoffRequest};
pub use index::{IndexMode, Variant, Variants};
pub use plan::{ImageState, LoadPlan, PlannedBlob, PlannedImage};
pub use receipt::{BlobCounts, LoadedImage, Receipt, ReceiptSignature, TagState};
pub use refusal::RefusalReason;
pub use relocation::{MapRule, PathLayout, Place, Relocation, RelocationError};

use crate::{
    bundle::EntryKind,
    human,
    open::{self, Input, Medium, Trust},
    progress::Progress,
    registry::Client,
    trust::Verified,
    verify,
};

/// What to do with a tag that exists with another image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Stop before anything is pushed.
    #[default]
    Refuse,
    /// Move the tag.
    Replace,
    /// Leave the tag, and do not push the image.
    Keep,
}

/// What to load, how, and where to.
#[derive(Debug)]
pub struct LoadRequest {
    /// The bundle.
    pub input: Input,
    /// Who may vouch for it.
    pub trust: Trust,
    /// How names are made.
    pub relocation: Relocation,
    /// What to do with tags that exist.
    pub on_conflict: OnConflict,
    /// What to do with indexes of which only some platforms are there.
    pub index: IndexMode,
    /// Whether all of the bundle is read and checked before the first request.
    pub verify_first: bool,
    /// Whether to stop after the plan.
    pub dry_run: bool,
    /// Blobs that are sent at a time, at least 1.
    pub concurrency: usize,
    /// When: seconds since 1970, for the receipt.
    pub now: i64,
    /// What is written for the installation, if anything.
    pub handoff: Option<HandoffRequest>,
}

/// What a load did.
#[derive(Debug)]
pub struct Loaded {
    /// What was trusted and why, what went where.
    pub receipt: Receipt,
    /// What was written for the installation, where that was asked for, or why it was not.
    pub handoff: Option<Result<HandedOff, HandoffFailure>>,
}

/// Loads the bundle.
///
/// # Errors
/// When it is not trusted, damaged, clashes with what is there, or the destination fails. No tag is
/// written unless everything is there.
pub async fn load(
    client: &Client,
    request: LoadRequest,
    progress: &dyn Progress,
) -> Result<Loaded, LoadError> {
    if request.verify_first && request.input == Input::Stdin {
        return Err(LoadError::VerifyFirstNeedsFile);
    }
    if let Some(handoff) = &request.handoff {
        directory::HandoffPlace::find(&handoff.directory)?;
    }
    let medium = tokio::task::block_in_place(|| {
        open::open(&request.input, &request.trust, &mut |_, _, _, _| ())
    })?;
    progress.step("trusted", &trusted_text(&medium));
    if request.verify_first
        && let Medium::File(archive) = medium.value()
    {
        tokio::task::block_in_place(|| verify::read_all(archive, progress)).map_err(|error| {
            LoadError::Open(open::OpenError::Bundle {
                name: request.input.to_string(),
                error,
            })
        })?;
        progress.step("verified", "everything in the bundle");
    }
    push(client, medium, &request, progress).await
}

/// Pushes a bundle that somebody vouches for; there is no other way in.
async fn push(
    client: &Client,
    medium: Verified<Medium>,
    request: &LoadRequest,
    progress: &dyn Progress,
) -> Result<Loaded, LoadError> {
    let decision = medium.decision().clone();
    let mut medium = medium.into_value();
    let host = request.relocation.to.host();
    let images = plan::destinations(&medium, request)?;
    let handoff = match &request.handoff {
        Some(options) => {
            let prepared = handoff::Prepared::new(&medium, &images, request, options)?;
            Some((options, prepared))
        }
        None => None,
    };
    client.ping(host).await.map_err(LoadError::at(""))?;
    let mut plan = plan::make(client, &medium, request, images).await?;
    progress.step("plan", &plan_text(&plan, &medium, request));
    if request.dry_run {
        let counts = BlobCounts::default();
        let is_file = matches!(medium, Medium::File(_));
        let handoff = match handoff {
            Some((options, prepared)) if is_file => {
                let passing = handoff::Passing::default();
                let images = &plan.images;
                let made = handoff::make(
                    client, &medium, images, passing, request, options, prepared, progress,
                );
                let failed = |fault| HandoffFailure {
                    pushed: false,
                    fault,
                };
                Some(made.await.map_err(failed))
            }
            Some(_) => {
                progress.warn("a hand-off can be rehearsed only with a bundle in a file");
                None
            }
            None => None,
        };
        return Ok(Loaded {
            receipt: receipt::make(&medium, &plan, &decision, counts, request),
            handoff,
        });
    }
    let mut passing = handoff::Passing::of(&medium, request);
    let counts = blobs::push(client, &mut medium, &plan, request, &mut passing, progress).await?;
    progress.step("sent", &sent_text(&counts));
    let pushed = manifests::push(client, &medium, &plan, request).await?;
    let images = counted(
        plan.images
            .iter()
            .filter(|i| pushed.tops.contains_key(&i.destination())),
    );
    let checked = format!("{images} read back, every digest as signed");
    progress.step("checked", &checked);
    tags::check_unmoved(client, &medium, &plan, &pushed, request).await?;
    referrers::list(client, &medium, &plan, &pushed, request).await?;
    tags::write(client, &medium, &plan, &pushed, request).await?;
    progress.step("tagged", &images);
    // A list of referrers has entries of its own at the destination, and its digest says nothing.
    for image in plan.images.iter_mut().filter(|image| image.lists.is_none()) {
        if let Some(digest) = pushed.tops.get(&image.destination()).copied()
            && digest != image.digest
        {
            progress.warn(&format!(
                "{} is the smaller index {digest}; the bundle has {} with platforms that were left out",
                image.destination(),
                image.digest
            ));
            image.digest = digest;
        }
    }
    let handoff = match handoff {
        Some((options, prepared)) => {
            let images = &plan.images;
            let made = handoff::make(
                client, &medium, images, passing, request, options, prepared, progress,
            );
            let failed = |fault| HandoffFailure {
                pushed: true,
                fault,
            };
            Some(made.await.map_err(failed))
        }
        None => None,
    };
    Ok(Loaded {
        receipt: receipt::make(&medium, &plan, &decision, counts, request),
        handoff,
    })
}

fn trusted_text(medium: &Verified<Medium>) -> String {
    let metadata = medium.value().metadata();
    let info = &metadata.root.info;
    let signed = medium.decision().accepted.iter();
    let keys: Vec<_> = signed
        .map(|s| format!("{} ({})", s.name, human::short_fingerprint(&s.fingerprint)))
        .collect();
    let by = if keys.is_empty() {
        "NOT SIGNED".to_owned()
    } else {
        format!("signed by {}", keys.join(", "))
    };
    format!(
        "{} {}  root {}  {by}  made {}",
        info.name,
        info.version,
        metadata.root_digest().short(),
        human::moment(&info.created)
    )
}

/// Images and charts, in words.
fn counted<'p>(planned: impl IntoIterator<Item = &'p PlannedImage>) -> String {
    let (mut images, mut charts) = (0, 0);
    for image in planned {
        match image.kind {
            EntryKind::Chart => charts += 1,
            _ => images += 1,
        }
    }
    let images = human::count(images, "image", "images");
    match charts {
        0 => images,
        charts => format!("{images}, {}", human::count(charts, "chart", "charts")),
    }
}

fn sent_text(counts: &BlobCounts) -> String {
    let sent = human::count(counts.sent as usize, "blob", "blobs");
    let bytes = human::bytes(counts.sent_bytes);
    let mut text = format!("{sent} ({bytes})");
    if counts.mounted > 0 {
        let mounted = counts.mounted;
        text.push_str(&format!(", {mounted} shared between repositories there"));
    }
    text
}

fn plan_text(plan: &LoadPlan, medium: &Medium, request: &LoadRequest) -> String {
    let (count, bytes) = plan.to_send(medium);
    let there = || plan.images.iter().filter(|image| !image.is_to_be_pushed());
    let kept = plan
        .images
        .iter()
        .filter(|i| matches!(i.state, ImageState::Keep(_)))
        .count();
    let images = counted(&plan.images);
    let mut text = format!("{images} → {}", request.relocation.to);
    text.push_str(&format!(
        "\n{count} of {} to send ({})",
        human::count(plan.blobs.len(), "blob", "blobs"),
        human::bytes(bytes)
    ));
    if there().next().is_some() {
        text.push_str(&format!(", {} there already", counted(there())));
    }
    if kept > 0 {
        let tags = human::count(kept, "tag stays", "tags stay");
        text.push_str(&format!(", {tags} as found"));
    }
    text
}
