//! Lock, root, signatures and layout, out of what was resolved.

use std::collections::HashMap;

use bytes::Bytes;

use super::{CreateError, DEFAULT_NAME, DEFAULT_VERSION, Resolved, ResolvedChart, ResolvedImage};
use crate::{
    bundle::{
        API_VERSION, BundleError, BundleInfo, Entry, EntryKind, LOCK_TYPE, Lock, LockedChart,
        LockedFile, LockedImage, MAX_METADATA_BYTES, MAX_SIGNATURES, Name, Origin, Plan, Root,
        SIGNATURE_TYPE, Walk, artifact_descriptor, artifact_manifest, check_lock, files_artifact,
        root_descriptor,
    },
    oci::{Descriptor, Digest, EMPTY_CONTENT, Reference, canonical_json::CanonicalJsonError},
    request::{self, Request},
    trust::SigningKey,
};

/// What the root says of the program that made it.
pub const TOOL: &str = concat!("sneakernet ", env!("CARGO_PKG_VERSION"));

/// A bundle's metadata, complete.
#[derive(Debug)]
pub struct Assembled {
    /// The lock.
    pub lock: Lock,
    /// The root.
    pub root: Root,
    /// The root's bytes.
    pub root_bytes: Bytes,
    /// The bytes of `index.json`.
    pub index_json: Vec<u8>,
    /// Contents and layout.
    pub plan: Plan,
    /// What was resolved.
    pub resolved: Resolved,
}

impl Assembled {
    /// The digest that identifies the bundle.
    pub fn root_digest(&self) -> Digest {
        Digest::sha256_of(&self.root_bytes)
    }

    /// Bytes of unique content.
    pub fn content_size(&self) -> u64 {
        self.plan
            .contents
            .members()
            .iter()
            .map(|member| member.size)
            .sum()
    }
}

/// Puts everything together that does not need the layers.
pub(super) fn assemble(
    request: &Request,
    mut resolved: Resolved,
    pins: Option<&Lock>,
    now: i64,
    keys: &[SigningKey],
) -> Result<Assembled, CreateError> {
    let created = match pins {
        Some(lock) => lock.created.clone(),
        None => jiff::Timestamp::from_second(now)
            .map_err(|error| CreateError::Lock(error.to_string()))?
            .to_string(),
    };
    let name = Name {
        name: request
            .name
            .clone()
            .unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        version: request
            .version
            .clone()
            .unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
    };
    let mut entries: Vec<Entry> = resolved
        .images
        .iter()
        .map(|image| Entry {
            kind: image.kind,
            reference: Some(image.requested.reference.clone()),
            descriptor: image.descriptor.clone(),
        })
        .collect();
    entries.extend(resolved.charts.iter().map(|chart| Entry {
        kind: EntryKind::Chart,
        reference: Some(chart.reference.clone()),
        descriptor: chart.descriptor.clone(),
    }));
    let files: Vec<LockedFile> = resolved.files.iter().map(|f| f.locked.clone()).collect();
    entries.extend(own_entries(&mut resolved, &files).map_err(BundleError::from)?);
    let mut root = Root {
        info: BundleInfo {
            name: name.name.clone(),
            version: name.version.clone(),
            created: created.clone(),
            tool: TOOL.to_owned(),
            unsigned: keys.is_empty(),
        },
        lock: Descriptor::empty(),
        entries,
    };
    root.sort_entries();
    let sizes = content_sizes(&root, &resolved)?;
    let lock = Lock {
        charts: locked_charts(&resolved, &sizes),
        referrer_types: request.referrers.in_lock(),
        releases: resolved.releases.clone(),
        api_version: API_VERSION.to_owned(),
        kind: "Lock".to_owned(),
        metadata: name,
        created,
        platforms: platforms(request.platforms.as_deref()),
        images: locked_images(&resolved, &sizes),
        files,
        absent: resolved.absent.values().cloned().collect(),
    };
    let mut own = Own {
        contents: &mut resolved.contents,
        members: Vec::new(),
    };
    let lock_bytes = lock.to_bytes().map_err(BundleError::from)?;
    let lock_len = lock_bytes.len();
    let (lock_descriptor, lock_parts) = own.artifact(LOCK_TYPE, lock_bytes, None)?;
    root.lock = lock_descriptor;
    let root_bytes = root.to_bytes().map_err(BundleError::from)?;
    let subject = root_descriptor(&root_bytes);
    own.take(subject.digest, root_bytes.clone());
    own.members.extend(lock_parts);
    let mut signatures = Vec::new();
    for key in keys {
        let signature = key.sign_root(&root_bytes)?.to_json();
        let (descriptor, parts) = own.artifact(SIGNATURE_TYPE, signature, Some(&subject))?;
        // The same key given twice signs the same bytes: once is enough.
        if !signatures.contains(&descriptor) {
            own.members.extend(parts);
            signatures.push(descriptor);
        }
    }
    let members = own.members;
    let index_json = root
        .index_json(&root_bytes, &signatures)
        .map_err(BundleError::from)?;
    // A bundle that no reader takes must not leave.
    for (what, len) in [
        ("the lock", lock_len),
        ("the root", root_bytes.len()),
        ("index.json", index_json.len()),
    ] {
        let (size, most) = (len as u64, MAX_METADATA_BYTES);
        if size > most {
            return Err(BundleError::TooLarge { what, size, most }.into());
        }
    }
    if signatures.len() > MAX_SIGNATURES {
        let (what, size, most) = ("the list of signatures", signatures.len(), MAX_SIGNATURES);
        let (size, most) = (size as u64, most as u64);
        return Err(BundleError::TooLarge { what, size, most }.into());
    }
    check_readable(&root, &root_bytes, &lock)?;
    let contents = walk(members, &root, &resolved)?;
    let plan = Plan::new(&index_json, contents)?;
    Ok(Assembled {
        lock,
        root,
        root_bytes: Bytes::from(root_bytes),
        index_json,
        plan,
        resolved,
    })
}

