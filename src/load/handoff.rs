//! The hand-off of a load: the directory with everything that the installation needs beside the
//! registry, and the check that it will find its images there.
//!
//! Releases are taken one at a time: the values of one may be as large as everything else together.

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};

use super::{
    HandoffFault, LoadError, LoadRequest,
    directory::{HandoffPlace, Work},
    plan::{ImageState, PlannedImage},
};
use crate::{
    bundle::{BundleError, Class, EntryKind, LockedChart, MemberId, Release},
    check::{Brought, Checked, CheckedChart, Checker},
    handoff::{
        BundleName, Destination, Findings, HandoffFile, Input, Maker, MovedChart, MovedImage,
        OnlyByMirror,
        record::{RECORD_FILE, Record, RecordedImage, RecordedRelease},
    },
    helm::{chart::MAX_ARCHIVE_BYTES, render::Helm},
    installation::{ArchiveError, ArchivedChart, Installation},
    oci::{Digest, Reference},
    open::Medium,
    progress::Progress,
    registry::Client,
};

/// What a hand-off is made of beside the bundle.
#[derive(Clone, Debug)]
pub struct HandoffRequest {
    /// The directory; it does not exist, is empty, or is a hand-off as it was written.
    pub directory: std::path::PathBuf,
    /// The name of the secret with the registry's credentials.
    pub pull_secret: String,
    /// The file with the registry's certificate authority, where nodes will have it.
    pub ca_file: Option<String>,
    /// The registry's certificate authority in PEM, for those who install.
    pub certificate: Option<Vec<u8>>,
    /// The `helm` to check with, if there is one.
    pub helm: Option<Helm>,
}

/// What was handed off.
#[derive(Debug)]
pub struct HandedOff {
    /// The directory.
    pub directory: std::path::PathBuf,
    /// The files in it, sorted.
    pub files: Vec<String>,
    /// What could not be written or needs a decision.
    pub notes: Vec<String>,
    /// What was checked; in a rehearsal what can be known before anything is sent.
    pub checked: Checked,
    /// Images that only a mirror brings to nodes.
    pub only_by_mirror: Vec<OnlyByMirror>,
    /// The commands that install the releases, in order.
    pub commands: Vec<String>,
}

/// Most bytes of values files that are kept of a pipe. A lock with more has been refused.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Values files that pass by in a pipe; a bundle in a file is asked for them later.
#[derive(Debug, Default)]
pub(super) struct Passing {
    wanted: HashSet<MemberId>,
    taken: HashMap<MemberId, BytesMut>,
    bytes: usize,
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
            ..Self::default()
        }
    }

    /// A piece passes by.
    pub(super) fn see(&mut self, id: MemberId, bytes: &[u8]) {
        if self.wanted.contains(&id) && self.bytes + bytes.len() <= MAX_KEPT_BYTES {
            self.bytes += bytes.len();
            self.taken.entry(id).or_default().extend_from_slice(bytes);
        }
    }
}

/// A hand-off for which everything has been checked that can be before the first request.
#[derive(Debug)]
pub(super) struct Prepared {
    work: Work,
}

impl Prepared {
    /// Checks names and settings, and makes the directory to work in.
    ///
    /// # Errors
    /// When a name cannot be used, or nothing can be written where the hand-off is to be.
    pub(super) fn new(
        medium: &Medium,
        images: &[PlannedImage],
        request: &LoadRequest,
        options: &HandoffRequest,
    ) -> Result<Self, LoadError> {
        let source = Source::new(medium, images, Passing::default());
        let charts = source.moved_charts().map_err(LoadError::Handoff)?;
        let moved = source.moved_images();
        let input = input(medium, request, options, &moved, &charts);
        Maker::new(input).map_err(|error| LoadError::Handoff(error.into()))?;
        let place = HandoffPlace::find(&options.directory)?;
        Ok(Self {
            work: match request.dry_run {
                true => place.rehearse(),
                false => place.begin()?,
            },
        })
    }
}

fn input<'a>(
    medium: &'a Medium,
    request: &'a LoadRequest,
    options: &'a HandoffRequest,
    images: &'a [MovedImage],
    charts: &'a [MovedChart],
) -> Input<'a> {
    let metadata = medium.metadata();
    Input {
        bundle: BundleName {
            name: &metadata.lock.metadata.name,
            version: &metadata.lock.metadata.version,
            root: metadata.root_digest(),
        },
        to: Destination {
            host: request.relocation.to.host(),
            prefix: request.relocation.to.prefix(),
            plain_http: false,
            ca_file: options.ca_file.as_deref(),
        },
        layout: request.relocation.layout.into(),
        has_map_rules: !request.relocation.rules.is_empty(),
        images,
        kept: &[],
        charts,
        pull_secret: &options.pull_secret,
        certificate: options.certificate.as_deref(),
    }
}

