//! Where each blob of a bundle comes from.

use std::{collections::HashMap, io, ops::Range, path::PathBuf};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Assembled, CreateError};
use crate::{
    bundle::{Member, MemberId},
    oci::{Digest, Repository},
    registry::{BlobStream, Client, RegistryError},
};

/// How much of a file is read at once.
const READ_SIZE: usize = 1 << 20;

/// The place that one entry's blobs come from.
#[derive(Debug)]
struct Place {
    repository: Option<Repository>,
    label: String,
}

/// Finds and opens blobs.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    client: &'a Client,
    /// Place of each member, by its position.
    of: Vec<u32>,
    places: Vec<Place>,
    /// Plain files.
    files: HashMap<MemberId, PathBuf>,
    /// What is in memory: charts, and their values.
    contents: &'a HashMap<Digest, Bytes>,
}

/// A blob that arrives.
pub(super) enum Incoming {
    Registry(Box<BlobStream>),
    Memory(Bytes),
    File {
        file: tokio::fs::File,
        left: u64,
        path: PathBuf,
    },
}

impl<'a> Sources<'a> {
    pub(super) fn new(client: &'a Client, assembled: &'a Assembled) -> Self {
        let contents = &assembled.plan.contents;
        let mut of = vec![u32::MAX; contents.members().len()];
        let mut places = Vec::new();
        for (entry, top) in assembled.root.entries.iter().zip(contents.entries()) {
            let reference = entry.reference.as_ref();
            places.push(Place {
                repository: reference.map(|reference| reference.repository().clone()),
                label: reference.map_or_else(
                    || entry.kind.word().to_owned(),
                    |reference| reference.to_string(),
                ),
            });
            for id in contents.closure(*top) {
                let of = &mut of[id as usize];
                if *of == u32::MAX {
                    *of = places.len() as u32 - 1;
                }
            }
        }
        let files = assembled
            .resolved
            .files
            .iter()
            .filter_map(|file| Some((contents.find(&file.locked.digest)?, file.path.clone())))
            .collect();
        Self {
            client,
            of,
            places,
            files,
            contents: &assembled.resolved.contents,
        }
    }

    /// The image that a blob is fetched for.
    pub(super) fn label(&self, id: MemberId) -> &str {
        self.place(id)
            .map_or("bundle", |place| place.label.as_str())
    }

    /// A small blob, whole; it has its digest.
    pub(super) async fn small(&self, id: MemberId, member: &Member) -> Result<Bytes, CreateError> {
        if let Some(path) = self.files.get(&id) {
            let content = tokio::fs::read(path)
                .await
                .map_err(|e| self.file_error(path, &e))?;
            return Ok(Bytes::from(content));
        }
        let fetched = match self.place(id).and_then(|place| place.repository.as_ref()) {
            Some(from) => super::small::fetch(self.client, from, &member.digest, member.size).await,
            None => Err(RegistryError::Usage(format!(
                "nothing provides {}",
                member.digest
            ))),
        };
        let content = fetched.map_err(|error| self.fetch_error(id, error))?;
        content.ok_or_else(|| self.content_error(id, member))
    }

    /// Opens a part of a blob.
    pub(super) async fn open(
        &self,
        id: MemberId,
        member: &Member,
        range: Range<u64>,
    ) -> Result<Incoming, RegistryError> {
        self.open_any(id, member, range, false).await
    }

    /// Opens a part of a blob that stays open while others are fetched.
    pub(super) async fn open_beside_others(
        &self,
        id: MemberId,
        member: &Member,
        range: Range<u64>,
    ) -> Result<Incoming, RegistryError> {
        self.open_any(id, member, range, true).await
    }

    async fn open_any(
        &self,
        id: MemberId,
        member: &Member,
        range: Range<u64>,
        beside: bool,
    ) -> Result<Incoming, RegistryError> {
        if let Some(content) = self.contents.get(&member.digest) {
            // The layout has the sizes from the same content.
            let range = range.start as usize..range.end as usize;
            return Ok(Incoming::Memory(content.slice(range)));
        }
        if let Some(path) = self.files.get(&id) {
            let open = async {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(io::SeekFrom::Start(range.start)).await?;
                Ok(file)
            };
            let file = open.await.map_err(RegistryError::Source)?;
            let left = range.end - range.start;
            return Ok(Incoming::File {
                file,
                left,
                path: path.clone(),
            });
        }
        match self.place(id).and_then(|place| place.repository.as_ref()) {
            Some(repository) => {
                let (client, digest) = (self.client, &member.digest);
                let stream = match beside {
                    true => {
                        client
                            .blob_beside_others(repository, digest, range, member.size)
                            .await
                    }
                    false => client.blob(repository, digest, range, member.size).await,
                };
                Ok(Incoming::Registry(Box::new(stream?)))
            }
            None => Err(RegistryError::Usage(format!(
                "nothing provides {}",
                member.digest
            ))),
        }
    }

    /// Names the image with which fetching failed.
    pub(super) fn fetch_error(&self, id: MemberId, error: RegistryError) -> CreateError {
        match (self.files.get(&id), error) {
            (Some(path), RegistryError::Source(error)) => self.file_error(path, &error),
            (_, error) => CreateError::Fetch {
                reference: self.label(id).to_owned(),
                error,
            },
        }
    }

    /// The content has not the digest that it was promised to have.
    pub(super) fn content_error(&self, id: MemberId, member: &Member) -> CreateError {
        match self.files.get(&id) {
            Some(path) => CreateError::File {
                path: path.clone(),
                reason: "the file changed while it was being packed".to_owned(),
            },
            None => CreateError::Content {
                reference: self.label(id).to_owned(),
                digest: member.digest,
            },
        }
    }

    fn file_error(&self, path: &std::path::Path, error: &io::Error) -> CreateError {
        CreateError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    fn place(&self, id: MemberId) -> Option<&Place> {
        self.places.get(self.of[id as usize] as usize)
    }
}

impl Incoming {
    /// The next bytes; none at the end of the range.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match self {
            Self::Registry(stream) => stream.chunk().await,
            Self::Memory(bytes) => {
                let bytes = std::mem::take(bytes);
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Self::File { left: 0, .. } => Ok(None),
            Self::File { file, left, path } => {
                let mut bytes = vec![0; READ_SIZE.min(usize::try_from(*left).unwrap_or(READ_SIZE))];
                let count = file.read(&mut bytes).await.map_err(RegistryError::Source)?;
                if count == 0 {
                    let message = format!("{} became shorter", path.display());
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, message);
                    return Err(RegistryError::Source(error));
                }
                bytes.truncate(count);
                *left -= count as u64;
                Ok(Some(Bytes::from(bytes)))
            }
        }
    }
}
