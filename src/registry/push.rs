//! Writing: what is there already, mounts, blobs, manifests.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RANGE},
};

use super::{
    Client, Place,
    body::{BlobSource, Payload},
    chunked::ChunkedUpload,
    error::RegistryError,
    media,
    pull::named_digest,
    retry,
    session::UploadSession,
    transport::{Answer, Call},
    upload::Upload,
};
use crate::oci::{Digest, MAX_DOCUMENT_BYTES, Repository, TagOrDigest};

/// The header in which registries name the subject of a manifest that they have put into its list of
/// referrers (distribution specification, "Pushing Manifests with Subject").
const SUBJECT: &str = "oci-subject";

/// What came of a mount.
#[derive(Debug)]
pub enum Mount {
    /// The blob is now in the repository.
    Mounted,
    /// It is not. Where the registry opened an upload in its place, here it is: use it with
    /// [`Client::push_blob_in`] or close it with [`Client::cancel_upload`].
    Refused(Option<UploadSession>),
}

/// What a registry said when it took a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The manifest in whose list of referrers the registry has put it (header `OCI-Subject`). Where
    /// this is missing, the list is for the client to keep: [`Client::update_referrers_tag`].
    pub subject: Option<Digest>,
}

impl Client {
    /// Whether a blob of this digest and size is in the repository. Every doubt is a no: then it
    /// is uploaded once more, which costs time and nothing else.
    ///
    /// # Errors
    /// When the registry cannot be asked at all.
    pub async fn blob_exists(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<bool, RegistryError> {
        self.write_place(repository).blob_exists(digest, size).await
    }

    /// Asks the registry to take a blob over from another of its repositories (distribution
    /// specification, "Mounting a blob from another repository"). `from` is that one's path.
    ///
    /// # Errors
    /// When the registry cannot be reached. Its refusal, for whatever reason, is not an error.
    pub async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &str,
    ) -> Result<Mount, RegistryError> {
        self.write_place(repository).mount(digest, from).await
    }

    /// Uploads a blob of `size` bytes: in one piece, or in chunks where the registry or something
    /// in front of it does not take it in one. A failed attempt starts again from the source.
    ///
    /// # Errors
    /// [`RegistryError::Source`] with the source's own error as soon as it reports one; the upload
    /// is not completed then.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        body: Arc<dyn BlobSource>,
    ) -> Result<(), RegistryError> {
        self.push_blob_in(repository, digest, size, body, None)
            .await
    }

    /// As [`Client::push_blob`], with an upload that is open already, as a refused mount leaves it.
    ///
    /// # Errors
    /// As [`Client::push_blob`].
    pub async fn push_blob_in(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        body: Arc<dyn BlobSource>,
        session: Option<UploadSession>,
    ) -> Result<(), RegistryError> {
        Upload::new(self.write_place(repository), *digest, size, body)
            .run(session)
            .await
            .map_err(|error| error.about(digest))
    }

    /// Opens an upload of `size` bytes that come once and in order, as from a pipe.
    ///
    /// # Errors
    /// When the registry does not open one.
    pub async fn begin_upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<ChunkedUpload, RegistryError> {
        let place = self.write_place(repository);
        let session = place.begin_session(digest).await;
        let session = session.map_err(|error| error.about(digest))?;
        Ok(ChunkedUpload::new(place, *digest, size, session))
    }

    /// Closes an upload that is not wanted. What the registry answers does not matter: it throws
    /// unfinished uploads away by itself.
    pub async fn cancel_upload(&self, repository: &Repository, session: UploadSession) {
        self.write_place(repository).cancel(session).await;
    }

    /// Checks that uploads are permitted, by opening one and closing it.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn check_push_access(&self, repository: &Repository) -> Result<(), RegistryError> {
        let place = self.write_place(repository);
        let session = place.begin_session(&Digest::sha256_of(b"")).await?;
        place.cancel(session).await;
        Ok(())
    }

    /// Writes a manifest or an index under a tag or its digest (distribution specification,
    /// "Pushing manifests"), its bytes unchanged.
    ///
    /// # Errors
    /// When it is larger than [`MAX_DOCUMENT_BYTES`], when the registry refuses it, or says that it
    /// stored something else. A tag that cannot be changed and names this very manifest is fine.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        what: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Taken, RegistryError> {
        self.write_place(repository)
            .put_manifest(what, media_type, bytes)
            .await
    }
}

