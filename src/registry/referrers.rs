//! What refers to a manifest: signatures, attestations, SBOMs (OCI distribution specification 1.1,
//! "Listing Referrers" and "Referrers Tag Schema").
//!
//! Registries keep a list by themselves, or clients keep one as an index under a tag that is made of
//! the digest. Which of the two it is, an answer to a question for the list does not tell for
//! certain (some registries answer 200 to everything); the answer to the manifest does, by the header
//! `OCI-Subject`.

mod fallback;
mod list;

pub use fallback::ReferrersTag;
pub(super) use fallback::Turns;

use super::{Client, error::RegistryError};
use crate::oci::{Descriptor, Digest, Repository};

/// Most entries of a list that are read.
const MAX_REFERRERS: usize = 10_000;

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
            Some(listed) if !listed.is_empty() => Ok(listed),
            _ => place.tagged_referrers(subject).await,
        }
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
    subject.to_string().replace(':', "-")
}

/// The digest that a tag of this schema is made of; none for any other tag.
pub fn subject_of_tag(tag: &str) -> Option<Digest> {
    tag.replacen('-', ":", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
