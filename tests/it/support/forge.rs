//! Bundles from code, signed like any other, whose content can be wrong in ways in which the
//! program itself writes none: the work of an insider, or of a program with a fault.
//!
//! Nothing here uses the program's own order or layout: a [`Forge`] writes the members that it is
//! told, in the order in which it is told, into a canonical tar stream and canonical frames.

mod charts;

use std::sync::Arc;

use bytes::Bytes;
pub use charts::{ARCHIVE, CHART_CONFIG, VALUES, chart_manifest, release};
use sneakernet::{
    bundle::{
        API_VERSION, BundleInfo, Compressor, Entry, EntryKind, FRAME_CONTENT, LOCK_TYPE, Lock,
        LockedChart, LockedFile, LockedImage, Name, OCI_LAYOUT, Origin, Release, Root,
        SIGNATURE_TYPE, SeekTable, artifact_descriptor, artifact_manifest, root_descriptor, tar,
    },
    oci::{Descriptor, Digest, EMPTY_CONTENT, media_type},
    trust::SigningKey,
};

/// An edit of something on its way into the bundle.
pub type Edit<T> = Box<dyn FnOnce(&mut T)>;

/// A member of the archive: its name as a digest, and its content, which need not go together.
pub type Part = (Digest, Bytes);

/// A bundle in the making.
#[derive(Default)]
pub struct Forge {
    entries: Vec<Entry>,
    images: Vec<LockedImage>,
    charts: Vec<LockedChart>,
    releases: Vec<Release>,
    files: Vec<LockedFile>,
    /// The artifacts of files and releases: each with its document and its layers.
    own: Vec<(Entry, Bytes, Vec<Bytes>)>,
    documents: Vec<Bytes>,
    blobs: Vec<Bytes>,
    unsigned: bool,
    keys: Vec<Arc<SigningKey>>,
    /// Signatures as they are, in front of those that `keys` make.
    signatures: Vec<Vec<u8>>,
    edit_lock: Option<Edit<Lock>>,
    edit_lock_text: Option<Edit<String>>,
    edit_root: Option<Edit<Root>>,
    edit_root_text: Option<Edit<String>>,
    edit_index: Option<Edit<String>>,
    edit_parts: Option<Edit<Vec<Part>>>,
}