/// Makes the hand-off, checks it where there is a `helm`, and writes it.
///
/// # Errors
/// When it cannot be made or written. What the check finds is no error here.
#[expect(
    clippy::too_many_arguments,
    reason = "all of them are what a load has at its end"
)]
pub(super) async fn make(
    client: &Client,
    medium: &Medium,
    images: &[PlannedImage],
    passing: Passing,
    request: &LoadRequest,
    options: &HandoffRequest,
    prepared: Prepared,
    progress: &dyn Progress,
) -> Result<HandedOff, HandoffFault> {
    let mut work = prepared.work;
    let source = Source::new(medium, images, passing);
    let moved = source.moved_images();
    let charts = source.moved_charts()?;
    let kept = source.kept();
    let mut input = input(medium, request, options, &moved, &charts);
    input.to.plain_http = client.speaks_plain_http(request.relocation.to.host());
    input.kept = &kept;
    let mut maker = Maker::new(input.clone())?;
    let mut brought = Brought::new(maker.mirrored_hosts());
    for image in &moved {
        brought.add(&image.source, &image.destination, image.digest);
    }
    let asked = (!request.dry_run).then_some(client);
    let checker = Checker::new(asked, options.helm.as_ref(), &brought);
    let mut findings = Findings {
        checked: options.helm.is_some(),
        notes: source.notes(options),
        ..Findings::default()
    };
    let mut checked = Checked::default();
    let releases = &medium.metadata().lock.releases;
    for release in releases {
        let (locked, planned) = source.chart(release)?;
        let archive = source.archive(client, locked, planned).await?;
        let Some(archive) = archive else {
            findings.notes.push(format!(
                "release {}: its chart was not read, so its values do not say where the images are: \
                 load from a file, or let the chart's tag be replaced",
                release.name
            ));
            for file in maker.release(serde_json::Value::Null, source.values(release)?)? {
                work.write(&file)?;
            }
            let chart = checked_chart(&checker, planned, locked).await;
            checked.releases.push(checker.unread(release, chart));
            continue;
        };
        // Large values are parsed, merged and written out again.
        let mut installation =
            tokio::task::block_in_place(|| source.installation(release, archive))?;
        let files = tokio::task::block_in_place(|| {
            let values = installation.merged_values();
            let values = values.map_err(|error| HandoffFault::Values {
                release: release.name.clone(),
                error,
            })?;
            // Whoever renders it needs the archive only.
            installation.chart.values = serde_json::Value::Null;
            installation.chart.dependencies.clear();
            let contents = installation
                .values
                .iter()
                .map(|(_, content)| content.clone());
            Ok::<_, HandoffFault>(maker.release(values, contents.collect())?)
        })?;
        for file in &files {
            work.write(file)?;
        }
        let overlay = files.into_iter().next().unwrap_or(HandoffFile {
            path: String::new(),
            content: Vec::new(),
        });
        let overlay = String::from_utf8_lossy(&overlay.content).into_owned();
        let chart = checked_chart(&checker, planned, locked).await;
        let done = checker.release(release, chart, async || Ok((installation, overlay)));
        checked.releases.push(done.await);
    }
    if !request.dry_run {
        checked.others = checker.others().await;
    }
    findings.only_by_mirror = checked.only_by_mirror();
    for release in &checked.releases {
        if let Some(why) = release.rendering.why_not()
            && options.helm.is_some()
        {
            findings
                .notes
                .push(format!("release {}: {why}", release.release));
        }
    }
    let mirrored_hosts = maker.mirrored_hosts();
    let made = maker.finish(&findings)?;
    for file in &made.files {
        work.write(file)?;
    }
    let recorded = releases
        .iter()
        .zip(&made.releases)
        .map(|(release, handed)| {
            let (chart, planned) = source.chart(release)?;
            Ok::<_, HandoffFault>(RecordedRelease {
                release: release.clone(),
                repository: planned.repository.to_string(),
                chart: chart.digest,
                archive: chart.archive.digest,
                archive_size: chart.archive.size,
                values: handed.values_paths.clone(),
                overlay: handed.overlay_path.clone(),
            })
        });
    let (api_version, kind) = Record::heading();
    let record = Record {
        api_version,
        kind,
        bundle: medium.metadata().lock.metadata.clone(),
        root: medium.metadata().root_digest(),
        destination: input.to.place(),
        mirrored_hosts,
        images: moved
            .iter()
            .map(|image| RecordedImage {
                source: image.source.to_string(),
                repository: image.destination.to_string(),
                digest: image.digest,
            })
            .collect(),
        releases: recorded.collect::<Result<_, _>>()?,
        checked: findings.checked,
        only_by_mirror: findings.only_by_mirror.clone(),
        files: work.files().to_vec(),
    };
    let content = record.to_bytes().map_err(|error| HandoffFault::Chart {
        chart: RECORD_FILE.to_owned(),
        reason: error.to_string(),
    })?;
    work.write(&HandoffFile {
        path: RECORD_FILE.to_owned(),
        content,
    })?;
    let files: Vec<String> = work.files().iter().map(|file| file.path.clone()).collect();
    work.finish()?;
    if !request.dry_run {
        let count = crate::human::count(files.len(), "file", "files");
        progress.step(
            "wrote",
            &format!("{}  {count}", options.directory.display()),
        );
    }
    Ok(HandedOff {
        directory: options.directory.clone(),
        files,
        notes: made.notes,
        checked,
        only_by_mirror: findings.only_by_mirror,
        commands: made.releases.into_iter().map(|r| r.command).collect(),
    })
}

