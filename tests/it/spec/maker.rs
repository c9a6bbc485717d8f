//! Bundles from content in memory, with nothing left to the clock, the network or the program's version.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use sneakernet::{
    bundle::{
        API_VERSION, Absent, AbsentReason, BundleInfo, Compressor, Entry, EntryKind, FILES_TYPE,
        LOCK_TYPE, Lock, LockedChart, LockedFile, LockedImage, Name, Origin, PackedWriter, Plan,
        Release, Root, SIGNATURE_TYPE, SeekTable, TITLE, Walk, artifact_descriptor,
        artifact_manifest, root_descriptor,
    },
    oci::{Algorithm, Descriptor, Digest, Hasher, Platform, media_type},
    trust::SigningKey,
};

/// When all golden bundles were made.
const CREATED: &str = "2026-11-23T04:10:00Z";

/// The contents of a bundle in the making.
#[derive(Default)]
pub struct Maker {
    content: HashMap<Digest, Vec<u8>>,
    entries: Vec<(Entry, Vec<Platform>)>,
    files: Vec<LockedFile>,
    charts: Vec<LockedChart>,
    /// How the charts are to be installed, in this order.
    pub releases: Vec<Release>,
    /// Who asked for a reference; the command line, where nothing else is said.
    pub origins: BTreeMap<String, Vec<Origin>>,
    /// The types of referrers that were chosen.
    pub referrer_types: Option<Vec<String>>,
    /// What is left out, by digest.
    pub absent: BTreeMap<String, Absent>,
    /// An annotation on the layers of the bundle's own artifacts, where none belongs.
    pub odd_annotation: bool,
}

/// A finished bundle.
pub struct Made {
    /// The file.
    pub file: Vec<u8>,
    /// Digest of its root.
    pub root: Digest,
}

