//! From references to digests, and from digests to every manifest that belongs to them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use super::{CreateError, ResolvedChart, Unresolved, files::HashedFile, referrers::Subject};
use crate::{
    bundle::{Absent, AbsentReason, EntryKind, Lock, LockedImage, Release, SMALL_BLOB},
    human,
    oci::{
        Descriptor, Digest, Document, DocumentKind, Platform, Reference, Repository, TagOrDigest,
        media_type,
    },
    progress::Progress,
    registry::{Client, RegistryError},
    request::{Request, RequestedImage},
};

/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 8;
/// BuildKit's annotation that tells which image an attestation is about.
const ATTESTS: &str = "vnd.docker.reference.digest";

/// Everything that a bundle's metadata is made of.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The images, sorted by reference.
    pub images: Vec<ResolvedImage>,
    /// The charts, each once.
    pub charts: Vec<ResolvedChart>,
    /// The releases, in the order of their installation.
    pub releases: Vec<Release>,
    /// The plain files, sorted by name.
    pub files: Vec<HashedFile>,
    /// Documents, and small blobs that were needed already, by digest.
    pub contents: HashMap<Digest, Bytes>,
    /// What is left out, by digest.
    pub absent: BTreeMap<Digest, Absent>,
    /// What is to be in the bundle of the images.
    pub(super) kept: HashSet<Digest>,
}

impl Resolved {
    /// Takes in what was resolved later.
    pub(super) fn add(&mut self, more: Self) {
        self.images.extend(more.images);
        self.images
            .sort_by(|a, b| a.requested.reference.cmp(&b.requested.reference));
        self.contents.extend(more.contents);
        self.kept.extend(more.kept);
        for (digest, absent) in more.absent {
            self.absent.entry(digest).or_insert(absent);
        }
        // What one image leaves out, another may bring.
        self.absent.retain(|digest, _| !self.kept.contains(digest));
    }

    /// The documents of the images, to be asked what refers to them; `top` names what each image
    /// belongs to, where that is another.
    pub(super) fn subjects(&self, top: impl Fn(&Reference) -> Option<String>) -> Vec<Subject> {
        let images = self.images.iter();
        let subjects = images.flat_map(|image| {
            let reference = &image.requested.reference;
            let top = top(reference).unwrap_or_else(|| reference.to_string());
            image.documents.iter().map(move |digest| Subject {
                repository: reference.repository().clone(),
                digest: *digest,
                top: top.clone(),
            })
        });
        subjects.collect()
    }

    /// Takes over who asked for each image.
    pub(super) fn requested_as(&mut self, request: &Request) {
        for image in &mut self.images {
            let reference = &image.requested.reference;
            let place = request
                .images
                .binary_search_by(|i| i.reference.cmp(reference));
            if let Ok(at) = place {
                image.requested = request.images[at].clone();
            }
        }
    }
}

/// One image, resolved.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// What was asked for.
    pub requested: RequestedImage,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// Whether it is a container image.
    pub kind: EntryKind,
    /// The platforms that are taken along.
    pub platforms: Vec<Platform>,
    /// Its manifest or index, and every manifest below it that is taken along.
    pub documents: Vec<Digest>,
}

/// What hangs on one image.
#[derive(Default)]
struct Tree {
    contents: HashMap<Digest, Bytes>,
    documents: Vec<Digest>,
    /// Blobs and documents that are to be in the bundle.
    kept: Vec<Digest>,
    absent: Vec<Absent>,
    platforms: Vec<Platform>,
    is_image: bool,
}

/// Resolves references by asking registries.
#[derive(Debug)]
pub struct Resolver<'a> {
    client: &'a Client,
    concurrency: usize,
    /// Content that is here already, verified by digest.
    known: Mutex<HashMap<Digest, Bytes>>,
    fetched: AtomicU64,
}

impl<'a> Resolver<'a> {
    /// A resolver that makes up to `concurrency` requests at a time and asks for nothing that is
    /// in `known`.
    pub fn new(client: &'a Client, concurrency: usize, known: HashMap<Digest, Bytes>) -> Self {
        Self {
            client,
            concurrency: concurrency.max(1),
            known: Mutex::new(known),
            fetched: AtomicU64::new(0),
        }
    }