/// What a reader would refuse must not be written.
fn check_readable(root: &Root, root_bytes: &[u8], lock: &Lock) -> Result<(), CreateError> {
    let bytes = lock.to_bytes().map_err(BundleError::from)?;
    Lock::parse(&bytes).map_err(|error| CreateError::Unreadable(error.to_string()))?;
    Root::parse(root_bytes).map_err(BundleError::from)?;
    Ok(check_lock(root, lock)?)
}

/// The bundle's own members, in order, with their content.
struct Own<'a> {
    contents: &'a mut HashMap<Digest, Bytes>,
    members: Vec<(Digest, u64)>,
}

impl Own<'_> {
    fn take(&mut self, digest: Digest, content: Vec<u8>) {
        self.members.push((digest, content.len() as u64));
        self.contents.insert(digest, Bytes::from(content));
    }

    /// Keeps the content of one of our artifacts; gives its descriptor and its members in order.
    fn artifact(
        &mut self,
        artifact_type: &str,
        content: Vec<u8>,
        subject: Option<&Descriptor>,
    ) -> Result<(Descriptor, Vec<(Digest, u64)>), CreateError> {
        let layer = Descriptor::of(artifact_type, &content);
        let manifest = artifact_manifest(artifact_type, std::slice::from_ref(&layer), subject)
            .map_err(BundleError::from)?;
        let descriptor = artifact_descriptor(artifact_type, &manifest);
        let empty = Descriptor::empty();
        let parts = [
            (descriptor.digest, Bytes::from(manifest)),
            (empty.digest, Bytes::from_static(EMPTY_CONTENT)),
            (layer.digest, Bytes::from(content)),
        ];
        let members = parts
            .iter()
            .map(|(digest, part)| (*digest, part.len() as u64))
            .collect();
        self.contents.extend(parts);
        Ok((descriptor, members))
    }
}

/// Makes the artifacts of files and releases.
fn own_entries(
    resolved: &mut Resolved,
    files: &[LockedFile],
) -> Result<Vec<Entry>, CanonicalJsonError> {
    let mut entries = Vec::new();
    let mut take = |kind, descriptor: Descriptor, parts: Vec<Vec<u8>>| {
        for part in parts {
            let digest = Digest::sha256_of(&part);
            resolved.contents.insert(digest, Bytes::from(part));
        }
        entries.push(Entry {
            kind,
            reference: None,
            descriptor,
        });
    };
    if !files.is_empty() {
        let (descriptor, manifest) = files_artifact(files)?;
        take(EntryKind::Files, descriptor, vec![manifest]);
    }
    for release in &resolved.releases {
        let mut charts = resolved.charts.iter();
        // Each release was made with its chart.
        if let Some(chart) = charts.find(|chart| chart.reference.to_string() == release.chart) {
            let made = release.artifact(&chart.descriptor)?;
            let parts = vec![made.manifest, made.document];
            take(EntryKind::Release, made.descriptor, parts);
        }
    }
    Ok(entries)
}

