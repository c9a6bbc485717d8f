//! Blobs: each is sent once, and mounted where else it is needed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    BlobCounts, LoadError, LoadRequest,
    plan::{LoadPlan, PlannedBlob},
};
use crate::{
    bundle::{BundleError, Chunk, FileArchive, Member, MemberId, ReadAt, StreamArchive},
    oci::{Digest, Repository},
    open::Medium,
    progress::Progress,
    registry::{BlobSource, ChunkedUpload, Client, Mount, RegistryError},
};

/// Pieces of a blob that are read ahead.
const CHUNKS_AHEAD: usize = 8;
/// How often the progress of a blob is shown.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

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
                    pusher.from_file(archive, blob)
                })
                .await?;
        }
        Medium::Stream(archive) => pusher.from_stream(archive).await?,
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
    async fn from_file<R: ReadAt>(
        &self,
        archive: &Arc<FileArchive<R>>,
        blob: &PlannedBlob,
    ) -> Result<(), LoadError> {
        let member = *archive.metadata().plan.contents.member(blob.id);
        let source: Arc<dyn BlobSource> = Arc::new(FromFile {
            archive: Arc::clone(archive),
            id: blob.id,
        });
        let first = &blob.repositories[0];
        if !blob.present {
            self.send(first, blob, &member, Arc::clone(&source)).await?;
        }
        for repository in &blob.repositories[1..] {
            if !self.mount(repository, first, blob, &member).await? {
                self.send(repository, blob, &member, Arc::clone(&source))
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
    ) -> Result<(), LoadError> {
        let image = self.image(blob);
        let item = self.progress.item(&image, member.size);
        let read = Arc::new(AtomicU64::new(0));
        let counted = Arc::new(Counted {
            source,
            read: Arc::clone(&read),
        });
        let push = self
            .client
            .push_blob(repository, &member.digest, member.size, counted);
        tokio::pin!(push);
        let mut shown = 0;
        // What is sent again after a failure was shown already.
        let mut show = |reached: u64| {
            self.progress.advance(item, reached.saturating_sub(shown));
            shown = shown.max(reached);
        };
        let mut ticks = tokio::time::interval(SHOW_INTERVAL);
        loop {
            tokio::select! {
                pushed = &mut push => break pushed.map_err(|error| self.failed(blob, error))?,
                _ = ticks.tick() => show(read.load(Ordering::Relaxed)),
            }
        }
        show(member.size);
        self.progress.finish_item(item);
        self.count_sent(member.size);
        Ok(())
    }

    fn count_sent(&self, size: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// Lets the destination take a blob from another of its repositories. False means that it has
    /// to be sent.
    async fn mount(
        &self,
        repository: &Repository,
        from: &Repository,
        blob: &PlannedBlob,
        member: &Member,
    ) -> Result<bool, LoadError> {
        let mount = self
            .client
            .mount_blob(repository, &member.digest, from.path())
            .await;
        match mount.map_err(|error| self.failed(blob, error))? {
            Mount::Mounted => {
                self.mounted.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Mount::Refused(_) => {
                let exists = self
                    .client
                    .blob_exists(repository, &member.digest, member.size);
                exists.await.map_err(|error| self.failed(blob, error))
            }
        }
    }

    /// Takes everything as it comes.
    async fn from_stream<R: io::Read + Send>(
        &self,
        archive: &mut StreamArchive<R>,
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
                    if let Some(Upload::Chunked(upload)) = upload {
                        upload.cancel().await;
                    }
                    return Err(match at {
                        Some(blob) => self.damaged(blob, error),
                        None => self.damaged_somewhere(error),
                    });
                }
            };
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
            let source = Arc::new(InMemory(content));
            self.send(&blob.repositories[0], blob, &member, source)
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
                .send(first, blob, &member, Arc::new(InMemory(chunk.bytes)))
                .await;
        }
        if upload.is_none() {
            let session = self
                .client
                .begin_upload(first, &member.digest, member.size)
                .await;
            let session = session.map_err(|error| self.failed(blob, error))?;
            *upload = Some(Upload::Chunked(Box::new(session)));
        }
        let Some(Upload::Chunked(session)) = upload else {
            return Ok(());
        };
        let bytes = chunk.bytes.len() as u64;
        session
            .write(chunk.bytes)
            .await
            .map_err(|error| self.failed_in_pipe(blob, error))?;
        let item = self.progress.item(&self.image(blob), member.size);
        self.progress.advance(item, bytes);
        self.progress.finish_item(item);
        if chunk.last
            && let Some(Upload::Chunked(session)) = upload.take()
        {
            session
                .finish()
                .await
                .map_err(|error| self.failed_in_pipe(blob, error))?;
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
            if !self.mount(repository, first, blob, &member).await? {
                // The pipe has gone on: the destination's own copy is the source now.
                let source = FromRegistry {
                    client: self.client.clone(),
                    repository: first.clone(),
                    digest: member.digest,
                    size: member.size,
                };
                self.send(repository, blob, &member, Arc::new(source))
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
                Err(error) => self.damaged(blob, BundleError::Io(error)),
            },
            error => LoadError::at(&self.plan.images[blob.image as usize].destination())(error),
        }
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
enum Upload {
    Chunked(Box<ChunkedUpload>),
}

fn is_own(plan: &crate::bundle::Plan, id: MemberId) -> bool {
    plan.contents.member(id).class == crate::bundle::Class::Own
}

type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + 'a>>;

/// A source, and how far it has been read.
struct Counted {
    source: Arc<dyn BlobSource>,
    read: Arc<AtomicU64>,
}

impl BlobSource for Counted {
    fn open(&self, from: u64) -> Opening<'_> {
        self.read.store(from, Ordering::Relaxed);
        let read = Arc::clone(&self.read);
        let count = move |piece: &io::Result<Bytes>| {
            if let Ok(piece) = piece {
                read.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        };
        Box::pin(async move { Ok(self.source.open(from).await?.inspect(count).boxed()) })
    }
}

/// A member of a bundle in a file.
struct FromFile<R> {
    archive: Arc<FileArchive<R>>,
    id: MemberId,
}

impl<R: ReadAt> BlobSource for FromFile<R> {
    fn open(&self, from: u64) -> Opening<'_> {
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

/// Content that is in memory.
struct InMemory(Bytes);

impl BlobSource for InMemory {
    fn open(&self, from: u64) -> Opening<'_> {
        let rest = self.0.slice(from as usize..);
        Box::pin(async move { Ok(stream::once(async move { Ok(rest) }).boxed()) })
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
    fn open(&self, from: u64) -> Opening<'_> {
        Box::pin(async move {
            let opened =
                self.client
                    .blob(&self.repository, &self.digest, from..self.size, self.size);
            let blob = opened.await.map_err(io::Error::other)?;
            let pieces = stream::try_unfold(blob, |mut blob| async move {
                let piece = blob.chunk().await.map_err(io::Error::other)?;
                Ok(piece.map(|piece| (piece, blob)))
            });
            Ok(pieces.boxed())
        })
    }
}
