//! The hand-off of a load: the directory with everything that the installation needs beside the
//! registry, and the check that it will find its images there.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};

use super::{
    LoadError, LoadRequest,
    plan::{LoadPlan, PlannedImage},
};
use crate::{
    bundle::{BundleError, Class, LockedChart, LockedFile, MemberId, Release},
    check::{self, Brought, CheckedRelease},
    handoff::{
        self, BundleName, Destination, Handoff, HandoffFile, Input, MovedChart, MovedImage,
        record::{MAX_RECORD_BYTES, RECORD_FILE, Record, RecordedImage, RecordedRelease},
    },
    helm::{chart::Chart, render::Helm},
    installation::Installation,
    oci::Digest,
    open::Medium,
    progress::Progress,
    registry::Client,
};

/// What a hand-off is made of beside the bundle.
#[derive(Clone, Debug)]
pub struct HandoffRequest {
    /// The directory; it does not exist, is empty, or is a hand-off.
    pub directory: PathBuf,
    /// The name of the secret with the registry's credentials.
    pub pull_secret: String,
    /// The file with the registry's certificate authority, where nodes will have it.
    pub ca_file: Option<String>,
    /// The `helm` to check with, if there is one.
    pub helm: Option<Helm>,
}

/// What was handed off.
#[derive(Clone, Debug)]
pub struct HandedOff {
    /// The directory.
    pub directory: PathBuf,
    /// The files in it, sorted.
    pub files: Vec<String>,
    /// What could not be written or needs a decision.
    pub notes: Vec<String>,
    /// The releases, if they were checked.
    pub checked: Vec<CheckedRelease>,
    /// The commands that install the releases, in order.
    pub commands: Vec<String>,
}

/// Values files that pass by in a pipe; a bundle in a file is asked for them later.
#[derive(Debug, Default)]
pub(super) struct Passing {
    wanted: HashSet<MemberId>,
    taken: HashMap<MemberId, BytesMut>,
}

impl Passing {
    /// What has to be kept of a pipe.
    pub(super) fn of(medium: &Medium, request: &LoadRequest) -> Self {
        let Medium::Stream(archive) = medium else {
            return Self::default();
        };
        if request.handoff.is_none() {
            return Self::default();
        }
        let metadata = archive.metadata();
        let contents = &metadata.plan.contents;
        let values = metadata.lock.releases.iter().flat_map(|r| &r.values);
        let ids = values.filter_map(|file| contents.find(&file.digest));
        // Documents stay readable.
        let blobs = ids.filter(|id| contents.member(*id).class > Class::Document);
        Self {
            wanted: blobs.collect(),
            taken: HashMap::new(),
        }
    }

    /// A piece passes by.
    pub(super) fn see(&mut self, id: MemberId, bytes: &[u8]) {
        if self.wanted.contains(&id) {
            self.taken.entry(id).or_default().extend_from_slice(bytes);
        }
    }
}

/// Refuses a directory that holds something else, before anything is sent.
pub(super) fn check_directory(request: &HandoffRequest) -> Result<(), LoadError> {
    let path = &request.directory;
    let failed = |error| LoadError::HandoffWrite {
        path: path.clone(),
        error,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_dir() => {
            return Err(LoadError::HandoffDirectory(path.clone()));
        }
        Ok(_) => {}
    }
    let mut entries = fs::read_dir(path).map_err(failed)?;
    if entries.next().is_none() {
        return Ok(());
    }
    let is_handoff = || {
        let file = fs::File::open(path.join(RECORD_FILE)).ok()?;
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_RECORD_BYTES), &mut content).ok()?;
        Record::parse(&content).ok()
    };
    if is_handoff().is_some() {
        return Ok(());
    }
    Err(LoadError::HandoffDirectory(path.clone()))
}

