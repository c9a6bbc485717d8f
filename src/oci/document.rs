//! Manifests and indexes of other people: read, never written again.
//!
//! OCI image specification, "Image Manifest" and "Image Index", and their Docker schema 2
//! ancestors. The bytes stay what they are; a [`Document`] is what this program understood of them.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image as spec;

use super::{Descriptor, Digest, media_type, strict_json};

/// Largest manifest, index or other JSON document that is read, in bytes (distribution
/// specification, "Pushing manifests": registries should accept at least 4 MiB).
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// What a document refers to.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "documents are looked at one at a time, never stored by the thousand"
)]
pub enum DocumentKind {
    /// An index (or Docker manifest list) and its children, in order.
    Index(Vec<Descriptor>),
    /// A manifest with its config and its layers, in order.
    Manifest {
        /// The configuration object.
        config: Descriptor,
        /// The layers, repetitions included.
        layers: Vec<Descriptor>,
    },
}

/// A manifest or an index, understood.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it refers to.
    pub kind: DocumentKind,
    /// What it is about, if it is a referrer.
    pub subject: Option<Descriptor>,
    /// Type of the artifact, where it says one.
    pub artifact_type: Option<String>,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than [`MAX_DOCUMENT_BYTES`].
    #[error("the document has {0} bytes, more than the {MAX_DOCUMENT_BYTES} that registries take")]
    TooLarge(usize),
    /// Not JSON, or JSON that readers understand differently.
    #[error("the document is not unambiguous JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Docker schema 1.
    #[error("the image is in Docker's schema 1 format, whose digest does not cover its bytes")]
    Schema1,
    /// A media type that is neither manifest nor index.
    #[error("`{0}` is not the media type of a manifest or an index")]
    MediaType(String),
    /// The document says another type than the one it came with.
    #[error("the document says it is `{says}` but came as `{came}`")]
    TypeMismatch {
        /// The type in the document.
        says: String,
        /// The type it came with.
        came: String,
    },
    /// Fields of a manifest and of an index in one document (CVE-2021-41190).
    #[error("the document has the fields of a manifest and of an index at once")]
    Ambiguous,
    /// A descriptor that cannot be used.
    #[error("{0}")]
    Descriptor(String),
    /// `schemaVersion` is not 2.
    #[error("the document has schemaVersion {0}, expected 2")]
    SchemaVersion(u32),
}

impl Document {
    /// Parses `bytes` that came with `media_type` (without parameters).
    ///
    /// # Errors
    /// On anything that two readers might understand differently, and on types that cannot be
    /// carried: see [`DocumentError`].
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge(bytes.len()));
        }
        if matches!(
            media_type,
            media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED
        ) {
            return Err(DocumentError::Schema1);
        }
        strict_json::check(bytes)?;
        let shape: Shape = serde_json::from_slice(bytes)?;
        if let Some(says) = shape.media_type
            && says != media_type
        {
            return Err(DocumentError::TypeMismatch {
                says: says.chars().take(120).collect(),
                came: media_type.to_owned(),
            });
        }
        if shape.schema_version == 1 {
            return Err(DocumentError::Schema1);
        }
        if shape.schema_version != 2 {
            return Err(DocumentError::SchemaVersion(shape.schema_version));
        }
        if shape.manifests.is_some() && (shape.config.is_some() || shape.layers.is_some()) {
            return Err(DocumentError::Ambiguous);
        }
        if media_type::is_index(media_type) {
            Self::index(serde_json::from_slice(bytes)?)
        } else if media_type::is_manifest(media_type) {
            Self::manifest(serde_json::from_slice(bytes)?)
        } else {
            Err(DocumentError::MediaType(
                media_type.chars().take(120).collect(),
            ))
        }
    }

    /// The children of an index; none for a manifest.
    pub fn children(&self) -> &[Descriptor] {
        match &self.kind {
            DocumentKind::Index(children) => children,
            DocumentKind::Manifest { .. } => &[],
        }
    }

    /// Config and layers of a manifest, in this order; none for an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.kind {
            DocumentKind::Index(_) => (None, &[][..]),
            DocumentKind::Manifest { config, layers } => (Some(config), layers.as_slice()),
        };
        config.into_iter().chain(layers)
    }

    /// How a list of referrers describes this document (distribution specification, "Pushing
    /// Manifests with Subject"): a manifest without artifact type is known by its config.
    pub fn as_referrer(&self, media_type: &str, digest: Digest, size: u64) -> Descriptor {
        let own = self.artifact_type.as_ref().filter(|own| !own.is_empty());
        let of_config = match &self.kind {
            DocumentKind::Manifest { config, .. } => Some(&config.media_type),
            DocumentKind::Index(_) => None,
        };
        Descriptor {
            annotations: self.annotations.clone(),
            artifact_type: own.or(of_config).cloned(),
            digest,
            media_type: media_type.to_owned(),
            size,
            urls: Vec::new(),
            platform: None,
        }
    }

    fn index(index: spec::ImageIndex) -> Result<Self, DocumentError> {
        Ok(Self {
            kind: DocumentKind::Index(descriptors(index.manifests())?),
            subject: index.subject().as_ref().map(descriptor).transpose()?,
            artifact_type: index.artifact_type().as_ref().map(ToString::to_string),
            annotations: annotations(index.annotations()),
        })
    }

    fn manifest(manifest: spec::ImageManifest) -> Result<Self, DocumentError> {
        Ok(Self {
            kind: DocumentKind::Manifest {
                config: descriptor(manifest.config())?,
                layers: descriptors(manifest.layers())?,
            },
            subject: manifest.subject().as_ref().map(descriptor).transpose()?,
            artifact_type: manifest.artifact_type().as_ref().map(ToString::to_string),
            annotations: annotations(manifest.annotations()),
        })
    }
}

