//! Moving the contents into the bundle.
//!
//! The packed part is written in order, with small blobs fetched ahead. Stored blobs have known
//! places: each is written there as it arrives, several at once. Compressed blobs come last; their
//! pieces are fetched and compressed side by side and written in order. To standard output
//! everything goes the last way.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    Assembled, CreateError,
    output::Output,
    source::{Incoming, Sources},
};
use crate::{
    bundle::{
        BundleError, Class, Compressor, MemberId, PackedWriter, Plan, SeekTable, StoredWriter,
        WriteAt as _, salvage_compressed,
    },
    oci::{Digest, Hasher},
    progress::{ItemId, Progress},
    registry::{Client, RegistryError},
};

/// Frames of the ordered part that are in memory at once.
const FRAMES_AT_ONCE: usize = 3;
/// Pieces of a blob that wait to be written; the HTTP client makes them of up to 400 KiB. What waits
/// is lost if the program is killed.
const CHUNKS_AHEAD: usize = 4;
/// How often a blob whose content has not its digest is fetched again.
const ATTEMPTS: u32 = 3;

/// Moves the contents of one bundle.
pub(super) struct Transfer<'a> {
    assembled: &'a Arc<Assembled>,
    plan: Plan,
    sources: Sources<'a>,
    concurrency: usize,
    progress: &'a dyn Progress,
    fetched: AtomicU64,
}

/// Output that is written in order; gives itself back from each write, which blocks.
type Sink = Box<dyn Write + Send>;

