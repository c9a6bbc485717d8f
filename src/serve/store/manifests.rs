//! Manifests, tags and the index of referrers.

use std::{collections::BTreeMap, fs, io, sync::PoisonError};

use serde::{Deserialize, Serialize};

use super::{Store, durable, file_name, from_file_name};
use crate::{
    oci::{Digest, MAX_DOCUMENT_BYTES},
    serve::{document::Document, names::RepositoryName},
};

/// Media types and digests are short; more than this was not written by the store.
const LINK_CAP: u64 = 1024;

/// A manifest as it was pushed.
#[derive(Debug)]
pub(in crate::serve) struct StoredManifest {
    pub(in crate::serve) media_type: String,
    pub(in crate::serve) bytes: Vec<u8>,
}

/// Descriptor of a manifest that refers to another one (distribution specification, "Listing
/// Referrers").
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::serve) struct Referrer {
    pub(in crate::serve) media_type: String,
    pub(in crate::serve) digest: Digest,
    pub(in crate::serve) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::serve) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::serve) annotations: BTreeMap<String, String>,
}

/// A manifest to be stored; everything about it has been checked.
pub(in crate::serve) struct NewManifest<'a> {
    pub(in crate::serve) digest: Digest,
    pub(in crate::serve) media_type: &'a str,
    pub(in crate::serve) bytes: &'a [u8],
    pub(in crate::serve) tags: &'a [String],
    /// What this manifest refers to, and how the list of referrers describes it.
    pub(in crate::serve) refers_to: Option<(Digest, Referrer)>,
}

impl Store {
    /// Stores a manifest; its tags move last, when everything else is on the disk.
    pub(in crate::serve) fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest<'_>,
    ) -> io::Result<()> {
        let _linking = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let temporary = self.temporary();
        let digest = &manifest.digest;
        durable::write(&temporary, &self.content(digest), manifest.bytes)?;
        if let Some((subject, descriptor)) = &manifest.refers_to {
            // Before the link, so that no visible manifest is missing from the list; the list
            // leaves out what has no link.
            let path = self
                .referrers_of(repository, subject)
                .join(file_name(digest));
            durable::write(&temporary, &path, &serde_json::to_vec(descriptor)?)?;
        }
        let link = self.manifest_link(repository, digest);
        durable::write(&temporary, &link, manifest.media_type.as_bytes())?;
        for tag in manifest.tags {
            let target = digest.to_string();
            durable::write(&temporary, &self.tag(repository, tag), target.as_bytes())?;
        }
        Ok(())
    }

    /// A manifest of a repository. Content that is damaged on the disk is an error.
    pub(in crate::serve) fn manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<StoredManifest>> {
        let link = self.manifest_link(repository, digest);
        let Some(media_type) = durable::read_small(&link, LINK_CAP)? else {
            return Ok(None);
        };
        let media_type = String::from_utf8(media_type)
            .map_err(|_| durable::damaged("a media type in the store is not text"))?;
        let content = durable::read_small(&self.content(digest), MAX_DOCUMENT_BYTES as u64)?;
        let Some(bytes) = content else {
            return Ok(None);
        };
        if digest.of_same_algorithm(&bytes) != *digest {
            return Err(durable::damaged("a manifest in the store is damaged"));
        }
        Ok(Some(StoredManifest { media_type, bytes }))
    }

    /// Size of a manifest in bytes, if the repository has it.
    pub(in crate::serve) fn manifest_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<u64>> {
        if !fs::exists(self.manifest_link(repository, digest))? {
            return Ok(None);
        }
        self.content_size(digest)
    }

    /// What a tag points to.
    pub(in crate::serve) fn resolve_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
    ) -> io::Result<Option<Digest>> {
        let Some(text) = durable::read_small(&self.tag(repository, tag), LINK_CAP)? else {
            return Ok(None);
        };
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| durable::damaged("a tag in the store names no digest"))
    }

    /// All tags in byte order.
    pub(in crate::serve) fn tags(&self, repository: &RepositoryName) -> io::Result<Vec<String>> {
        let mut tags = durable::names_in(&self.repository(repository).join("_tags"))?;
        tags.sort_unstable();
        Ok(tags)
    }

    /// Removes a tag, and nothing but the tag; `false` when there is none.
    pub(in crate::serve) fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
    ) -> io::Result<bool> {
        durable::remove(&self.tag(repository, tag))
    }

    /// Removes a manifest with the tags that point to it, and its content when no other
    /// repository has it; `false` when the repository has none.
    pub(in crate::serve) fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _removing = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let link = self.manifest_link(repository, digest);
        if !fs::exists(&link)? {
            return Ok(false);
        }
        for tag in self.tags(repository)? {
            if self.resolve_tag(repository, &tag)? == Some(*digest) {
                self.delete_tag(repository, &tag)?;
            }
        }
        let content = durable::read_small(&self.content(digest), MAX_DOCUMENT_BYTES as u64)?;
        let subject = content.and_then(|bytes| Document::parse(&bytes).ok()?.subject);
        durable::remove(&link)?;
        if let Some(subject) = subject {
            let list = self.referrers_of(repository, &subject.digest);
            durable::remove(&list.join(file_name(digest)))?;
        }
        self.remove_unlinked(digest)?;
        Ok(true)
    }

    /// The manifests that refer to `subject` in the order of their digests, those behind `after`
    /// and of `artifact_type` only, until their descriptions are `cap` bytes together. Also tells
    /// whether there are more.
    pub(in crate::serve) fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        artifact_type: Option<&str>,
        cap: usize,
    ) -> io::Result<(Vec<Referrer>, bool)> {
        let directory = self.referrers_of(repository, subject);
        let mut digests: Vec<Digest> = durable::names_in(&directory)?
            .iter()
            .filter_map(|name| from_file_name(name))
            .filter(|digest| after.is_none_or(|after| digest > after))
            .collect();
        digests.sort_unstable();
        let mut found = Vec::new();
        let mut bytes = 0;
        for digest in digests {
            if !fs::exists(self.manifest_link(repository, &digest))? {
                continue;
            }
            let path = directory.join(file_name(&digest));
            // A description repeats parts of its manifest, possibly with longer escapes.
            let Some(json) = durable::read_small(&path, 8 * MAX_DOCUMENT_BYTES as u64)? else {
                continue;
            };
            let referrer: Referrer = serde_json::from_slice(&json)
                .map_err(|_| durable::damaged("a referrer in the store is damaged"))?;
            let wanted = artifact_type.is_none_or(|t| referrer.artifact_type.as_deref() == Some(t));
            if !wanted {
                continue;
            }
            if !found.is_empty() && bytes + json.len() > cap {
                return Ok((found, true));
            }
            bytes += json.len();
            found.push(referrer);
        }
        Ok((found, false))
    }
}
