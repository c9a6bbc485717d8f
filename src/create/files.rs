//! Plain files that travel with the images.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::CreateError;
use crate::{
    bundle::LockedFile,
    oci::{Algorithm, Hasher},
    request::Request,
};

/// A plain file, hashed.
#[derive(Clone, Debug)]
pub struct HashedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What the lock says of it.
    pub locked: LockedFile,
}

/// Hashes the files of a request, in order of their names.
pub(super) fn hash_all(request: &Request) -> Result<Vec<HashedFile>, CreateError> {
    let hash = |path: &Path| -> std::io::Result<(crate::oci::Digest, u64)> {
        let mut file = File::open(path)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hasher.finish(), size)),
                count => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
    };
    let mut files = Vec::new();
    for file in &request.files {
        let (digest, size) = hash(&file.path).map_err(|error| CreateError::File {
            path: file.path.clone(),
            reason: error.to_string(),
        })?;
        let locked = LockedFile {
            name: file.name.clone(),
            digest,
            size,
        };
        files.push(HashedFile {
            path: file.path.clone(),
            locked,
        });
    }
    Ok(files)
}
