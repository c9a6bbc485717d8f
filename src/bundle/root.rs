//! The root: the OCI index that lists everything in a bundle, whose digest identifies the bundle and
//! whose bytes are what is signed. Also what is derived from it: `index.json` and the manifests of
//! the bundle's own artifacts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lock::LockedFile;
use super::names::{is_bundle_name, is_bundle_version, is_time};
use crate::oci::{
    Descriptor, Digest, Reference, ReferenceError, canonical_json,
    canonical_json::CanonicalJsonError, media_type,
};

/// `artifactType` of a root.
pub const ROOT_TYPE: &str = "application/vnd.sneakernet.bundle.v1+json";
/// `artifactType` of the lock's manifest, and media type of its layer.
pub const LOCK_TYPE: &str = "application/vnd.sneakernet.lock.v1+json";
/// `artifactType` of a set of plain files.
pub const FILES_TYPE: &str = "application/vnd.sneakernet.files.v1+json";
/// `artifactType` of a release, and media type of the document that is its first layer.
pub const RELEASE_TYPE: &str = "application/vnd.sneakernet.release.v1+json";
/// `artifactType` of a signature's manifest, and media type of its layer.
pub const SIGNATURE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Content of the member `oci-layout` (image-spec, "oci-layout file").
pub const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Largest `index.json`, root and lock that are read, in bytes, each.
pub const MAX_METADATA_BYTES: u64 = 8 << 20;
/// Most signatures in a bundle.
pub const MAX_SIGNATURES: usize = 64;

/// Name of a file (image-spec, "Pre-Defined Annotation Keys").
pub const TITLE: &str = "org.opencontainers.image.title";
/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleInfo {
    /// Name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Version, `[A-Za-z0-9][A-Za-z0-9._+-]{0,62}`.
    pub version: String,
    /// When its contents were resolved: RFC 3339, UTC, whole seconds.
    pub created: String,
    /// Program and version that made it.
    pub tool: String,
    /// Whether it was made without a signature on purpose.
    pub unsigned: bool,
}

/// What an entry of the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A container image, or an index of such.
    Image,
    /// Any other artifact in a registry.
    Artifact,
    /// A Helm chart.
    Chart,
    /// Plain files.
    Files,
    /// How a chart is to be installed.
    Release,
}

impl EntryKind {
    /// The word in the annotation.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Artifact => "artifact",
            Self::Chart => "chart",
            Self::Files => "files",
            Self::Release => "release",
        }
    }

    /// Whether this is what the lock lists under `images`.
    pub const fn is_image_or_artifact(self) -> bool {
        matches!(self, Self::Image | Self::Artifact)
    }

    /// Whether an entry of this kind is known by a reference; the others are the bundle's own.
    pub const fn has_reference(self) -> bool {
        matches!(self, Self::Image | Self::Artifact | Self::Chart)
    }
}

/// One thing that a bundle carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Under which name it was asked for; none for files and releases.
    pub reference: Option<Reference>,
    /// Its manifest or index: media type, digest, size.
    pub descriptor: Descriptor,
}

/// The root of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// What the bundle says of itself.
    pub info: BundleInfo,
    /// The lock's manifest.
    pub lock: Descriptor,
    /// Everything else: images, artifacts and charts by reference, then files, then releases.
    pub entries: Vec<Entry>,
}

/// Why bytes are not a root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Not canonical JSON.
    #[error("the root is not canonical: {0}")]
    Json(#[from] CanonicalJsonError),
    /// JSON, but not of a root.
    #[error("the root is not as prescribed: {0}")]
    Shape(String),
    /// A later format.
    #[error("the bundle has the format `{0}`, which this version does not know")]
    Format(String),
}

/// The JSON of a root or an `index.json`; fields in canonical order. Every field has a type of
/// fixed size or a string: what a hostile file makes of it is never much larger than the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IndexJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<RootAnnotations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    manifests: Vec<Listed>,
    media_type: String,
    schema_version: u32,
}

