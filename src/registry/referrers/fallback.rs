//! Writing the list of referrers under a tag.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{Place, error::RegistryError},
    referrers_tag,
};
use crate::oci::{Descriptor, Digest, Document, DocumentKind, Repository, TagOrDigest, media_type};

/// How often a list is written before it is given up: others may write it at the same time, but of
/// these, one is done in each round.
const MAX_ROUNDS: u32 = 10;
/// What is wrong with a tag that does not hold an index.
const NO_LIST: &str = "is something else, which is not touched";

/// What is to be in the list of one manifest's referrers.
#[derive(Clone, Debug)]
pub struct ReferrersTag {
    /// The manifest.
    pub subject: Digest,
    /// Lists that were kept elsewhere, as they are: OCI indexes. The first becomes the list where
    /// there is none; of the others, the entries are added.
    pub lists: Vec<Bytes>,
    /// Referrers that are to be in it, in the form of [`Document::as_referrer`].
    pub referrers: Vec<Descriptor>,
}

impl ReferrersTag {
    /// An empty list.
    pub fn new(subject: Digest) -> Self {
        Self {
            subject,
            lists: Vec::new(),
            referrers: Vec::new(),
        }
    }

    /// The list with what is missing in it; none where nothing is. Whatever else it has stays.
    fn added_to(&self, present: Option<&Bytes>) -> Result<Option<Bytes>, serde_json::Error> {
        let mut wanted = Vec::new();
        for list in &self.lists {
            wanted.extend(entries(&serde_json::from_slice(list)?));
        }
        for referrer in &self.referrers {
            wanted.push(serde_json::to_value(referrer)?);
        }
        let mut list = match present.or(self.lists.first()) {
            Some(list) => serde_json::from_slice(list)?,
            None => json!({
                "schemaVersion": 2,
                "mediaType": media_type::OCI_INDEX,
                "manifests": [],
            }),
        };
        let before = entries(&list);
        let mut after = before.clone();
        for entry in wanted {
            if !after.iter().any(|known| known["digest"] == entry["digest"]) {
                after.push(entry);
            }
        }
        if after.len() > before.len() {
            list["manifests"] = Value::Array(after);
            return serde_json::to_vec(&list).map(|list| Some(list.into()));
        }
        Ok(match present {
            Some(_) => None,
            // A list from elsewhere that lacks nothing keeps its bytes.
            None => self.lists.first().cloned(),
        })
    }
}

fn entries(list: &Value) -> Vec<Value> {
    list["manifests"].as_array().cloned().unwrap_or_default()
}

/// Whose turn it is to write a list.
#[derive(Debug, Default)]
pub(in crate::registry) struct Turns(Mutex<HashMap<(Repository, Digest), Weak<Turn>>>);

type Turn = tokio::sync::Mutex<()>;

impl Turns {
    /// The turn at one list; all who ask at the same time get the same.
    pub(super) fn of(&self, repository: &Repository, subject: &Digest) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.entry((repository.clone(), *subject)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Turn::default());
            *known = Arc::downgrade(&new);
            new
        })
    }
}

impl Place {
    /// Reads, adds and writes, until everything is seen to be there.
    pub(super) async fn add_to_tag(&self, wanted: &ReferrersTag) -> Result<(), RegistryError> {
        let tag = TagOrDigest::Tag(referrers_tag(&wanted.subject));
        let fault = |problem| RegistryError::ReferrersTag {
            name: format!("{}:{tag}", self.shown),
            problem,
        };
        for _ in 0..MAX_ROUNDS {
            let started = Instant::now();
            let present = self.list_under(&tag, &wanted.subject).await?;
            let list = wanted.added_to(present.as_ref());
            let Some(list) = list.map_err(|_| fault(NO_LIST))? else {
                return Ok(());
            };
            self.put_manifest(&tag, media_type::OCI_INDEX, list).await?;
            // No registry says whether somebody wrote between our reading and our writing. Who has
            // read before we wrote writes within about the time that we took, so a look after a
            // multiple of it shows whether our entries are still there.
            let pause = settling(self.transport().config.backoff, started.elapsed());
            tokio::time::sleep(pause).await;
        }
        Err(fault(
            "loses what is added to it: somebody else writes it at the same time, or the registry does not keep it",
        ))
    }

    /// The list that is there; none where there is no such tag.
    async fn list_under(
        &self,
        tag: &TagOrDigest,
        subject: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        let found = match self.manifest(tag, self.push_scopes()).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // Some registries (GitLab) take such a tag for the digest.
        if found.digest == *subject {
            return Ok(None);
        }
        let parsed = Document::parse(&found.bytes, &found.media_type).map(|found| found.kind);
        match parsed {
            Ok(DocumentKind::Index(_)) if found.media_type == media_type::OCI_INDEX => {
                Ok(Some(found.bytes))
            }
            // Distribution specification, "Pushing Manifests with Subject": a failure.
            _ => Err(RegistryError::ReferrersTag {
                name: format!("{}:{tag}", self.shown),
                problem: NO_LIST,
            }),
        }
    }
}

/// How long to wait after a round of this length, with the client's first pause between attempts.
fn settling(backoff: Duration, round: Duration) -> Duration {
    (backoff / 2).max(4 * round).min(Duration::from_secs(10))
}
