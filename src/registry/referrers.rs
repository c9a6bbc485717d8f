//! What refers to a manifest: signatures, attestations, SBOMs (OCI distribution specification 1.1,
//! "Listing Referrers").

use reqwest::{Method, StatusCode, header::CONTENT_TYPE};

use super::{Client, Place, error::RegistryError, media};
use crate::oci::{
    Descriptor, Digest, Document, DocumentKind, MAX_DOCUMENT_BYTES, Repository, TagOrDigest,
    media_type,
};

/// Pages of a list that are read.
const MAX_PAGES: usize = 1000;
/// Most entries of a list that are read.
const MAX_REFERRERS: usize = 10_000;

impl Client {
    /// Lists what refers to a manifest, by the registry's own list or, where it keeps none, by the
    /// index that clients keep under the tag `ALGORITHM-HEX`.
    ///
    /// # Errors
    /// Any but "there is no such list" and "there is no such tag".
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let place = self.read_place(repository);
        match place.listed_referrers(subject).await? {
            Some(listed) => Ok(listed),
            None => place.tagged_referrers(subject).await,
        }
    }
}

/// The tag under which clients keep the index of what refers to a manifest ("Referrers Tag Schema").
pub fn referrers_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

impl Place {
    /// None where the registry keeps no list.
    async fn listed_referrers(
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

    async fn tagged_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = TagOrDigest::Tag(referrers_tag(subject));
        let index = match self.manifest(&tag, self.pull_scopes()).await {
            Ok(index) => index,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Some registries take such a tag for the digest.
        if index.digest == *subject {
            return Ok(Vec::new());
        }
        let parsed = Document::parse(&index.bytes, &index.media_type).map(|index| index.kind);
        match parsed {
            Ok(DocumentKind::Index(listed)) => Ok(listed),
            _ => Ok(Vec::new()),
        }
    }
}