/// The JSON of a descriptor.
pub fn descriptor(media_type: &str, content: &[u8]) -> String {
    let (digest, size) = (Digest::sha256_of(content), content.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// The JSON of an OCI manifest with a config and layers of these contents.
pub fn manifest(config: &[u8], layers: &[&[u8]]) -> String {
    let layers: Vec<_> = layers.iter().map(|l| descriptor(LAYER, l)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media_type::OCI_MANIFEST,
        descriptor(media_type::OCI_CONFIG, config),
        layers.join(",")
    )
}

/// The JSON of an OCI index of manifests with these texts.
pub fn index(children: &[&str]) -> String {
    let children: Vec<_> = children
        .iter()
        .map(|child| descriptor(media_type::OCI_MANIFEST, child.as_bytes()))
        .collect();
    index_of(&children)
}

/// The JSON of an OCI index of these descriptors.
pub fn index_of(descriptors: &[String]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        descriptors.join(",")
    )
}

/// The media type of the layers that [`manifest`] lists.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// What the images of [`Forge::honest`] consist of.
pub const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;
/// The layer of [`Forge::honest`].
pub const CONTENT: &[u8] = b"this is said to be a layer";

impl Forge {
    /// A bundle of one image with one layer, as the program would write it.
    pub fn honest() -> Self {
        let manifest = manifest(CONFIG, &[CONTENT]);
        Self::default().image(
            "quay.io/a/one:1",
            media_type::OCI_MANIFEST,
            &[&manifest],
            &[CONFIG, CONTENT],
        )
    }

    /// Adds an image: its documents in the order in which they stand in the bundle, the image's own
    /// first, and its blobs.
    pub fn image(
        mut self,
        reference: &str,
        media_type: &str,
        documents: &[&str],
        blobs: &[&[u8]],
    ) -> Self {
        let descriptor = Descriptor::of(media_type, documents[0].as_bytes());
        let parts = documents.iter().map(|d| d.as_bytes());
        let sizes = parts.chain(blobs.iter().copied());
        self.images.push(LockedImage {
            reference: reference.to_owned(),
            as_written: reference.to_owned(),
            media_type: media_type.to_owned(),
            digest: descriptor.digest,
            size: descriptor.size,
            content_size: sizes.map(|part| part.len() as u64).sum(),
            platforms: vec![],
            requested_platforms: vec![],
            requested_by: vec![Origin::Argument],
        });
        self.entries.push(Entry {
            kind: EntryKind::Image,
            reference: Some(reference.parse().expect("a reference")),
            descriptor,
        });
        for document in documents {
            push_once(&mut self.documents, document.as_bytes());
        }
        for blob in blobs {
            push_once(&mut self.blobs, blob);
        }
        self
    }

    /// Signs with this key too.
    pub fn signed_by(mut self, key: Arc<SigningKey>) -> Self {
        self.keys.push(key);
        self
    }

    /// Says of itself that it is not signed on purpose.
    pub fn made_unsigned(mut self) -> Self {
        self.unsigned = true;
        self
    }

    /// Embeds this in place of a signature.
    pub fn signature(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.signatures.push(bytes.into());
        self
    }

    /// Changes the lock before it becomes part of the root.
    pub fn lock(mut self, edit: impl FnOnce(&mut Lock) + 'static) -> Self {
        self.edit_lock = Some(Box::new(edit));
        self
    }

    /// Changes the lock's JSON before it becomes part of the root.
    pub fn lock_text(mut self, edit: impl FnOnce(&mut String) + 'static) -> Self {
        self.edit_lock_text = Some(Box::new(edit));
        self
    }

    /// Changes the root before it is signed.
    pub fn root(mut self, edit: impl FnOnce(&mut Root) + 'static) -> Self {
        self.edit_root = Some(Box::new(edit));
        self
    }

    /// Changes the root's JSON before it is signed.
    pub fn root_text(mut self, edit: impl FnOnce(&mut String) + 'static) -> Self {
        self.edit_root_text = Some(Box::new(edit));
        self
    }

    /// Changes the JSON of `index.json`.
    pub fn index_json(mut self, edit: impl FnOnce(&mut String) + 'static) -> Self {
        self.edit_index = Some(Box::new(edit));
        self
    }

    /// Changes the list of members behind `index.json`.
    pub fn parts(mut self, edit: impl FnOnce(&mut Vec<Part>) + 'static) -> Self {
        self.edit_parts = Some(Box::new(edit));
        self
    }

    /// The bytes of the bundle.
    pub fn build(self) -> Vec<u8> {
        framed(&self.stream(), FRAME_CONTENT as usize)
    }

    /// The tar stream of the bundle.
    pub fn stream(self) -> Vec<u8> {
        let (index_json, parts) = self.members();
        let mut stream = Vec::new();
        put_plain(&mut stream, "oci-layout", OCI_LAYOUT);
        put_plain(&mut stream, "index.json", &index_json);
        for (digest, content) in parts {
            stream.extend_from_slice(&tar::blob_header(&digest, content.len() as u64));
            put_content(&mut stream, &content);
        }
        stream.resize(stream.len() + tar::CLOSING as usize, 0);
        stream
    }

    fn members(mut self) -> (Vec<u8>, Vec<Part>) {
        self.images.sort_by(|a, b| a.reference.cmp(&b.reference));
        self.charts.sort_by(|a, b| a.reference.cmp(&b.reference));
        self.place_own();
        let mut lock = Lock {
            charts: self.charts,
            referrer_types: None,
            releases: self.releases,
            api_version: API_VERSION.into(),
            kind: "Lock".into(),
            metadata: Name {
                name: "sample".into(),
                version: "1".into(),
            },
            created: "2026-11-23T04:10:00Z".into(),
            platforms: vec![],
            images: self.images,
            files: self.files,
            absent: vec![],
        };
        apply(self.edit_lock, &mut lock);
        let mut parts = Vec::new();
        let lock_text = edited(self.edit_lock_text, lock.to_bytes().expect("a lock"));
        let (lock_descriptor, lock_parts) = artifact(LOCK_TYPE, lock_text, None);
        let mut root = Root {
            info: BundleInfo {
                name: "sample".into(),
                version: "1".into(),
                created: lock.created,
                tool: "forge".into(),
                unsigned: self.unsigned,
            },
            lock: lock_descriptor,
            entries: self.entries,
        };
        root.sort_entries();
        apply(self.edit_root, &mut root);
        let root_bytes = edited(self.edit_root_text, root.to_bytes().expect("a root"));
        let subject = root_descriptor(&root_bytes);
        parts.push((subject.digest, Bytes::from(root_bytes.clone())));
        parts.extend(lock_parts);
        let made = self.keys.iter().map(|key| {
            let signature = key.sign_root(&root_bytes).expect("a signature");
            signature.to_json()
        });
        let signatures: Vec<_> = self.signatures.into_iter().chain(made).collect();
        let mut listed = Vec::new();
        for signature in signatures {
            let (descriptor, signature_parts) = artifact(SIGNATURE_TYPE, signature, Some(&subject));
            listed.push(descriptor);
            parts.extend(signature_parts);
        }
        let index_json = root.index_json(&root_bytes, &listed).expect("an index");
        let index_json = edited(self.edit_index, index_json);
        for content in self.documents.into_iter().chain(self.blobs) {
            parts.push((Digest::sha256_of(&content), content));
        }
        let mut seen = std::collections::HashSet::new();
        parts.retain(|(digest, _)| seen.insert(*digest));
        apply(self.edit_parts, &mut parts);
        (index_json, parts)
    }
}

fn push_once(list: &mut Vec<Bytes>, content: &[u8]) {
    if !list.iter().any(|known| known == content) {
        list.push(Bytes::copy_from_slice(content));
    }
}

fn apply<T>(edit: Option<Edit<T>>, to: &mut T) {
    if let Some(edit) = edit {
        edit(to);
    }
}

fn edited(edit: Option<Edit<String>>, bytes: Vec<u8>) -> Vec<u8> {
    let mut text = String::from_utf8(bytes).expect("JSON");
    apply(edit, &mut text);
    text.into_bytes()
}

/// One of the bundle's own artifacts: its descriptor, and its members in order.
fn artifact(
    artifact_type: &str,
    content: Vec<u8>,
    subject: Option<&Descriptor>,
) -> (Descriptor, Vec<Part>) {
    let layer = Descriptor::of(artifact_type, &content);
    let manifest = artifact_manifest(artifact_type, std::slice::from_ref(&layer), subject);
    let manifest = manifest.expect("a manifest");
    let descriptor = artifact_descriptor(artifact_type, &manifest);
    let parts = vec![
        (descriptor.digest, Bytes::from(manifest)),
        (
            Descriptor::empty().digest,
            Bytes::from_static(EMPTY_CONTENT),
        ),
        (layer.digest, Bytes::from(content)),
    ];
    (descriptor, parts)
}

fn put_plain(stream: &mut Vec<u8>, name: &str, content: &[u8]) {
    stream.extend_from_slice(&tar::header(name, content.len() as u64));
    put_content(stream, content);
}

fn put_content(stream: &mut Vec<u8>, content: &[u8]) {
    stream.extend_from_slice(content);
    let padding = tar::padding(content.len() as u64) as usize;
    stream.resize(stream.len() + padding, 0);
}

/// A tar stream without large blobs in frames of `cut` bytes of it each, the closing blocks in the
/// last one, with a seek table.
pub fn framed(stream: &[u8], cut: usize) -> Vec<u8> {
    let content = stream.len().saturating_sub(tar::CLOSING as usize);
    let mut frames = Vec::new();
    let mut start = 0;
    while start < stream.len() {
        let mut end = (start + cut).min(stream.len());
        if end >= content {
            end = stream.len();
        }
        frames.push(&stream[start..end]);
        start = end;
    }
    let mut compressor = Compressor::new().expect("zstd");
    let encoded: Vec<_> = frames
        .iter()
        .map(|piece| (compressor.encode(piece).expect("zstd"), piece.len()))
        .collect();
    joined(&encoded)
}

/// A file of these frames, each with its content size, and the seek table that describes them.
pub fn joined(frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sizes = Vec::new();
    for (frame, content) in frames {
        file.extend_from_slice(frame);
        sizes.push((frame.len() as u32, *content as u32));
    }
    file.extend_from_slice(&SeekTable(sizes).encode());
    file
}

/// The decompressed tar stream of a bundle.
pub fn stream_of(file: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    zstd::stream::copy_decode(file, &mut stream).expect("zstd frames");
    stream
}

/// Sets the checksum of the tar header at the start of `block` right.
pub fn fix_checksum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block[..512].iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
