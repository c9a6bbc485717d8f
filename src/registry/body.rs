//! What is sent: bytes at hand, or a blob from a source that can be read again.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Mutex as AsyncMutex;

use super::{http::Progress, rate::RateLimit};

/// Bytes are passed on in pieces of this size at most, so that progress can be seen on a slow line.
const PIECE: usize = 256 << 10;

/// A stream of a blob's bytes.
pub type BlobReader = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
/// A [`BlobReader`] to be.
pub type OpenBlob<'a> = Pin<Box<dyn Future<Output = io::Result<BlobReader>> + Send + 'a>>;

/// Content that can be sent more than once.
pub trait BlobSource: Send + Sync {
    /// Opens the content at byte `from`; the stream goes to its end.
    ///
    /// A stream that yields an error, even behind its last byte, makes the upload fail before its
    /// last byte is sent. That is the place to report content that does not have its digest.
    fn open(&self, from: u64) -> OpenBlob<'_>;
}

/// Content in memory.
impl BlobSource for Bytes {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        let rest = usize::try_from(from)
            .ok()
            .filter(|from| *from <= self.len())
            .map(|from| self.slice(from..));
        Box::pin(async move {
            let rest = rest.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(Box::pin(stream::iter([Ok(rest)])) as BlobReader)
        })
    }
}

/// The body of a request, which can be formed again for every attempt.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// Bytes `from..to` of a source.
    Source {
        reader: Arc<SourceReader>,
        from: u64,
        to: u64,
    },
}

impl Payload {
    /// Forms the body, its length in bytes, and the view on its progress. Its pieces wait for the
    /// limit, if there is one, which counts as time of the source.
    pub(crate) fn open(
        &self,
        limit: Option<&Arc<RateLimit>>,
    ) -> (reqwest::Body, u64, Arc<Progress>) {
        let limit = limit.cloned();
        match self {
            Self::Empty => (Bytes::new().into(), 0, Arc::new(Progress::none())),
            Self::Bytes(bytes) if bytes.is_empty() || bytes.len() <= PIECE && limit.is_none() => (
                bytes.clone().into(),
                bytes.len() as u64,
                Arc::new(Progress::at_once()),
            ),
            Self::Bytes(bytes) => {
                let progress = Arc::new(Progress::none());
                let pieces = stream::unfold(
                    (bytes.clone(), progress.clone(), limit),
                    |(mut rest, progress, limit)| async move {
                        if rest.is_empty() {
                            return None;
                        }
                        let piece = rest.split_to(rest.len().min(PIECE));
                        progress.reading();
                        wait(limit.as_deref(), &piece).await;
                        match rest.is_empty() {
                            true => progress.finished(),
                            false => progress.sending(),
                        }
                        Some((io::Result::Ok(piece), (rest, progress, limit)))
                    },
                );
                (
                    reqwest::Body::wrap_stream(pieces),
                    bytes.len() as u64,
                    progress,
                )
            }
            Self::Source { reader, from, to } => {
                let progress = Arc::new(Progress::none());
                let state = (reader.clone(), progress.clone(), limit, *from);
                let to = *to;
                let pieces = stream::try_unfold(
                    state,
                    move |(reader, progress, limit, position)| async move {
                        if position == to {
                            return Ok(None);
                        }
                        progress.reading();
                        let piece = reader.next(position, to).await?;
                        wait(limit.as_deref(), &piece).await;
                        let position = position + piece.len() as u64;
                        match position == to {
                            true => progress.finished(),
                            false => progress.sending(),
                        }
                        Ok::<_, io::Error>(Some((piece, (reader, progress, limit, position))))
                    },
                );
                (reqwest::Body::wrap_stream(pieces), to - from, progress)
            }
        }
    }

    /// What the source said when it could not go on; asked once.
    pub(crate) fn source_failure(&self) -> Option<io::Error> {
        match self {
            Self::Source { reader, .. } => reader.take_failure(),
            _ => None,
        }
    }
}

/// Waits until a piece may be sent.
async fn wait(limit: Option<&RateLimit>, piece: &Bytes) {
    if let Some(limit) = limit {
        limit.take(piece.len()).await;
    }
}

/// Reads a source forward through any number of requests, and opens it again only to go back.
pub(crate) struct SourceReader {
    source: Arc<dyn BlobSource>,
    size: u64,
    state: AsyncMutex<ReadState>,
    failure: Mutex<Option<io::Error>>,
}

#[derive(Default)]
struct ReadState {
    stream: Option<BlobReader>,
    position: u64,
    /// What the stream gave and nobody has taken yet; starts at `position`.
    pending: Bytes,
}

