//! Reading: manifests, tags.

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;

use super::{
    Client, Place,
    auth::scope::Scopes,
    error::RegistryError,
    media::{self, Unfit},
    transport::{Answer, Call},
};
use crate::oci::{Digest, MAX_DOCUMENT_BYTES, Repository, TagOrDigest};

/// The header in which registries name the digest of what they serve.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";
/// Tags that are asked for at a time; some registries refuse more.
const TAGS_PER_PAGE: usize = 1000;
/// Pages of tags that are read, however many there are.
const MAX_TAG_PAGES: usize = 100;

/// A manifest or an index as it was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledManifest {
    /// The digest of `bytes`, computed here. By the algorithm of the digest that was asked for, or
    /// else of the one that the registry named, or else SHA-256.
    pub digest: Digest,
    /// Its media type, without parameters.
    pub media_type: String,
    /// Its bytes, unchanged.
    pub bytes: Bytes,
}

/// What a registry says about a manifest without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest. `None` when the registry names one of an algorithm that this program lacks.
    pub digest: Option<Digest>,
    /// Its media type, without parameters; `None` when the registry says nothing of use.
    pub media_type: Option<String>,
    /// Its size in bytes, which is not to be relied on: some registries announce another one.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Fetches a manifest or an index (distribution specification, "Pulling manifests"), at a
    /// mirror if there is one. Its digest is that of its bytes, and equal to the one that was asked
    /// for and to the one that the registry named.
    ///
    /// # Errors
    /// Also when the document is larger than [`MAX_DOCUMENT_BYTES`], of Docker schema 1, no
    /// manifest at all, or contradicts its own media type.
    pub async fn manifest(
        &self,
        repository: &Repository,
        what: &TagOrDigest,
    ) -> Result<PulledManifest, RegistryError> {
        let place = self.read_place(repository);
        place.manifest(what, place.pull_scopes()).await
    }

    /// Asks for a manifest's digest without fetching it; `None` when the registry says that there
    /// is none. Registries that do not answer this properly are asked for the manifest itself.
    ///
    /// # Errors
    /// Any but "not found".
    pub async fn manifest_head(
        &self,
        repository: &Repository,
        what: &TagOrDigest,
    ) -> Result<Option<ManifestHead>, RegistryError> {
        let place = self.read_place(repository);
        place.manifest_head(what, place.pull_scopes()).await
    }

    /// Lists tags of a repository, at most `limit` of them, in the registry's order.
    ///
    /// # Errors
    /// When the registry does not list them, or its next page is at another origin.
    pub async fn tags(
        &self,
        repository: &Repository,
        limit: usize,
    ) -> Result<Vec<String>, RegistryError> {
        self.read_place(repository).tags(limit).await
    }
}

impl Place {
    async fn manifest_call(
        &self,
        method: Method,
        what: &TagOrDigest,
        scopes: Scopes,
    ) -> Result<Call, RegistryError> {
        let separator = match what {
            TagOrDigest::Tag(_) => ':',
            TagOrDigest::Digest(_) => '@',
        };
        let shown = format!("manifest `{}{separator}{what}`", self.shown);
        let call = self
            .call(method, &format!("manifests/{what}"), scopes, shown)
            .await?;
        Ok(call.header(ACCEPT, HeaderValue::from_static(media::ACCEPT)))
    }

    pub(super) async fn manifest(
        &self,
        what: &TagOrDigest,
        scopes: Scopes,
    ) -> Result<PulledManifest, RegistryError> {
        let transport = self.transport();
        let call = self.manifest_call(Method::GET, what, scopes).await?;
        let mut attempts = transport.attempts();
        loop {
            // A manifest that arrives damaged or broken off is fetched again as a whole.
            let read = match transport.attempt(&call).await {
                Ok(answer) => self.read_manifest(answer, what).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(manifest) => return Ok(manifest),
                Err(error) => attempts.pause(error, &self.host.gate).await?,
            }
        }
    }