/// The annotations of a root; reserved ones are known so that the error can name them.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootAnnotations {
    #[serde(
        rename = "vnd.sneakernet.channel",
        skip_serializing_if = "Option::is_none"
    )]
    channel: Option<String>,
    #[serde(rename = "vnd.sneakernet.created")]
    created: String,
    #[serde(
        rename = "vnd.sneakernet.expires",
        skip_serializing_if = "Option::is_none"
    )]
    expires: Option<String>,
    #[serde(rename = "vnd.sneakernet.name")]
    name: String,
    #[serde(
        rename = "vnd.sneakernet.serial",
        skip_serializing_if = "Option::is_none"
    )]
    serial: Option<String>,
    #[serde(rename = "vnd.sneakernet.tool")]
    tool: String,
    #[serde(
        rename = "vnd.sneakernet.unsigned",
        skip_serializing_if = "Option::is_none"
    )]
    unsigned: Option<String>,
    #[serde(rename = "vnd.sneakernet.version")]
    version: String,
}

/// A descriptor in a root or an `index.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<ListedAnnotations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    digest: Digest,
    media_type: String,
    size: u64,
}

/// The annotations of such a descriptor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedAnnotations {
    /// The name that containerd gives an image on import.
    #[serde(
        rename = "io.containerd.image.name",
        skip_serializing_if = "Option::is_none"
    )]
    containerd_name: Option<String>,
    /// Full reference of an image; the key under which other tools find it.
    #[serde(
        rename = "org.opencontainers.image.ref.name",
        skip_serializing_if = "Option::is_none"
    )]
    ref_name: Option<String>,
    #[serde(rename = "vnd.sneakernet.kind")]
    kind: String,
}

/// The JSON of a manifest of ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactManifest<'a> {
    artifact_type: &'a str,
    config: Descriptor,
    layers: &'a [Descriptor],
    media_type: &'a str,
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Descriptor>,
}

/// The bytes of the manifest of an artifact of ours: empty config, given layers.
///
/// # Errors
/// When a size is beyond 2^53 - 1.
pub fn artifact_manifest(
    artifact_type: &str,
    layers: &[Descriptor],
    subject: Option<&Descriptor>,
) -> Result<Vec<u8>, CanonicalJsonError> {
    canonical_json::to_vec(&ArtifactManifest {
        artifact_type,
        config: Descriptor::empty(),
        layers,
        media_type: media_type::OCI_MANIFEST,
        schema_version: 2,
        subject,
    })
}

/// The artifact that holds plain files: its descriptor and its manifest.
///
/// # Errors
/// When a size is beyond 2^53 - 1.
pub fn files_artifact(files: &[LockedFile]) -> Result<(Descriptor, Vec<u8>), CanonicalJsonError> {
    let layers: Vec<Descriptor> = files
        .iter()
        .map(|file| Descriptor {
            digest: file.digest,
            size: file.size,
            annotations: [(TITLE.to_owned(), file.name.clone())].into(),
            ..Descriptor::of(media_type::OCTET_STREAM, b"")
        })
        .collect();
    let manifest = artifact_manifest(FILES_TYPE, &layers, None)?;
    Ok((artifact_descriptor(FILES_TYPE, &manifest), manifest))
}

/// The descriptor of an artifact manifest of ours.
pub fn artifact_descriptor(artifact_type: &str, manifest: &[u8]) -> Descriptor {
    Descriptor {
        artifact_type: Some(artifact_type.to_owned()),
        ..Descriptor::of(media_type::OCI_MANIFEST, manifest)
    }
}