/// Makes the hand-off, writes it, and checks it where there is a `helm`.
pub(super) async fn make(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    passing: Passing,
    request: &LoadRequest,
    options: &HandoffRequest,
    progress: &dyn Progress,
) -> Result<HandedOff, LoadError> {
    let source = Source {
        client,
        medium,
        plan,
        passing,
    };
    let images: Vec<MovedImage> = source.images();
    let mut charts = Vec::new();
    let releases = &medium.metadata().lock.releases;
    for release in releases {
        charts.push(source.moved_chart(release).await?);
    }
    let metadata = medium.metadata();
    let input = Input {
        bundle: BundleName {
            name: &metadata.lock.metadata.name,
            version: &metadata.lock.metadata.version,
            root: metadata.root_digest(),
        },
        to: Destination {
            host: request.relocation.to.host(),
            prefix: request.relocation.to.prefix(),
            plain_http: client.speaks_plain_http(request.relocation.to.host()),
            ca_file: options.ca_file.as_deref(),
        },
        layout: request.relocation.layout.into(),
        has_map_rules: !request.relocation.rules.is_empty(),
        images: &images,
        charts: &charts,
        pull_secret: &options.pull_secret,
    };
    let mut made = handoff::files(&input)?;
    made.files.push(HandoffFile {
        path: RECORD_FILE.to_owned(),
        content: source.record(&input, &made, releases)?,
    });
    made.files.sort_by(|a, b| a.path.cmp(&b.path));
    write(&options.directory, &made.files)?;
    let files: Vec<String> = made.files.iter().map(|file| file.path.clone()).collect();
    progress.step(
        "wrote",
        &format!(
            "{}  {}",
            options.directory.display(),
            crate::human::count(files.len(), "file", "files")
        ),
    );
    let mut notes = made.notes.clone();
    let mut checked = Vec::new();
    match &options.helm {
        Some(helm) => {
            let brought = brought(&input, &made);
            for (release, handed) in releases.iter().zip(&made.releases) {
                let (_, chart) = source.chart(release)?;
                if let Some(tag) = &chart.tag {
                    check::check_chart(client, &chart.repository, tag, chart.digest).await?;
                }
                let installation = source.installation(release).await?;
                let overlay = &handed.overlay.yaml;
                let done = check::check(client, helm, &installation, overlay, &brought).await?;
                checked.extend(done);
            }
        }
        None if !releases.is_empty() => notes.push(
            "no helm was found here, so the charts were not rendered: `bundle check` does that later"
                .to_owned(),
        ),
        None => {}
    }
    Ok(HandedOff {
        directory: options.directory.clone(),
        files,
        notes,
        checked,
        commands: made.releases.into_iter().map(|r| r.command).collect(),
    })
}

/// What a load has brought, as the check wants to know it.
fn brought(input: &Input<'_>, made: &Handoff) -> Brought {
    let mut brought = Brought::new(made.mirrored_hosts.iter().cloned());
    for image in input.images {
        brought.add(&image.source, &image.destination, image.digest);
    }
    brought
}

/// Where everything is found that the hand-off needs.
struct Source<'a> {
    client: &'a Client,
    medium: &'a Medium,
    plan: &'a LoadPlan,
    passing: Passing,
}

