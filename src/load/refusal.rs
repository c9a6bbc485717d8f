//! Why a registry may have refused a manifest. Registries seldom say; the manifest shows what some
//! of them are known not to take.

use serde::Deserialize;

use crate::{
    oci::{Document, DocumentKind},
    registry::RegistryError,
};

/// The likely reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// A layer that is to be had elsewhere: scheme and host of its first URL. Distribution refuses
    /// such by default, as an "unknown error" with status 500.
    #[error("whose foreign layer nodes fetch from {0}")]
    ForeignLayer(String),
    /// A media type with a parameter inside, as old signature bundles have it. Amazon ECR takes none.
    #[error("which names the media type `{0}`, with a parameter")]
    Parameter(String),
    /// No `mediaType` in the manifest, as older tools write it. Amazon ECR ("Invalid JSON syntax") and
    /// Cloudflare's registry do not take such.
    #[error("whose manifest does not say its own media type")]
    NoMediaType,
}

impl RefusalReason {
    /// Looks for it in the document that was refused.
    pub(super) fn find(media_type: &str, bytes: &[u8], error: &RegistryError) -> Option<Self> {
        let status = error.status()?.as_u16();
        let document = Document::parse(bytes, media_type).ok()?;
        if matches!(status, 400 | 415 | 422 | 500)
            && let Some(origin) = origin_of_foreign_layer(&document)
        {
            return Some(Self::ForeignLayer(origin));
        }
        if !matches!(status, 400 | 405 | 415 | 422) || says_something_else(error) {
            return None;
        }
        if let Some(with_parameter) = media_type_with_parameter(&document) {
            return Some(Self::Parameter(with_parameter));
        }
        let says_its_type = serde_json::from_slice::<OwnType>(bytes).ok()?;
        says_its_type
            .media_type
            .is_none()
            .then_some(Self::NoMediaType)
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::ForeignLayer(origin) => format!(
                "in Distribution permit it with `validation.manifests.urls.allow: ['^{}/']`, \
                 or make the bundle without this image",
                origin.replace('.', "\\.")
            ),
            Self::Parameter(_) => "some registries (Amazon ECR) take no media type with a `;`: have it signed anew by a \
                 current tool, load into another registry, or make the bundle without it"
                .to_owned(),
            Self::NoMediaType => "some registries (Amazon ECR, Cloudflare's) take only manifests with a `mediaType`, which \
                 cannot be added without changing the digest: have it pushed anew at its source by a tool that writes \
                 one, or load into another registry"
                .to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct OwnType {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

/// Whether the registry's code is about something that is in no document.
fn says_something_else(error: &RegistryError) -> bool {
    matches!(
        error.code(),
        Some(
            "MANIFEST_BLOB_UNKNOWN"
                | "BLOB_UNKNOWN"
                | "MANIFEST_UNKNOWN"
                | "DIGEST_INVALID"
                | "NAME_INVALID"
                | "NAME_UNKNOWN"
                | "DENIED"
                | "UNAUTHORIZED"
        )
    )
}

/// Scheme and host of the first URL among a manifest's layers.
fn origin_of_foreign_layer(document: &Document) -> Option<String> {
    let DocumentKind::Manifest { layers, .. } = &document.kind else {
        return None;
    };
    let url = layers.iter().flat_map(|layer| &layer.urls).next()?;
    let url = url::Url::parse(url).ok()?;
    url.has_host().then(|| url.origin().ascii_serialization())
}

fn media_type_with_parameter(document: &Document) -> Option<String> {
    let parts = document.blobs().chain(document.children());
    let named = parts.flat_map(|part| [Some(&part.media_type), part.artifact_type.as_ref()]);
    let mut all = named.chain([document.artifact_type.as_ref()]).flatten();
    all.find(|media_type| media_type.contains(';')).cloned()
}