async fn checked_chart(
    checker: &Checker<'_>,
    planned: &PlannedImage,
    locked: &LockedChart,
) -> Option<CheckedChart> {
    let tag = planned.tag.as_ref()?;
    checker.chart(&planned.repository, tag, locked.digest).await
}

/// Where everything is found that the hand-off needs.
struct Source<'a> {
    medium: &'a Medium,
    images: &'a [PlannedImage],
    /// Places of charts in `images`, by reference.
    charts: HashMap<String, usize>,
    passing: Passing,
}

impl<'a> Source<'a> {
    fn new(medium: &'a Medium, images: &'a [PlannedImage], passing: Passing) -> Self {
        let charts = images.iter().enumerate();
        let charts = charts.filter(|(_, image)| image.kind == EntryKind::Chart);
        Self {
            medium,
            images,
            charts: charts
                .map(|(at, chart)| (chart.source.to_string(), at))
                .collect(),
            passing,
        }
    }

    fn moved_images(&self) -> Vec<MovedImage> {
        // Sorted by reference; a lock that is not has been refused.
        let locked = &self.medium.metadata().lock.images;
        let platforms = |source: &str| {
            let found = locked.binary_search_by(|image| image.reference.as_str().cmp(source));
            let platforms = found.ok().map(|at| locked[at].platforms.as_slice());
            platforms
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let images = self.images.iter();
        images
            .filter(|image| image.is_for_nodes)
            .map(|image| MovedImage {
                source: image.source.clone(),
                destination: image.repository.clone(),
                tag: image.tag.clone(),
                digest: image.digest,
                platforms: platforms(&image.source.to_string()),
            })
            .collect()
    }

    /// Names from before of what was not pushed, because a tag at the destination was kept.
    fn kept(&self) -> Vec<Reference> {
        let kept = self.images.iter();
        let kept = kept.filter(|image| matches!(image.state, ImageState::Keep(_)));
        kept.map(|image| image.source.clone()).collect()
    }

    /// What is to be known whatever the charts are.
    fn notes(&self, options: &HandoffRequest) -> Vec<String> {
        let mut notes = Vec::new();
        for image in self.images {
            if let ImageState::Keep(found) = image.state {
                notes.push(format!(
                    "{} was kept: it is {}, and what the bundle has ({}) was not pushed",
                    image.destination(),
                    found.short(),
                    image.digest.short()
                ));
            }
        }
        let releases = &self.medium.metadata().lock.releases;
        if options.helm.is_none() && !releases.is_empty() {
            notes.push(
                "no helm was found here, so the charts were not rendered and nothing was checked; \
                 the bundle does not say which images need a mirror (`bundle create` said so): \
                 `bundle check` tells, where there is a helm"
                    .to_owned(),
            );
        }
        notes
    }

    /// All charts of releases, without their values.
    fn moved_charts(&self) -> Result<Vec<MovedChart>, HandoffFault> {
        let releases = self.medium.metadata().lock.releases.iter();
        let charts = releases.map(|release| {
            let (locked, planned) = self.chart(release)?;
            let settings = release.relocate.iter();
            let values = release.values.iter();
            Ok(MovedChart {
                name: locked.name.clone(),
                version: locked.version.clone(),
                destination: planned.repository.clone(),
                digest: locked.digest,
                values: serde_json::Value::Null,
                user_values: values.map(|file| (file.name.clone(), Vec::new())).collect(),
                release: release.name.clone(),
                namespace: release.namespace.clone(),
                kube_version: release.kube_version.clone(),
                set: settings
                    .map(|setting| (setting.path.clone(), setting.value.clone()))
                    .collect(),
            })
        });
        charts.collect()
    }

    /// The chart of a release. That it is there was checked with the lock.
    fn chart(
        &self,
        release: &Release,
    ) -> Result<(&'a LockedChart, &'a PlannedImage), HandoffFault> {
        let missing = || HandoffFault::Chart {
            chart: release.chart.clone(),
            reason: "it is not in the bundle".to_owned(),
        };
        // Sorted by reference, as images are.
        let locked = &self.medium.metadata().lock.charts;
        let found = locked.binary_search_by(|chart| chart.reference.cmp(&release.chart));
        let locked = found.ok().map(|at| &locked[at]).ok_or_else(missing)?;
        let planned = self.charts.get(&release.chart).map(|at| &self.images[*at]);
        Ok((locked, planned.ok_or_else(missing)?))
    }

    fn installation(
        &self,
        release: &Release,
        archive: Bytes,
    ) -> Result<Installation, HandoffFault> {
        let (locked, _) = self.chart(release)?;
        let chart = archived(locked).read(&archive);
        let chart = chart.map_err(|error| HandoffFault::Chart {
            chart: release.chart.clone(),
            reason: error.to_string(),
        })?;
        let names = release.values.iter().map(|file| file.name.clone());
        Ok(Installation {
            release: release.clone(),
            archive,
            chart,
            values: names.zip(self.values(release)?).collect(),
        })
    }

    /// A chart's archive: from the file, or, where a pipe has gone on, from the destination. None
    /// where neither has it.
    async fn archive(
        &self,
        client: &Client,
        locked: &LockedChart,
        planned: &PlannedImage,
    ) -> Result<Option<Bytes>, HandoffFault> {
        if let Medium::File(_) = self.medium {
            return self.member(&locked.archive.digest).map(Some);
        }
        if matches!(planned.state, ImageState::Keep(_)) {
            return Ok(None);
        }
        let fetched = archived(locked).fetch(client, &planned.repository).await;
        fetched.map(Some).map_err(|error| match error {
            ArchiveError::Registry(error) => HandoffFault::Destination {
                place: planned.destination(),
                error,
            },
            error => HandoffFault::Chart {
                chart: planned.destination(),
                reason: error.to_string(),
            },
        })
    }

    /// The values files of a release.
    fn values(&self, release: &Release) -> Result<Vec<Vec<u8>>, HandoffFault> {
        let contents = &self.medium.metadata().plan.contents;
        let files = release.values.iter().map(|file| {
            let taken = contents.find(&file.digest);
            let taken = taken.and_then(|id| self.passing.taken.get(&id));
            match taken {
                Some(taken) => Ok(taken.to_vec()),
                None => self.member(&file.digest).map(Vec::from),
            }
        });
        files.collect()
    }

    /// A member of a bundle in a file, whole.
    fn member(&self, digest: &Digest) -> Result<Bytes, HandoffFault> {
        let name = digest.to_string();
        let damaged = HandoffFault::Damaged;
        let contents = &self.medium.metadata().plan.contents;
        let id = contents
            .find(digest)
            .ok_or_else(|| damaged(BundleError::LockMismatch(format!("{name} is not there"))))?;
        let member = contents.member(id);
        if member.class.is_large()
            && let Medium::File(archive) = self.medium
        {
            if member.size > MAX_ARCHIVE_BYTES {
                return Err(damaged(BundleError::TooLarge {
                    what: "a chart or a values file",
                    size: member.size,
                    most: MAX_ARCHIVE_BYTES,
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

fn archived(locked: &LockedChart) -> ArchivedChart<'_> {
    ArchivedChart {
        name: &locked.name,
        version: &locked.version,
        digest: locked.archive.digest,
        size: locked.archive.size,
    }
}