impl Root {
    /// The canonical bytes.
    ///
    /// # Errors
    /// When a size is beyond 2^53 - 1.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalJsonError> {
        let info = &self.info;
        let annotations = RootAnnotations {
            created: info.created.clone(),
            name: info.name.clone(),
            tool: info.tool.clone(),
            unsigned: info.unsigned.then(|| "true".to_owned()),
            version: info.version.clone(),
            ..RootAnnotations::default()
        };
        let lock = Listed::new(&self.lock, Some(ListedAnnotations::new("lock", None)));
        let entries = self.entries.iter().map(|entry| Listed::entry(entry, false));
        canonical_json::to_vec(&IndexJson {
            annotations: Some(annotations),
            artifact_type: Some(ROOT_TYPE.to_owned()),
            manifests: std::iter::once(lock).chain(entries).collect(),
            media_type: media_type::OCI_INDEX.to_owned(),
            schema_version: 2,
        })
    }

    /// Reads a root.
    ///
    /// # Errors
    /// On any byte that another writer of the same content would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        let shape = |what: &str| RootError::Shape(what.to_owned());
        canonical_json::check(bytes)?;
        let format: Format = serde_json::from_slice(bytes).map_err(not_shaped)?;
        if format.artifact_type.as_deref() != Some(ROOT_TYPE) {
            let found = format.artifact_type.unwrap_or_default();
            return Err(RootError::Format(found.chars().take(80).collect()));
        }
        let index: IndexJson = serde_json::from_slice(bytes).map_err(not_shaped)?;
        if index.media_type != media_type::OCI_INDEX || index.schema_version != 2 {
            return Err(shape("it is not an OCI image index"));
        }
        let annotations = index
            .annotations
            .ok_or_else(|| shape("it has no annotations"))?;
        for (name, reserved) in [
            ("channel", &annotations.channel),
            ("serial", &annotations.serial),
            ("expires", &annotations.expires),
        ] {
            // They decide about trust: a reader that does not know what they demand must not guess.
            if reserved.is_some() {
                return Err(RootError::Format(format!("{ROOT_TYPE} with {name}")));
            }
        }
        let info = BundleInfo {
            name: annotations.name,
            version: annotations.version,
            created: annotations.created,
            tool: annotations.tool,
            unsigned: match annotations.unsigned.as_deref() {
                None => false,
                Some("true") => true,
                Some(_) => return Err(shape("the annotation that it is unsigned is not `true`")),
            },
        };
        if !is_bundle_name(&info.name)
            || !is_bundle_version(&info.version)
            || !is_time(&info.created)
        {
            return Err(shape("its name, version or time is not of the grammar"));
        }
        let mut listed = index.manifests.into_iter();
        let lock = listed.next().ok_or_else(|| shape("it lists no lock"))?;
        let (lock, kind, reference) = lock.into_parts()?;
        if kind != "lock" || reference.is_some() {
            return Err(shape("its first entry is not the lock"));
        }
        let entries = listed
            .map(Listed::into_entry)
            .collect::<Result<Vec<_>, _>>()?;
        let root = Self {
            info,
            lock,
            entries,
        };
        let ordered = root
            .entries
            .windows(2)
            .all(|pair| order_key(&pair[0]) < order_key(&pair[1]));
        if !ordered {
            return Err(shape("its entries are not in order, or one is there twice"));
        }
        if root.to_bytes()? != bytes {
            return Err(RootError::Json(CanonicalJsonError::NotCanonical));
        }
        Ok(root)
    }

    /// Puts the entries into the order that the format prescribes.
    pub fn sort_entries(&mut self) {
        self.entries.sort_by(|a, b| order_key(a).cmp(&order_key(b)));
    }

    /// The canonical bytes of `index.json`: root, signatures, then every entry by itself, so that
    /// other tools find it by its reference.
    ///
    /// # Errors
    /// When a size is beyond 2^53 - 1.
    pub fn index_json(
        &self,
        root_bytes: &[u8],
        signatures: &[Descriptor],
    ) -> Result<Vec<u8>, CanonicalJsonError> {
        let head = std::iter::once(&root_descriptor(root_bytes))
            .chain(signatures)
            .map(|descriptor| Listed::new(descriptor, None))
            .collect::<Vec<_>>();
        let entries = self.entries.iter().map(|entry| Listed::entry(entry, true));
        canonical_json::to_vec(&IndexJson {
            annotations: None,
            artifact_type: None,
            manifests: head.into_iter().chain(entries).collect(),
            media_type: media_type::OCI_INDEX.to_owned(),
            schema_version: 2,
        })
    }
}

/// The field that tells whether the rest can be understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    artifact_type: Option<String>,
}

