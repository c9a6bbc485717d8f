//! Blobs: each is sent once, and mounted where else it is needed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    BlobCounts, LoadError, LoadRequest,
    handoff::Passing,
    plan::{LoadPlan, PlannedBlob},
};
use crate::{
    bundle::{BundleError, Chunk, FileArchive, Member, MemberId, ReadAt, StreamArchive},
    oci::{Digest, Repository},
    open::Medium,
    progress::{ItemId, Progress},
    registry::{BlobSource, ChunkedUpload, Client, Mount, OpenBlob, RegistryError, UploadSession},
};

/// Pieces of a blob that are read ahead.
const CHUNKS_AHEAD: usize = 8;

/// What one load does with blobs.
struct Pusher<'a> {
    client: &'a Client,
    plan: &'a LoadPlan,
    progress: &'a dyn Progress,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    mounted: AtomicU64,
    to_send: u64,
}

/// Sends all blobs that the destination lacks.
///
/// # Errors
/// When the bundle is damaged or the destination fails. Nothing refers to what was sent until then.
pub(super) async fn push(
    client: &Client,
    medium: &mut Medium,
    plan: &LoadPlan,
    request: &LoadRequest,
    passing: &mut Passing,
    progress: &dyn Progress,
) -> Result<BlobCounts, LoadError> {
    let (to_send, bytes) = plan.to_send(medium);
    let pusher = Pusher {
        client,
        plan,
        progress,
        sent: AtomicU64::new(0),
        sent_bytes: AtomicU64::new(0),
        mounted: AtomicU64::new(0),
        to_send,
    };
    progress.start(bytes);
    match medium {
        Medium::File(archive) => {
            stream::iter(plan.blobs.iter().map(Ok))
                .try_for_each_concurrent(request.concurrency.max(1), |blob| {
                    pusher.push_file(archive, blob)
                })
                .await?;
        }
        Medium::Stream(archive) => pusher.push_stream(archive, passing).await?,
    }
    progress.finish();
    Ok(BlobCounts {
        sent: pusher.sent.into_inner(),
        sent_bytes: pusher.sent_bytes.into_inner(),
        mounted: pusher.mounted.into_inner(),
        present: plan.blobs.iter().filter(|blob| blob.present).count() as u64,
    })
}

