//! Fetching what is held in memory whole.

use bytes::{Bytes, BytesMut};

use crate::{
    oci::{Digest, Repository},
    registry::{Client, RegistryError},
};

/// How often content that does not have its digest is fetched again.
const ATTEMPTS: u32 = 3;

/// Fetches a small blob whole; what is returned has its digest.
pub(super) async fn fetch(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
    size: u64,
) -> Result<Bytes, RegistryError> {
    let mut attempt = 1;
    loop {
        let mut bytes = BytesMut::with_capacity(size as usize);
        let mut stream = client.blob(repository, digest, 0..size, size).await?;
        while let Some(chunk) = stream.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        let found = digest.of_same_algorithm(&bytes);
        if found == *digest {
            return Ok(bytes.freeze());
        }
        if attempt == ATTEMPTS {
            return Err(RegistryError::wrong_blob(repository, digest, found));
        }
        attempt += 1;
    }
}
