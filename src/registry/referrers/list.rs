//! Reading lists of referrers.

use reqwest::{Method, StatusCode, header::CONTENT_TYPE};

use super::{
    super::{Place, error::RegistryError, media},
    MAX_REFERRERS, referrers_tag,
};
use crate::oci::{
    Descriptor, Digest, Document, DocumentKind, MAX_DOCUMENT_BYTES, TagOrDigest, media_type,
};

/// Pages of a list that are read.
const MAX_PAGES: usize = 1000;

impl Place {
    /// None where the registry keeps no list.
    pub(super) async fn listed_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let transport = self.transport();
        let what = format!("referrers of `{}@{subject}`", self.shown);
        let rest = format!("referrers/{subject}");
        let mut call = self
            .call(Method::GET, &rest, self.pull_scopes(), what)
            .await?;
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut answer = transport.send(&call).await?;
            match answer.status() {
                StatusCode::OK => {}
                // What registries say that know nothing of such a list.
                StatusCode::NOT_FOUND
                | StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::NOT_IMPLEMENTED => return Ok(None),
                _ => return Err(transport.error(answer).await),
            }
            let is_index = answer
                .header(CONTENT_TYPE.as_str())
                .and_then(media::essence);
            let body = transport.body(&mut answer, MAX_DOCUMENT_BYTES).await?;
            let page = Document::parse(&body, media_type::OCI_INDEX).map(|page| page.kind);
            let Ok(DocumentKind::Index(page)) = page else {
                // A page for people, mostly. What says that it is a list has to be one.
                return match is_index.as_deref() {
                    Some(media_type::OCI_INDEX) => {
                        Err(answer.unexpected("its list of referrers is none".to_owned()))
                    }
                    _ => Ok(None),
                };
            };
            found.extend(page);
            if found.len() > MAX_REFERRERS {
                return Err(answer.unexpected(format!("more than {MAX_REFERRERS} referrers")));
            }
            match answer.next_page(&call.url)? {
                Some(next) => call.url = next,
                None => return Ok(Some(found)),
            }
        }
        Err(RegistryError::Usage(format!(
            "more than {MAX_PAGES} pages of referrers of {subject}"
        )))
    }

    /// None that the tag does not name, or that the tag names and that refer to something else.
    pub(super) async fn tagged_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = TagOrDigest::Tag(referrers_tag(subject));
        let index = match self.manifest(&tag, self.pull_scopes()).await {
            Ok(index) => index,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Some registries (GitLab) take such a tag for the digest.
        if index.digest == *subject {
            return Ok(Vec::new());
        }
        let parsed = Document::parse(&index.bytes, &index.media_type).map(|index| index.kind);
        let Ok(DocumentKind::Index(listed)) = parsed else {
            return Ok(Vec::new());
        };
        if listed.len() > MAX_REFERRERS {
            return Err(RegistryError::Usage(format!(
                "more than {MAX_REFERRERS} referrers of {subject}"
            )));
        }
        let mut found = Vec::new();
        for entry in listed {
            if self.refers_to(&entry, subject).await? {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Whether an entry of an index under such a tag is a referrer. Clients write its artifact type
    /// there; an entry without one may be a child of the subject, so it is asked itself.
    async fn refers_to(&self, entry: &Descriptor, subject: &Digest) -> Result<bool, RegistryError> {
        if entry.artifact_type.is_some() {
            return Ok(true);
        }
        let what = TagOrDigest::Digest(entry.digest);
        let manifest = match self.manifest(&what, self.pull_scopes()).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let document = Document::parse(&manifest.bytes, &manifest.media_type).ok();
        let about = document.and_then(|document| document.subject);
        Ok(about.is_some_and(|about| about.digest == *subject))
    }
}
