//! Reading a bundle from its start: what is needed to decide about trust, then the metadata.
//!
//! [`Untrusted::read`] reads root, lock and signatures and believes nothing of them. Whoever has
//! decided that the root may be trusted goes on with [`Untrusted::accept`], which reads the
//! manifests and checks that root, lock, `index.json`, order and framing belong together.

use std::collections::{HashMap, HashSet};

use super::{
    charts,
    contents::{Contents, Member, MemberId, Walk},
    error::BundleError,
    frame::FRAME_CONTENT,
    frames::Frames,
    lock::Lock,
    root::{
        self, EntryKind, LOCK_TYPE, MAX_METADATA_BYTES, OCI_LAYOUT, Root, SIGNATURE_TYPE,
        artifact_descriptor, artifact_manifest, files_artifact,
    },
    tar,
    writer::Plan,
};
use crate::oci::{Algorithm, Descriptor, Digest, Document, DocumentKind, EMPTY_CONTENT};

/// Largest manifest of the lock or of a signature, in bytes; real ones have some 700.
const MAX_OWN_MANIFEST: u64 = 64 << 10;
/// Largest signature, in bytes.
const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

/// The decoded tar stream, read strictly forward.
#[derive(Debug)]
pub(super) struct TarStream<F> {
    pub(super) frames: F,
    buffer: Vec<u8>,
    /// What of `buffer` was consumed.
    used: usize,
    /// Tar offset of the next byte.
    offset: u64,
    /// Compressed bytes of the frames so far, where they are to be kept.
    kept: Option<Vec<Vec<u8>>>,
}

