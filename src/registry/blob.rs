//! Reading blobs, whole or in part, over connections that break.

use std::ops::Range;

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};

use super::{
    Client,
    error::{ConnectionFault, RegistryError},
    media,
    retry::Attempts,
    transport::{Answer, Call},
};
use crate::oci::{Digest, Repository};

/// Bytes that must have arrived since the last failure for it to be forgotten.
const PROGRESS: u64 = 256 << 10;

/// The bytes of a blob, or of a part of it, in order.
///
/// When the connection breaks, the stream goes on from the byte it had reached. Its end means that
/// exactly the bytes that were asked for have been given; whether they are the right ones is for
/// the caller to compute.
pub struct BlobStream {
    client: Client,
    call: Call,
    /// The next byte to be given.
    position: u64,
    end: u64,
    size: u64,
    answer: Option<Answer>,
    /// Bytes of the answer that have been given already.
    skip: u64,
    attempts: Attempts,
    failed_at: u64,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream")
            .field("what", &self.call.what)
            .field("position", &self.position)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens bytes `range` of a blob of `size` bytes (distribution specification, "Pulling blobs"),
    /// at a mirror if there is one. An empty range asks nobody.
    ///
    /// # Errors
    /// [`RegistryError::RangeIgnored`] when a part was asked for and the registry sends the whole;
    /// [`RegistryError::Size`] when it announces another size.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
        size: u64,
    ) -> Result<BlobStream, RegistryError> {
        self.open_blob(repository, digest, range, size, false).await
    }

    /// As [`Client::blob`], for a stream that is held while something else is asked of the same host,
    /// such as the upload that it is the body of: it does not count among the requests that a host
    /// takes at a time.
    ///
    /// # Errors
    /// As [`Client::blob`].
    pub async fn blob_beside_others(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
        size: u64,
    ) -> Result<BlobStream, RegistryError> {
        self.open_blob(repository, digest, range, size, true).await
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
        size: u64,
        beside: bool,
    ) -> Result<BlobStream, RegistryError> {
        if range.start > range.end || range.end > size {
            return Err(RegistryError::Usage(format!(
                "bytes {}..{} do not lie within a blob of {size} bytes",
                range.start, range.end
            )));
        }
        let place = self.read_place(repository);
        let what = format!("blob {digest} of `{}`", place.shown);
        let rest = format!("blobs/{digest}");
        let mut call = place
            .call(Method::GET, &rest, place.pull_scopes(), what)
            .await?;
        call.beside = beside;
        let mut stream = BlobStream {
            client: self.clone(),
            call,
            position: range.start,
            end: range.end,
            size,
            answer: None,
            skip: 0,
            attempts: self.transport.attempts(),
            failed_at: range.start,
        };
        if !range.is_empty() {
            stream.open_first().await?;
        }
        Ok(stream)
    }
}

