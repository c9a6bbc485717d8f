//! Real images from code: layers that are tar archives with files, configurations with the right
//! `diff_ids`, manifests and indexes of both families. The same seed makes the same bytes.

mod layer;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sneakernet::oci::{Digest, media_type as known};

pub use layer::{Compression, Entry, Layer};

/// Docker's type of a layer whose content is fetched from its `urls`, not from a registry.
pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// The two families of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OCI image specification.
    Oci,
    /// Docker image manifest version 2, schema 2.
    Docker,
}

/// Content as a registry holds it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The media type in the descriptor.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The content.
    pub bytes: Bytes,
}

/// A manifest or an index, with everything below it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The media type of the document.
    pub media_type: String,
    /// The digest of the document.
    pub digest: Digest,
    /// The exact bytes of the document.
    pub bytes: Bytes,
    /// What an index lists.
    pub children: Vec<Image>,
    /// What a manifest names and a registry holds: configuration and layers, foreign ones excepted.
    pub blobs: Vec<Blob>,
}

impl Blob {
    /// Content of this type.
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256_of(&bytes),
            bytes,
        }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

impl Image {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256_of(&bytes),
            bytes: bytes.into(),
            children: Vec::new(),
            blobs: Vec::new(),
        }
    }

    pub fn descriptor(&self) -> Map<String, Value> {
        let mut descriptor = Map::new();
        descriptor.insert("mediaType".into(), json!(self.media_type));
        descriptor.insert("digest".into(), json!(self.digest));
        descriptor.insert("size".into(), json!(self.bytes.len()));
        descriptor
    }

    /// This document and all below it, each before what it lists.
    pub fn documents(&self) -> Vec<&Image> {
        let mut all = vec![self];
        for child in &self.children {
            all.extend(child.documents());
        }
        all
    }

    /// All blobs, each once.
    pub fn all_blobs(&self) -> Vec<&Blob> {
        let mut seen = std::collections::BTreeSet::new();
        let documents = self.documents().into_iter();
        documents
            .flat_map(|document| &document.blobs)
            .filter(|blob| seen.insert(blob.digest))
            .collect()
    }

    /// Whether the document is an index or manifest list.
    pub fn is_index(&self) -> bool {
        known::is_index(&self.media_type)
    }
}

enum LayerOrForeign {
    Layer(Layer),
    Foreign {
        digest: Digest,
        size: u64,
        urls: Vec<String>,
    },
}

/// Builds the image of one platform.
pub struct ImageBuilder {
    family: Family,
    platform: Platform,
    layers: Vec<LayerOrForeign>,
    annotations: Map<String, Value>,
    subject: Option<Value>,
}

/// A platform by the image specification, for example `linux/arm/v7`.
#[derive(Clone, Debug)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
    os_version: Option<String>,
}

impl Platform {
    /// Parses `OS/ARCH[/VARIANT]`.
    pub fn new(text: &str) -> Self {
        let mut parts = text.split('/').map(str::to_owned);
        Self {
            os: parts.next().expect("an operating system"),
            architecture: parts.next().expect("an architecture"),
            variant: parts.next(),
            os_version: None,
        }
    }

    /// The same with an `os.version`, as Windows images have it.
    pub fn version(mut self, version: &str) -> Self {
        self.os_version = Some(version.to_owned());
        self
    }

    /// The fields of a descriptor's `platform`.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("os".into(), json!(self.os));
        fields.insert("architecture".into(), json!(self.architecture));
        if let Some(variant) = &self.variant {
            fields.insert("variant".into(), json!(variant));
        }
        if let Some(version) = &self.os_version {
            fields.insert("os.version".into(), json!(version));
        }
        fields
    }
}

impl From<&str> for Platform {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl ImageBuilder {
    /// An image without layers.
    pub fn new(family: Family, platform: impl Into<Platform>) -> Self {
        Self {
            family,
            platform: platform.into(),
            layers: Vec::new(),
            annotations: Map::new(),
            subject: None,
        }
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: &Layer) -> Self {
        self.layers.push(LayerOrForeign::Layer(layer.clone()));
        self
    }

    /// Adds a layer that registries do not hold: only its digest, size and `urls` are known.
    pub fn foreign_layer(mut self, digest: Digest, size: u64, urls: &[&str]) -> Self {
        self.layers.push(LayerOrForeign::Foreign {
            digest,
            size,
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        });
        self
    }

    /// Adds an annotation to the manifest (OCI family).
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// Makes it a referrer of another image (OCI family).
    pub fn subject(mut self, subject: &Image) -> Self {
        self.subject = Some(Value::Object(subject.descriptor()));
        self
    }