    /// The client that asks.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// Requests at a time.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Bytes of documents fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Resolves all of `request`; with `pins`, to the digests that the lock names.
    ///
    /// # Errors
    /// With all references that do not resolve.
    pub async fn resolve(
        &self,
        request: &Request,
        pins: Option<&Lock>,
        progress: &dyn Progress,
    ) -> Result<Resolved, CreateError> {
        let pins = pins.map(|lock| check_pins(request, lock)).transpose()?;
        let global = parse_platforms(request.platforms.as_deref());
        let jobs = request.images.iter().map(|image| {
            let wanted = match &image.platforms {
                Some(own) => parse_platforms(Some(own)),
                None => global.clone(),
            };
            let pin = pins
                .as_ref()
                .and_then(|pins| pins.get(image.reference.to_string().as_str()))
                .copied();
            async move { (image, self.image(image, &wanted, pin).await) }
        });
        let mut results = stream::iter(jobs).buffered(self.concurrency);
        let mut resolved = Resolved::default();
        let mut failed = Vec::new();
        let mut foreign = BTreeMap::new();
        while let Some((image, result)) = results.next().await {
            match result {
                Ok((descriptor, tree)) => {
                    resolved.contents.extend(tree.contents);
                    resolved.kept.extend(tree.kept);
                    for absent in tree.absent {
                        if absent.reason == AbsentReason::Foreign {
                            foreign.entry(absent.digest).or_insert(&image.reference);
                        }
                        resolved.absent.entry(absent.digest).or_insert(absent);
                    }
                    resolved.images.push(ResolvedImage {
                        requested: image.clone(),
                        descriptor,
                        // A signature of cosign's looks like an image and is none.
                        kind: if tree.is_image && !image.is_only_referrer() {
                            EntryKind::Image
                        } else {
                            EntryKind::Artifact
                        },
                        platforms: tree.platforms,
                        documents: tree.documents,
                    });
                }
                Err(error) => failed.push((image.reference.clone(), error)),
            }
        }
        if !failed.is_empty() {
            return Err(CreateError::Resolve {
                failed,
                total: request.images.len(),
            });
        }
        let kept = &resolved.kept;
        // What one image leaves out, another may bring.
        resolved.absent.retain(|digest, _| !kept.contains(digest));
        for (digest, image) in foreign {
            let Some(absent) = resolved.absent.get(&digest) else {
                continue;
            };
            let from = absent.urls.first().map_or("nowhere", String::as_str);
            let size = human::bytes(absent.size);
            progress.warn(&format!(
                "{image} has a foreign layer of {size}, which is not carried: nodes get it from {from}"
            ));
        }
        Ok(resolved)
    }

    async fn image(
        &self,
        image: &RequestedImage,
        wanted: &[Platform],
        pin: Option<&LockedImage>,
    ) -> Result<(Descriptor, Tree), Unresolved> {
        let repository = image.reference.repository();
        let what = match pin {
            Some(locked) => TagOrDigest::Digest(locked.digest),
            None => image.reference.tag_or_digest(),
        };
        let known_type = pin.map(|locked| locked.media_type.as_str());
        let (digest, media_type, bytes) = match self.manifest(repository, &what, known_type).await {
            // A digest means its bytes; of what type they are, the lock has said.
            Ok((digest, came, bytes)) => (
                digest,
                pin.map_or(came, |locked| locked.media_type.clone()),
                bytes,
            ),
            Err(error) if error.is_not_found() => {
                return Err(self.not_found(&image.reference, pin, error).await);
            }
            Err(error) => {
                return Err(Unresolved::Registry {
                    error,
                    near: Vec::new(),
                });
            }
        };
        let descriptor = Descriptor {
            digest,
            ..Descriptor::of(&media_type, &bytes)
        };
        let mut tree = Tree::default();
        self.document(repository, &descriptor, bytes, wanted, 1, &mut tree)
            .await?;
        tree.platforms.sort();
        tree.platforms.dedup();
        Ok((descriptor, tree))
    }