/// The fields that tell what a document is.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

fn annotations(from: &Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    from.iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn descriptor(from: &spec::Descriptor) -> Result<Descriptor, DocumentError> {
    Descriptor::try_from(from).map_err(DocumentError::Descriptor)
}

fn descriptors(from: &[spec::Descriptor]) -> Result<Vec<Descriptor>, DocumentError> {
    from.iter().map(descriptor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/x","digest":"{HEX}","size":2}},"layers":[]{extra}}}"#
        )
    }

    #[test]
    fn a_manifest_without_media_type_and_with_unknown_fields_is_fine() {
        let text = manifest(r#","x":{"y":1}"#);
        let document = Document::parse(text.as_bytes(), media_type::OCI_MANIFEST).unwrap();
        assert_eq!(document.blobs().count(), 1);
        assert!(document.children().is_empty());
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let parse = |text: &str, came: &str| Document::parse(text.as_bytes(), came);
        let both = manifest(r#","manifests":[]"#);
        for came in [media_type::OCI_MANIFEST, media_type::OCI_INDEX] {
            assert!(
                matches!(parse(&both, came), Err(DocumentError::Ambiguous)),
                "{came}"
            );
        }
        let typed = manifest(&format!(r#","mediaType":"{}""#, media_type::OCI_MANIFEST));
        parse(&typed, media_type::OCI_MANIFEST).unwrap();
        assert!(matches!(
            parse(&typed, media_type::DOCKER_MANIFEST),
            Err(DocumentError::TypeMismatch { .. })
        ));
        assert!(parse(&typed, "text/html").is_err());
        assert!(matches!(
            parse(r#"{"schemaVersion":1}"#, media_type::OCI_MANIFEST),
            Err(DocumentError::Schema1)
        ));
        for size in [
            "-1",
            "1.0",
            "1e3",
            "18446744073709551616",
            "\"2\"",
            "9223372036854775808",
        ] {
            let text = manifest("").replace("\"size\":2", &format!("\"size\":{size}"));
            assert!(
                parse(&text, media_type::OCI_MANIFEST).is_err(),
                "size {size}"
            );
        }
    }

    #[test]
    fn embedded_data_must_have_its_digest() {
        let with = |data: &str| {
            manifest("").replace("\"size\":2", &format!("\"size\":2,\"data\":\"{data}\""))
        };
        Document::parse(with("e30=").as_bytes(), media_type::OCI_MANIFEST).unwrap();
        assert!(Document::parse(with("e31=").as_bytes(), media_type::OCI_MANIFEST).is_err());
    }
}