fn not_shaped(error: serde_json::Error) -> RootError {
    RootError::Shape(error.to_string())
}

impl ListedAnnotations {
    fn new(kind: &str, reference: Option<&Reference>) -> Self {
        Self {
            containerd_name: None,
            ref_name: reference.map(ToString::to_string),
            kind: kind.to_owned(),
        }
    }
}

impl Listed {
    fn new(descriptor: &Descriptor, annotations: Option<ListedAnnotations>) -> Self {
        Self {
            annotations,
            artifact_type: descriptor.artifact_type.clone(),
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            size: descriptor.size,
        }
    }

    /// An entry as the root lists it, or (with the name for containerd) as `index.json` does.
    fn entry(entry: &Entry, for_containerd: bool) -> Self {
        let mut annotations = ListedAnnotations::new(entry.kind.word(), entry.reference.as_ref());
        if for_containerd && entry.kind == EntryKind::Image {
            annotations.containerd_name = annotations.ref_name.clone();
        }
        Self::new(&entry.descriptor, Some(annotations))
    }

    fn descriptor(self) -> Descriptor {
        Descriptor {
            annotations: BTreeMap::new(),
            artifact_type: self.artifact_type,
            digest: self.digest,
            media_type: self.media_type,
            size: self.size,
            urls: Vec::new(),
            platform: None,
        }
    }

    /// Descriptor, kind and reference. That nothing else was there shows when the root is made
    /// again.
    fn into_parts(mut self) -> Result<(Descriptor, String, Option<Reference>), RootError> {
        let annotations = self.annotations.take();
        let annotations =
            annotations.ok_or_else(|| RootError::Shape("an entry has no kind".to_owned()))?;
        let reference = annotations.ref_name.map(|text| text.parse()).transpose();
        let reference = reference.map_err(|e: ReferenceError| RootError::Shape(e.to_string()))?;
        Ok((self.descriptor(), annotations.kind, reference))
    }

    fn into_entry(self) -> Result<Entry, RootError> {
        let shape = |what: &str| RootError::Shape(what.to_owned());
        let (descriptor, kind, reference) = self.into_parts()?;
        let kind = match kind.as_str() {
            "image" => EntryKind::Image,
            "artifact" => EntryKind::Artifact,
            "chart" => EntryKind::Chart,
            "files" => EntryKind::Files,
            "release" => EntryKind::Release,
            _ => return Err(shape("an entry has no known kind")),
        };
        if reference.is_some() != kind.has_reference() {
            return Err(shape("an image without a name, or files with one"));
        }
        if let Some(pinned) = reference.as_ref().and_then(Reference::digest)
            && pinned != descriptor.digest
        {
            return Err(shape("an entry has another digest than its reference pins"));
        }
        Ok(Entry {
            kind,
            reference,
            descriptor,
        })
    }
}

/// The descriptor of a root, as `index.json` lists it and as signatures name it.
pub fn root_descriptor(root_bytes: &[u8]) -> Descriptor {
    Descriptor {
        artifact_type: Some(ROOT_TYPE.to_owned()),
        ..Descriptor::of(media_type::OCI_INDEX, root_bytes)
    }
}

/// What `index.json` says before anything else is known: the root's descriptor and those of the
/// signatures. Whether the rest is right is checked by making it again from the root.
pub(super) fn parse_index_json(bytes: &[u8]) -> Result<(Descriptor, Vec<Descriptor>), RootError> {
    canonical_json::check(bytes)?;
    let start: IndexStart = serde_json::from_slice(bytes).map_err(not_shaped)?;
    let mut listed = start.manifests.0.into_iter().map(Listed::descriptor);
    let root = listed
        .next()
        .ok_or_else(|| RootError::Shape("it lists nothing".to_owned()))?;
    let is_signature = |d: &Descriptor| d.artifact_type.as_deref() == Some(SIGNATURE_TYPE);
    let signatures: Vec<_> = listed.take_while(is_signature).collect();
    if signatures.len() > MAX_SIGNATURES {
        return Err(RootError::Shape(format!(
            "it lists more than {MAX_SIGNATURES} signatures"
        )));
    }
    Ok((root, signatures))
}

