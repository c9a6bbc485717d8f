//! Bodies between the connection and the disk, in pieces: memory does not depend on their size.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::OwnedMutexGuard,
    task::{JoinHandle, spawn_blocking},
};

use super::joined;
use crate::{oci::MAX_DOCUMENT_BYTES, serve::store::Upload};

/// How much is read from or written to the disk at once.
const BATCH: usize = 1 << 20;
/// How much of the body of a refused request is read before the answer.
const DRAIN: usize = 64 << 20;

/// The exclusive use of an upload session, which goes along into the blocking tasks: when a
/// request is dropped half-way, the session stays locked until its last write is done.
pub(super) type Session = OwnedMutexGuard<Upload>;

/// Reads and forgets the rest of a body, within reason.
pub(super) async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut total = 0;
    while total < DRAIN
        && let Some(Ok(chunk)) = stream.next().await
    {
        total += chunk.len();
    }
}

/// A document of up to [`MAX_DOCUMENT_BYTES`]; `None` when it is larger.
pub(super) async fn document(body: Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut total = 0usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        total = total.saturating_add(chunk.len());
        if total > DRAIN {
            return Ok(None);
        }
        if total <= MAX_DOCUMENT_BYTES {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok((total <= MAX_DOCUMENT_BYTES).then_some(bytes))
}

/// How the transfer of a request body into a session ended.
#[derive(Debug)]
pub(super) enum Received {
    /// The whole body is written; this many bytes.
    All(u64),
    /// There was more than the request had announced; this many bytes are written.
    TooMany,
    /// The connection broke; what came before that is written.
    Broken,
}

/// Appends a request body to a session, receiving the next part while one is written. `announced`
/// is the length that the client gave.
pub(super) async fn receive(
    mut session: Session,
    body: Body,
    announced: Option<u64>,
) -> (Session, io::Result<Received>) {
    let mut stream = body.into_data_stream();
    let mut total = 0u64;
    let mut end = None;
    let mut batch = Vec::new();
    while end.is_none() {
        let writing = write(session, std::mem::take(&mut batch));
        let mut filled = 0;
        while filled < BATCH && end.is_none() {
            match stream.next().await {
                Some(Ok(chunk)) => {
                    filled += chunk.len();
                    total += chunk.len() as u64;
                    batch.push(chunk);
                    if announced.is_some_and(|announced| total > announced) {
                        end = Some(Received::TooMany);
                    }
                }
                Some(Err(_)) => end = Some(Received::Broken),
                None => end = Some(Received::All(total)),
            }
        }
        let outcome;
        (session, outcome) = finished(writing).await;
        if let Err(error) = outcome {
            return (session, Err(error));
        }
    }
    let (session, outcome) = finished(write(session, batch)).await;
    let received = end.unwrap_or(Received::Broken);
    (session, outcome.map(|()| received))
}

type Writing = Result<JoinHandle<(Session, io::Result<()>)>, Session>;

fn write(mut session: Session, batch: Vec<Bytes>) -> Writing {
    if batch.is_empty() {
        return Err(session);
    }
    Ok(spawn_blocking(move || {
        let outcome = session.append(&batch);
        (session, outcome)
    }))
}

async fn finished(writing: Writing) -> (Session, io::Result<()>) {
    match writing {
        Err(session) => (session, Ok(())),
        Ok(task) => joined(task).await,
    }
}

/// The bytes of a file from `first` up to, not including, `end`, reading ahead by one piece.
pub(super) fn from_file(file: File, first: u64, end: u64) -> Body {
    let left = end - first;
    let reading = read(file, Some(first), left);
    Body::from_stream(stream::try_unfold(Some((reading, left)), |state| async {
        let Some((reading, left)) = state else {
            return Ok(None);
        };
        let (file, piece) = joined(reading).await?;
        let left = left - piece.len() as u64;
        let next = (left > 0).then(|| (read(file, None, left), left));
        Ok::<_, io::Error>(Some((piece, next)))
    }))
}

/// Reads up to a batch of the `left` bytes, after going to `seek`.
fn read(mut file: File, seek: Option<u64>, left: u64) -> JoinHandle<io::Result<(File, Bytes)>> {
    spawn_blocking(move || {
        if let Some(position) = seek {
            file.seek(SeekFrom::Start(position))?;
        }
        let length = left.min(BATCH as u64);
        let mut piece = Vec::with_capacity(length as usize);
        file.by_ref().take(length).read_to_end(&mut piece)?;
        if (piece.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((file, Bytes::from(piece)))
    })
}
