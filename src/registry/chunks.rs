//! Sending bytes in chunks (distribution specification, "Pushing a blob in chunks").

use std::ops::Range;

use reqwest::StatusCode;

use super::{Place, body::Payload, error::RegistryError, session::UploadSession};
use crate::oci::Digest;

impl Place {
    /// Sends bytes `range` of a blob, in chunks that the registry and whatever is in front of it
    /// take. `payload` gives bytes `from..to` of the blob, any part of `range`, as often as it takes.
    ///
    /// # Errors
    /// [`RegistryError::UploadLost`] where the registry has lost what it had of the upload, or wants
    /// bytes outside of `range`.
    pub(super) async fn send_chunks(
        &self,
        session: &mut UploadSession,
        digest: &Digest,
        range: Range<u64>,
        payload: impl Fn(u64, u64) -> Payload,
    ) -> Result<(), RegistryError> {
        let mut attempts = self.transport().attempts();
        let mut offset = range.start;
        let mut furthest = offset;
        while offset < range.end {
            let chunk = self.host.chunk_size().max(session.chunk_min());
            let to = range.end.min(offset.saturating_add(chunk));
            let sent = self
                .patch(session, digest, offset, to, payload(offset, to))
                .await;
            let error = match sent {
                Ok(reached) if reached > offset => {
                    offset = reached;
                    None
                }
                // Asked, the registry says that it has less than it had; read again from there.
                Ok(reached) => {
                    offset = reached;
                    Some(self.lost(session, digest, reached))
                }
                Err(error @ (RegistryError::Source(_) | RegistryError::UploadLost { .. })) => {
                    return Err(error);
                }
                Err(error) if error.status() == Some(StatusCode::PAYLOAD_TOO_LARGE) => {
                    if chunk <= session.chunk_min() || !self.host.shrink_chunk(chunk) {
                        return Err(error);
                    }
                    offset = self.ask_offset(session, digest, offset).await?;
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                let broken = error.is_broken();
                attempts.pause(error, &self.host.gate).await?;
                let sent = to.saturating_sub(offset);
                offset = match self.ask_offset(session, digest, offset).await {
                    Err(lost @ RegistryError::UploadLost { .. }) if broken => {
                        // Where a broken chunk costs the whole upload (Distribution 2, zot), what a
                        // connection lasts for has to be found. A short one shows little of that.
                        self.host.shrink_chunk(sent.max(chunk / 4));
                        return Err(lost);
                    }
                    reached => reached?,
                };
            }
            if !(range.start..=range.end).contains(&offset) {
                return Err(self.lost(session, digest, offset));
            }
            // A line that breaks again and again still carries something each time; a registry that
            // goes back and forth does not.
            if offset > furthest {
                furthest = offset;
                attempts.renew();
            }
        }
        Ok(())
    }

    fn lost(&self, session: &UploadSession, digest: &Digest, offset: u64) -> RegistryError {
        RegistryError::UploadLost {
            asked: self.asked_for_upload(session, digest),
            offset,
        }
    }
}
