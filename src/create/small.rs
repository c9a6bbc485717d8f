//! Fetching what is held in memory whole.

use bytes::{Bytes, BytesMut};

use crate::{
    oci::{Digest, Repository},
    registry::{Client, RegistryError},
};

/// How often content that does not have its digest is fetched again.
const ATTEMPTS: u32 = 3;

/// Fetches a small blob whole; what is returned has its digest. None where the registry's content
/// never has it.
pub(super) async fn fetch(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
    size: u64,
) -> Result<Option<Bytes>, RegistryError> {
    for _ in 0..ATTEMPTS {
        let mut bytes = BytesMut::with_capacity(size as usize);
        let mut stream = client.blob(repository, digest, 0..size, size).await?;
        while let Some(chunk) = stream.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        if digest.of_same_algorithm(&bytes) == *digest {
            return Ok(Some(bytes.freeze()));
        }
    }
    Ok(None)
}
