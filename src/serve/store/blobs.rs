//! Blobs: content plus, for each repository that has it, an empty file as a link.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::PoisonError,
};

use super::{Store, durable};
use crate::{oci::Digest, serve::names::RepositoryName};

impl Store {
    /// Opens a blob of a repository and tells its size in bytes.
    pub(in crate::serve) fn open_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<(File, u64)>> {
        if !fs::exists(self.blob_link(repository, digest))? {
            return Ok(None);
        }
        match File::open(self.content(digest)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Size of a blob in bytes, if the repository has it.
    pub(in crate::serve) fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<u64>> {
        if !fs::exists(self.blob_link(repository, digest))? {
            return Ok(None);
        }
        self.content_size(digest)
    }

    /// Makes a blob of one repository visible in another; `false` when the first has none.
    pub(in crate::serve) fn mount_blob(
        &self,
        repository: &RepositoryName,
        from: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _linking = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if self.blob_size(from, digest)?.is_none() {
            return Ok(false);
        }
        durable::touch(&self.blob_link(repository, digest))?;
        Ok(true)
    }

    /// Takes over a complete, verified and synchronised file as a blob of the repository.
    pub(super) fn adopt_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        file: &Path,
    ) -> io::Result<()> {
        let _linking = self.links.read().unwrap_or_else(PoisonError::into_inner);
        // Also where the content is there already: a copy that was damaged on the disk heals.
        durable::rename(file, &self.content(digest))?;
        durable::touch(&self.blob_link(repository, digest))
    }

    /// Takes a blob out of a repository, and off the disk when no other repository has it;
    /// `false` when the repository has none.
    pub(in crate::serve) fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _removing = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if !durable::remove(&self.blob_link(repository, digest))? {
            return Ok(false);
        }
        self.remove_unlinked(digest)?;
        Ok(true)
    }

    pub(super) fn content_size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        match fs::metadata(self.content(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