/// How much content hangs on each reference.
fn content_sizes(root: &Root, resolved: &Resolved) -> Result<HashMap<Reference, u64>, CreateError> {
    // This needs the graph; it is the same whatever the bundle's own members are.
    let contents = walk(Vec::new(), root, resolved)?;
    let size = |id: &u32| -> u64 {
        let closure = contents.closure(*id).into_iter();
        closure.map(|id| contents.member(id).size).sum()
    };
    let entries = root.entries.iter().zip(contents.entries());
    Ok(entries
        .filter_map(|(entry, id)| Some((entry.reference.clone()?, size(id))))
        .collect())
}

/// What the lock says of each image, sorted as the root is.
fn locked_images(resolved: &Resolved, sizes: &HashMap<Reference, u64>) -> Vec<LockedImage> {
    let locked = |image: &ResolvedImage| LockedImage {
        reference: image.requested.reference.to_string(),
        as_written: image.requested.reference.as_written().to_owned(),
        media_type: image.descriptor.media_type.clone(),
        digest: image.descriptor.digest,
        size: image.descriptor.size,
        content_size: sizes.get(&image.requested.reference).copied().unwrap_or(0),
        platforms: image.platforms.clone(),
        requested_platforms: platforms(image.requested.platforms.as_deref()),
        requested_by: image.requested.origins.iter().map(origin).collect(),
    };
    let mut images: Vec<_> = resolved.images.iter().map(locked).collect();
    images.sort_by(|a, b| a.reference.cmp(&b.reference));
    images
}

/// What the lock says of each chart, sorted as the root is.
fn locked_charts(resolved: &Resolved, sizes: &HashMap<Reference, u64>) -> Vec<LockedChart> {
    let locked = |chart: &ResolvedChart| LockedChart {
        content_size: sizes.get(&chart.reference).copied().unwrap_or(0),
        requested_by: chart.origins.iter().map(origin).collect(),
        ..chart.locked.clone()
    };
    let mut charts: Vec<_> = resolved.charts.iter().map(locked).collect();
    charts.sort_by(|a, b| a.reference.cmp(&b.reference));
    charts
}

fn walk(
    own: Vec<(Digest, u64)>,
    root: &Root,
    resolved: &Resolved,
) -> Result<crate::bundle::Contents, CreateError> {
    let mut walk =
        Walk::new(own, root, resolved.absent.keys().copied()).map_err(BundleError::from)?;
    while let Some(member) = walk.next_document() {
        // Everything that is not left out was fetched when it was resolved.
        let content = resolved
            .contents
            .get(&member.digest)
            .cloned()
            .unwrap_or_default();
        walk.supply(&content).map_err(BundleError::from)?;
    }
    Ok(walk.finish().map_err(BundleError::from)?)
}

fn platforms(requested: Option<&[String]>) -> Vec<crate::oci::Platform> {
    requested
        .unwrap_or_default()
        .iter()
        .filter_map(|platform| platform.parse().ok())
        .collect()
}

fn origin(origin: &request::Origin) -> Origin {
    match origin {
        request::Origin::Argument => Origin::Argument,
        request::Origin::Rendered {
            release,
            object,
            path,
            template,
        } => Origin::Rendered {
            release: release.clone(),
            object: object.clone(),
            path: path.clone(),
            template: template.clone(),
        },
        request::Origin::Suggested { release, path } => Origin::Suggested {
            release: release.clone(),
            path: path.clone(),
        },
        request::Origin::Operator { operator, path } => Origin::Operator {
            operator: operator.clone(),
            path: path.clone(),
        },
        request::Origin::Referrer { subject } => Origin::Referrer {
            subject: subject.clone(),
        },
        request::Origin::File { file, line } => Origin::File {
            path: file.clone(),
            line: u32::try_from(*line).unwrap_or(u32::MAX),
        },
    }
}
