//! Content of every shape that the conformance suite makes to try registries, made anew: the same
//! bytes in every run.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sneakernet::oci::{Algorithm, Digest, Hasher, media_type as known};

use crate::support::{
    images::{Blob, Compression, Entry, Family, Image, Layer, Platform},
    random::Random,
};

const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const FOREIGN_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const THINGS: &str = "application/vnd.example.oci.conformance.v1";
const OTHER_THINGS: &str = "application/vnd.example.oci.conformance.v2";

/// Content of one shape under a name.
pub struct Shape {
    /// The last part of its repository; the tag is `1`.
    pub name: &'static str,
    /// The content.
    pub image: Image,
}

impl Shape {
    /// The repository, without a host.
    pub fn repository(&self) -> String {
        format!("conformance/{}", self.name)
    }
}

/// Every shape that registries of the specification take in full.
pub fn shapes() -> Vec<Shape> {
    let mut make = Maker::default();
    let shape = |name, image| Shape { name, image };
    let image = make.image(Compression::Gzip, "linux/amd64");
    let index = make.index();
    let unknown = json!({
        "mediaType": known::OCI_MANIFEST,
        "digest": Digest::sha256_of(b"missing content"),
        "size": 123,
    });
    let annotations = json!({"org.opencontainers.conformance": "hello conformance test"});
    let mut about = |subject: &Value, artifact_type: &str| {
        let mut fields = fields(json!({"subject": subject, "annotations": annotations}));
        fields.insert("artifactType".into(), json!(artifact_type));
        make.artifact(artifact_type, fields)
    };
    vec![
        shape("artifact-about-image", about(&descriptor(&image), THINGS)),
        shape(
            "other-about-image",
            about(&descriptor(&image), OTHER_THINGS),
        ),
        shape("missing-subject", about(&unknown, THINGS)),
        shape("image", image),
        shape("image-about-index", {
            let subject = fields(json!({"subject": descriptor(&index)}));
            make.manifest(Compression::Gzip, "linux/amd64", 2, subject)
        }),
        shape("index-about-index", make.artifact_index(Some(&index))),
        shape("index", index),
        shape("nested-index", make.nested_index()),
        shape("empty-index", make.index_of(&[], Map::new())),
        shape("artifact-index", make.artifact_index(None)),
        shape("uncompressed", make.image(Compression::None, "linux/amd64")),
        shape("artifact", {
            let fields = fields(json!({"artifactType": THINGS}));
            make.artifact(THINGS, fields)
        }),
        shape("artifact-without-layers", make.empty_artifact()),
        shape(
            "no-layers",
            make.manifest(Compression::Gzip, "linux/amd64", 0, Map::new()),
        ),
        shape("data-field", make.with_data()),
        shape("custom-fields", make.with_custom_fields()),
        shape("empty-blob", make.with_empty_blob()),
        shape("large-manifest", make.large_manifest()),
    ]
}

/// An index, its images and all their blobs, with digests of SHA-512.
pub fn sha512() -> Shape {
    let mut make = Maker {
        algorithm: Some(Algorithm::Sha512),
        ..Maker::default()
    };
    Shape {
        name: "sha512",
        image: make.index(),
    }
}

/// An image two of whose layers are to be had elsewhere only.
pub fn nondistributable() -> Shape {
    let mut make = Maker::default();
    let foreign = |media_type: &str, name: &str| {
        let digest = Digest::sha256_of(name.as_bytes());
        let url = format!("https://store.example.com/blobs/sha256/{}", digest.hex());
        json!({"mediaType": media_type, "digest": digest, "size": 12345, "urls": [url]})
    };
    let layers = [
        foreign(FOREIGN_GZIP, "compressed"),
        foreign(FOREIGN, "plain"),
    ];
    let (layer, diff_id) = make.layer(Compression::Gzip);
    let config = make.config("linux/amd64", &[diff_id]);
    let mut listed: Vec<Value> = layers.to_vec();
    listed.push(make.describe(&layer));
    let document = json!({
        "schemaVersion": 2,
        "mediaType": known::OCI_MANIFEST,
        "config": make.describe(&config),
        "layers": listed,
    });
    Shape {
        name: "nondistributable",
        image: make.document(document, Vec::new(), vec![config, layer]),
    }
}

