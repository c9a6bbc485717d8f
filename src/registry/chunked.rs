//! Uploads of blobs that come once and in order, as from a pipe.

use std::sync::Arc;

use bytes::Bytes;

use super::{Place, body::Payload, error::RegistryError, session::UploadSession, upload::Upload};
use crate::oci::Digest;

/// An upload that is written chunk by chunk and cannot go back further than the current chunk.
///
/// The current chunk is kept until the registry has taken it, so a broken connection costs nothing
/// but time, where the registry can say how far it has come. A first chunk that is the whole blob
/// is sent in one piece, with every retry there is.
#[derive(Debug)]
pub struct ChunkedUpload {
    place: Place,
    digest: Digest,
    size: u64,
    written: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(UploadSession),
    /// The blob is in the registry.
    Done,
}

impl ChunkedUpload {
    pub(super) fn new(place: Place, digest: Digest, size: u64, session: UploadSession) -> Self {
        Self {
            place,
            digest,
            size,
            written: 0,
            state: State::Open(session),
        }
    }

    /// The smallest chunk that the registry takes, in bytes, but for the last; zero for any.
    pub fn chunk_min(&self) -> u64 {
        match &self.state {
            State::Open(session) => session.chunk_min(),
            State::Done => 0,
        }
    }

    /// Sends the next bytes of the blob.
    ///
    /// # Errors
    /// [`RegistryError::ChunkedUnsupported`] when the registry takes a blob only in one piece;
    /// [`RegistryError::UploadLost`] when it forgot what it had.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), RegistryError> {
        let from = self.written;
        let to = from + chunk.len() as u64;
        if to > self.size {
            return Err(RegistryError::Usage(format!(
                "{to} bytes were given for blob {} of {} bytes",
                self.digest, self.size
            )));
        }
        let State::Open(session) = &mut self.state else {
            return Ok(());
        };
        if chunk.is_empty() {
            return Ok(());
        }
        if from == 0 && to == self.size {
            let source = Arc::new(chunk);
            Upload::new(self.place.clone(), self.digest, self.size, source)
                .run(Some(session.clone()))
                .await
                .map_err(|error| error.about(&self.digest))?;
            self.state = State::Done;
            self.written = to;
            return Ok(());
        }
        let place = &self.place;
        let part = |a: u64, b: u64| {
            // Within the chunk, so within memory.
            Payload::Bytes(chunk.slice((a - from) as usize..(b - from) as usize))
        };
        let mut attempts = place.transport().attempts();
        loop {
            let sent = place.send_chunks(session, &self.digest, from..to, part);
            match sent.await {
                Ok(()) => break,
                // Nothing else was in it yet, so another upload is as good.
                Err(lost @ RegistryError::UploadLost { .. }) if from == 0 => {
                    attempts.pause(lost, &place.host.gate).await?;
                    *session = place.begin_session(&self.digest).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.written = to;
        Ok(())
    }

    /// Completes the upload; the registry checks the digest.
    ///
    /// # Errors
    /// Also when less was written than the size of the blob.
    pub async fn finish(self) -> Result<(), RegistryError> {
        if self.written != self.size {
            return Err(RegistryError::Usage(format!(
                "{} bytes were given for blob {} of {} bytes",
                self.written, self.digest, self.size
            )));
        }
        match self.state {
            State::Done => Ok(()),
            State::Open(session) => {
                let done = self.place.finish(&session, &self.digest, self.size).await;
                done.map_err(|error| error.about(&self.digest))
            }
        }
    }

    /// Closes the upload without completing it.
    pub async fn cancel(self) {
        if let State::Open(session) = self.state {
            self.place.cancel(session).await;
        }
    }
}
