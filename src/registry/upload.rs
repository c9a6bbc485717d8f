//! Uploads of blobs that can be read again: which way each is sent (distribution specification,
//! "Pushing blobs").

use std::sync::Arc;

use reqwest::StatusCode;

use super::{
    Place,
    body::{BlobSource, Payload, SourceReader},
    error::RegistryError,
    session::UploadSession,
};
use crate::oci::Digest;

/// A registry that wants larger chunks than this is one that wants no chunks.
const MAX_CHUNK_MIN: u64 = 512 << 20;

/// The way in which a blob is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Chunks,
}

/// One blob on its way into one repository.
pub(super) struct Upload {
    place: Place,
    digest: Digest,
    size: u64,
    reader: Arc<SourceReader>,
}

impl Upload {
    pub(super) fn new(
        place: Place,
        digest: Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
    ) -> Self {
        Self {
            place,
            digest,
            size,
            reader: Arc::new(SourceReader::new(source, size)),
        }
    }

    /// Sends the blob, in either way, as often as it takes.
    pub(super) async fn run(
        &self,
        mut session: Option<UploadSession>,
    ) -> Result<(), RegistryError> {
        let host = &self.place.host;
        let mut attempts = self.place.transport().attempts();
        let mut way = match host.wants_chunks(self.size) {
            true => Way::Chunks,
            false => Way::Whole,
        };
        // What was said against the blob in one piece, and whether chunks have failed as well.
        let mut whole_refused: Option<RegistryError> = None;
        let mut chunks_failed = false;
        let mut breaks = 0;
        loop {
            let session = match session.take() {
                Some(session) => session,
                None => self.place.begin_session(&self.digest).await?,
            };
            let result = match way {
                Way::Whole => self.send_whole(session).await,
                Way::Chunks => self.send_chunks(session).await,
            };
            let error = match result {
                Ok(()) => {
                    if way == Way::Chunks && whole_refused.is_some() {
                        host.learn_chunked_from(self.size);
                    }
                    return Ok(());
                }
                Err(error @ RegistryError::Source(_)) => return Err(error),
                Err(error) => error,
            };
            if self.has_landed(&error).await {
                return Ok(());
            }
            breaks += u32::from(error.is_broken());
            match way {
                Way::Whole
                    if !chunks_failed && self.size > 0 && self.wants_chunks(&error, breaks) =>
                {
                    way = Way::Chunks;
                    whole_refused = Some(error);
                }
                Way::Chunks if !chunks_failed && wants_whole(&error) => {
                    chunks_failed = true;
                    if matches!(error, RegistryError::ChunkedUnsupported { .. }) {
                        host.learn_no_chunks();
                    }
                    match whole_refused.take() {
                        // Neither way is taken; the first refusal says why.
                        Some(refusal) if !refusal.is_transient() => return Err(refusal),
                        // The connection merely broke the first time.
                        Some(broken) => attempts.pause(broken, &host.gate).await?,
                        None => {}
                    }
                    way = Way::Whole;
                }
                _ => attempts.pause(error, &host.gate).await?,
            }
        }
    }

    /// Whether an error on the whole blob is one that smaller pieces may not meet; `breaks` is how
    /// often its connection broke.
    fn wants_chunks(&self, error: &RegistryError, breaks: u32) -> bool {
        let large = self.size > self.place.host.chunk_size();
        match error {
            // A fresh token was refused behind the body: it does not live as long as that takes.
            RegistryError::Status { status, .. } if *status == StatusCode::UNAUTHORIZED => large,
            RegistryError::Status { status, .. } => {
                error.code() != Some("DIGEST_INVALID")
                    && matches!(
                        status.as_u16(),
                        400 | 404 | 405 | 411 | 413 | 415 | 416 | 501
                    )
            }
            // Once may be chance. On a line that does not last for the whole, what has arrived of a
            // chunk stays, however small the blob is.
            _ => error.is_broken() && (breaks > 1 || large),
        }
    }

    /// Registries have been seen to keep a blob and to answer with an error; then it is there.
    async fn has_landed(&self, error: &RegistryError) -> bool {
        let status = error.status().map(|s| s.as_u16());
        matches!(status, Some(404 | 500..=599))
            && matches!(
                self.place.blob_exists(&self.digest, self.size).await,
                Ok(true)
            )
    }

    fn payload(&self, from: u64, to: u64) -> Payload {
        if from == to {
            return Payload::Empty;
        }
        Payload::Source {
            reader: self.reader.clone(),
            from,
            to,
        }
    }

    async fn send_whole(&self, session: UploadSession) -> Result<(), RegistryError> {
        let body = self.payload(0, self.size);
        let done = self
            .place
            .complete(&session, &self.digest, self.size, body)
            .await;
        if let Err(RegistryError::Source(_)) = done {
            self.place.cancel(session).await;
        }
        done
    }

    async fn send_chunks(&self, mut session: UploadSession) -> Result<(), RegistryError> {
        if session.chunk_min() > MAX_CHUNK_MIN {
            return Err(RegistryError::ChunkedUnsupported {
                asked: self.place.asked_for_upload(&session, &self.digest),
            });
        }
        let payload = |from, to| self.payload(from, to);
        let sent = self
            .place
            .send_chunks(&mut session, &self.digest, 0..self.size, payload)
            .await;
        if let Err(RegistryError::Source(_)) = sent {
            self.place.cancel(session).await;
            return sent;
        }
        sent?;
        self.place.finish(&session, &self.digest, self.size).await
    }
}

/// Whether an error on chunks is one that the blob in one piece may not meet.
fn wants_whole(error: &RegistryError) -> bool {
    match error {
        RegistryError::ChunkedUnsupported { .. } | RegistryError::DigestMismatch { .. } => true,
        RegistryError::Status { status, .. } => matches!(status.as_u16(), 400 | 405 | 416),
        _ => false,
    }
}