impl Place {
    pub(super) async fn blob_exists(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<bool, RegistryError> {
        let what = format!("blob {digest} of `{}`", self.shown);
        let rest = format!("blobs/{digest}");
        let call = self
            .call(Method::HEAD, &rest, self.push_scopes(), what)
            .await?;
        let answer = self.transport().send(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(is_this_blob(&answer, digest, size)),
            StatusCode::UNAUTHORIZED if !answer.foreign => self.explain_refusal(call).await,
            _ => Ok(false),
        }
    }

    /// An answer to HEAD explains nothing, so the first byte is asked for: the refusal of that has
    /// the words of the registry.
    async fn explain_refusal(&self, mut call: Call) -> Result<bool, RegistryError> {
        call.method = Method::GET;
        let call = call.header(RANGE, HeaderValue::from_static("bytes=0-0"));
        let answer = self.transport().send(&call).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED if !answer.foreign => {
                Err(self.transport().error(answer).await)
            }
            _ => Ok(false),
        }
    }

    async fn mount(&self, digest: &Digest, from: &str) -> Result<Mount, RegistryError> {
        // The path goes into a query; a reference knows which characters it may have.
        let from = Repository::new(self.asked.host(), from)
            .map_err(|e| RegistryError::Usage(e.to_string()))?;
        let from = from.path();
        let rest = format!("blobs/uploads/?mount={digest}&from={from}");
        let scopes = self.push_scopes().and(&format!("repository:{from}:pull"));
        let what = format!("mount of blob {digest} from `{from}` to `{}`", self.shown);
        let transport = self.transport();
        let call = self.call(Method::POST, &rest, scopes, what).await?;
        let mut attempts = transport.attempts();
        let answer = loop {
            let error = match transport.attempt(&call).await {
                // A registry that is overloaded wants to be left alone; any other refusal is one.
                Ok(answer) if !matches!(answer.status().as_u16(), 429 | 503) => break answer,
                Ok(answer) => transport.error(answer).await,
                Err(error @ RegistryError::Connection { .. }) => error,
                // The token service may refuse the right to read the other repository.
                Err(RegistryError::Token { status, .. })
                    if !status.is_some_and(retry::is_transient) =>
                {
                    return Ok(Mount::Refused(None));
                }
                Err(error) => error,
            };
            attempts.pause(error, &self.host.gate).await?;
        };
        match answer.status() {
            StatusCode::CREATED if named_digest(&answer).is_none_or(|named| named == *digest) => {
                Ok(Mount::Mounted)
            }
            StatusCode::ACCEPTED => Ok(Mount::Refused(
                // A session that cannot be used is as good as none.
                UploadSession::from_answer(transport, &answer, &call.url).ok(),
            )),
            _ => Ok(Mount::Refused(None)),
        }
    }

