//! What a lock has to be beyond its JSON: in order, nothing twice, and every name that can become one
//! of a file such a name.

use std::collections::HashSet;

use super::{
    lock::{Lock, LockError, LockedChart, LockedFile},
    names::{is_dns_name, is_file_name},
    release::Release,
};
use crate::oci::MAX_DOCUMENT_BYTES;

/// Most files of one artifact. The descriptor of a layer with a name is longer than 180 bytes, so
/// the manifest of more could not be a document of the bundle; it is not even made.
const MAX_FILES: usize = MAX_DOCUMENT_BYTES / 180;

/// Checks all of that.
pub(super) fn check(lock: &Lock) -> Result<(), LockError> {
    let images = lock.images.iter().map(|image| image.reference.as_str());
    let charts = lock.charts.iter().map(|chart| chart.reference.as_str());
    let files = lock.files.iter().map(|file| file.name.as_str());
    let absent = lock.absent.iter().map(|absent| absent.digest.to_string());
    for (what, in_order) in [
        ("images", ascends(images)),
        ("charts", ascends(charts)),
        ("files", ascends(files)),
        ("absent parts", ascends(absent)),
    ] {
        if !in_order {
            return Err(LockError::Order(what));
        }
    }
    let images = lock.images.iter().map(|i| (&i.reference, &i.requested_by));
    let charts = lock.charts.iter().map(|c| (&c.reference, &c.requested_by));
    if let Some((reference, _)) = images.chain(charts).find(|(_, by)| by.is_empty()) {
        return Err(LockError::Unasked(clip(reference)));
    }
    check_files(&lock.files)?;
    check_charts(&lock.charts)?;
    check_releases(&lock.releases)
}

/// Sorted, and nothing twice.
fn ascends<T: Ord>(keys: impl Iterator<Item = T>) -> bool {
    keys.is_sorted_by(|a, b| a < b)
}

fn check_files(files: &[LockedFile]) -> Result<(), LockError> {
    if files.len() > MAX_FILES {
        return Err(LockError::TooMany);
    }
    match files.iter().find(|file| !is_file_name(&file.name)) {
        Some(file) => Err(LockError::File(clip(&file.name))),
        None => Ok(()),
    }
}

fn check_charts(charts: &[LockedChart]) -> Result<(), LockError> {
    let mut names = HashSet::new();
    for chart in charts {
        let name = format!("{}-{}.tgz", chart.name, chart.version);
        if chart.archive.name != name {
            return Err(LockError::Archive(clip(&chart.reference)));
        }
        if !is_file_name(&name) {
            return Err(LockError::File(clip(&name)));
        }
        // As a tag has it: on the other side a chart is known by name and tag alone.
        if !names.insert(name.replace('+', "_")) {
            return Err(LockError::Order("charts"));
        }
    }
    Ok(())
}

fn check_releases(releases: &[Release]) -> Result<(), LockError> {
    let mut known = HashSet::new();
    for release in releases {
        let names = [&release.name, &release.namespace];
        if let Some(name) = names.into_iter().find(|name| !is_dns_name(name)) {
            return Err(LockError::Name(clip(name)));
        }
        if !known.insert((&release.namespace, &release.name)) {
            return Err(LockError::Order("releases"));
        }
        if !ascends(release.relocate.iter().map(|setting| &setting.path)) {
            return Err(LockError::Order("settings of a release"));
        }
        check_files(&release.values)?;
        let mut files = HashSet::new();
        if !release.values.iter().all(|file| files.insert(&file.name)) {
            return Err(LockError::Order("values files of a release"));
        }
    }
    Ok(())
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