    async fn read_manifest(
        &self,
        mut answer: Answer,
        what: &TagOrDigest,
    ) -> Result<PulledManifest, RegistryError> {
        let transport = self.transport();
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_success() => {
                return Err(answer.unexpected(format!("{status} instead of a manifest")));
            }
            _ => return Err(transport.error(answer).await),
        }
        let bytes = transport.body(&mut answer, MAX_DOCUMENT_BYTES).await?;
        let media_type = media::manifest_type(answer.header(CONTENT_TYPE.as_str()), &bytes)
            .map_err(|unfit| match unfit {
                Unfit::Schema1 => RegistryError::Schema1 {
                    asked: answer.asked.clone(),
                },
                Unfit::NotAManifest(detail) => answer.unexpected(detail),
            })?;
        let named = named_digest(&answer);
        let mut digest = Digest::sha256_of(&bytes);
        let mut expected: Vec<Digest> = Vec::new();
        expected.extend(named);
        if let TagOrDigest::Digest(asked) = what {
            expected.push(*asked);
        }
        for expected in expected {
            digest = expected.of_same_algorithm(&bytes);
            if digest != expected {
                return Err(RegistryError::DigestMismatch {
                    asked: answer.asked,
                    expected: Box::new(expected),
                    actual: Box::new(digest),
                });
            }
        }
        Ok(PulledManifest {
            digest,
            media_type,
            bytes,
        })
    }

    pub(super) async fn manifest_head(
        &self,
        what: &TagOrDigest,
        scopes: Scopes,
    ) -> Result<Option<ManifestHead>, RegistryError> {
        let transport = self.transport();
        let call = self
            .manifest_call(Method::HEAD, what, scopes.clone())
            .await?;
        let answer = transport.send(&call).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {
                let named = answer.header(CONTENT_DIGEST).map(str::to_owned);
                if let Some(named) = named.filter(|text| text.contains(':')) {
                    let digest = named.parse::<Digest>().ok();
                    if let (TagOrDigest::Digest(asked), Some(digest)) = (what, digest)
                        && asked.algorithm() == digest.algorithm()
                        && *asked != digest
                    {
                        return Err(RegistryError::DigestMismatch {
                            asked: answer.asked,
                            expected: Box::new(*asked),
                            actual: Box::new(digest),
                        });
                    }
                    return Ok(Some(ManifestHead {
                        digest,
                        media_type: answer
                            .header(CONTENT_TYPE.as_str())
                            .and_then(media::essence),
                        size: answer.length(),
                    }));
                }
            }
            // An answer to HEAD explains nothing, so the GET has to.
            _ => {}
        }
        match self.manifest(what, scopes).await {
            Ok(manifest) => Ok(Some(ManifestHead {
                digest: Some(manifest.digest),
                media_type: Some(manifest.media_type),
                size: Some(manifest.bytes.len() as u64),
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tags(&self, limit: usize) -> Result<Vec<String>, RegistryError> {
        let transport = self.transport();
        let rest = format!("tags/list?n={}", limit.clamp(1, TAGS_PER_PAGE));
        let what = format!("tags of `{}`", self.shown);
        let mut call = self
            .call(Method::GET, &rest, self.pull_scopes(), what)
            .await?;
        let mut tags = Vec::new();
        for _ in 0..MAX_TAG_PAGES {
            let mut answer = transport.send(&call).await?;
            if answer.status() != StatusCode::OK {
                return Err(transport.error(answer).await);
            }
            let body = transport.body(&mut answer, MAX_DOCUMENT_BYTES).await?;
            let list: TagList = serde_json::from_slice(&body)
                .map_err(|_| answer.unexpected("not a list of tags".to_owned()))?;
            let page = list.tags.unwrap_or_default();
            let empty = page.is_empty();
            tags.extend(page.into_iter().take(limit - tags.len()));
            if empty || tags.len() == limit {
                break;
            }
            match answer.next_page(&call.url)? {
                Some(next) => call.url = next,
                None => break,
            }
        }
        Ok(tags)
    }
}

/// The digest in `Docker-Content-Digest`, if it is one that can be computed.
pub(super) fn named_digest(answer: &Answer) -> Option<Digest> {
    answer.header(CONTENT_DIGEST)?.trim().parse().ok()
}