impl Pusher<'_> {
    async fn push_file<R: ReadAt>(
        &self,
        archive: &Arc<FileArchive<R>>,
        blob: &PlannedBlob,
    ) -> Result<(), LoadError> {
        let member = *archive.metadata().plan.contents.member(blob.id);
        let source = || -> Arc<dyn BlobSource> {
            Arc::new(FromFile {
                archive: Arc::clone(archive),
                id: blob.id,
            })
        };
        let first = &blob.repositories[0];
        if !blob.present {
            self.send(first, blob, &member, source(), None).await?;
        }
        for repository in &blob.repositories[1..] {
            if let Missing::Yes(session) = self.mount(repository, first, blob, &member).await? {
                self.send(repository, blob, &member, source(), session)
                    .await?;
            }
        }
        Ok(())
    }

    /// Sends one blob to one repository from a source that can be read again.
    async fn send(
        &self,
        repository: &Repository,
        blob: &PlannedBlob,
        member: &Member,
        source: Arc<dyn BlobSource>,
        session: Option<UploadSession>,
    ) -> Result<(), LoadError> {
        let item = self.progress.item(&self.image(blob), member.size);
        let (report, mut progress) = mpsc::unbounded_channel();
        let source = Arc::new(Watched {
            inner: source,
            furthest: Arc::default(),
            report,
        });
        let (digest, size) = (&member.digest, member.size);
        let push = self
            .client
            .push_blob_in(repository, digest, size, source, session);
        tokio::pin!(push);
        let pushed = loop {
            tokio::select! {
                pushed = &mut push => break pushed,
                Some(bytes) = progress.recv() => self.progress.advance(item, bytes),
            }
        };
        while let Ok(bytes) = progress.try_recv() {
            self.progress.advance(item, bytes);
        }
        self.progress.finish_item(item);
        pushed.map_err(|error| self.failed(blob, error))?;
        self.count_sent(size);
        Ok(())
    }

    fn count_sent(&self, size: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// Lets the destination take a blob from another of its repositories.
    async fn mount(
        &self,
        repository: &Repository,
        from: &Repository,
        blob: &PlannedBlob,
        member: &Member,
    ) -> Result<Missing, LoadError> {
        let mount = self
            .client
            .mount_blob(repository, &member.digest, from.path())
            .await;
        match mount.map_err(|error| self.failed(blob, error))? {
            Mount::Mounted => {
                // Some registries say that they mounted what they do not have.
                let exists = self
                    .client
                    .blob_exists(repository, &member.digest, member.size);
                if !exists.await.map_err(|error| self.failed(blob, error))? {
                    return Ok(Missing::Yes(None));
                }
                self.mounted.fetch_add(1, Ordering::Relaxed);
                Ok(Missing::No)
            }
            Mount::Refused(session) => {
                let exists = self
                    .client
                    .blob_exists(repository, &member.digest, member.size);
                if exists.await.map_err(|error| self.failed(blob, error))? {
                    if let Some(session) = session {
                        self.client.cancel_upload(repository, session).await;
                    }
                    return Ok(Missing::No);
                }
                Ok(Missing::Yes(session))
            }
        }
    }

    /// Takes everything as it comes.
    async fn push_stream<R: io::Read + Send>(
        &self,
        archive: &mut StreamArchive<R>,
        passing: &mut Passing,
    ) -> Result<(), LoadError> {
        let plan = archive.metadata().plan.clone();
        let mut wanted = self.plan.blobs.iter().peekable();
        let mut upload: Option<Upload> = None;
        // The bundle's own members precede everything; an image may need one (the empty config).
        while let Some(blob) = wanted.next_if(|blob| is_own(&plan, blob.id)) {
            let content = archive
                .read_kept(blob.id)
                .map_err(|e| self.damaged(blob, e))?;
            self.whole(&plan, blob, content).await?;
        }
        loop {
            let at = wanted.peek().copied().or(self.plan.blobs.last());
            let next = tokio::task::block_in_place(|| archive.next_chunk());
            let chunk = match next {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    if let Some(upload) = upload {
                        upload.session.cancel().await;
                    }
                    return Err(match at {
                        Some(blob) => self.damaged(blob, error),
                        None => self.damaged_somewhere(error),
                    });
                }
            };
            passing.see(chunk.id, &chunk.bytes);
            let Some(blob) = wanted.peek().copied().filter(|blob| blob.id == chunk.id) else {
                continue;
            };
            let last = chunk.last;
            if !blob.present {
                self.take(&plan, blob, chunk, &mut upload).await?;
            }
            if last {
                self.spread(&plan, blob).await?;
                wanted.next();
            }
        }
        debug_assert!(wanted.peek().is_none(), "the stream brought every blob");
        Ok(())
    }

    async fn whole(
        &self,
        plan: &crate::bundle::Plan,
        blob: &PlannedBlob,
        content: Bytes,
    ) -> Result<(), LoadError> {
        let member = *plan.contents.member(blob.id);
        if !blob.present {
            let source = Arc::new(content);
            self.send(&blob.repositories[0], blob, &member, source, None)
                .await?;
        }
        self.spread(plan, blob).await
    }

    /// Sends one piece of a blob that comes from a pipe.
    async fn take(
        &self,
        plan: &crate::bundle::Plan,
        blob: &PlannedBlob,
        chunk: Chunk,
        upload: &mut Option<Upload>,
    ) -> Result<(), LoadError> {
        let member = *plan.contents.member(blob.id);
        let first = &blob.repositories[0];
        if chunk.offset == 0 && chunk.last {
            return self
                .send(first, blob, &member, Arc::new(chunk.bytes), None)
                .await;
        }
        let Upload { session, item } = match upload {
            Some(upload) => upload,
            None => {
                let session = self
                    .client
                    .begin_upload(first, &member.digest, member.size)
                    .await;
                let session = session.map_err(|error| self.failed(blob, error))?;
                let item = self.progress.item(&self.image(blob), member.size);
                upload.insert(Upload { session, item })
            }
        };
        let bytes = chunk.bytes.len() as u64;
        session
            .write(chunk.bytes)
            .await
            .map_err(|error| self.failed_in_pipe(blob, error))?;
        self.progress.advance(*item, bytes);
        if chunk.last
            && let Some(Upload { session, item }) = upload.take()
        {
            session
                .finish()
                .await
                .map_err(|error| self.failed_in_pipe(blob, error))?;
            self.progress.finish_item(item);
            self.count_sent(member.size);
        }
        Ok(())
    }

    /// Brings a blob that is in the first repository into the others.
    async fn spread(
        &self,
        plan: &crate::bundle::Plan,
        blob: &PlannedBlob,
    ) -> Result<(), LoadError> {
        let member = *plan.contents.member(blob.id);
        let first = &blob.repositories[0];
        for repository in &blob.repositories[1..] {
            if let Missing::Yes(session) = self.mount(repository, first, blob, &member).await? {
                // The pipe has gone on: the destination's own copy is the source now.
                let source = FromRegistry {
                    client: self.client.clone(),
                    repository: first.clone(),
                    digest: member.digest,
                    size: member.size,
                };
                self.send(repository, blob, &member, Arc::new(source), session)
                    .await?;
            }
        }
        Ok(())
    }

    fn image(&self, blob: &PlannedBlob) -> String {
        self.plan.images[blob.image as usize].source.to_string()
    }

    /// Tells damage that showed while reading from a failure of the destination.
    fn failed(&self, blob: &PlannedBlob, error: RegistryError) -> LoadError {
        match error {
            RegistryError::Source(error) => match error.downcast::<BundleError>() {
                Ok(error) => self.damaged(blob, error),
                // The destination's own copy was the source.
                Err(error) => match error.downcast::<RegistryError>() {
                    Ok(error) => self.refused(blob, error),
                    Err(error) => self.damaged(blob, BundleError::Io(error)),
                },
            },
            error => self.refused(blob, error),
        }
    }

    fn refused(&self, blob: &PlannedBlob, error: RegistryError) -> LoadError {
        LoadError::at(&self.plan.images[blob.image as usize].destination())(error)
    }

    fn failed_in_pipe(&self, blob: &PlannedBlob, error: RegistryError) -> LoadError {
        match error {
            RegistryError::ChunkedUnsupported { .. } | RegistryError::UploadLost { .. } => {
                LoadError::PipeOnce {
                    error: Box::new(error),
                }
            }
            error => self.failed(blob, error),
        }
    }

    fn damaged(&self, blob: &PlannedBlob, error: BundleError) -> LoadError {
        let sent = self.sent.load(Ordering::Relaxed);
        LoadError::Damaged {
            error,
            image: self.image(blob),
            sent,
            of: self.to_send,
        }
    }

    fn damaged_somewhere(&self, error: BundleError) -> LoadError {
        let name = "standard input".to_owned();
        LoadError::Open(crate::open::OpenError::Bundle { name, error })
    }
}