/// What came of fetching one frame's content.
enum Piece {
    /// The content and the frame made of it.
    Ready { content: Bytes, frame: Vec<u8> },
    /// The registry gives no parts: the blob must be read as a whole.
    WholeOnly,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        client: &'a Client,
        assembled: &'a Arc<Assembled>,
        concurrency: usize,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            assembled,
            plan: assembled.plan.clone(),
            sources: Sources::new(client, assembled),
            concurrency: concurrency.max(1),
            progress,
            fetched: AtomicU64::new(0),
        }
    }

    /// Bytes fetched so far.
    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Writes everything; returns the size of the bundle in bytes.
    pub(super) async fn run(&self, output: &Output) -> Result<u64, CreateError> {
        let members = self.plan.contents.members();
        self.progress
            .start(members.iter().map(|member| member.size).sum());
        let size = match output {
            Output::Stdout => self.in_order().await,
            Output::File(partial) => self.in_places(&partial.file, partial.resumed).await,
        };
        self.progress.finish();
        size.map_err(|error| match (error, output.path()) {
            (CreateError::Bundle(BundleError::Io(error)), Some(path)) => {
                CreateError::Write { path, error }
            }
            (CreateError::Bundle(BundleError::Io(error)), None) => CreateError::Write {
                path: "standard output".into(),
                error,
            },
            (error, _) => error,
        })
    }

    async fn in_places(&self, file: &Arc<File>, resumed: bool) -> Result<u64, CreateError> {
        let sink = Box::new(FileAt {
            file: Arc::clone(file),
            at: 0,
        });
        let (_, mut sizes) = self.packed(sink).await?;
        let mut at: u64 = sizes.iter().map(|(len, _)| u64::from(*len)).sum();
        let mut stored = Vec::new();
        for id in self.plan.large(Class::Stored) {
            stored.push((id, at));
            at += self.plan.stored_len(id);
        }
        for number in sizes.len() as u32..self.plan.layout.frames() {
            let span = self.plan.layout.frame(number, &self.plan.contents);
            let Some(len) = span.stored_len() else { break };
            sizes.push((len as u32, span.content_len() as u32));
        }
        stream::iter(stored.into_iter().map(Ok))
            .try_for_each_concurrent(self.concurrency, |(id, at)| {
                self.stored(id, at, Arc::clone(file), resumed)
            })
            .await?;
        let before = sizes.len();
        let mut hasher = None;
        let mut end = at;
        if resumed {
            let (file, plan) = (Arc::clone(file), self.plan.clone());
            let next = before as u32;
            let salvaged = spawn_blocking(move || salvage_compressed(&file, &plan, next, at));
            let (kept, state) = joined(salvaged.await);
            end += kept.iter().map(|(len, _)| u64::from(*len)).sum::<u64>();
            sizes.extend(kept);
            hasher = state;
        }
        let mut kept = sizes.len() > before;
        // The blob whose content was wrong, and how often.
        let mut wrong = (None, 0);
        loop {
            let sink = Box::new(FileAt {
                file: Arc::clone(file),
                at: end,
            });
            let Err(error) = self.ordered(sink, &mut sizes, hasher.take()).await else {
                break;
            };
            // It may be what was kept of the blob that is wrong, and not what was fetched.
            let again = match error {
                CreateError::File { .. } => kept,
                CreateError::Content { .. } => true,
                _ => false,
            };
            if !again {
                return Err(error);
            }
            // All frames but the blob's last are there: again from its first.
            let number = sizes.len() as u32;
            let span = self.plan.layout.frame(number, &self.plan.contents);
            let id = span.member.expect("a frame behind the packed part");
            wrong = (Some(id), if wrong.0 == Some(id) { wrong.1 + 1 } else { 1 });
            if !kept && wrong.1 >= ATTEMPTS {
                return Err(error);
            }
            kept = false;
            sizes.truncate(self.plan.layout.frames_of(id).start as usize);
            end = sizes.iter().map(|(len, _)| u64::from(*len)).sum();
        }
        let table = SeekTable(sizes);
        let end = table.total();
        let bytes = table.encode();
        file.write_all_at(&bytes, end).map_err(BundleError::Io)?;
        let size = end + bytes.len() as u64;
        file.set_len(size).map_err(BundleError::Io)?;
        Ok(size)
    }

    async fn in_order(&self) -> Result<u64, CreateError> {
        let (sink, mut sizes) = self.packed(Box::new(io::stdout())).await?;
        let sink = self.ordered(sink, &mut sizes, None).await?;
        let table = SeekTable(sizes);
        let bytes = table.encode();
        let size = table.total() + bytes.len() as u64;
        let mut sink = write(sink, bytes).await?;
        joined(spawn_blocking(move || sink.flush()).await).map_err(BundleError::Io)?;
        Ok(size)
    }

    /// Writes the packed part: a thread of its own compresses while small blobs are fetched ahead.
    async fn packed(&self, sink: Sink) -> Result<(Sink, Vec<(u32, u32)>), CreateError> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
        let (plan, index_json) = (self.plan.clone(), self.assembled.index_json.clone());
        let writer = spawn_blocking(move || -> Result<_, BundleError> {
            let mut packed = PackedWriter::start(sink, plan, &index_json)?;
            while packed.wants().is_some() {
                match receiver.blocking_recv() {
                    Some(content) => packed.member(&content)?,
                    None => return Err(io::Error::from(io::ErrorKind::Interrupted).into()),
                }
            }
            packed.finish()
        });
        let members = self.plan.contents.members().iter().enumerate();
        let small = members.take_while(|(_, member)| !member.class.is_large());
        let mut contents = stream::iter(small.map(|(id, member)| async move {
            let id = id as MemberId;
            if let Some(content) = self.assembled.resolved.contents.get(&member.digest) {
                return Ok::<_, CreateError>(content.clone());
            }
            let item = self.progress.item(self.sources.label(id), member.size);
            let content = self.sources.small(id, member).await;
            self.fetched.fetch_add(member.size, Ordering::Relaxed);
            self.progress.advance(item, member.size);
            self.progress.finish_item(item);
            let content = content?;
            if member.digest.of_same_algorithm(&content) != member.digest {
                return Err(self.sources.content_error(id, member));
            }
            Ok(content)
        }))
        .buffered(self.concurrency);
        while let Some(content) = contents.try_next().await? {
            if sender.send(content).await.is_err() {
                // The writer has failed; its error is the one that counts.
                break;
            }
        }
        drop(sender);
        Ok(joined(writer.await)?)
    }

    /// Fetches one stored blob into its place.
    async fn stored(
        &self,
        id: MemberId,
        at: u64,
        file: Arc<File>,
        resumed: bool,
    ) -> Result<(), CreateError> {
        let member = self.plan.contents.member(id);
        let item = self.progress.item(self.sources.label(id), member.size);
        let mut keep = resumed;
        for _ in 0..ATTEMPTS {
            match self.store_once(id, at, &file, keep, item).await {
                Ok(digest) if digest == member.digest => {
                    self.progress.finish_item(item);
                    return Ok(());
                }
                Ok(_) => {}
                // What was kept cannot be completed where the registry gives no parts.
                Err(CreateError::Fetch {
                    error: RegistryError::RangeIgnored { .. },
                    ..
                }) if keep => {}
                Err(error) => return Err(error),
            }
            keep = false;
        }
        Err(self.sources.content_error(id, member))
    }

    /// Fetches what is missing of a blob and returns the digest of all of it.
    async fn store_once(
        &self,
        id: MemberId,
        at: u64,
        file: &Arc<File>,
        keep: bool,
        item: ItemId,
    ) -> Result<Digest, CreateError> {
        let member = self.plan.contents.member(id);
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
        let (tell, position) = oneshot::channel();
        let (plan, file) = (self.plan.clone(), Arc::clone(file));
        let writer = spawn_blocking(move || -> io::Result<Digest> {
            let mut writer = StoredWriter::start(file, plan, id, at, keep)?;
            // Nobody listens only when the run is being ended.
            let _ = tell.send(writer.position());
            while let Some(bytes) = receiver.blocking_recv() {
                writer.write(&bytes)?;
            }
            writer.finish()
        });
        // No position means that the writer failed at once; its error is read below.
        let fetched = match position.await {
            Ok(position) => {
                self.progress.advance(item, position);
                self.feed(id, position..member.size, sender, item).await
            }
            Err(_) => Ok(()),
        };
        let written = joined(writer.await);
        fetched.map_err(|error| self.sources.fetch_error(id, error))?;
        Ok(written.map_err(BundleError::Io)?)
    }

    async fn feed(
        &self,
        id: MemberId,
        range: std::ops::Range<u64>,
        sender: mpsc::Sender<Bytes>,
        item: ItemId,
    ) -> Result<(), RegistryError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut incoming = self
            .sources
            .open(id, self.plan.contents.member(id), range)
            .await?;
        while let Some(bytes) = incoming.chunk().await? {
            let count = bytes.len() as u64;
            self.fetched.fetch_add(count, Ordering::Relaxed);
            if sender.send(bytes).await.is_err() {
                // The writer has failed; its error is the one that counts.
                return Ok(());
            }
            self.progress.advance(item, count);
        }
        Ok(())
    }

    /// Writes all frames that are not in `sizes` yet, in order. `hasher` has the state of a blob of
    /// which some frames are there.
    async fn ordered(
        &self,
        mut sink: Sink,
        sizes: &mut Vec<(u32, u32)>,
        mut hasher: Option<Hasher>,
    ) -> Result<Sink, CreateError> {
        let plan = &self.plan;
        let rest = sizes.len() as u32..plan.layout.frames();
        let mut pieces =
            stream::iter(rest.map(|number| async move { (number, self.piece(number).await) }))
                .buffered(FRAMES_AT_ONCE.min(self.concurrency));
        let mut item = None;
        let mut whole: Option<(MemberId, Incoming, Bytes)> = None;
        while let Some((number, piece)) = pieces.next().await {
            let span = plan.layout.frame(number, &plan.contents);
            let id = span.member.expect("a frame behind the packed part");
            let member = plan.contents.member(id);
            let frames = plan.layout.frames_of(id);
            let shown = *item
                .get_or_insert_with(|| self.progress.item(self.sources.label(id), member.size));
            let reading = whole.as_ref().is_some_and(|(reading, ..)| *reading == id);
            let (content, frame) = match piece? {
                Piece::Ready { content, frame } if !reading => (content, frame),
                _ => {
                    let content = self.whole_piece(&mut whole, id, number).await?;
                    let frame = self.encode(number, content.clone()).await?;
                    (content, frame)
                }
            };
            self.fetched
                .fetch_add(content.len() as u64, Ordering::Relaxed);
            self.progress.advance(shown, content.len() as u64);
            if number == frames.start {
                hasher = Some(Hasher::new(member.digest.algorithm()));
            }
            let hash = hasher.get_or_insert_with(|| Hasher::new(member.digest.algorithm()));
            hash.update(&content);
            if number + 1 == frames.end {
                // Before the last frame is written: a wrong blob is never complete in the output.
                if hash.clone().finish() != member.digest {
                    return Err(self.sources.content_error(id, member));
                }
                self.progress.finish_item(shown);
                item = None;
            }
            sizes.push((frame.len() as u32, span.content_len() as u32));
            sink = write(sink, frame).await?;
        }
        Ok(sink)
    }

    /// Makes the frame of a piece of content.
    async fn encode(&self, number: u32, content: Bytes) -> Result<Vec<u8>, CreateError> {
        let plan = self.plan.clone();
        let frame = spawn_blocking(move || -> Result<Vec<u8>, BundleError> {
            let wrong = |error| BundleError::Frame {
                number,
                offset: 0,
                error,
            };
            let mut compressor = Compressor::new().map_err(wrong)?;
            plan.encode_large(number, &content, &mut compressor)
                .map_err(wrong)
        });
        Ok(joined(frame.await)?)
    }

    /// Fetches the content of one frame by itself, and makes the frame.
    async fn piece(&self, number: u32) -> Result<Piece, CreateError> {
        let span = self.plan.layout.frame(number, &self.plan.contents);
        let id = span.member.expect("a frame behind the packed part");
        let range = self.plan.content_of(number);
        let member = self.plan.contents.member(id);
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let fetch = async {
            let mut incoming = self.sources.open(id, member, range).await?;
            while let Some(chunk) = incoming.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(Bytes::from(bytes))
        };
        match fetch.await {
            Ok(content) => {
                let frame = self.encode(number, content.clone()).await?;
                Ok(Piece::Ready { content, frame })
            }
            Err(RegistryError::RangeIgnored { .. }) => Ok(Piece::WholeOnly),
            Err(error) => Err(self.sources.fetch_error(id, error)),
        }
    }

    /// The content of one frame out of the whole blob, for a registry that gives no parts.
    async fn whole_piece(
        &self,
        whole: &mut Option<(MemberId, Incoming, Bytes)>,
        id: MemberId,
        number: u32,
    ) -> Result<Bytes, CreateError> {
        let range = self.plan.content_of(number);
        let member = self.plan.contents.member(id);
        let failed = |error| self.sources.fetch_error(id, error);
        let mut skip = 0;
        if whole.as_ref().is_none_or(|(reading, ..)| *reading != id) {
            let incoming = self
                .sources
                .open_beside_others(id, member, 0..member.size)
                .await
                .map_err(failed)?;
            *whole = Some((id, incoming, Bytes::new()));
            skip = range.start;
        }
        let (_, incoming, rest) = whole.as_mut().expect("just opened");
        let mut content = Vec::with_capacity((range.end - range.start) as usize);
        while (content.len() as u64) < range.end - range.start {
            if rest.is_empty() {
                match incoming.chunk().await.map_err(failed)? {
                    Some(chunk) => *rest = chunk,
                    None => return Err(self.sources.content_error(id, member)),
                }
            }
            let skipped = skip.min(rest.len() as u64);
            let _ = rest.split_to(skipped as usize);
            skip -= skipped;
            let missing = (range.end - range.start) as usize - content.len();
            content.extend_from_slice(&rest.split_to(rest.len().min(missing)));
        }
        Ok(Bytes::from(content))
    }
}

/// A file that is written from some offset on.
struct FileAt {
    file: Arc<File>,
    at: u64,
}

impl Write for FileAt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn write(mut sink: Sink, bytes: Vec<u8>) -> Result<Sink, CreateError> {
    let written = spawn_blocking(move || sink.write_all(&bytes).map(|()| sink));
    Ok(joined(written.await).map_err(BundleError::Io)?)
}

/// The result of a blocking task; a panic in it goes on here.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
