//! What refers to images and charts: signatures, attestations, SBOMs and the like, as OCI referrers
//! and as cosign keeps them under tags.
//!
//! Each manifest that is carried is asked about, be it an image, a child of an index, a chart, or what
//! was found to refer to one of these. Only where the registry says that there is nothing is there
//! nothing; whatever else happens stops the run.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};

use super::{CreateError, Resolved, resolve::Resolver};
use crate::{
    bundle::{self, Lock},
    human,
    oci::{Digest, Reference, Repository, TagOrDigest},
    progress::Progress,
    registry::{Client, RegistryError, referrers_tag},
    request::{COSIGN_TAGS, Origin, ReferrerChoice, Request},
};

/// Deepest chain of what refers to what refers to an image.
const MAX_DEPTH: usize = 8;
/// Longest tag (distribution specification, "Pulling manifests"), in characters.
const MAX_TAG: usize = 128;
/// Most artifacts that refer to one image or chart, directly or not.
const MAX_ARTIFACTS: usize = 1000;

/// A manifest that is asked about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    /// The image or chart that it belongs to.
    pub(super) top: String,
}

/// What was found to refer to a subject.
struct Found {
    reference: Reference,
    /// The manifest, where a list named it.
    listed: Option<Digest>,
    origin: Origin,
    top: String,
}

/// What was found and does not come along: how many of each type.
type LeftOut = BTreeMap<String, usize>;

/// Why what refers to something is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReferrerFault {
    /// The registry does not say it.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// There is more than anybody needs.
    #[error("more than {MAX_ARTIFACTS} artifacts refer to it")]
    Many,
    /// There is no end of it.
    #[error("what refers to it is referred to itself, more than {MAX_DEPTH} deep")]
    Deep,
    /// A name that cannot be used.
    #[error("{0}")]
    Name(String),
}

/// Takes what a lock has of referrers into the request: with a lock, nobody is asked.
///
/// # Errors
/// When the lock was made with another choice of them.
pub(super) fn pinned(request: &mut Request, lock: &Lock) -> Result<(), CreateError> {
    if lock.referrer_types != request.referrers.in_lock() {
        let why = "another choice of referrers was made for it".to_owned();
        return Err(CreateError::Lock(why));
    }
    for image in &lock.images {
        for origin in &image.requested_by {
            let bundle::Origin::Referrer { subject } = origin else {
                continue;
            };
            let reference = image.reference.parse();
            let reference = reference
                .map_err(|_| CreateError::Lock(format!("{} is no reference", image.reference)))?;
            let subject = subject.clone();
            request.add_images([(reference, Origin::Referrer { subject })]);
        }
    }
    Ok(())
}

/// Finds everything that refers to `subjects`, directly or not, and resolves it, too; `request` has
/// it afterwards.
///
/// # Errors
/// With all that could not be asked about, or what is found does not resolve.
pub(super) async fn collect(
    resolver: &Resolver<'_>,
    request: &mut Request,
    resolved: &mut Resolved,
    subjects: Vec<Subject>,
    progress: &dyn Progress,
) -> Result<(), CreateError> {
    let choice = request.referrers.clone();
    if choice == ReferrerChoice::None {
        return Ok(());
    }
    let mut search = Search {
        client: resolver.client(),
        choice: &choice,
        seen: HashSet::new(),
        counts: HashMap::new(),
        left_out: LeftOut::new(),
    };
    let mut level = subjects;
    for depth in 0.. {
        level.retain(|subject| search.is_new(subject));
        if let Some(subject) = level.first().filter(|_| depth > MAX_DEPTH) {
            return Err(fault(subject.top.clone(), ReferrerFault::Deep));
        }
        if level.is_empty() {
            break;
        }
        let mut found = search.ask(&level, resolver.concurrency()).await?;
        // What was asked for anyway is there, and only gets one more reason.
        let known: HashSet<_> = request.images.iter().map(|i| i.reference.clone()).collect();
        // A list may go round in a circle, to what is there already.
        found.retain(|found| known.contains(&found.reference) || !search.has(found));
        let tops: HashMap<_, _> = found
            .iter()
            .map(|found| (found.reference.clone(), found.top.clone()))
            .collect();
        let wishes: Vec<_> = found.into_iter().map(|f| (f.reference, f.origin)).collect();
        let mut new = Request::default();
        new.add_images(wishes.iter().filter(|(r, _)| !known.contains(r)).cloned());
        request.add_images(wishes);
        let more = resolver.resolve(&new, None, progress).await?;
        level = more.subjects(|reference| tops.get(reference).cloned());
        resolved.add(more);
    }
    resolved.requested_as(request);
    for (artifact_type, count) in search.left_out {
        let count = human::count(count, "referrer", "referrers");
        progress.warn(&format!(
            "{count} of type {artifact_type} not taken along (--referrer-type)"
        ));
    }
    Ok(())
}

