//! The receipt of a load: what was trusted and why, what went where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    LoadRequest,
    plan::{ImageState, LoadPlan, PlannedImage},
};
use crate::{
    bundle::{API_VERSION, EntryKind, LockedFile, Name},
    oci::Digest,
    open::Medium,
    trust::{AcceptedSignature, Decision},
};

/// What a load did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// Always `sneakernet/v1`.
    pub api_version: String,
    /// Always `Receipt`.
    pub kind: String,
    /// Name and version of the bundle.
    pub bundle: Name,
    /// Digest of its root.
    pub root: Digest,
    /// When it was made: RFC 3339.
    pub created: String,
    /// When it was loaded: RFC 3339.
    pub loaded: String,
    /// The program that loaded it.
    pub tool: String,
    /// Where it went: `HOST[:PORT][/PREFIX]`.
    pub destination: String,
    /// Whether this was a dry run: nothing was pushed.
    pub dry_run: bool,
    /// Signatures that were accepted; none for a bundle that was accepted unsigned.
    pub signatures: Vec<ReceiptSignature>,
    /// How many different keys had to have signed.
    pub threshold: usize,
    /// The images.
    pub images: Vec<LoadedImage>,
    /// The charts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<LoadedImage>,
    /// The blobs.
    pub blobs: BlobCounts,
    /// Plain files that are in the bundle; a registry does not take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
}

/// A signature that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptSignature {
    /// The key's name: its file.
    pub key: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// Where the signature was.
    pub origin: String,
}

impl From<&AcceptedSignature> for ReceiptSignature {
    fn from(signature: &AcceptedSignature) -> Self {
        Self {
            key: signature.name.clone(),
            fingerprint: signature.fingerprint.clone(),
            origin: signature.origin.clone(),
        }
    }
}

/// One image of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadedImage {
    /// The name that it had.
    pub source: String,
    /// The name that it has now.
    pub destination: String,
    /// Its digest in the bundle.
    pub digest: Digest,
    /// Its digest at the destination, where a smaller index stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduced_to: Option<Digest>,
    /// What became of the tag.
    pub tag: TagState,
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TagState {
    /// It pointed to the image already.
    Present,
    /// It is new.
    New,
    /// It pointed to another image and was moved.
    Replaced,
    /// It points to another image and was left.
    Kept,
    /// It held another list of referrers, to which this one was added.
    Extended,
}

/// What became of the blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlobCounts {
    /// Blobs that were sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Blobs that the destination took from another of its repositories.
    pub mounted: u64,
    /// Blobs that were there.
    pub present: u64,
}

pub(super) fn make(
    medium: &Medium,
    plan: &LoadPlan,
    decision: &Decision,
    blobs: BlobCounts,
    request: &LoadRequest,
) -> Receipt {
    let metadata = medium.metadata();
    let loaded = jiff::Timestamp::from_second(request.now)
        .unwrap_or_default()
        .to_string();
    let loaded_image = |image: &PlannedImage| {
        let signed = metadata.plan.contents.member(image.top).digest;
        LoadedImage {
            source: image.source.to_string(),
            destination: image.destination(),
            digest: signed,
            reduced_to: (image.digest != signed).then_some(image.digest),
            tag: match image.state {
                ImageState::Present | ImageState::Incomplete => TagState::Present,
                ImageState::New => TagState::New,
                ImageState::Replace(_) => TagState::Replaced,
                ImageState::Keep(_) => TagState::Kept,
                ImageState::Extend(_) => TagState::Extended,
            },
        }
    };
    let (charts, images): (Vec<_>, Vec<_>) = plan
        .images
        .iter()
        .partition(|image| image.kind == EntryKind::Chart);
    let all = |images: Vec<&PlannedImage>| images.into_iter().map(loaded_image).collect();
    Receipt {
        api_version: API_VERSION.to_owned(),
        kind: "Receipt".to_owned(),
        bundle: metadata.lock.metadata.clone(),
        root: metadata.root_digest(),
        created: metadata.lock.created.clone(),
        loaded,
        tool: crate::create::TOOL.to_owned(),
        destination: request.relocation.to.to_string(),
        dry_run: request.dry_run,
        signatures: decision
            .accepted
            .iter()
            .map(ReceiptSignature::from)
            .collect(),
        threshold: decision.threshold,
        images: all(images),
        charts: all(charts),
        blobs,
        files: metadata.lock.files.clone(),
    }
}
