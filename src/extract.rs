//! `extract`: a plain OCI image layout, for tools that read nothing else.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    bundle::{BundleError, EntryKind, Lock, LockedFile, MemberId, tar},
    oci::{Reference, canonical_json, media_type},
    open::Medium,
    progress::Progress,
};

/// Why nothing was extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The target exists.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// An image is not in the bundle.
    #[error("{0} is not in the bundle")]
    NotThere(Reference),
    /// A file has a name that no file can have.
    #[error("{0}")]
    Name(String),
    /// The bundle is damaged.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// Writing failed.
    #[error("{}: {error}", path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl ExtractError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("name a directory that does not exist yet".into()),
            Self::NotThere(_) => Some("bundle inspect lists what is in it".into()),
            Self::Bundle(error) => error.hint(),
            Self::Name(_) | Self::Write { .. } => None,
        }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// Images in the layout.
    pub images: Vec<Reference>,
    /// Plain files beside it.
    pub files: Vec<PathBuf>,
    /// Bytes of content.
    pub bytes: u64,
}

/// Writes the images and charts of a bundle (all, or those of `only`) as an OCI image layout to the new
/// directory `target`. With all of them come the plain files (`target/files`), the charts' archives
/// (`target/charts`) and the values files (`target/values/NAMESPACE/RELEASE`).
///
/// # Errors
/// When the target exists, an image is not there, the bundle is damaged or writing fails. The target appears only
/// when it is complete.
pub fn extract(
    medium: &mut Medium,
    only: &[Reference],
    target: &Path,
    progress: &dyn Progress,
) -> Result<Extracted, ExtractError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ExtractError::Write { path, error }
    };
    if fs::symlink_metadata(target).is_ok() {
        return Err(ExtractError::Exists(target.to_owned()));
    }
    let parent = target
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Under another name until it is complete; removed if it never is.
    let work = tempfile::Builder::new()
        .prefix(".bundle-extract-")
        .tempdir_in(parent)
        .map_err(failed(parent))?;
    let selection = select(medium, only)?;
    let layout = work.path();
    let index = index_json(medium, &selection.images)?;
    for (name, content) in [
        ("oci-layout", crate::bundle::OCI_LAYOUT),
        ("index.json", &index),
    ] {
        let path = layout.join(name);
        fs::write(&path, content).map_err(failed(&path))?;
    }
    let mut bytes = 0;
    progress.start(selection.bytes(medium));
    selection.each(medium, |name, content, last| {
        let path = layout.join(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed(directory))?;
        }
        let opened = File::options().create(true).append(true).open(&path);
        let mut file = opened.map_err(failed(&path))?;
        file.write_all(content).map_err(failed(&path))?;
        if last {
            file.sync_all().map_err(failed(&path))?;
        }
        bytes += content.len() as u64;
        let item = progress.item(name, content.len() as u64);
        progress.advance(item, content.len() as u64);
        progress.finish_item(item);
        Ok(())
    })?;
    progress.finish();
    let files = plain_files(medium, &selection, layout).map_err(failed(layout))?;
    let made = work.keep();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&made, permissions).map_err(failed(&made))?;
    if let Err(error) = fs::rename(&made, target) {
        // The directory was complete; only its name could not be given.
        let _ = fs::remove_dir_all(&made);
        return Err(ExtractError::Write {
            path: target.to_owned(),
            error,
        });
    }
    Ok(Extracted {
        images: selection
            .images
            .iter()
            .map(|(reference, ..)| reference.clone())
            .collect(),
        files: files.into_iter().map(|path| target.join(path)).collect(),
        bytes,
    })
}

/// What is to be written.
struct Selection {
    images: Vec<(Reference, EntryKind, MemberId)>,
    /// What is written: that of the images, and plain files.
    members: BTreeSet<MemberId>,
    of_images: BTreeSet<MemberId>,
    /// Where they are written, and what.
    files: Vec<(PathBuf, MemberId)>,
}