fn fault(top: String, fault: ReferrerFault) -> CreateError {
    CreateError::Referrers {
        failed: vec![(top, fault)],
    }
}

/// A search under way.
struct Search<'a> {
    client: &'a Client,
    choice: &'a ReferrerChoice,
    /// A list may name what it is about, and its own ancestors: each is asked about once.
    seen: HashSet<(Repository, Digest)>,
    /// How much refers to each image or chart.
    counts: HashMap<String, usize>,
    left_out: LeftOut,
}

impl Search<'_> {
    fn is_new(&mut self, subject: &Subject) -> bool {
        let key = (subject.repository.clone(), subject.digest);
        self.seen.insert(key)
    }

    /// Whether what was found has been asked about, or is going to be.
    fn has(&self, found: &Found) -> bool {
        let repository = found.reference.repository();
        let key = found.listed.map(|digest| (repository.clone(), digest));
        key.is_some_and(|key| self.seen.contains(&key))
    }

    /// Asks about all subjects, several at a time. Where a repository fails, it is not asked on.
    async fn ask(
        &mut self,
        subjects: &[Subject],
        concurrency: usize,
    ) -> Result<Vec<Found>, CreateError> {
        let broken = Mutex::new(HashSet::new());
        let broken = &|| broken.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, choice) = (self.client, self.choice);
        let asked: Vec<_> = subjects
            .iter()
            .map(|subject| async move {
                if broken().contains(&subject.repository) {
                    return None;
                }
                let found = of(client, choice, subject).await;
                if found.is_err() {
                    broken().insert(subject.repository.clone());
                }
                Some((subject, found))
            })
            .collect();
        let mut asked = stream::iter(asked).buffered(concurrency);
        let (mut all, mut failed) = (Vec::new(), Vec::new());
        while let Some(answer) = asked.next().await {
            match answer {
                Some((_, Ok((found, left_out)))) => {
                    for (artifact_type, count) in left_out {
                        *self.left_out.entry(artifact_type).or_default() += count;
                    }
                    all.extend(found);
                }
                Some((subject, Err(error))) => {
                    let name = format!("{}@{}", subject.repository, subject.digest);
                    failed.push((name, error));
                }
                None => {}
            }
        }
        for found in &all {
            let count = self.counts.entry(found.top.clone()).or_default();
            *count += 1;
            if *count == MAX_ARTIFACTS + 1 {
                failed.push((found.top.clone(), ReferrerFault::Many));
            }
        }
        match failed.is_empty() {
            true => Ok(all),
            false => Err(CreateError::Referrers { failed }),
        }
    }
}

/// What refers to one subject: by the subject that it names, and by a tag that is made of its digest.
async fn of(
    client: &Client,
    choice: &ReferrerChoice,
    subject: &Subject,
) -> Result<(Vec<Found>, LeftOut), ReferrerFault> {
    let (repository, digest) = (&subject.repository, &subject.digest);
    let (mut names, mut left_out) = (Vec::new(), LeftOut::new());
    let tag = referrers_tag(digest);
    if choice.takes_subjects() {
        let found = client.all_referrers(repository, digest).await?;
        let mut complete = true;
        for referrer in found.referrers {
            let artifact_type = referrer.artifact_type.unwrap_or_default();
            if choice.takes(&artifact_type) {
                names.push((format!("@{}", referrer.digest), Some(referrer.digest)));
            } else {
                complete = false;
                *left_out.entry(artifact_type).or_default() += 1;
            }
        }
        // The list that clients keep names all of them, so it comes along only with all of them.
        if found.has_tag && complete {
            names.push((format!(":{tag}"), None));
        }
    }
    for suffix in COSIGN_TAGS.iter().filter(|suffix| choice.takes(suffix)) {
        let tag = format!("{}{suffix}", digest.to_string().replace(':', "-"));
        // With a digest this long there is no such tag, and cosign makes none.
        if tag.len() > MAX_TAG {
            continue;
        }
        let what = TagOrDigest::Tag(tag.clone());
        let head = client.manifest_head(repository, &what).await?;
        // Some registries take such a tag for the digest.
        if head.is_some_and(|head| head.digest != Some(*digest)) {
            names.push((format!(":{tag}"), None));
        }
    }
    let found = names.into_iter().map(|(name, listed)| {
        let text = format!("{repository}{name}");
        let reference = text
            .parse()
            .map_err(|error| ReferrerFault::Name(format!("{text}: {error}")))?;
        let origin = Origin::Referrer {
            subject: format!("{repository}@{digest}"),
        };
        let top = subject.top.clone();
        Ok(Found {
            reference,
            listed,
            origin,
            top,
        })
    });
    Ok((found.collect::<Result<_, ReferrerFault>>()?, left_out))
}

#[cfg(test)]
mod tests;