/// An index whose second image was never pushed.
pub fn sparse_index() -> Shape {
    let mut make = Maker::default();
    let here = make.image(Compression::Gzip, "linux/amd64");
    let absent = make.image(Compression::Gzip, "linux/arm64");
    let members = [("linux/amd64", &here), ("linux/arm64", &absent)];
    let mut image = make.index_of(&members, Map::new());
    image.children = vec![here];
    Shape {
        name: "sparse-index",
        image,
    }
}

/// An index of indexes that repeats in itself what it lists.
pub fn nested_index_with_data() -> Shape {
    let mut make = Maker {
        data: true,
        ..Maker::default()
    };
    Shape {
        name: "nested-data",
        image: make.nested_index(),
    }
}

/// Makes documents and blobs, no two of them alike.
#[derive(Default)]
struct Maker {
    made: u64,
    /// SHA-256 where it is not set.
    algorithm: Option<Algorithm>,
    /// Repeats content in the `data` fields of its descriptors.
    data: bool,
    /// Adds a field to configurations and documents that no specification knows.
    custom: bool,
}

impl Maker {
    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn digest_of(&self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self.algorithm.unwrap_or(Algorithm::Sha256));
        hasher.update(bytes);
        hasher.finish()
    }

    fn blob(&self, media_type: &str, bytes: impl Into<Bytes>) -> Blob {
        let bytes = bytes.into();
        Blob {
            media_type: media_type.to_owned(),
            digest: self.digest_of(&bytes),
            bytes,
        }
    }

    fn describe(&self, blob: &Blob) -> Value {
        let mut descriptor = json!({
            "mediaType": blob.media_type,
            "digest": blob.digest,
            "size": blob.bytes.len(),
        });
        if self.data {
            descriptor["data"] = json!(base64(&blob.bytes));
        }
        descriptor
    }

    /// A layer, and the digest of its content.
    fn layer(&mut self, compression: Compression) -> (Blob, Digest) {
        let number = self.next();
        let lucky = Random(number).next();
        let text = format!("Contents of file number {number}.\nThe lucky number is {lucky}\n");
        let file = Entry::File(
            format!("conformance-{number}.txt"),
            0o644,
            text.into_bytes(),
        );
        let layer = Layer::of(&[file], compression);
        let blob = layer.blob(Family::Oci);
        (self.blob(&blob.media_type, blob.bytes), layer.diff_id)
    }

    fn config(&mut self, platform: &str, diff_ids: &[Digest]) -> Blob {
        let platform: Vec<&str> = platform.split('/').collect();
        let mut config = json!({
            "author": "a conformance test",
            "os": platform[0],
            "architecture": platform[1],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        self.customise(&mut config);
        self.blob(known::OCI_CONFIG, config.to_string())
    }

    fn customise(&mut self, document: &mut Value) {
        if self.custom {
            let number = self.next();
            document[format!("org.example.{number}")] = json!({"of": ["its", "own"]});
        }
    }

    fn document(&mut self, mut document: Value, children: Vec<Image>, blobs: Vec<Blob>) -> Image {
        self.customise(&mut document);
        let bytes = Bytes::from(document.to_string());
        Image {
            media_type: document["mediaType"].as_str().expect("a type").to_owned(),
            digest: self.digest_of(&bytes),
            bytes,
            children,
            blobs,
        }
    }

    fn manifest_of(&mut self, config: Blob, layers: Vec<Blob>, extra: Map<String, Value>) -> Image {
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": known::OCI_MANIFEST,
            "config": self.describe(&config),
            "layers": layers.iter().map(|l| self.describe(l)).collect::<Vec<_>>(),
        });
        document.as_object_mut().expect("an object").extend(extra);
        let blobs = std::iter::once(config).chain(layers).collect();
        self.document(document, Vec::new(), blobs)
    }

    fn manifest(
        &mut self,
        compression: Compression,
        platform: &str,
        layers: usize,
        extra: Map<String, Value>,
    ) -> Image {
        let (layers, diff_ids): (Vec<Blob>, Vec<Digest>) =
            (0..layers).map(|_| self.layer(compression)).unzip();
        let config = self.config(platform, &diff_ids);
        self.manifest_of(config, layers, extra)
    }

    fn image(&mut self, compression: Compression, platform: &str) -> Image {
        self.manifest(compression, platform, 2, Map::new())
    }

    fn artifact(&mut self, artifact_type: &str, extra: Map<String, Value>) -> Image {
        let number = self.next();
        let layer = self.blob(artifact_type, Random(number).bytes(2048));
        self.manifest_of(self.blob(known::EMPTY, &b"{}"[..]), vec![layer], extra)
    }

    fn empty_artifact(&mut self) -> Image {
        let empty = self.blob(known::EMPTY, &b"{}"[..]);
        let extra = fields(json!({"artifactType": THINGS}));
        self.manifest_of(empty.clone(), vec![empty], extra)
    }

    fn index_of(&mut self, members: &[(&str, &Image)], extra: Map<String, Value>) -> Image {
        let listed: Vec<Value> = members
            .iter()
            .map(|(platform, image)| {
                let mut listed = descriptor(image);
                // The members of a nested index have no platform.
                if !platform.is_empty() {
                    listed["platform"] = Value::Object(Platform::new(platform).fields());
                }
                if self.data {
                    listed["data"] = json!(base64(&image.bytes));
                }
                listed
            })
            .collect();
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": known::OCI_INDEX,
            "manifests": listed,
        });
        document.as_object_mut().expect("an object").extend(extra);
        let children = members.iter().map(|(_, image)| (*image).clone()).collect();
        self.document(document, children, Vec::new())
    }

    fn index(&mut self) -> Image {
        let platforms = ["linux/amd64", "linux/arm64"];
        let images = platforms.map(|platform| self.image(Compression::Gzip, platform));
        self.index_of(
            &[(platforms[0], &images[0]), (platforms[1], &images[1])],
            Map::new(),
        )
    }

    fn nested_index(&mut self) -> Image {
        let (one, other) = (self.index(), self.index());
        self.index_of(&[("", &one), ("", &other)], Map::new())
    }

    fn artifact_index(&mut self, subject: Option<&Image>) -> Image {
        let mut extra = fields(json!({"artifactType": THINGS}));
        let one = self.artifact(THINGS, extra.clone());
        let other = self.artifact(THINGS, extra.clone());
        if let Some(subject) = subject {
            extra.insert("subject".into(), descriptor(subject));
        }
        self.index_of(&[("linux/amd64", &one), ("linux/arm64", &other)], extra)
    }

    fn with_data(&mut self) -> Image {
        self.data = true;
        let image = self.index();
        self.data = false;
        image
    }

    fn with_custom_fields(&mut self) -> Image {
        self.custom = true;
        let image = self.index();
        self.custom = false;
        image
    }

    /// An artifact of nothing but a blob of no bytes.
    fn with_empty_blob(&mut self) -> Image {
        let layer = self.blob(known::OCTET_STREAM, Bytes::new());
        let extra = fields(json!({"artifactType": THINGS}));
        self.manifest_of(self.blob(known::EMPTY, &b"{}"[..]), vec![layer], extra)
    }

    /// A manifest of almost 4 MiB, as much as registries should take.
    fn large_manifest(&mut self) -> Image {
        let annotations: BTreeMap<String, String> = (0..390)
            .map(|n| (format!("large-annotation-{n}"), "A".repeat(10_000)))
            .collect();
        let extra = fields(json!({"annotations": annotations}));
        self.manifest(Compression::Gzip, "linux/amd64", 2, extra)
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("no object: {other}"),
    }
}

fn descriptor(image: &Image) -> Value {
    json!({"mediaType": image.media_type, "digest": image.digest, "size": image.bytes.len()})
}

/// Content as descriptors repeat it in `data`.
pub fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