    pub(super) async fn put_manifest(
        &self,
        what: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Taken, RegistryError> {
        let transport = self.transport();
        let digest = match what {
            TagOrDigest::Digest(digest) => digest.of_same_algorithm(&bytes),
            TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        };
        let separator = if matches!(what, TagOrDigest::Tag(_)) {
            ':'
        } else {
            '@'
        };
        let shown = format!("manifest `{}{separator}{what}`", self.shown);
        let rest = format!("manifests/{what}");
        let call = self
            .call(Method::PUT, &rest, self.push_scopes(), shown)
            .await?;
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(RegistryError::TooLarge {
                asked: call.asked(),
                limit: MAX_DOCUMENT_BYTES as u64,
            });
        }
        if let TagOrDigest::Digest(expected) = what
            && *expected != digest
        {
            return Err(RegistryError::DigestMismatch {
                asked: call.asked(),
                expected: Box::new(*expected),
                actual: Box::new(digest),
            });
        }
        let content_type = HeaderValue::from_str(media_type).map_err(|_| {
            RegistryError::Usage(format!("`{}` is no media type", media::clip(media_type)))
        })?;
        let call = call
            .header(CONTENT_TYPE, content_type)
            .body(Payload::Bytes(bytes.clone()));
        let mut attempts = transport.attempts();
        let mut refused_before = false;
        loop {
            let error = match self.put_once(&call, what, &digest, &bytes).await {
                Ok(taken) => return Ok(taken),
                Err(error) => error,
            };
            // Damage on the way can also look like this, so it is sent once more.
            let odd = error.code() == Some("MANIFEST_INVALID") && !refused_before;
            refused_before |= odd;
            if !odd {
                attempts.pause(error, &self.host.gate).await?;
            }
        }
    }

    async fn put_once(
        &self,
        call: &Call,
        what: &TagOrDigest,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<Taken, RegistryError> {
        let transport = self.transport();
        let answer = transport.attempt(call).await?;
        if let Some(stored) = named_digest(&answer).filter(|_| answer.status().is_success()) {
            let ours = stored.of_same_algorithm(bytes);
            if stored != ours {
                return Err(RegistryError::DigestMismatch {
                    asked: answer.asked,
                    expected: Box::new(ours),
                    actual: Box::new(stored),
                });
            }
        }
        let taken = Taken {
            subject: answer
                .header(SUBJECT)
                .and_then(|subject| subject.trim().parse().ok()),
        };
        match answer.status() {
            StatusCode::CREATED => Ok(taken),
            status if status.is_success() => match self.names(what, digest).await? {
                true => Ok(taken),
                false => Err(answer.unexpected(format!(
                    "{status}, but the manifest is not there afterwards"
                ))),
            },
            _ => {
                let error = transport.error(answer).await.about(digest);
                match may_be_immutable(&error) && self.names(what, digest).await.unwrap_or(false) {
                    true => Ok(Taken::default()),
                    false => Err(error),
                }
            }
        }
    }

    /// Whether the registry has this very manifest under that name.
    async fn names(&self, what: &TagOrDigest, digest: &Digest) -> Result<bool, RegistryError> {
        let head = self.manifest_head(what, self.push_scopes()).await?;
        Ok(head.and_then(|head| head.digest) == Some(*digest))
    }
}

/// Refusals by which registries protect a tag from being changed.
fn may_be_immutable(error: &RegistryError) -> bool {
    matches!(
        error.status().map(|s| s.as_u16()),
        Some(400 | 403 | 405 | 409 | 412)
    )
}

/// Whether the answer to HEAD describes the blob. A size is the least that it must say, unless it
/// names the digest.
fn is_this_blob(answer: &Answer, digest: &Digest, size: u64) -> bool {
    let html = answer
        .header(CONTENT_TYPE.as_str())
        .and_then(media::essence)
        .is_some_and(|t| t == "text/html");
    // A digest of another algorithm says nothing about this one.
    let named = named_digest(answer).filter(|n| n.algorithm() == digest.algorithm());
    let digest_fits = named.map(|named| named == *digest);
    // The length of an encoded answer is not that of the blob.
    let length = match answer.refuse_encoding() {
        Ok(()) => answer.length(),
        Err(_) => None,
    };
    let size_fits = length.map(|length| length == size);
    match (digest_fits, size_fits) {
        _ if html => false,
        (Some(false), _) | (_, Some(false)) | (None, None) => false,
        (Some(true), _) | (_, Some(true)) => true,
    }
}