impl SourceReader {
    pub(crate) fn new(source: Arc<dyn BlobSource>, size: u64) -> Self {
        Self {
            source,
            size,
            state: AsyncMutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take()
    }

    /// The next bytes at `position`, not beyond `end`. A failure is kept for [`Self::take_failure`];
    /// the error that is returned only stops the request.
    async fn next(&self, position: u64, end: u64) -> io::Result<Bytes> {
        let mut state = self.state.lock().await;
        let piece = self.read(&mut state, position, end).await;
        piece.map_err(|error| {
            let stop = io::Error::new(error.kind(), "the source failed");
            *state = ReadState::default();
            *self.failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            stop
        })
    }

    async fn read(&self, state: &mut ReadState, position: u64, end: u64) -> io::Result<Bytes> {
        let wrong = |kind, text: &str| Err(io::Error::new(kind, text.to_owned()));
        if state.stream.is_none() || state.position != position {
            *state = ReadState {
                stream: Some(self.source.open(position).await?),
                position,
                pending: Bytes::new(),
            };
        }
        let ReadState {
            stream: Some(stream),
            position: at,
            pending,
        } = state
        else {
            return wrong(io::ErrorKind::Other, "the source is not open");
        };
        while pending.is_empty() {
            match stream.next().await {
                Some(bytes) => *pending = bytes?,
                None => return wrong(io::ErrorKind::UnexpectedEof, "it ends before its size"),
            }
        }
        let left = usize::try_from(end - position).unwrap_or(usize::MAX);
        let take = pending.len().min(left).min(PIECE);
        if position + take as u64 == self.size {
            // The source has its say before the last byte is sent.
            if pending.len() > take {
                return wrong(io::ErrorKind::InvalidData, "it is longer than its size");
            }
            while let Some(more) = stream.next().await {
                if !more?.is_empty() {
                    return wrong(io::ErrorKind::InvalidData, "it is longer than its size");
                }
            }
            let last = std::mem::take(pending);
            *state = ReadState::default();
            return Ok(last);
        }
        *at += take as u64;
        Ok(pending.split_to(take))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives `pieces`, then perhaps an error; counts how often it is opened.
    struct Pieces {
        pieces: Vec<&'static [u8]>,
        error_behind: bool,
        opened: AtomicUsize,
    }

    impl BlobSource for Pieces {
        fn open(&self, from: u64) -> OpenBlob<'_> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let whole = Bytes::from(self.pieces.concat());
            let mut items: Vec<io::Result<Bytes>> = match from {
                0 => self
                    .pieces
                    .iter()
                    .map(|p| Ok(Bytes::from_static(p)))
                    .collect(),
                from => vec![Ok(whole.slice(from as usize..))],
            };
            if self.error_behind {
                items.push(Err(io::Error::other("wrong digest")));
            }
            Box::pin(async move { Ok(Box::pin(stream::iter(items)) as BlobReader) })
        }
    }

    fn reader(
        pieces: &[&'static [u8]],
        size: u64,
        error_behind: bool,
    ) -> (Arc<Pieces>, SourceReader) {
        let source = Arc::new(Pieces {
            pieces: pieces.to_vec(),
            error_behind,
            opened: AtomicUsize::new(0),
        });
        (source.clone(), SourceReader::new(source, size))
    }

    #[tokio::test]
    async fn windows_follow_each_other_without_opening_again() {
        let (source, reader) = reader(&[b"abc", b"", b"defg"], 7, false);
        assert_eq!(reader.next(0, 2).await.unwrap(), "ab");
        assert_eq!(reader.next(2, 4).await.unwrap(), "c");
        assert_eq!(reader.next(3, 4).await.unwrap(), "d");
        assert_eq!(reader.next(4, 7).await.unwrap(), "efg");
        assert_eq!(source.opened.load(Ordering::Relaxed), 1);
        assert_eq!(reader.next(4, 7).await.unwrap(), "efg");
        assert_eq!(source.opened.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_last_byte_waits_for_the_verdict_of_the_source() {
        let (_, reader) = reader(&[b"abc", b"def"], 6, true);
        assert_eq!(reader.next(0, 6).await.unwrap(), "abc");
        assert!(reader.next(3, 6).await.is_err());
        assert_eq!(reader.take_failure().unwrap().to_string(), "wrong digest");
    }

    #[tokio::test]
    async fn a_source_of_another_size_is_an_error() {
        let (_, short) = reader(&[b"abc"], 6, false);
        assert_eq!(short.next(0, 6).await.unwrap(), "abc");
        assert!(short.next(3, 6).await.is_err());
        assert_eq!(
            short.take_failure().unwrap().kind(),
            io::ErrorKind::UnexpectedEof
        );
        for pieces in [&[&b"abcdefg"[..]][..], &[b"abcdef", b"g"]] {
            let (_, long) = reader(pieces, 6, false);
            assert!(long.next(0, 6).await.is_err());
            assert_eq!(
                long.take_failure().unwrap().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}