/// Digest of content by either algorithm.
pub fn digest_of(algorithm: Algorithm, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

impl Maker {
    /// Puts a blob in, named by SHA-256; returns its descriptor as JSON.
    pub fn blob(&mut self, media_type: &str, content: impl Into<Vec<u8>>) -> Value {
        self.blob_by(Algorithm::Sha256, media_type, content)
    }

    /// The same, named by any algorithm.
    pub fn blob_by(
        &mut self,
        algorithm: Algorithm,
        media_type: &str,
        content: impl Into<Vec<u8>>,
    ) -> Value {
        let content = content.into();
        let digest = digest_of(algorithm, &content);
        let size = content.len();
        self.content.insert(digest, content);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// A manifest of this type with this config and these layers; returns its descriptor.
    pub fn manifest(&mut self, media_type: &str, config: Value, layers: Vec<Value>) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
        });
        // Not in canonical form: foreign documents are carried as they are.
        self.blob(media_type, format!("{manifest:#}\n"))
    }

    /// An index of this type; returns its descriptor.
    pub fn index(&mut self, media_type: &str, manifests: Vec<Value>) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        self.blob(media_type, format!("{index:#}\n"))
    }

    /// Lists a document in the root.
    pub fn entry(
        &mut self,
        kind: EntryKind,
        reference: &str,
        document: &Value,
        platforms: &[&str],
    ) {
        let platforms = platforms.iter().map(|text| text.parse().unwrap());
        let entry = Entry {
            kind,
            reference: Some(reference.parse().unwrap()),
            descriptor: plain(document),
        };
        self.entries.push((entry, platforms.collect()));
    }

    /// A chart with this manifest and archive; `edit` says what else the lock says of it.
    pub fn chart(
        &mut self,
        reference: &str,
        manifest: &Value,
        archive: &Value,
        (name, version): (&str, &str),
        edit: impl FnOnce(&mut LockedChart),
    ) {
        self.entry(EntryKind::Chart, reference, manifest, &[]);
        let (manifest, archive) = (plain(manifest), plain(archive));
        let mut locked = LockedChart {
            app_version: None,
            archive: LockedFile {
                digest: archive.digest,
                name: format!("{name}-{version}.tgz"),
                size: archive.size,
            },
            content_size: 0,
            dependencies: vec![],
            digest: manifest.digest,
            media_type: manifest.media_type,
            name: name.to_owned(),
            provenance: None,
            reference: reference.to_owned(),
            requested_by: vec![Origin::Argument],
            size: manifest.size,
            source: format!("./{name}"),
            source_digest: None,
            version: version.to_owned(),
        };
        edit(&mut locked);
        self.charts.push(locked);
        self.charts.sort_by(|a, b| a.reference.cmp(&b.reference));
    }

    /// A values file, for a release.
    pub fn values(&mut self, name: &str, content: impl Into<Vec<u8>>) -> LockedFile {
        let descriptor = plain(&self.blob(media_type::YAML, content));
        LockedFile {
            digest: descriptor.digest,
            name: name.to_owned(),
            size: descriptor.size,
        }
    }

    /// A plain file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        let descriptor = plain(&self.blob(media_type::OCTET_STREAM, content));
        self.files.push(LockedFile {
            name: name.to_owned(),
            digest: descriptor.digest,
            size: descriptor.size,
        });
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Leaves out what this descriptor names.
    pub fn leave_out(&mut self, descriptor: &Value, reason: AbsentReason, platform: Option<&str>) {
        let descriptor = plain(descriptor);
        let absent = Absent {
            digest: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type,
            reason,
            platform: platform.map(str::to_owned),
            urls: descriptor.urls,
        };
        self.absent.insert(descriptor.digest.to_string(), absent);
    }

    /// The bundle, signed by `keys`.
    pub fn make(self, name: &str, keys: &[SigningKey]) -> Made {
        let sign = |root: &[u8]| {
            let signatures = keys
                .iter()
                .map(|key| key.sign_root(root).unwrap().to_json());
            signatures.collect()
        };
        self.make_signed(name, keys.is_empty(), sign)
    }

    /// The bundle, with whatever signatures `sign` makes of the root's bytes.
    pub fn make_signed(
        mut self,
        name: &str,
        unsigned: bool,
        sign: impl Fn(&[u8]) -> Vec<Vec<u8>>,
    ) -> Made {
        if !self.files.is_empty() {
            let layers: Vec<_> = self.files.iter().map(file_layer).collect();
            let manifest = artifact_manifest(FILES_TYPE, &layers, None).unwrap();
            let descriptor = artifact_descriptor(FILES_TYPE, &manifest);
            self.content.insert(descriptor.digest, manifest);
            let entry = Entry {
                kind: EntryKind::Files,
                reference: None,
                descriptor,
            };
            self.entries.push((entry, vec![]));
        }
        for release in &self.releases {
            let mut entries = self.entries.iter().map(|(entry, _)| entry);
            let chart = entries.find(|entry| {
                let reference = entry.reference.as_ref().map(ToString::to_string);
                reference.as_ref() == Some(&release.chart)
            });
            let artifact = release.artifact(&chart.unwrap().descriptor).unwrap();
            for content in [artifact.manifest, artifact.document] {
                self.content.insert(Digest::sha256_of(&content), content);
            }
            let entry = Entry {
                kind: EntryKind::Release,
                reference: None,
                descriptor: artifact.descriptor,
            };
            self.entries.push((entry, vec![]));
        }
        let metadata = Name {
            name: name.to_owned(),
            version: "1".to_owned(),
        };
        let mut root = Root {
            info: BundleInfo {
                name: metadata.name.clone(),
                version: metadata.version.clone(),
                created: CREATED.to_owned(),
                tool: "golden".to_owned(),
                unsigned,
            },
            lock: Descriptor::empty(),
            entries: self
                .entries
                .iter()
                .map(|(entry, _)| entry.clone())
                .collect(),
        };
        root.sort_entries();
        let lock = Lock {
            charts: self.locked_charts(&root),
            referrer_types: self.referrer_types.clone(),
            releases: self.releases.clone(),
            api_version: API_VERSION.to_owned(),
            kind: "Lock".to_owned(),
            metadata,
            created: CREATED.to_owned(),
            platforms: vec![],
            images: self.locked(&root),
            files: self.files.clone(),
            absent: self.absent.values().cloned().collect(),
        };
        let mut own = Vec::new();
        let lock_bytes = lock.to_bytes().unwrap();
        root.lock = self.artifact(LOCK_TYPE, lock_bytes, None, &mut own);
        let root_bytes = root.to_bytes().unwrap();
        let subject = root_descriptor(&root_bytes);
        self.content.insert(subject.digest, root_bytes.clone());
        own.insert(0, (subject.digest, subject.size));
        let mut signatures = Vec::new();
        for signature in sign(&root_bytes) {
            signatures.push(self.artifact(SIGNATURE_TYPE, signature, Some(&subject), &mut own));
        }
        let index_json = root.index_json(&root_bytes, &signatures).unwrap();
        let walk = self.walk(own, &root);
        let plan = Plan::new(&index_json, walk.finish().unwrap()).unwrap();
        Made {
            file: self.write(&plan, &index_json),
            root: subject.digest,
        }
    }

    fn artifact(
        &mut self,
        kind: &str,
        content: Vec<u8>,
        subject: Option<&Descriptor>,
        own: &mut Vec<(Digest, u64)>,
    ) -> Descriptor {
        let mut layer = Descriptor::of(kind, &content);
        if self.odd_annotation {
            layer.annotations.insert("a".into(), "b".into());
        }
        let manifest = artifact_manifest(kind, std::slice::from_ref(&layer), subject).unwrap();
        let descriptor = artifact_descriptor(kind, &manifest);
        for part in [manifest, b"{}".to_vec(), content] {
            let digest = Digest::sha256_of(&part);
            own.push((digest, part.len() as u64));
            self.content.insert(digest, part);
        }
        descriptor
    }

    fn walk(&self, own: Vec<(Digest, u64)>, root: &Root) -> Walk {
        let absent = self.absent.values().map(|absent| absent.digest);
        let mut walk = Walk::new(own, root, absent).unwrap();
        while let Some(member) = walk.next_document() {
            walk.supply(&self.content[&member.digest]).unwrap();
        }
        walk
    }

    fn locked(&self, root: &Root) -> Vec<LockedImage> {
        let sizes = self.content_sizes(root);
        let mut locked = Vec::new();
        for entry in &root.entries {
            if !entry.kind.is_image_or_artifact() {
                continue;
            }
            let reference = entry.reference.as_ref().unwrap();
            let of_entry = self.entries.iter().find(|(other, _)| other == entry);
            let origins = self.origins.get(&reference.to_string());
            locked.push(LockedImage {
                reference: reference.to_string(),
                as_written: reference.as_written().to_owned(),
                media_type: entry.descriptor.media_type.clone(),
                digest: entry.descriptor.digest,
                size: entry.descriptor.size,
                content_size: sizes[&entry.descriptor.digest],
                platforms: of_entry.unwrap().1.clone(),
                requested_platforms: vec![],
                requested_by: origins.cloned().unwrap_or_else(|| vec![Origin::Argument]),
            });
        }
        locked
    }

    fn locked_charts(&self, root: &Root) -> Vec<LockedChart> {
        let sizes = self.content_sizes(root);
        let charts = self.charts.iter().map(|chart| LockedChart {
            content_size: sizes[&chart.digest],
            ..chart.clone()
        });
        charts.collect()
    }

    /// Bytes of all that hangs on each entry, itself included.
    fn content_sizes(&self, root: &Root) -> HashMap<Digest, u64> {
        let contents = self.walk(Vec::new(), root).finish().unwrap();
        let size = |id: &u32| contents.member(*id).size;
        let entries = root.entries.iter().zip(contents.entries());
        let sizes = entries.map(|(entry, top)| {
            let held = contents.closure(*top).iter().map(size).sum();
            (entry.descriptor.digest, held)
        });
        sizes.collect()
    }

    fn write(&self, plan: &Plan, index_json: &[u8]) -> Vec<u8> {
        let mut packed = PackedWriter::start(Vec::new(), plan.clone(), index_json).unwrap();
        while let Some(id) = packed.wants() {
            let digest = plan.contents.member(id).digest;
            packed.member(&self.content[&digest]).unwrap();
        }
        let (mut file, mut sizes) = packed.finish().unwrap();
        let mut compressor = Compressor::new().unwrap();
        for number in sizes.len() as u32..plan.layout.frames() {
            let span = plan.layout.frame(number, &plan.contents);
            let digest = plan.contents.member(span.member.unwrap()).digest;
            let piece = plan.content_of(number);
            let content = &self.content[&digest][piece.start as usize..piece.end as usize];
            let frame = plan.encode_large(number, content, &mut compressor).unwrap();
            sizes.push((frame.len() as u32, span.content_len() as u32));
            file.extend_from_slice(&frame);
        }
        file.extend_from_slice(&SeekTable(sizes).encode());
        file
    }
}

fn file_layer(file: &LockedFile) -> Descriptor {
    Descriptor {
        media_type: media_type::OCTET_STREAM.to_owned(),
        digest: file.digest,
        size: file.size,
        artifact_type: None,
        platform: None,
        urls: vec![],
        annotations: BTreeMap::from([(TITLE.to_owned(), file.name.clone())]),
    }
}

/// Type, digest, size and URLs of a descriptor.
fn plain(descriptor: &Value) -> Descriptor {
    let urls = descriptor["urls"].as_array().into_iter().flatten();
    Descriptor {
        media_type: descriptor["mediaType"].as_str().unwrap().to_owned(),
        digest: descriptor["digest"].as_str().unwrap().parse().unwrap(),
        size: descriptor["size"].as_u64().unwrap(),
        artifact_type: None,
        platform: None,
        urls: urls.map(|url| url.as_str().unwrap().to_owned()).collect(),
        annotations: BTreeMap::new(),
    }
}