    /// The manifest.
    pub fn build(self) -> Image {
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        let mut blobs = Vec::new();
        for layer in &self.layers {
            match layer {
                LayerOrForeign::Layer(layer) => {
                    let blob = layer.blob(self.family);
                    diff_ids.push(layer.diff_id);
                    descriptors.push(blob.descriptor());
                    blobs.push(blob);
                }
                LayerOrForeign::Foreign { digest, size, urls } => {
                    diff_ids.push(*digest);
                    let media_type = match self.family {
                        Family::Docker => DOCKER_FOREIGN_LAYER,
                        Family::Oci => {
                            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
                        }
                    };
                    descriptors.push(json!({
                        "mediaType": media_type, "digest": digest, "size": size, "urls": urls
                    }));
                }
            }
        }
        let mut config = self.platform.fields();
        config.insert("created".into(), json!("2023-04-05T06:07:08Z"));
        config.insert(
            "config".into(),
            json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]}),
        );
        config.insert(
            "rootfs".into(),
            json!({"type": "layers", "diff_ids": diff_ids}),
        );
        let history: Vec<Value> = diff_ids
            .iter()
            .map(|_| json!({"created": "2023-04-05T06:07:08Z", "created_by": "COPY . /"}))
            .collect();
        config.insert("history".into(), json!(history));
        let config_type = match self.family {
            Family::Oci => known::OCI_CONFIG,
            Family::Docker => known::DOCKER_CONFIG,
        };
        let config = Blob::new(config_type, Value::Object(config).to_string().into_bytes());
        blobs.insert(0, config.clone());

        let media_type = match self.family {
            Family::Oci => known::OCI_MANIFEST,
            Family::Docker => known::DOCKER_MANIFEST,
        };
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": descriptors,
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = Value::Object(self.annotations);
        }
        if let Some(subject) = self.subject {
            manifest["subject"] = subject;
        }
        let mut image = Image::new(media_type, written(self.family, &manifest));
        image.blobs = blobs;
        image
    }
}

/// An index (OCI) or manifest list (Docker) of these images.
pub fn index(family: Family, members: &[(Platform, Image)]) -> Image {
    index_with(family, members, &[])
}

/// An index whose attestations follow the images, as BuildKit writes them: platform
/// `unknown/unknown`, annotated with the image they are about.
pub fn index_with(family: Family, members: &[(Platform, Image)], attestations: &[Image]) -> Image {
    let media_type = match family {
        Family::Oci => known::OCI_INDEX,
        Family::Docker => known::DOCKER_LIST,
    };
    let mut listed = Vec::new();
    for (platform, image) in members {
        let mut descriptor = image.descriptor();
        descriptor.insert("platform".into(), Value::Object(platform.fields()));
        listed.push(descriptor);
    }
    for (attestation, (_, about)) in attestations.iter().zip(members) {
        let mut descriptor = attestation.descriptor();
        let platform = Platform::new("unknown/unknown").fields();
        descriptor.insert("platform".into(), Value::Object(platform));
        descriptor.insert(
            "annotations".into(),
            json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": about.digest,
            }),
        );
        listed.push(descriptor);
    }
    let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": listed});
    let mut image = Image::new(media_type, written(family, &document));
    let members = members.iter().map(|(_, image)| image);
    image.children = members.chain(attestations).cloned().collect();
    image
}

/// An attestation manifest as BuildKit writes it, with one in-toto statement.
pub fn attestation(about: &Image) -> Image {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://spdx.dev/Document",
        "subject": [{"name": "_", "digest": {"sha256": about.digest.hex()}}],
        "predicate": {"spdxVersion": "SPDX-2.3", "packages": []},
    });
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256_of(statement.to_string().as_bytes())]},
    });
    artifact(
        None,
        Blob::new(known::OCI_CONFIG, config.to_string().into_bytes()),
        vec![Blob::new(
            "application/vnd.in-toto+json",
            statement.to_string().into_bytes(),
        )],
        None,
    )
}

/// An OCI artifact with any configuration and any layers; a referrer where it has a subject.
pub fn artifact(
    artifact_type: Option<&str>,
    config: Blob,
    layers: Vec<Blob>,
    subject: Option<&Image>,
) -> Image {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": known::OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = json!(artifact_type);
    }
    if let Some(subject) = subject {
        manifest["subject"] = Value::Object(subject.descriptor());
    }
    let mut image = Image::new(known::OCI_MANIFEST, manifest.to_string().into_bytes());
    image.blobs = std::iter::once(config).chain(layers).collect();
    image
}

/// The empty configuration of an artifact (image-spec 1.1, "Guidance for an Empty Descriptor").
pub fn empty_config() -> Blob {
    Blob::new(known::EMPTY, &b"{}"[..])
}

/// A small image of two layers (the upper one takes away a file of the lower one).
pub fn sample(seed: u64, family: Family, platform: &str) -> Image {
    let base = Layer::sample(seed, "base", 300 << 10, Compression::Gzip);
    let top = Layer::of(
        &[
            Entry::Dir("etc/".into()),
            Entry::File(
                "etc/platform".into(),
                0o644,
                format!("{platform} {seed}\n").into_bytes(),
            ),
            Entry::File("usr/share/base/.wh.run.sh".into(), 0o644, Vec::new()),
        ],
        Compression::Gzip,
    );
    ImageBuilder::new(family, platform)
        .layer(&base)
        .layer(&top)
        .build()
}

/// A small multi-platform image of linux/amd64 and linux/arm64.
pub fn sample_index(seed: u64, family: Family) -> Image {
    let members = ["linux/amd64", "linux/arm64"]
        .map(|platform| (Platform::new(platform), sample(seed, family, platform)));
    index(family, &members)
}

/// The bytes as the family's usual tools write them: Docker indents by three spaces, the OCI tools
/// do not indent. So whoever parses and writes again gets other bytes for one of the two.
fn written(family: Family, document: &Value) -> Vec<u8> {
    use serde::Serialize;
    let mut bytes = Vec::new();
    match family {
        Family::Oci => serde_json::to_writer(&mut bytes, document).expect("memory"),
        Family::Docker => {
            let form = serde_json::ser::PrettyFormatter::with_indent(b"   ");
            let mut writer = serde_json::Serializer::with_formatter(&mut bytes, form);
            document.serialize(&mut writer).expect("memory");
        }
    }
    bytes
}
