//! Upload sessions: a directory each, with the bytes received so far and the repository's name.
//! They survive a restart of the server, and are removed when nobody continued them for a day.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::body::Bytes;

use super::{Store, durable};
use crate::{
    oci::{Algorithm, Digest, Hasher},
    serve::names::{RepositoryName, UploadId},
};

/// An upload that nobody wrote to for this long is removed.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a running server looks for abandoned uploads.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// How much is read at once when content has to be hashed again.
const REHASH_BUFFER: usize = 1 << 20;

/// An upload session. What it has acknowledged is exactly the first `offset` bytes of its file.
#[derive(Debug)]
pub(in crate::serve) struct Upload {
    store: Arc<Store>,
    id: UploadId,
    repository: RepositoryName,
    offset: u64,
    /// The digest so far; `None` for a session of an earlier process.
    hasher: Option<Hasher>,
    /// Open while a request writes.
    file: Option<File>,
    /// Completed or cancelled: nothing can be done with it any more.
    closed: bool,
}

/// What [`Upload::roll_back`] needs to undo a request.
pub(in crate::serve) struct Checkpoint {
    offset: u64,
    hasher: Option<Hasher>,
}

/// Why an upload was not completed.
#[derive(Debug)]
pub(in crate::serve) enum FinishError {
    /// The content has this digest, not the one that was given.
    Mismatch(Digest),
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for FinishError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Upload {
    /// Starts a session. `algorithm` is what the final digest will probably be of.
    pub(in crate::serve) fn begin(
        store: Arc<Store>,
        repository: RepositoryName,
        algorithm: Algorithm,
    ) -> io::Result<Self> {
        let id = UploadId::random()?;
        let directory = store.upload(&id);
        fs::create_dir(&directory)?;
        fs::write(directory.join("repository"), repository.as_str())?;
        File::create(directory.join("data"))?;
        Ok(Self {
            store,
            id,
            repository,
            offset: 0,
            hasher: Some(Hasher::new(algorithm)),
            file: None,
            closed: false,
        })
    }

    /// Finds a session that an earlier process left.
    pub(in crate::serve) fn reopen(store: Arc<Store>, id: UploadId) -> io::Result<Option<Self>> {
        let directory = store.upload(&id);
        let Some(name) = durable::read_small(&directory.join("repository"), 1024)? else {
            return Ok(None);
        };
        let repository = std::str::from_utf8(&name)
            .ok()
            .and_then(RepositoryName::parse)
            .ok_or_else(|| durable::damaged("an upload names no repository"))?;
        let offset = match fs::metadata(directory.join("data")) {
            Ok(metadata) => metadata.len(),
            // Taken over as a blob; the process ended before it removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self {
            store,
            id,
            repository,
            offset,
            hasher: None,
            file: None,
            closed: false,
        }))
    }

    pub(in crate::serve) fn id(&self) -> &UploadId {
        &self.id
    }

    pub(in crate::serve) fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Bytes received so far.
    pub(in crate::serve) fn offset(&self) -> u64 {
        self.offset
    }

    pub(in crate::serve) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes bytes behind those received so far.
    pub(in crate::serve) fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::options().append(true).open(self.data())?;
                // Bytes behind the offset are of a write that failed half-way.
                file.set_len(self.offset)?;
                file
            }
        };
        for chunk in chunks {
            file.write_all(chunk)?;
        }
        for chunk in chunks {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(chunk);
            }
            self.offset += chunk.len() as u64;
        }
        self.file = Some(file);
        Ok(())
    }

    /// The state before a request, for the case that the request turns out to be wrong.
    pub(in crate::serve) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            offset: self.offset,
            hasher: self.hasher.clone(),
        }
    }

    /// Forgets everything since the checkpoint. The file is cut when it is next opened.
    pub(in crate::serve) fn roll_back(&mut self, checkpoint: Checkpoint) {
        self.offset = checkpoint.offset;
        self.hasher = checkpoint.hasher;
        self.file = None;
    }

    /// Ends a request that wrote; the session goes on.
    pub(in crate::serve) fn pause(&mut self) {
        self.file = None;
    }

    /// Verifies the content and makes it a blob of the repository. The session ends, unless the
    /// disk failed.
    pub(in crate::serve) fn finish(&mut self, digest: &Digest) -> Result<(), FinishError> {
        self.append(&[])?;
        let actual = match self.hasher.take() {
            Some(hasher) if algorithm_of(&hasher) == digest.algorithm() => hasher.finish(),
            _ => self.rehash(digest.algorithm())?,
        };
        if actual != *digest {
            // Nothing that is sent later can make these bytes right.
            self.cancel()?;
            return Err(FinishError::Mismatch(actual));
        }
        if let Some(file) = self.file.take() {
            file.sync_all()?;
        }
        self.store
            .adopt_blob(&self.repository, digest, &self.data())?;
        self.cancel()?;
        Ok(())
    }

    /// Ends the session and removes its files.
    pub(in crate::serve) fn cancel(&mut self) -> io::Result<()> {
        self.closed = true;
        self.file = None;
        match fs::remove_dir_all(self.store.upload(&self.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn rehash(&self, algorithm: Algorithm) -> io::Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        let mut file = File::open(self.data())?.take(self.offset);
        let mut buffer = vec![0; REHASH_BUFFER];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                read => hasher.update(&buffer[..read]),
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.store.upload(&self.id).join("data")
    }
}

fn algorithm_of(hasher: &Hasher) -> Algorithm {
    match hasher {
        Hasher::Sha256(_) => Algorithm::Sha256,
        Hasher::Sha512(_) => Algorithm::Sha512,
    }
}

impl Store {
    fn upload(&self, id: &UploadId) -> PathBuf {
        self.root.join("uploads").join(id.as_str())
    }

    /// Once an hour: removes the uploads that nobody continued, and names them.
    pub(in crate::serve) fn sweep_uploads(&self) -> io::Result<Vec<UploadId>> {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_EVERY {
                return Ok(Vec::new());
            }
            *swept = Instant::now();
        }
        self.remove_abandoned_uploads()
    }

    pub(super) fn remove_abandoned_uploads(&self) -> io::Result<Vec<UploadId>> {
        let now = SystemTime::now();
        let mut removed = Vec::new();
        for name in durable::names_in(&self.root.join("uploads"))? {
            let Some(id) = UploadId::parse(&name) else {
                continue;
            };
            let directory = self.upload(&id);
            // A session that is just being made or ended has no data file; the directory is young.
            let touched = fs::metadata(directory.join("data"))
                .or_else(|_| fs::metadata(&directory))
                .and_then(|metadata| metadata.modified());
            let Ok(touched) = touched else {
                continue;
            };
            let age = now.duration_since(touched).unwrap_or_default();
            if age >= ABANDONED_AFTER {
                fs::remove_dir_all(&directory)?;
                removed.push(id);
            }
        }
        Ok(removed)
    }
}