impl BlobStream {
    /// The next bytes; `None` behind the last one.
    ///
    /// # Errors
    /// When the connection broke too often without anything having arrived in between, or the
    /// answer does not fit the question. The stream is over then.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.position < self.end {
            let error = match self.read().await {
                Ok(chunk) if chunk.is_empty() => continue,
                Ok(chunk) => {
                    self.position += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Err(error) => error,
            };
            self.answer = None;
            if self.position >= self.failed_at + PROGRESS {
                self.attempts.renew();
            }
            self.failed_at = self.position;
            self.attempts.pause(error, &self.call.host.gate).await?;
        }
        Ok(None)
    }

    /// Opens the stream; a part that is answered with the whole is the caller's to decide on.
    async fn open_first(&mut self) -> Result<(), RegistryError> {
        loop {
            match self.open().await {
                Ok(()) if self.skip > 0 || self.is_cut_short() => {
                    self.answer = None;
                    return Err(RegistryError::RangeIgnored {
                        asked: self.call.asked(),
                    });
                }
                Ok(()) => return Ok(()),
                Err(error) => self.attempts.pause(error, &self.call.host.gate).await?,
            }
        }
    }

    /// Whether a beginning was asked for and the whole blob is being sent.
    fn is_cut_short(&self) -> bool {
        let whole = |answer: &Answer| answer.status() == StatusCode::OK;
        self.end < self.size && self.answer.as_ref().is_some_and(whole)
    }

    /// Asks for everything from `position` on.
    async fn open(&mut self) -> Result<(), RegistryError> {
        let transport = &self.client.transport;
        let (position, end, size) = (self.position, self.end, self.size);
        let mut call = self.call.clone();
        let part = position > 0 || end < size;
        if part {
            let range = HeaderValue::from_str(&format!("bytes={position}-{}", end - 1));
            call = call.header(
                RANGE,
                range.map_err(|e| RegistryError::Setup(e.to_string()))?,
            );
        }
        let answer = transport.attempt(&call).await?;
        answer.refuse_encoding_of_success()?;
        let announced = match answer.status() {
            StatusCode::OK => {
                self.skip = position;
                size
            }
            StatusCode::PARTIAL_CONTENT if part => {
                let header = answer.header(CONTENT_RANGE.as_str()).unwrap_or_default();
                if !is_exactly(header, position, end, size) {
                    return Err(answer.unexpected(format!(
                        "bytes {position}-{} of {size} were asked for and `{}` is sent",
                        end - 1,
                        media::clip(header)
                    )));
                }
                self.skip = 0;
                end - position
            }
            status if status.is_success() || status.is_redirection() => {
                return Err(answer.unexpected(format!("{status} instead of the blob")));
            }
            _ => return Err(transport.error(answer).await),
        };
        if let Some(length) = answer.length().filter(|length| *length != announced) {
            return Err(RegistryError::Size {
                asked: answer.asked,
                expected: announced,
                actual: length,
            });
        }
        self.answer = Some(answer);
        Ok(())
    }

    /// The next bytes of the current answer, or of a new one; may be empty.
    async fn read(&mut self) -> Result<Bytes, RegistryError> {
        if self.answer.is_none() {
            self.open().await?;
        }
        let Some(answer) = &mut self.answer else {
            return Ok(Bytes::new());
        };
        let transport = &self.client.transport;
        let Some(mut chunk) = transport.chunk(answer).await? else {
            return Err(RegistryError::Connection {
                asked: answer.asked.clone(),
                fault: ConnectionFault::Broken,
                detail: format!("it ends at byte {} of {}", self.position, self.end),
            });
        };
        let skip = chunk
            .len()
            .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        let skipped = chunk.split_to(skip);
        self.skip -= skipped.len() as u64;
        let left = self.end - self.position;
        let whole_blob = answer.status() == StatusCode::OK && self.end < self.size;
        if chunk.len() as u64 > left {
            if !whole_blob {
                return Err(too_long(answer, self.size));
            }
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if chunk.len() as u64 == left && !whole_blob && answer.length().is_none() {
            // Without an announced length, only the end of the stream shows that this was all.
            while let Some(more) = transport.chunk(answer).await? {
                if !more.is_empty() {
                    return Err(too_long(answer, self.size));
                }
            }
        }
        Ok(chunk)
    }
}

fn too_long(answer: &Answer, size: u64) -> RegistryError {
    RegistryError::Size {
        asked: answer.asked.clone(),
        expected: size,
        actual: size + 1,
    }
}

impl Answer {
    fn refuse_encoding_of_success(&self) -> Result<(), RegistryError> {
        match self.status().is_success() {
            true => self.refuse_encoding(),
            false => Ok(()),
        }
    }
}

/// Whether `Content-Range` (RFC 9110, section 14.4) says exactly bytes `from..to` of `size`.
fn is_exactly(header: &str, from: u64, to: u64, size: u64) -> bool {
    let parse = || {
        let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total_fits = total.trim() == "*" || total.trim().parse() == Ok(size);
        let first: u64 = first.trim().parse().ok()?;
        let last: u64 = last.trim().parse().ok()?;
        Some(total_fits && first == from && last.checked_add(1)? == to)
    };
    parse() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_must_be_the_one_that_was_asked_for() {
        assert!(is_exactly("bytes 5-9/20", 5, 10, 20));
        assert!(is_exactly("bytes 5-9/*", 5, 10, 20));
        for wrong in [
            "",
            "bytes */20",
            "bytes 5-9/21",
            "bytes 4-9/20",
            "bytes 5-8/20",
            "bytes 5-18446744073709551615/20",
            "items 5-9/20",
            "bytes=5-9/20",
        ] {
            assert!(!is_exactly(wrong, 5, 10, 20), "{wrong}");
        }
    }
}
