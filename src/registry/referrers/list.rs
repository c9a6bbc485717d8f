//! Reading lists of referrers.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use reqwest::{Method, StatusCode, Url, header::CONTENT_TYPE};

use super::{
    super::{
        Place,
        error::RegistryError,
        media,
        transport::{Answer, Call},
    },
    MAX_REFERRERS, referrers_tag,
};
use crate::oci::{
    Descriptor, Digest, Document, DocumentKind, MAX_DOCUMENT_BYTES, Repository, TagOrDigest,
    media_type,
};

/// Pages of a list that are read.
const MAX_PAGES: usize = 1000;

/// What a registry says when it is asked for its list.
pub(super) enum Listed {
    /// The list.
    Some(Vec<Descriptor>),
    /// That it keeps none.
    None,
    /// Something that is no list, and does not say that there is none.
    Unclear(RegistryError),
}

/// Repositories of which it is known that the registry keeps no lists, as they are asked for. A host
/// may keep lists for some of its repositories only, where there are several registries behind it.
#[derive(Debug, Default)]
pub(in crate::registry) struct WithoutLists(Mutex<HashSet<Repository>>);

impl WithoutLists {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer says that there is nothing of the kind at this address, and not only that there
/// is no such manifest.
fn knows_no_lists(error: &RegistryError) -> bool {
    let status = error.status().map(|status| status.as_u16());
    matches!(status, Some(404 | 405 | 501))
        && !matches!(
            error.code(),
            Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN")
        )
}

impl Place {
    /// Asks for the registry's own list; a registry that has said that it knows nothing of such
    /// lists is not asked again for this repository.
    pub(super) async fn listed_referrers(&self, subject: &Digest) -> Result<Listed, RegistryError> {
        if self.client.without_lists.set().contains(&self.asked) {
            return Ok(Listed::None);
        }
        let transport = self.transport();
        let what = format!("referrers of `{}@{subject}`", self.shown);
        let rest = format!("referrers/{subject}");
        let mut call = self
            .call(Method::GET, &rest, self.pull_scopes(), what)
            .await?;
        let mut found = Vec::new();
        for number in 0..MAX_PAGES {
            let mut attempts = transport.attempts();
            let (page, next) = loop {
                // A page that breaks off is fetched again as a whole.
                let read = match transport.attempt(&call).await {
                    Ok(answer) => self.read_page(answer, &call).await,
                    Err(error) => Err(error),
                };
                match read {
                    Ok(page) => break page,
                    Err(error) => attempts.pause(error, &self.host.gate).await?,
                }
            };
            match page {
                Listed::Some(page) => found.extend(page),
                other if number == 0 => return Ok(other),
                // There is a list; only not all of it was had.
                Listed::Unclear(error) => return Err(error),
                Listed::None => {
                    return Err(RegistryError::Usage(format!(
                        "the list of referrers of `{}@{subject}` ends in the middle",
                        self.shown
                    )));
                }
            }
            if found.len() > MAX_REFERRERS {
                return Err(RegistryError::Usage(format!(
                    "more than {MAX_REFERRERS} referrers of {subject}"
                )));
            }
            match next {
                Some(next) => call.url = next,
                None => return Ok(Listed::Some(found)),
            }
        }
        Err(RegistryError::Usage(format!(
            "more than {MAX_PAGES} pages of referrers of {subject}"
        )))
    }

    /// One page of a list, and where the next one is.
    async fn read_page(
        &self,
        mut answer: Answer,
        call: &Call,
    ) -> Result<(Listed, Option<Url>), RegistryError> {
        let transport = self.transport();
        match answer.status() {
            StatusCode::OK => {}
            // What registries say that know nothing of such a list.
            StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED => {
                let error = transport.error(answer).await;
                if knows_no_lists(&error) {
                    self.client.without_lists.set().insert(self.asked.clone());
                }
                return Ok((Listed::None, None));
            }
            _ => return Err(transport.error(answer).await),
        }
        let is_index = answer
            .header(CONTENT_TYPE.as_str())
            .and_then(media::essence);
        let body = transport.body(&mut answer, MAX_DOCUMENT_BYTES).await?;
        let page = Document::parse(&body, media_type::OCI_INDEX).map(|page| page.kind);
        let Ok(DocumentKind::Index(page)) = page else {
            // A page for people, mostly. What says that it is a list has to be one.
            let error = answer.unexpected("its list of referrers is none".to_owned());
            return match is_index.as_deref() {
                Some(media_type::OCI_INDEX) => Err(error),
                _ => Ok((Listed::Unclear(error), None)),
            };
        };
        let next = answer.next_page(&call.url)?;
        Ok((Listed::Some(page), next))
    }

    /// Whether there is a tag that clients keep a list under.
    pub(super) async fn has_referrers_tag(&self, subject: &Digest) -> Result<bool, RegistryError> {
        let tag = TagOrDigest::Tag(referrers_tag(subject));
        let head = self.manifest_head(&tag, self.pull_scopes()).await?;
        // Some registries (GitLab) take such a tag for the digest.
        Ok(head.is_some_and(|head| head.digest != Some(*subject)))
    }

    /// None where there is no list under the tag; of what it names, only what refers to the subject.
    pub(super) async fn tagged_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let tag = TagOrDigest::Tag(referrers_tag(subject));
        let index = match self.manifest(&tag, self.pull_scopes()).await {
            Ok(index) => index,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // Some registries (GitLab) take such a tag for the digest.
        if index.digest == *subject {
            return Ok(None);
        }
        let parsed = Document::parse(&index.bytes, &index.media_type).map(|index| index.kind);
        let Ok(DocumentKind::Index(listed)) = parsed else {
            return Ok(None);
        };
        if listed.len() > MAX_REFERRERS {
            return Err(RegistryError::Usage(format!(
                "more than {MAX_REFERRERS} referrers of {subject}"
            )));
        }
        let mut found = Vec::new();
        for entry in listed {
            found.extend(self.referrer(entry, subject).await?);
        }
        Ok(Some(found))
    }

    /// An entry of an index under such a tag, if it is a referrer. Clients write its artifact type
    /// there; an entry without one may be a child of the subject, so it is asked itself.
    async fn referrer(
        &self,
        entry: Descriptor,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, RegistryError> {
        if entry.artifact_type.is_some() {
            return Ok(Some(entry));
        }
        let what = TagOrDigest::Digest(entry.digest);
        let manifest = match self.manifest(&what, self.pull_scopes()).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(document) = Document::parse(&manifest.bytes, &manifest.media_type) else {
            return Ok(None);
        };
        let about = document.subject.as_ref().map(|about| about.digest);
        let artifact_type = document
            .as_referrer(&manifest.media_type, entry.digest, entry.size)
            .artifact_type;
        Ok((about == Some(*subject)).then_some(Descriptor {
            artifact_type,
            ..entry
        }))
    }
}