    /// Takes a document into the tree and goes on with what it refers to.
    fn document<'t>(
        &'t self,
        repository: &'t Repository,
        descriptor: &'t Descriptor,
        bytes: Bytes,
        wanted: &'t [Platform],
        depth: u32,
        tree: &'t mut Tree,
    ) -> BoxFuture<'t, Result<(), Unresolved>> {
        async move {
            if depth > MAX_DEPTH {
                return Err(Unresolved::Depth);
            }
            let document = Document::parse(&bytes, &descriptor.media_type).map_err(|error| {
                Unresolved::Document {
                    digest: descriptor.digest,
                    error,
                }
            })?;
            tree.contents.insert(descriptor.digest, bytes);
            tree.documents.push(descriptor.digest);
            tree.kept.push(descriptor.digest);
            match &document.kind {
                DocumentKind::Manifest { config, layers } => {
                    let top = depth == 1;
                    self.manifest_parts(repository, config, layers, top, wanted, tree)
                        .await
                }
                DocumentKind::Index(children) => {
                    let (mut kept, left_out) = choose(children, wanted)?;
                    tree.absent.extend(left_out);
                    for child in &kept {
                        let known = child.platform.as_ref().filter(|p| !p.is_unknown());
                        tree.platforms.extend(known.cloned());
                    }
                    // An index may name a child many times, and so may those below it: each is
                    // looked into once.
                    let mut seen = HashSet::new();
                    kept.retain(|child| {
                        !tree.contents.contains_key(&child.digest) && seen.insert(child.digest)
                    });
                    let fetches: Vec<_> = kept
                        .iter()
                        .map(|child| self.child(repository, child))
                        .collect();
                    let fetched: Vec<_> = stream::iter(fetches)
                        .buffered(self.concurrency)
                        .collect()
                        .await;
                    for (child, result) in kept.into_iter().zip(fetched) {
                        let near = Vec::new();
                        let (_, media_type, bytes) =
                            result.map_err(|error| Unresolved::Registry { error, near })?;
                        // The index's own word on the type counts; that the registry says the
                        // same is checked when the document is parsed.
                        let child = Descriptor {
                            media_type,
                            ..child.clone()
                        };
                        self.document(repository, &child, bytes, wanted, depth + 1, tree)
                            .await?;
                    }
                    Ok(())
                }
            }
        }
        .boxed()
    }

    async fn manifest_parts(
        &self,
        repository: &Repository,
        config: &Descriptor,
        layers: &[Descriptor],
        top: bool,
        wanted: &[Platform],
        tree: &mut Tree,
    ) -> Result<(), Unresolved> {
        let is_image = media_type::is_image_config(&config.media_type);
        tree.is_image |= is_image;
        tree.kept.push(config.digest);
        for layer in layers {
            if media_type::is_foreign_layer(&layer.media_type) {
                tree.absent.push(absent(layer, AbsentReason::Foreign));
            } else {
                tree.kept.push(layer.digest);
            }
        }
        // An image that is no part of an index says its platform only in its configuration.
        if top && is_image && config.size <= SMALL_BLOB {
            let bytes = self.blob(repository, config).await?;
            if let Some(platform) = platform_of(&bytes) {
                if !wanted.is_empty() && !wanted.iter().any(|w| w.covers(&platform)) {
                    let wanted = wanted[0].clone();
                    return Err(Unresolved::Platform {
                        wanted,
                        offered: vec![platform],
                    });
                }
                tree.platforms.push(platform);
            }
            tree.contents.insert(config.digest, bytes);
        }
        Ok(())
    }

    async fn child(
        &self,
        repository: &Repository,
        child: &Descriptor,
    ) -> Result<(Digest, String, Bytes), RegistryError> {
        let what = TagOrDigest::Digest(child.digest);
        self.manifest(repository, &what, Some(&child.media_type))
            .await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &TagOrDigest,
        media_type: Option<&str>,
    ) -> Result<(Digest, String, Bytes), RegistryError> {
        if let (TagOrDigest::Digest(digest), Some(media_type)) = (what, media_type)
            && let Some(bytes) = self.known(digest)
        {
            return Ok((*digest, media_type.to_owned(), bytes));
        }
        let pulled = self.client.manifest(repository, what).await?;
        self.fetched
            .fetch_add(pulled.bytes.len() as u64, Ordering::Relaxed);
        self.remember(pulled.digest, &pulled.bytes);
        Ok((pulled.digest, pulled.media_type, pulled.bytes))
    }

    async fn blob(&self, repository: &Repository, blob: &Descriptor) -> Result<Bytes, Unresolved> {
        if let Some(bytes) = self.known(&blob.digest) {
            return Ok(bytes);
        }
        let bytes = super::small::fetch(self.client, repository, &blob.digest, blob.size)
            .await
            .map_err(|error| Unresolved::Registry {
                error,
                near: Vec::new(),
            })?
            .ok_or(Unresolved::Content(blob.digest))?;
        self.fetched
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.remember(blob.digest, &bytes);
        Ok(bytes)
    }

    fn known(&self, digest: &Digest) -> Option<Bytes> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    fn remember(&self, digest: Digest, bytes: &Bytes) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest, bytes.clone());
    }

    /// Says more about a reference that is not there: where the tag points now, or tags like it.
    async fn not_found(
        &self,
        reference: &Reference,
        pin: Option<&LockedImage>,
        error: RegistryError,
    ) -> Unresolved {
        let repository = reference.repository();
        let Some(tag) = reference.tag() else {
            return Unresolved::Registry {
                error,
                near: Vec::new(),
            };
        };
        if let Some(LockedImage { digest, .. }) = pin {
            let what = TagOrDigest::Tag(tag.to_owned());
            if let Ok(Some(head)) = self.client.manifest_head(repository, &what).await
                && let Some(found) = head.digest
            {
                return Unresolved::Moved {
                    locked: *digest,
                    found,
                };
            }
        }
        // Only an aid: that the tags cannot be listed is not what went wrong.
        let tags = self.client.tags(repository, 1000).await.unwrap_or_default();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let near = crate::request::nearest_few(tag, &tags, 3)
            .into_iter()
            .map(str::to_owned);
        Unresolved::Registry {
            error,
            near: near.collect(),
        }
    }
}