impl Source<'_> {
    fn images(&self) -> Vec<MovedImage> {
        let locked = &self.medium.metadata().lock.images;
        let platforms = |source: &str| {
            let found = locked.iter().find(|image| image.reference == source);
            let platforms = found.map(|image| image.platforms.as_slice());
            platforms
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let images = self.plan.images.iter();
        // A chart and what belongs to it is nothing that nodes pull.
        images
            .filter(|image| !image.of_chart)
            .map(|image| MovedImage {
                source: image.source.clone(),
                destination: image.repository.clone(),
                tag: image.tag.clone(),
                digest: image.digest,
                platforms: platforms(&image.source.to_string()),
            })
            .collect()
    }

    async fn moved_chart(&self, release: &Release) -> Result<MovedChart, LoadError> {
        let (locked, planned) = self.chart(release)?;
        let installation = self.installation(release).await?;
        let settings = release.relocate.iter();
        Ok(MovedChart {
            name: locked.name.clone(),
            version: locked.version.clone(),
            destination: planned.repository.clone(),
            digest: locked.digest,
            values: installation.merged_values()?,
            user_values: installation.values,
            release: release.name.clone(),
            namespace: release.namespace.clone(),
            kube_version: release.kube_version.clone(),
            set: settings
                .map(|setting| (setting.path.clone(), setting.value.clone()))
                .collect(),
        })
    }

    /// What `check` needs to do the same again.
    fn record(
        &self,
        input: &Input<'_>,
        made: &Handoff,
        releases: &[Release],
    ) -> Result<Vec<u8>, LoadError> {
        let metadata = self.medium.metadata();
        let (api_version, kind) = Record::heading();
        let images = input.images.iter().map(|image| RecordedImage {
            source: image.source.to_string(),
            repository: image.destination.to_string(),
            digest: image.digest,
        });
        let releases = releases
            .iter()
            .zip(&made.releases)
            .map(|(release, handed)| {
                let (chart, planned) = self.chart(release)?;
                Ok::<_, LoadError>(RecordedRelease {
                    release: release.clone(),
                    repository: planned.repository.to_string(),
                    chart: chart.digest,
                    archive: chart.archive.digest,
                    archive_size: chart.archive.size,
                    values: handed.values_paths.clone(),
                    overlay: handed.overlay_path.clone(),
                })
            });
        let record = Record {
            api_version,
            kind,
            bundle: metadata.lock.metadata.clone(),
            root: metadata.root_digest(),
            destination: input.to.place(),
            mirrored_hosts: made.mirrored_hosts.clone(),
            images: images.collect(),
            releases: releases.collect::<Result<_, _>>()?,
        };
        record.to_bytes().map_err(|error| LoadError::HandoffChart {
            chart: RECORD_FILE.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The chart of a release. That it is there was checked with the lock.
    fn chart(&self, release: &Release) -> Result<(&LockedChart, &PlannedImage), LoadError> {
        let missing = || LoadError::HandoffChart {
            chart: release.chart.clone(),
            reason: "it is not in the bundle".to_owned(),
        };
        let mut locked = self.medium.metadata().lock.charts.iter();
        let locked = locked.find(|chart| chart.reference == release.chart);
        let mut planned = self.plan.images.iter();
        let planned = planned.find(|image| image.source.to_string() == release.chart);
        Ok((locked.ok_or_else(missing)?, planned.ok_or_else(missing)?))
    }

    async fn installation(&self, release: &Release) -> Result<Installation, LoadError> {
        let (locked, planned) = self.chart(release)?;
        let archive = self.archive(&locked.archive, planned).await?;
        let chart = tokio::task::block_in_place(|| Chart::read(&archive));
        let chart = chart.map_err(|error| LoadError::HandoffChart {
            chart: release.chart.clone(),
            reason: error.to_string(),
        })?;
        let values = release.values.iter().map(|file| {
            let content = self.values(file)?;
            Ok::<_, LoadError>((file.name.clone(), content.to_vec()))
        });
        Ok(Installation {
            release: release.clone(),
            archive,
            chart,
            values: values.collect::<Result<_, _>>()?,
        })
    }

    /// A chart's archive: from the file, or, where a pipe has gone on, from the destination.
    async fn archive(&self, file: &LockedFile, planned: &PlannedImage) -> Result<Bytes, LoadError> {
        if let Medium::File(_) = self.medium {
            return self.member(&file.digest);
        }
        let wrong = |reason: String| LoadError::HandoffChart {
            chart: planned.destination(),
            reason,
        };
        if file.size > crate::helm::chart::MAX_ARCHIVE_BYTES as u64 {
            return Err(wrong("it is larger than any chart".to_owned()));
        }
        let blob = self
            .client
            .blob(&planned.repository, &file.digest, 0..file.size, file.size);
        let mut blob = blob.await.map_err(LoadError::at(&planned.destination()))?;
        let mut content = BytesMut::new();
        while let Some(chunk) = blob
            .chunk()
            .await
            .map_err(LoadError::at(&planned.destination()))?
        {
            content.extend_from_slice(&chunk);
        }
        if file.digest.of_same_algorithm(&content) != file.digest {
            return Err(wrong("the registry gives back something else".to_owned()));
        }
        Ok(content.freeze())
    }

    fn values(&self, file: &LockedFile) -> Result<Bytes, LoadError> {
        let contents = &self.medium.metadata().plan.contents;
        let taken = contents
            .find(&file.digest)
            .and_then(|id| self.passing.taken.get(&id));
        match taken {
            Some(taken) => Ok(taken.clone().freeze()),
            None => self.member(&file.digest),
        }
    }

    /// A member of a bundle in a file, whole.
    fn member(&self, digest: &Digest) -> Result<Bytes, LoadError> {
        let name = digest.to_string();
        let damaged = |error: BundleError| LoadError::Damaged {
            error,
            image: name.clone(),
            sent: 0,
            of: 0,
        };
        let contents = &self.medium.metadata().plan.contents;
        let id = contents
            .find(digest)
            .ok_or_else(|| damaged(BundleError::LockMismatch(format!("{name} is not there"))))?;
        let member = contents.member(id);
        if member.class.is_large()
            && let Medium::File(archive) = self.medium
        {
            if member.size > crate::helm::chart::MAX_ARCHIVE_BYTES as u64 {
                let most = crate::helm::chart::MAX_ARCHIVE_BYTES as u64;
                return Err(damaged(BundleError::TooLarge {
                    what: "a chart or a values file",
                    size: member.size,
                    most,
                }));
            }
            return tokio::task::block_in_place(|| {
                let mut content = BytesMut::new();
                let mut reader = archive.blob(id);
                while let Some(chunk) = reader.next_chunk().map_err(damaged)? {
                    content.extend_from_slice(&chunk);
                }
                Ok(content.freeze())
            });
        }
        self.medium.document(id).map_err(damaged)
    }
}

/// Writes the files beside the directory first; it gets its name when all are there.
fn write(directory: &Path, files: &[HandoffFile]) -> Result<(), LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| LoadError::HandoffWrite { path, error }
    };
    let parent = directory.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let work = tempfile::Builder::new()
        .prefix(".bundle-handoff-")
        .tempdir_in(parent)
        .map_err(failed(parent))?;
    for file in files {
        let path = work.path().join(&file.path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed(directory))?;
        }
        // Values may hold what only their owner should read.
        let mode = if file.path.starts_with("values") {
            0o600
        } else {
            0o644
        };
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut opened| opened.write_all(&file.content))
            .map_err(failed(&path))?;
    }
    let made = work.keep();
    let replace = || -> io::Result<()> {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&made, permissions)?;
        // It was looked at before: absent, empty, or a hand-off.
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&made, directory)
    };
    replace().map_err(|error| {
        // The next run makes it anew.
        let _ = fs::remove_dir_all(&made);
        failed(directory)(error)
    })
}