fn select(medium: &Medium, only: &[Reference]) -> Result<Selection, ExtractError> {
    let metadata = medium.metadata();
    let contents = &metadata.plan.contents;
    let mut selection = Selection {
        images: Vec::new(),
        members: BTreeSet::new(),
        of_images: BTreeSet::new(),
        files: Vec::new(),
    };
    for (entry, top) in metadata.root.entries.iter().zip(contents.entries()) {
        match &entry.reference {
            Some(reference) if only.is_empty() || only.contains(reference) => {
                let image = (reference.clone(), entry.kind, *top);
                selection.images.push(image);
                selection.of_images.extend(contents.closure(*top));
            }
            _ => {}
        }
    }
    if only.is_empty() {
        for (directory, file) in named_files(&metadata.lock) {
            let Some(id) = contents.find(&file.digest) else {
                continue;
            };
            // Only a single path component is a name: the request checked it, and a foreign bundle
            // is checked here.
            crate::request::check_file_name(&file.name)
                .map_err(|error| ExtractError::Name(error.to_string()))?;
            selection.files.push((directory.join(&file.name), id));
            selection.members.insert(id);
        }
    }
    let missing = only
        .iter()
        .find(|wanted| !selection.images.iter().any(|(found, ..)| found == *wanted));
    selection.members.extend(&selection.of_images);
    match missing {
        Some(missing) => Err(ExtractError::NotThere(missing.clone())),
        None => Ok(selection),
    }
}

/// All files of a bundle that have names, with the directories that they are written to.
fn named_files(lock: &Lock) -> Vec<(PathBuf, &LockedFile)> {
    let files = lock.files.iter().map(|file| (PathBuf::from("files"), file));
    let charts = lock.charts.iter();
    let charts = charts.map(|chart| (PathBuf::from("charts"), &chart.archive));
    let values = lock.releases.iter().flat_map(|release| {
        // Both are labels, which the lock's reader has checked.
        let directory = Path::new("values")
            .join(&release.namespace)
            .join(&release.name);
        let values = release.values.iter();
        values.map(move |file| (directory.clone(), file))
    });
    files.chain(charts).chain(values).collect()
}

impl Selection {
    fn bytes(&self, medium: &Medium) -> u64 {
        let contents = &medium.metadata().plan.contents;
        self.members
            .iter()
            .map(|id| contents.member(*id).size)
            .sum()
    }

    /// Gives every selected member in pieces: name, content, whether it is the last piece.
    fn each(
        &self,
        medium: &mut Medium,
        mut write: impl FnMut(&str, &[u8], bool) -> Result<(), ExtractError>,
    ) -> Result<(), ExtractError> {
        let contents = std::sync::Arc::clone(&medium.metadata().plan.contents);
        let name = |id: MemberId| tar::blob_name(&contents.member(id).digest);
        match medium {
            Medium::File(archive) => {
                for id in &self.members {
                    let mut reader = archive.blob(*id);
                    let mut left = contents.member(*id).size;
                    if left == 0 {
                        write(&name(*id), &[], true)?;
                    }
                    while let Some(chunk) = reader.next_chunk()? {
                        left -= chunk.len() as u64;
                        write(&name(*id), &chunk, left == 0)?;
                    }
                }
            }
            Medium::Stream(archive) => {
                for id in &self.members {
                    if contents.member(*id).class <= crate::bundle::Class::Document {
                        write(&name(*id), &archive.read_kept(*id)?, true)?;
                    }
                }
                while let Some(chunk) = archive.next_chunk()? {
                    if self.members.contains(&chunk.id) {
                        write(&name(chunk.id), &chunk.bytes, chunk.last)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// An index with each image under its reference, and under containerd's name for container images.
fn index_json(
    medium: &Medium,
    images: &[(Reference, EntryKind, MemberId)],
) -> Result<Vec<u8>, ExtractError> {
    let contents = &medium.metadata().plan.contents;
    let manifests: Vec<_> = images
        .iter()
        .map(|(reference, kind, id)| {
            let member = contents.member(*id);
            let mut listed = json!({
                "mediaType": contents.media_type(*id),
                "digest": member.digest,
                "size": member.size,
                "annotations": {"org.opencontainers.image.ref.name": reference.to_string()},
            });
            if *kind == EntryKind::Image {
                listed["annotations"]["io.containerd.image.name"] = json!(reference.to_string());
            }
            listed
        })
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": manifests,
    });
    Ok(canonical_json::to_vec(&index).map_err(BundleError::from)?)
}

/// Gives the files their names, beside the layout's blobs.
fn plain_files(medium: &Medium, selection: &Selection, layout: &Path) -> io::Result<Vec<PathBuf>> {
    let contents = &medium.metadata().plan.contents;
    let mut paths = Vec::new();
    for (path, id) in &selection.files {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(layout.join(directory))?;
        }
        let blob = layout.join(tar::blob_name(&contents.member(*id).digest));
        let to = layout.join(path);
        if fs::symlink_metadata(&to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::copy(blob, to)?;
        paths.push(path.clone());
    }
    for (_, id) in &selection.files {
        // It may be a part of an image or a chart as well.
        if selection.of_images.contains(id) {
            continue;
        }
        let blob = layout.join(tar::blob_name(&contents.member(*id).digest));
        // Two files may have the same content.
        match fs::remove_file(blob) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(paths)
}