/// Chooses the children of an index that are taken along.
fn choose<'c>(
    children: &'c [Descriptor],
    wanted: &[Platform],
) -> Result<(Vec<&'c Descriptor>, Vec<Absent>), Unresolved> {
    if wanted.is_empty() {
        return Ok((children.iter().collect(), Vec::new()));
    }
    let offered: Vec<Platform> = children
        .iter()
        .filter_map(|child| child.platform.clone())
        .filter(|platform| !platform.is_unknown())
        .collect();
    let missing = wanted
        .iter()
        .find(|w| !offered.iter().any(|offered| w.covers(offered)));
    if let Some(missing) = missing
        && !offered.is_empty()
    {
        return Err(Unresolved::Platform {
            wanted: missing.clone(),
            offered,
        });
    }
    let covered = |child: &Descriptor| match &child.platform {
        Some(platform) => wanted.iter().any(|w| w.covers(platform)),
        // An entry without a platform is for all of them.
        None => true,
    };
    let kept: Vec<Digest> = children
        .iter()
        .filter(|child| covered(child))
        .map(|child| child.digest)
        .collect();
    // An attestation goes where the image goes that it is about.
    let attests_kept = |child: &Descriptor| {
        let about = child
            .annotations
            .get(ATTESTS)
            .and_then(|about| about.parse().ok());
        about.is_some_and(|about: Digest| kept.contains(&about))
    };
    let (kept, left_out): (Vec<_>, Vec<_>) = children
        .iter()
        .partition(|child| covered(child) || attests_kept(child));
    Ok((
        kept,
        left_out
            .into_iter()
            .map(|d| absent(d, AbsentReason::Platform))
            .collect(),
    ))
}

fn absent(descriptor: &Descriptor, reason: AbsentReason) -> Absent {
    Absent {
        digest: descriptor.digest,
        size: descriptor.size,
        media_type: descriptor.media_type.clone(),
        reason,
        platform: descriptor.platform.as_ref().map(ToString::to_string),
        urls: descriptor.urls.clone(),
    }
}

/// The platform that an image's configuration names.
fn platform_of(config: &[u8]) -> Option<Platform> {
    #[derive(serde::Deserialize)]
    struct Config {
        os: String,
        architecture: String,
        variant: Option<String>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    let variant = config
        .variant
        .filter(|v| !v.is_empty())
        .map(|v| format!("/{v}"));
    format!(
        "{}/{}{}",
        config.os,
        config.architecture,
        variant.unwrap_or_default()
    )
    .parse()
    .ok()
}

fn parse_platforms(platforms: Option<&[String]>) -> Vec<Platform> {
    // The request has checked them.
    platforms
        .unwrap_or_default()
        .iter()
        .filter_map(|platform| platform.parse().ok())
        .collect()
}

/// The digests that a lock names, if it is a lock of this very request.
fn check_pins<'l>(
    request: &Request,
    lock: &'l Lock,
) -> Result<HashMap<&'l str, &'l LockedImage>, CreateError> {
    let stale = |why: String| Err(CreateError::Lock(why));
    let mut rest: HashMap<&str, &LockedImage> = lock
        .images
        .iter()
        .map(|image| (image.reference.as_str(), image))
        .collect();
    let mut pins = HashMap::new();
    for image in &request.images {
        let name = image.reference.to_string();
        let Some((reference, locked)) = rest.remove_entry(name.as_str()) else {
            return stale(format!("{name} is not in it"));
        };
        if locked.requested_platforms != parse_platforms(image.platforms.as_deref()) {
            return stale(format!("{name} has other platforms in it"));
        }
        if image
            .reference
            .digest()
            .is_some_and(|pinned| pinned != locked.digest)
        {
            return stale(format!("{name} has another digest in it"));
        }
        pins.insert(reference, locked);
    }
    if let Some(extra) = rest.keys().min() {
        return stale(format!("{extra} is in it and no longer asked for"));
    }
    if lock.platforms != parse_platforms(request.platforms.as_deref()) {
        return stale("the platforms have changed".to_owned());
    }
    Ok(pins)
}
