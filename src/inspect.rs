//! `inspect`: what is in a bundle, without reading its layers.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    bundle::{
        API_VERSION, Absent, LockedChart, LockedFile, LockedImage, MemberId, Name, Release,
        SIGNATURE_TYPE,
    },
    load::ReceiptSignature,
    oci::{Digest, Reference},
    open::Medium,
    trust::Decision,
};

/// What a bundle holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Always `sneakernet/v1`.
    pub api_version: String,
    /// Always `Inspection`.
    pub kind: String,
    /// Name and version.
    pub bundle: Name,
    /// Digest of the root, which identifies the bundle.
    pub root: Digest,
    /// When its contents were resolved: RFC 3339.
    pub created: String,
    /// The program that made it.
    pub tool: String,
    /// Whether it was made without a signature on purpose.
    pub unsigned: bool,
    /// Signatures in the bundle.
    pub embedded_signatures: usize,
    /// Whether the signatures were checked, with keys that the user gave.
    pub signature_checked: bool,
    /// The signatures that were accepted, if they were checked.
    pub signatures: Vec<ReceiptSignature>,
    /// Bytes of the file; none when it came from a pipe.
    pub file_size: Option<u64>,
    /// Bytes of unique content.
    pub content_size: u64,
    /// Blobs and documents in it.
    pub members: usize,
    /// The images.
    pub images: Vec<InspectedImage>,
    /// The charts.
    pub charts: Vec<LockedChart>,
    /// How they are to be installed.
    pub releases: Vec<Release>,
    /// Plain files.
    pub files: Vec<LockedFile>,
    /// What was left out, and why.
    pub absent: Vec<Absent>,
}

/// One image of an inspection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectedImage {
    /// What the lock says of it.
    #[serde(flatten)]
    pub locked: LockedImage,
    /// Bytes of it that no other image in the bundle uses.
    pub own_size: u64,
}

/// Looks at an open bundle. `decision` is there if the signatures were checked.
pub fn inspect(medium: &Medium, embedded: usize, decision: Option<&Decision>) -> Inspection {
    let metadata = medium.metadata();
    let contents = &metadata.plan.contents;
    let mut users = vec![0_u32; contents.members().len()];
    let closures: Vec<Vec<MemberId>> = contents
        .entries()
        .iter()
        .map(|top| contents.closure(*top))
        .collect();
    for id in closures.iter().flatten() {
        users[*id as usize] += 1;
    }
    let entries = metadata.root.entries.iter().zip(&closures);
    let of_images = entries.filter(|(entry, _)| entry.kind.is_image_or_artifact());
    let images = metadata
        .lock
        .images
        .iter()
        .zip(of_images.map(|(_, closure)| closure))
        .map(|(locked, closure)| {
            let own = closure.iter().filter(|id| users[**id as usize] == 1);
            InspectedImage {
                locked: locked.clone(),
                own_size: own.map(|id| contents.member(*id).size).sum(),
            }
        });
    let accepted = decision
        .map(|decision| decision.accepted.as_slice())
        .unwrap_or_default();
    Inspection {
        api_version: API_VERSION.to_owned(),
        kind: "Inspection".to_owned(),
        bundle: metadata.lock.metadata.clone(),
        root: metadata.root_digest(),
        created: metadata.root.info.created.clone(),
        tool: metadata.root.info.tool.clone(),
        unsigned: metadata.root.info.unsigned,
        embedded_signatures: embedded,
        signature_checked: decision.is_some(),
        signatures: accepted.iter().map(ReceiptSignature::from).collect(),
        file_size: match medium {
            Medium::File(archive) => Some(archive.file_len()),
            Medium::Stream(_) => None,
        },
        content_size: contents.members().iter().map(|member| member.size).sum(),
        members: contents.members().len(),
        images: images.collect(),
        charts: metadata.lock.charts.clone(),
        releases: metadata.lock.releases.clone(),
        files: metadata.lock.files.clone(),
        absent: metadata.lock.absent.clone(),
    }
}

/// A document of a bundle to be shown byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// The root: what signatures are about.
    Root,
    /// `index.json`.
    Index,
    /// The lock.
    Lock,
    /// The first embedded signature: a Sigstore bundle, as `cosign verify-blob --bundle` takes it.
    Signature,
    /// The manifest or index of an image.
    Image(Box<Reference>),
    /// Any document, by its digest.
    Digest(Digest),
}

/// Why a document cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// It is not in the bundle.
    #[error("{0} is not in the bundle")]
    NotThere(String),
    /// It is a layer, not a document.
    #[error("{0} is a blob; only documents are shown: `bundle extract` writes everything")]
    NotADocument(Digest),
    /// It is damaged.
    #[error("{0}")]
    Bundle(#[from] crate::bundle::BundleError),
}

/// The bytes of a document.
///
/// # Errors
/// When it is not there, no document, or damaged.
pub fn raw(medium: &Medium, what: &Raw) -> Result<Vec<u8>, RawError> {
    let metadata = medium.metadata();
    let contents = &metadata.plan.contents;
    let digest = match what {
        Raw::Root => return Ok(metadata.root_bytes.clone()),
        Raw::Index => return Ok(metadata.index_json.clone()),
        Raw::Lock => return Ok(metadata.lock_bytes.clone()),
        Raw::Signature => {
            let first = embedded_signatures(medium)?.into_iter().next();
            return first.ok_or_else(|| RawError::NotThere("a signature".to_owned()));
        }
        Raw::Digest(digest) => *digest,
        Raw::Image(reference) => {
            let entries = &metadata.root.entries;
            let entry = entries
                .iter()
                .find(|e| e.reference.as_ref() == Some(reference.as_ref()));
            entry
                .ok_or_else(|| RawError::NotThere(reference.to_string()))?
                .descriptor
                .digest
        }
    };
    let id = contents
        .find(&digest)
        .ok_or_else(|| RawError::NotThere(digest.to_string()))?;
    if contents.member(id).class > crate::bundle::Class::Small {
        return Err(RawError::NotADocument(digest));
    }
    if contents.member(id).class == crate::bundle::Class::Small
        && matches!(medium, Medium::Stream(_))
    {
        return Err(RawError::NotADocument(digest));
    }
    Ok(medium.document(id)?.to_vec())
}

/// The embedded signatures of a bundle: Sigstore bundles, as `cosign verify-blob --bundle` takes them.
///
/// # Errors
/// When the bundle is damaged.
pub fn embedded_signatures(medium: &Medium) -> Result<Vec<Vec<u8>>, RawError> {
    let metadata = medium.metadata();
    let listed: serde_json::Value =
        serde_json::from_slice(&metadata.index_json).unwrap_or_default();
    let mut signatures = Vec::new();
    for descriptor in listed["manifests"].as_array().into_iter().flatten() {
        if descriptor["artifactType"] != SIGNATURE_TYPE {
            continue;
        }
        let digest = descriptor["digest"]
            .as_str()
            .and_then(|digest| digest.parse().ok());
        let Some(manifest) = digest.and_then(|digest| metadata.plan.contents.find(&digest)) else {
            continue;
        };
        let manifest: serde_json::Value =
            serde_json::from_slice(&medium.document(manifest)?).unwrap_or_default();
        let layer = manifest["layers"][0]["digest"]
            .as_str()
            .and_then(|d| d.parse().ok());
        if let Some(layer) = layer.and_then(|layer| metadata.plan.contents.find(&layer)) {
            signatures.push(medium.document(layer)?.to_vec());
        }
    }
    Ok(signatures)
}
