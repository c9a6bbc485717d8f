//! Indexes of which only some platforms travel.
//!
//! Such an index is sent as it is where the registry takes it. Distribution, by default, insists on
//! every child; then a smaller index, which lists only what is there, can stand in for it.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::LoadError;
use crate::{
    bundle::{BundleError, Class, MemberId},
    oci::{Digest, media_type},
    open::Medium,
};

/// What to do with an index of which only some children are in the bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexMode {
    /// Send it as it is; where the registry refuses that, send a smaller one.
    #[default]
    Auto,
    /// Send it as it is.
    Keep,
    /// Always send a smaller one.
    Filter,
}

/// An index that lists only what is in the bundle.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its digest.
    pub digest: Digest,
    /// What it lists, in order.
    pub children: Vec<MemberId>,
}

/// The smaller indexes, for those that are not complete.
#[derive(Debug, Default)]
pub struct Variants(HashMap<MemberId, Variant>);

impl Variants {
    /// The smaller form of an index; none if it is complete, or no index.
    pub fn smaller(&self, id: MemberId) -> Option<&Variant> {
        self.0.get(&id)
    }

    /// Finds the incomplete indexes of a bundle.
    pub(super) fn find(medium: &Medium, mode: IndexMode) -> Result<Self, LoadError> {
        let mut variants = Self::default();
        let metadata = medium.metadata();
        if metadata.lock.absent.is_empty() || mode == IndexMode::Keep {
            return Ok(variants);
        }
        let contents = &metadata.plan.contents;
        for top in contents.entries() {
            // Children before parents: a smaller child changes its parents.
            for id in contents.closure(*top) {
                let is_index = contents.member(id).class == Class::Document
                    && media_type::is_index(contents.media_type(id));
                if is_index && !variants.0.contains_key(&id) {
                    let bytes = medium.document(id).map_err(LoadError::damaged)?;
                    if let Some(variant) = variants.reduce(medium, id, &bytes)? {
                        variants.0.insert(id, variant);
                    }
                }
            }
        }
        Ok(variants)
    }

    fn reduce(
        &self,
        medium: &Medium,
        id: MemberId,
        bytes: &[u8],
    ) -> Result<Option<Variant>, LoadError> {
        let contents = &medium.metadata().plan.contents;
        let wrong = |error: serde_json::Error| LoadError::damaged(BundleError::Lock(error.into()));
        let mut index: Value = serde_json::from_slice(bytes).map_err(wrong)?;
        let Some(children) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Ok(None);
        };
        let before = children.len();
        let mut changed = false;
        let mut kept = Vec::new();
        children.retain_mut(|child| {
            let digest = child
                .get("digest")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let Some(member) = digest
                .parse()
                .ok()
                .and_then(|digest| contents.find(&digest))
            else {
                return false;
            };
            if let Some(smaller) = self.smaller(member) {
                child["digest"] = Value::from(smaller.digest.to_string());
                child["size"] = Value::from(smaller.bytes.len());
                // The content itself, which a descriptor may repeat, is another one now.
                if let Some(child) = child.as_object_mut() {
                    child.remove("data");
                }
                changed = true;
            }
            kept.push(member);
            true
        });
        if children.len() == before && !changed {
            return Ok(None);
        }
        debug_assert_eq!(kept.len(), contents.references(id).len());
        let bytes = Bytes::from(serde_json::to_vec(&index).map_err(wrong)?);
        Ok(Some(Variant {
            digest: Digest::sha256_of(&bytes),
            bytes,
            children: kept,
        }))
    }
}
