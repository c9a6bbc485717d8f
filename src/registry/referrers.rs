//! What refers to a manifest: signatures, attestations, SBOMs (OCI distribution specification 1.1,
//! "Listing Referrers" and "Referrers Tag Schema").
//!
//! Registries keep a list by themselves, or clients keep one as an index under a tag that is made of
//! the digest. Which of the two it is, an answer to a question for the list does not tell for
//! certain (some registries answer 200 to everything); the answer to the manifest does, by the header
//! `OCI-Subject`.

mod fallback;
mod list;

use std::collections::HashSet;

pub use fallback::ReferrersTag;
pub(super) use fallback::Turns;
use list::Listed;
pub(super) use list::WithoutLists;

use super::{Client, error::RegistryError};
use crate::oci::{Descriptor, Digest, Repository};

/// Most entries of a list that are read.
const MAX_REFERRERS: usize = 10_000;

/// All that refers to a manifest by its digest as a subject.
#[derive(Clone, Debug, Default)]
pub struct FoundReferrers {
    /// The referrers, each once.
    pub referrers: Vec<Descriptor>,
    /// Whether clients keep a list of them under the tag of [`referrers_tag`].
    pub has_tag: bool,
}

impl Client {
    /// Lists what refers to a manifest: by the registry's own list or, where it keeps none or has
    /// nothing in it, by the index that clients keep under the tag `ALGORITHM-HEX`.
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
            Listed::Some(listed) if !listed.is_empty() => Ok(listed),
            _ => {
                let tagged = place.tagged_referrers(subject).await?;
                Ok(tagged.unwrap_or_default())
            }
        }
    }

    /// As [`Self::referrers`], for one who must not miss any: what both lists have, of the registry
    /// and of clients. An answer that is no list (a page for people) is a failure, unless there is
    /// one under the tag: it does not say that there is none.
    ///
    /// # Errors
    /// Any but "there is no such list" and "there is no such tag".
    pub async fn all_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<FoundReferrers, RegistryError> {
        let place = self.read_place(repository);
        let listed = place.listed_referrers(subject).await?;
        // Mostly there is no such tag, and to ask for nothing but that costs no pull.
        let tag = place.has_referrers_tag(subject).await?;
        let tagged = match tag {
            true => place.tagged_referrers(subject).await?,
            false => None,
        };
        let mut referrers = match listed {
            Listed::Some(listed) => listed,
            Listed::None => Vec::new(),
            Listed::Unclear(error) if tagged.is_none() => return Err(error),
            Listed::Unclear(_) => Vec::new(),
        };
        let tagged = tagged.unwrap_or_default();
        // What is there may also be another thing than a list.
        let has_tag = !tagged.is_empty();
        referrers.extend(tagged);
        let mut seen = HashSet::new();
        referrers.retain(|referrer| seen.insert(referrer.digest));
        Ok(FoundReferrers { referrers, has_tag })
    }

    /// Adds to the list that clients keep under a tag, for a registry that keeps none. Nothing is
    /// written where everything is in it already; what others have put there stays. Updates of one
    /// list by clones of this client come one after another; of another program's update that came
    /// between, the traces are looked for a moment later, and what is missing is added again.
    ///
    /// # Errors
    /// Also when the tag holds something else than an index, or what is added does not stay.
    pub async fn update_referrers_tag(
        &self,
        repository: &Repository,
        wanted: &ReferrersTag,
    ) -> Result<(), RegistryError> {
        let turn = self.turns.of(repository, &wanted.subject);
        let _mine = turn.lock().await;
        self.write_place(repository).add_to_tag(wanted).await
    }
}

/// The tag under which clients keep the index of what refers to a manifest ("Referrers Tag Schema").
pub fn referrers_tag(subject: &Digest) -> String {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or((&text, ""));
    // Of the digest so many characters, for a tag has 128 at most.
    format!("{algorithm}-{}", &hex[..hex.len().min(64)])
}

/// The digest that a tag of this schema is made of; none for any other tag.
pub fn subject_of_tag(tag: &str) -> Option<Digest> {
    tag.replacen('-', ":", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_no_more_of_a_digest_than_the_schema_says() {
        let digest: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(
            referrers_tag(&digest),
            format!("sha512-{}", "ab".repeat(32))
        );
    }

    #[test]
    fn tags_of_the_schema_are_recognised() {
        let subject = Digest::sha256_of(b"subject");
        assert_eq!(subject_of_tag(&referrers_tag(&subject)), Some(subject));
        for other in [
            "latest",
            "sha256-44136fa355b3678a",
            &format!("{}.sig", referrers_tag(&subject)),
            &subject.to_string().replace(':', "_"),
        ] {
            assert_eq!(subject_of_tag(other), None, "{other}");
        }
    }
}
