//! What the lock says of a chart, held against the chart's manifest.

use std::collections::HashMap;

use super::{
    error::BundleError,
    lock::{Lock, LockedChart, LockedFile},
};
use crate::oci::{Descriptor, Digest, Document, DocumentKind, media_type};

/// The charts of a lock by the digests of their manifests.
pub(super) fn by_digest(lock: &Lock) -> HashMap<Digest, Vec<&LockedChart>> {
    let mut charts: HashMap<_, Vec<_>> = HashMap::new();
    for chart in &lock.charts {
        charts.entry(chart.digest).or_default().push(chart);
    }
    charts
}

/// Checks that `document` is the manifest of these charts: Helm's, with the archive that the lock
/// names and no other.
pub(super) fn check(charts: &[&LockedChart], document: &Document) -> Result<(), BundleError> {
    let wrong = charts.iter().find(|chart| !is_of(&chart.archive, document));
    match wrong {
        None => Ok(()),
        Some(chart) => Err(BundleError::LockMismatch(format!(
            "{} is not a chart with the archive that the lock names",
            chart.reference.escape_default()
        ))),
    }
}

fn is_of(archive: &LockedFile, document: &Document) -> bool {
    let DocumentKind::Manifest { config, layers } = &document.kind else {
        return false;
    };
    let is_archive = |layer: &&Descriptor| {
        let media_type = layer.media_type.as_str();
        matches!(
            media_type,
            media_type::HELM_CONTENT | media_type::HELM_CONTENT_LEGACY
        )
    };
    let mut archives = layers.iter().filter(is_archive);
    match (archives.next(), archives.next()) {
        (Some(found), None) => {
            config.media_type == media_type::HELM_CONFIG
                && (found.digest, found.size) == (archive.digest, archive.size)
        }
        _ => false,
    }
}