impl<F: Frames> TarStream<F> {
    fn new(frames: F, keep: bool) -> Self {
        let kept = keep.then(Vec::new);
        Self {
            frames,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            kept,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads `len` bytes, in the pieces in which they come.
    pub(super) fn read(
        &mut self,
        len: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        let mut left = len;
        while left > 0 {
            if self.used == self.buffer.len() {
                // Only the last packed frame may be shorter: whoever sends crumbs without end is
                // stopped here, where the layout is not yet known.
                if let Some((len, content)) = self.frames.sizes().last()
                    && u64::from(*content) != FRAME_CONTENT
                {
                    let number = self.frames.sizes().len() as u32 - 1;
                    let all = self.frames.sizes().iter().map(|(len, _)| u64::from(*len));
                    let offset = all.sum::<u64>() - u64::from(*len);
                    return Err(BundleError::Cut { number, offset });
                }
                let encoded = self.frames.next_frame(None, &mut self.buffer)?;
                if let Some(kept) = &mut self.kept {
                    kept.push(encoded.to_vec());
                }
                self.used = 0;
            }
            let have = &self.buffer[self.used..];
            let now = &have[..have.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            sink(now)?;
            self.used += now.len();
            self.offset += now.len() as u64;
            left -= now.len() as u64;
        }
        Ok(())
    }

    pub(super) fn read_vec(&mut self, len: u64) -> Result<Vec<u8>, BundleError> {
        let mut bytes = Vec::with_capacity(len as usize);
        self.read(len, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads bytes that can only be these.
    pub(super) fn expect(&mut self, bytes: &[u8], what: &str) -> Result<(), BundleError> {
        let offset = self.offset;
        let mut rest = bytes;
        self.read(bytes.len() as u64, |piece| {
            let (now, later) = rest.split_at(piece.len());
            rest = later;
            if now == piece {
                return Ok(());
            }
            Err(BundleError::NotCanonical {
                offset,
                expected: what.to_owned(),
            })
        })
    }

    /// Checks that nothing is left of the frames that were read so far: the packed part ends here.
    pub(super) fn expect_frame_end(&self) -> Result<(), BundleError> {
        if self.used == self.buffer.len() {
            return Ok(());
        }
        let expected = "the end of the packed part".to_owned();
        Err(BundleError::NotCanonical {
            offset: self.offset,
            expected,
        })
    }

    pub(super) fn padding(&mut self, size: u64) -> Result<(), BundleError> {
        self.expect(
            &vec![0; tar::padding(size) as usize],
            "zero bytes up to the next block",
        )
    }

    /// Reads a whole blob that is held in memory: header, content, padding.
    pub(super) fn blob(&mut self, digest: &Digest, size: u64) -> Result<Vec<u8>, BundleError> {
        let header = tar::blob_header(digest, size);
        self.expect(
            &header,
            &format!("the header of {}", tar::blob_name(digest)),
        )?;
        let content = self.read_vec(size)?;
        if digest.of_same_algorithm(&content) != *digest {
            let expected = format!("the content of {digest}");
            return Err(BundleError::NotCanonical {
                offset: self.offset - size,
                expected,
            });
        }
        self.padding(size)?;
        Ok(content)
    }
}

/// The first members of a bundle, of which nothing is believed yet.
#[derive(Debug)]
pub struct Untrusted<F> {
    stream: TarStream<F>,
    index_json: Vec<u8>,
    root_bytes: Vec<u8>,
    root: Root,
    lock_bytes: Vec<u8>,
    signatures: Vec<Vec<u8>>,
    signature_descriptors: Vec<Descriptor>,
    own: Vec<(Digest, u64)>,
}

/// What a bundle says of itself, after it was checked that all of it belongs together.
#[derive(Debug)]
pub struct Metadata {
    /// The root.
    pub root: Root,
    /// Its exact bytes.
    pub root_bytes: Vec<u8>,
    /// `index.json`.
    pub index_json: Vec<u8>,
    /// The lock.
    pub lock: Lock,
    /// Its exact bytes.
    pub lock_bytes: Vec<u8>,
    /// Contents and layout.
    pub plan: Plan,
}

impl Metadata {
    /// The digest that identifies the bundle.
    pub fn root_digest(&self) -> Digest {
        Digest::sha256_of(&self.root_bytes)
    }
}

impl<F: Frames> Untrusted<F> {
    /// Reads root, lock and signatures. `keep` keeps the frames' bytes in memory, for a source that
    /// cannot be read twice.
    ///
    /// # Errors
    /// When the bytes are not those of a bundle.
    pub fn read(frames: F, keep: bool) -> Result<Self, BundleError> {
        let mut stream = TarStream::new(frames, keep);
        let layout_header = tar::header("oci-layout", OCI_LAYOUT.len() as u64);
        stream.expect(&layout_header, "the header of oci-layout")?;
        stream.expect(OCI_LAYOUT, "the content of oci-layout")?;
        stream.padding(OCI_LAYOUT.len() as u64)?;

        let index_json = read_index_json(&mut stream)?;
        let (root_descriptor, signature_descriptors) = root::parse_index_json(&index_json)?;
        let mut own = Own {
            stream: &mut stream,
            placed: Vec::new(),
        };
        let root_bytes = own.take("the root", &root_descriptor, MAX_METADATA_BYTES)?;
        let root = Root::parse(&root_bytes)?;
        if root_descriptor != root::root_descriptor(&root_bytes) {
            return Err(BundleError::IndexJson);
        }
        let lock_bytes = own.artifact(LOCK_TYPE, &root.lock, None, MAX_METADATA_BYTES)?;
        let mut signatures = Vec::new();
        for descriptor in &signature_descriptors {
            signatures.push(own.artifact(
                SIGNATURE_TYPE,
                descriptor,
                Some(&root_descriptor),
                MAX_SIGNATURE_BYTES,
            )?);
        }
        if root.index_json(&root_bytes, &signature_descriptors)? != index_json {
            return Err(BundleError::IndexJson);
        }
        let own = own.placed;
        Ok(Self {
            stream,
            index_json,
            root_bytes,
            root,
            lock_bytes,
            signatures,
            signature_descriptors,
            own,
        })
    }

    /// The exact bytes of the root: what signatures are about.
    pub fn root_bytes(&self) -> &[u8] {
        &self.root_bytes
    }

    /// The embedded signatures, each a Sigstore bundle.
    pub fn signatures(&self) -> &[Vec<u8>] {
        &self.signatures
    }

    /// What the root says of the bundle. Nobody vouches for it yet.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Number of embedded signatures.
    pub fn signature_count(&self) -> usize {
        self.signature_descriptors.len()
    }

    /// Reads the manifests and checks that everything belongs together. `visit` sees each document
    /// with its media type as it is read.
    ///
    /// # Errors
    /// When it does not.
    pub fn accept(
        mut self,
        mut visit: impl FnMut(&Member, &str, &[u8], &Document),
    ) -> Result<Accepted<F>, BundleError> {
        let lock = Lock::parse(&self.lock_bytes)?;
        check_lock(&self.root, &lock)?;
        let charts = charts::by_digest(&lock);
        let absent: HashMap<_, _> = lock.absent.iter().map(|a| (a.digest, a.size)).collect();
        let mut walk = Walk::new(self.own, &self.root, absent.keys().copied())?;
        while let Some(member) = walk.next_document() {
            let content = self.stream.blob(&member.digest, member.size)?;
            let document = walk.supply(&content)?;
            if let Some(charts) = charts.get(&member.digest) {
                charts::check(charts, &document)?;
            }
            visit(&member, walk.media_type(&member), &content, &document);
            for named in document.children().iter().chain(document.blobs()) {
                if absent
                    .get(&named.digest)
                    .is_some_and(|size| *size != named.size)
                {
                    let message = format!("another size of {}, which is left out", named.digest);
                    return Err(BundleError::LockMismatch(message));
                }
            }
        }
        let contents = walk.finish()?;
        if let Some(absent) = lock
            .absent
            .iter()
            .find(|a| contents.find(&a.digest).is_some())
        {
            let message = format!("{} is there and left out", absent.digest);
            return Err(BundleError::LockMismatch(message));
        }
        // The layout bounds the sum of all sizes, so it comes first.
        let plan = Plan::new(&self.index_json, contents)?;
        check_sizes(&self.root, &lock, &plan.contents)?;
        let read = self.stream.frames.sizes();
        check_cuts(
            &plan,
            &read[..read.len().min(plan.layout.packed_frames() as usize)],
        )?;
        if read.len() > plan.layout.packed_frames() as usize {
            return Err(BundleError::SeekTableMismatch);
        }
        let metadata = Metadata {
            root: self.root,
            root_bytes: self.root_bytes,
            index_json: self.index_json,
            lock,
            lock_bytes: self.lock_bytes,
            plan,
        };
        Ok(Accepted {
            stream: self.stream,
            metadata,
        })
    }
}

/// Metadata that belongs together, and the stream behind it.
#[derive(Debug)]
pub struct Accepted<F> {
    pub(super) stream: TarStream<F>,
    /// The metadata.
    pub metadata: Metadata,
}

impl<F> Accepted<F> {
    /// The compressed frames read so far, where they were to be kept.
    pub(super) fn take_kept_frames(&mut self) -> Vec<Vec<u8>> {
        self.stream.kept.take().unwrap_or_default()
    }
}

/// Reads the bundle's own members, each at its first place only.
struct Own<'a, F> {
    stream: &'a mut TarStream<F>,
    placed: Vec<(Digest, u64)>,
}

impl<F: Frames> Own<'_, F> {
    fn take(
        &mut self,
        what: &'static str,
        descriptor: &Descriptor,
        most: u64,
    ) -> Result<Vec<u8>, BundleError> {
        if descriptor.size > most {
            return Err(BundleError::TooLarge {
                what,
                size: descriptor.size,
                most,
            });
        }
        self.placed.push((descriptor.digest, descriptor.size));
        self.stream.blob(&descriptor.digest, descriptor.size)
    }

    /// Reads one of our artifacts (manifest, config, one layer) and returns the layer's content.
    fn artifact(
        &mut self,
        artifact_type: &str,
        descriptor: &Descriptor,
        subject: Option<&Descriptor>,
        most: u64,
    ) -> Result<Vec<u8>, BundleError> {
        let wrong = || BundleError::OwnManifest(descriptor.digest);
        if self
            .placed
            .iter()
            .any(|(digest, _)| *digest == descriptor.digest)
        {
            return Err(wrong());
        }
        let manifest = self.take("a manifest", descriptor, MAX_OWN_MANIFEST)?;
        let document = Document::parse(&manifest, &descriptor.media_type).map_err(|_| wrong())?;
        let DocumentKind::Manifest { layers, .. } = document.kind else {
            return Err(wrong());
        };
        let [layer] = layers.as_slice() else {
            return Err(wrong());
        };
        let again = artifact_manifest(artifact_type, std::slice::from_ref(layer), subject)?;
        // The layer's descriptor says no more than type, digest and size.
        let plain =
            layer.annotations.is_empty() && layer.urls.is_empty() && layer.artifact_type.is_none();
        if again != manifest
            || artifact_descriptor(artifact_type, &manifest) != *descriptor
            || layer.media_type != artifact_type
            || !plain
            || layer.digest.algorithm() != Algorithm::Sha256
        {
            return Err(wrong());
        }
        let empty = Descriptor::empty();
        if !self
            .placed
            .iter()
            .any(|(digest, _)| *digest == empty.digest)
        {
            self.placed.push((empty.digest, empty.size));
            self.stream
                .blob(&empty.digest, EMPTY_CONTENT.len() as u64)?;
        }
        if self
            .placed
            .iter()
            .any(|(digest, _)| *digest == layer.digest)
        {
            // The same signature twice, or worse: no writer makes this.
            return Err(wrong());
        }
        self.take("the lock or a signature", layer, most)
    }
}

/// `index.json` is the one member whose size nothing has announced: its header tells it, and must
/// be the one header that this size has.
fn read_index_json<F: Frames>(stream: &mut TarStream<F>) -> Result<Vec<u8>, BundleError> {
    let offset = stream.offset();
    let header = stream.read_vec(tar::BLOCK)?;
    let digits = std::str::from_utf8(&header[124..135]).unwrap_or_default();
    let size = u64::from_str_radix(digits, 8).unwrap_or(u64::MAX);
    if tar::header("index.json", size) != header {
        let expected = "the header of index.json".to_owned();
        return Err(BundleError::NotCanonical { offset, expected });
    }
    if size > MAX_METADATA_BYTES {
        let what = "index.json";
        return Err(BundleError::TooLarge {
            what,
            size,
            most: MAX_METADATA_BYTES,
        });
    }
    let content = stream.read_vec(size)?;
    stream.padding(size)?;
    Ok(content)
}

/// Checks that root and lock are two views of the same thing.
///
/// # Errors
/// When they are not.
pub fn check_lock(root: &Root, lock: &Lock) -> Result<(), BundleError> {
    let differ = |what: &str| Err(BundleError::LockMismatch(what.to_owned()));
    let info = &root.info;
    if (&info.name, &info.version) != (&lock.metadata.name, &lock.metadata.version) {
        return differ("another name or version");
    }
    if info.created != lock.created {
        return differ("another time");
    }
    let listed = |is_chart: bool| {
        let entries = root.entries.iter();
        let entries = entries.filter(move |entry| (entry.kind == EntryKind::Chart) == is_chart);
        entries.filter_map(|entry| Some((entry.reference.as_ref()?.to_string(), &entry.descriptor)))
    };
    let is_of = |(reference, descriptor): (String, &Descriptor),
                 locked: (&String, &Digest, u64, &String)| {
        let found = (&reference, &descriptor.digest, descriptor.size);
        found == (locked.0, locked.1, locked.2) && descriptor.media_type == *locked.3
    };
    let images = lock.images.iter();
    let images = images.map(|i| (&i.reference, &i.digest, i.size, &i.media_type));
    if lock.images.len() != listed(false).count()
        || !listed(false)
            .zip(images)
            .all(|(listed, locked)| is_of(listed, locked))
    {
        return differ("other images");
    }
    let charts = lock.charts.iter();
    let charts = charts.map(|c| (&c.reference, &c.digest, c.size, &c.media_type));
    if lock.charts.len() != listed(true).count()
        || !listed(true)
            .zip(charts)
            .all(|(listed, locked)| is_of(listed, locked))
    {
        return differ("other charts");
    }
    check_own_entries(root, lock)
}

/// The artifacts of files and releases follow from the lock.
fn check_own_entries(root: &Root, lock: &Lock) -> Result<(), BundleError> {
    let differ = |what: &str| Err(BundleError::LockMismatch(what.to_owned()));
    let of_kind = |kind| {
        let entries = root.entries.iter().filter(move |entry| entry.kind == kind);
        entries.map(|entry| entry.descriptor.clone())
    };
    let mut files = Vec::new();
    if !lock.files.is_empty() {
        files.push(files_artifact(&lock.files)?.0);
    }
    if !of_kind(EntryKind::Files).eq(files) {
        return differ("other files");
    }
    let charts = root.entries.iter().filter(|e| e.kind == EntryKind::Chart);
    let charts: HashMap<String, &Descriptor> = charts
        .filter_map(|entry| Some((entry.reference.as_ref()?.to_string(), &entry.descriptor)))
        .collect();
    // Counted first: a lock can name far more of them than a root can list.
    if of_kind(EntryKind::Release).count() != lock.releases.len() {
        return differ("other releases");
    }
    let mut releases = Vec::new();
    for release in &lock.releases {
        let Some(chart) = charts.get(&release.chart) else {
            return differ("a release of a chart that is not there");
        };
        releases.push(release.artifact(chart)?.descriptor);
    }
    releases.sort_by_key(|descriptor| descriptor.digest.to_string());
    if !of_kind(EntryKind::Release).eq(releases) {
        return differ("other releases");
    }
    let values = lock.releases.iter().flat_map(|release| &release.values);
    let archives = lock.charts.iter().map(|chart| &chart.archive);
    let own = lock.files.iter().chain(values).chain(archives);
    let own: HashSet<_> = own.map(|file| file.digest).collect();
    if lock
        .absent
        .iter()
        .any(|absent| own.contains(&absent.digest))
    {
        return differ("a file that is there and left out");
    }
    Ok(())
}

/// What the lock says of sizes is what the bundle holds.
fn check_sizes(root: &Root, lock: &Lock, contents: &Contents) -> Result<(), BundleError> {
    // Many names may share one image: each is measured once.
    let mut held: HashMap<MemberId, u64> = HashMap::new();
    let sizes = lock.images.iter().map(|i| (&i.reference, i.content_size));
    let sizes: HashMap<_, _> = sizes
        .chain(lock.charts.iter().map(|c| (&c.reference, c.content_size)))
        .collect();
    for (entry, id) in root.entries.iter().zip(contents.entries()) {
        let Some(reference) = entry.reference.as_ref().map(ToString::to_string) else {
            continue;
        };
        let size = |id: &MemberId| contents.member(*id).size;
        let held = held
            .entry(*id)
            .or_insert_with(|| contents.closure(*id).iter().map(size).sum());
        if sizes.get(&reference) != Some(held) {
            let reference = reference.escape_default();
            return Err(BundleError::LockMismatch(format!(
                "another size of {reference}"
            )));
        }
    }
    Ok(())
}

/// These first frames are cut where the layout cuts them.
pub(super) fn check_cuts(plan: &Plan, sizes: &[(u32, u32)]) -> Result<(), BundleError> {
    let mut offset = 0;
    for (number, (len, content)) in (0..).zip(sizes) {
        let fits = number < plan.layout.frames() && {
            let span = plan.layout.frame(number, &plan.contents);
            span.content_len() == u64::from(*content)
        };
        if !fits {
            return Err(BundleError::Cut { number, offset });
        }
        offset += u64::from(*len);
    }
    Ok(())
}
