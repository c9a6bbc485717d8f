//! What a lock has to be beyond its JSON: in order, nothing twice, and every name that can become one
//! of a file such a name.

use std::collections::HashSet;

use super::{
    lock::{Lock, LockError, LockedChart, LockedFile},
    names::{is_file_name, is_namespace, is_release_name},
    release::Release,
};
use crate::oci::MAX_DOCUMENT_BYTES;

/// Most files of one artifact. The descriptor of a layer with a name is longer than 180 bytes, so
/// the manifest of more could not be a document of the bundle; it is not even made.
const MAX_FILES: usize = MAX_DOCUMENT_BYTES / 180;

/// Most releases of one bundle.
const MAX_RELEASES: usize = 1_000;
/// Largest values file, in bytes.
pub(crate) const MAX_VALUES_BYTES: u64 = 4 << 20;
/// Most bytes of values files of all releases together; one that two releases have counts twice.
const MAX_ALL_VALUES_BYTES: u64 = 64 << 20;

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
    let types = lock.referrer_types.iter().flatten();
    if !ascends(types.clone()) {
        return Err(LockError::Order("types of referrers"));
    }
    if types.clone().any(String::is_empty) {
        return Err(LockError::ReferrerType);
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
    if releases.len() > MAX_RELEASES {
        return Err(LockError::TooManyReleases);
    }
    let mut all_values = 0_u64;
    let mut known = HashSet::new();
    for release in releases {
        if !is_release_name(&release.name) {
            return Err(LockError::Name(clip(&release.name)));
        }
        if !is_namespace(&release.namespace) {
            return Err(LockError::Name(clip(&release.namespace)));
        }
        for file in &release.values {
            all_values = all_values.saturating_add(file.size);
            if file.size > MAX_VALUES_BYTES || all_values > MAX_ALL_VALUES_BYTES {
                return Err(LockError::Values(clip(&release.name)));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bundle::Discover, oci::Digest};

    fn release(number: usize, sizes: &[u64]) -> Release {
        let files = sizes.iter().enumerate().map(|(file, size)| LockedFile {
            digest: Digest::sha256_of(b"x"),
            name: format!("{file}.yaml"),
            size: *size,
        });
        Release {
            api_versions: vec![],
            chart: "localhost/demo:1".into(),
            discover: Discover::Render,
            kube_version: None,
            name: format!("r{number}"),
            namespace: "default".into(),
            relocate: vec![],
            values: files.collect(),
        }
    }

    #[test]
    fn releases_and_their_values_have_an_end() {
        let releases = |count: usize, sizes: &[u64]| -> Vec<Release> {
            (0..count).map(|number| release(number, sizes)).collect()
        };
        let most = MAX_VALUES_BYTES;
        for (releases, ok) in [
            (releases(1_000, &[]), true),
            (releases(1_001, &[]), false),
            (releases(1, &[most]), true),
            (releases(1, &[most + 1]), false),
            (releases(16, &[most]), true),
            (releases(16, &[most, 1]), false),
            (releases(1, &[u64::MAX, u64::MAX]), false),
        ] {
            assert_eq!(check_releases(&releases).is_ok(), ok, "{}", releases.len());
        }
    }

    #[test]
    fn names_are_those_that_helm_and_kubernetes_take() {
        let named = |name: &str, namespace: &str| {
            let mut release = release(1, &[]);
            release.name = name.to_owned();
            release.namespace = namespace.to_owned();
            check_releases(&[release]).is_ok()
        };
        assert!(named("a.b-c", &"n".repeat(63)));
        assert!(!named(&"a".repeat(54), "default"));
        assert!(!named("a", "b.c"));
        assert!(!named("../a", "default"));
    }
}