/// A blob from a pipe on its way.
struct Upload {
    session: ChunkedUpload,
    item: ItemId,
}

/// Whether a repository lacks a blob that could not be mounted; a session may be open for it.
enum Missing {
    No,
    Yes(Option<UploadSession>),
}

/// Tells how far a source was read; what is read once more counts once.
struct Watched {
    inner: Arc<dyn BlobSource>,
    furthest: Arc<AtomicU64>,
    report: mpsc::UnboundedSender<u64>,
}

impl BlobSource for Watched {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        Box::pin(async move {
            let (report, furthest) = (self.report.clone(), Arc::clone(&self.furthest));
            let mut at = from;
            let watched = self.inner.open(from).await?.inspect_ok(move |bytes| {
                at += bytes.len() as u64;
                let before = furthest.fetch_max(at, Ordering::Relaxed);
                if at > before {
                    // Nobody listens any more when the push is over.
                    let _ = report.send(at - before);
                }
            });
            Ok(watched.boxed())
        })
    }
}

fn is_own(plan: &crate::bundle::Plan, id: MemberId) -> bool {
    plan.contents.member(id).class == crate::bundle::Class::Own
}

/// A member of a bundle in a file.
struct FromFile<R> {
    archive: Arc<FileArchive<R>>,
    id: MemberId,
}

impl<R: ReadAt> BlobSource for FromFile<R> {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        let mut reader = self.archive.blob(self.id);
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_AHEAD);
        // A thread reads and hashes ahead of the network; it ends when nobody listens any more.
        spawn_blocking(move || {
            let mut skip = from;
            loop {
                let piece = match reader.next_chunk() {
                    Ok(None) => return,
                    Ok(Some(mut bytes)) => {
                        let skipped = skip.min(bytes.len() as u64);
                        skip -= skipped;
                        let bytes = bytes.split_off(skipped as usize);
                        if bytes.is_empty() {
                            continue;
                        }
                        Ok(bytes)
                    }
                    Err(BundleError::Io(error)) => Err(error),
                    Err(error) => Err(io::Error::other(error)),
                };
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        Box::pin(async move { Ok(pieces.boxed()) })
    }
}

/// A blob that the destination has in another repository.
struct FromRegistry {
    client: Client,
    repository: Repository,
    digest: Digest,
    size: u64,
}

impl BlobSource for FromRegistry {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        Box::pin(async move {
            let range = from..self.size;
            // It is sent to the same host, so neither may wait for the other.
            let opened =
                self.client
                    .blob_beside_others(&self.repository, &self.digest, range, self.size);
            let blob = opened.await.map_err(io::Error::other)?;
            let pieces = stream::try_unfold(blob, |mut blob| async move {
                let piece = blob.chunk().await.map_err(io::Error::other)?;
                Ok(piece.map(|piece| (piece, blob)))
            });
            Ok(pieces.boxed())
        })
    }
}