/// The start of an `index.json`.
#[derive(Deserialize)]
struct IndexStart {
    manifests: FirstListed,
}

/// As many descriptors as a root and all signatures can be; the rest is passed over.
struct FirstListed(Vec<Listed>);

impl<'de> Deserialize<'de> for FirstListed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = FirstListed;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of descriptors")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<FirstListed, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_SIGNATURES + 2 {
                    match items.next_element()? {
                        Some(item) => first.push(item),
                        None => return Ok(FirstListed(first)),
                    }
                }
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(FirstListed(first))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

fn order_key(entry: &Entry) -> (bool, String, &str, String) {
    let name = entry.reference.as_ref().map(ToString::to_string);
    // One reference is one thing, and one set of files is enough; releases may be many.
    let digest = match entry.kind {
        EntryKind::Release => entry.descriptor.digest.to_string(),
        _ => String::new(),
    };
    let kind = match entry.kind.has_reference() {
        true => "",
        false => entry.kind.word(),
    };
    (name.is_none(), name.unwrap_or_default(), kind, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Root {
        let image = |reference: &str| Entry {
            kind: EntryKind::Image,
            reference: Some(reference.parse().unwrap()),
            descriptor: Descriptor::of(media_type::OCI_INDEX, reference.as_bytes()),
        };
        let files = Entry {
            kind: EntryKind::Files,
            reference: None,
            descriptor: artifact_descriptor(FILES_TYPE, b"files"),
        };
        Root {
            info: BundleInfo {
                name: "sample".into(),
                version: "1.0+a".into(),
                created: "2026-11-23T04:10:00Z".into(),
                tool: "sneakernet 0.1.0".into(),
                unsigned: false,
            },
            lock: artifact_descriptor(LOCK_TYPE, b"lock"),
            entries: vec![image("quay.io/a/b:1"), image("quay.io/a/b:2"), files],
        }
    }

    #[test]
    fn a_root_round_trips() {
        let root = root();
        let bytes = root.to_bytes().unwrap();
        assert_eq!(Root::parse(&bytes).unwrap(), root);
        let index = root.index_json(&bytes, &[]).unwrap();
        let (descriptor, signatures) = parse_index_json(&index).unwrap();
        assert_eq!(descriptor, root_descriptor(&bytes));
        assert!(signatures.is_empty());
    }

    #[test]
    fn a_root_that_says_more_or_less_is_refused() {
        let text = String::from_utf8(root().to_bytes().unwrap()).unwrap();
        for (from, to) in [
            ("bundle.v1+json", "bundle.v2+json"),
            (
                r#""vnd.sneakernet.kind":"lock""#,
                r#""vnd.sneakernet.kind":"image""#,
            ),
            (
                r#""vnd.sneakernet.name":"sample""#,
                r#""vnd.sneakernet.name":"../x""#,
            ),
            (
                r#"{"vnd.sneakernet.created""#,
                r#"{"vnd.sneakernet.channel":"x","vnd.sneakernet.created""#,
            ),
            (
                r#"{"vnd.sneakernet.created""#,
                r#"{"a":"x","vnd.sneakernet.created""#,
            ),
            ("2026-11-23T04:10:00Z", "2026-11-23T04:10:00.5Z"),
            ("2026-11-23T04:10:00Z", "2026-11-23 04:10:00Z"),
            ("quay.io/a/b:1", "quay.io/a/b:3"),
            ("quay.io/a/b:1", "quay.io/a/b:2"),
            ("quay.io/a/b:1", "b:1"),
            (r#""schemaVersion":2"#, r#""schemaVersion":3"#),
            (r#""schemaVersion":2"#, r#""schemaVersion":2,"x":1"#),
            (r#""size":4"#, r#""size":04"#),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from} is not in the root");
            assert!(
                Root::parse(changed.as_bytes()).is_err(),
                "{to} was accepted"
            );
        }
        assert!(Root::parse(b"{}").is_err());
        assert!(Root::parse(format!("{text}\n").as_bytes()).is_err());
    }
}
