//! References that are split over several fields: `registry`, `repository`, `image`, `tag`, `version`, `digest`,
//! with any common prefix (`trivy.repository` and `trivy.tag`, `PROXY_IMAGE` and `PROXY_IMAGE_TAG`).

use std::collections::BTreeMap;

use super::words::{Written, is_no_registry, words};
use crate::oci::Reference;

/// A field of an object, or a variable of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'o> {
    pub key: &'o str,
    pub value: &'o str,
    /// Whatever tells the caller which field this is.
    pub index: usize,
}

/// What a group of fields is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// A reference; the index is that of the field that holds its name.
    Whole(Reference, usize),
    /// A repository that looks like one of images, without a version.
    NoVersion(String, usize),
}

/// The last words of keys that count.
const PARTS: [&str; 10] = [
    "registry",
    "repository",
    "repo",
    "image",
    "tag",
    "version",
    "digest",
    "sha",
    "sha256",
    "pull policy",
];

#[derive(Default)]
struct Parts<'o> {
    registry: Part<'o>,
    repository: Part<'o>,
    image: Part<'o>,
    tag: Part<'o>,
    version: Part<'o>,
    digest: Part<'o>,
    /// A key says `image`, so it is not a chart, a checkout or a package.
    of_image: bool,
    pull_policy: bool,
}

/// A part of a reference; none when it is empty, and never when two fields disagree.
#[derive(Default)]
struct Part<'o> {
    entry: Option<Entry<'o>>,
    ambiguous: bool,
}

impl<'o> Part<'o> {
    fn set(&mut self, entry: Entry<'o>) {
        match self.entry {
            Some(other) if other.value != entry.value => self.ambiguous = true,
            Some(_) => {}
            None => self.entry = Some(entry),
        }
    }

    fn value(&self) -> Option<&'o str> {
        self.entry.map(|entry| entry.value)
    }
}

/// Puts together what belongs together. `under_image`: the fields are those of an object that is itself
/// called an image (`image: {repository: .., tag: ..}`).
pub(super) fn groups<'o>(
    entries: impl IntoIterator<Item = Entry<'o>>,
    under_image: bool,
) -> Vec<Group> {
    let mut by_prefix: BTreeMap<String, Parts<'o>> = BTreeMap::new();
    for entry in entries {
        let words = words(entry.key);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (prefix, part): (&[&str], &str) = match words.as_slice() {
            [prefix @ .., "image", "name"] => (prefix, "image"),
            [prefix @ .., "image", "pull", "policy"] | [prefix @ .., "pull", "policy"] => {
                (prefix, "pull policy")
            }
            ["name"] if under_image => (&[], "repository"),
            [prefix @ .., last] => (prefix, last),
            [] => continue,
        };
        let (prefix, of_image) = match prefix {
            [prefix @ .., "image"] => (prefix, true),
            prefix => (prefix, part == "image"),
        };
        // `proxyImageVersion` is a tag; a bare `version` may be that of anything.
        let part = if part == "version" && of_image {
            "tag"
        } else {
            part
        };
        if entry.value.is_empty() || entry.value.len() > 512 {
            continue;
        }
        if !PARTS.contains(&part) {
            continue;
        }
        let into = by_prefix.entry(prefix.join(" ")).or_default();
        into.take(part, entry);
        into.of_image |= of_image;
    }
    by_prefix
        .values()
        .filter_map(|parts| parts.together(under_image))
        .collect()
}

impl<'o> Parts<'o> {
    fn take(&mut self, part: &str, entry: Entry<'o>) {
        match part {
            "registry" => self.registry.set(entry),
            "repository" | "repo" => self.repository.set(entry),
            "image" => self.image.set(entry),
            "tag" => self.tag.set(entry),
            "version" => self.version.set(entry),
            "pull policy" => self.pull_policy = true,
            _ => self.digest.set(entry),
        }
    }

    fn together(&self, under_image: bool) -> Option<Group> {
        let every = [
            &self.registry,
            &self.repository,
            &self.image,
            &self.tag,
            &self.version,
            &self.digest,
        ];
        if every.iter().any(|part| part.ambiguous) {
            return None;
        }
        let registry = self.registry.value().map(|r| r.trim_end_matches('/'));
        let (name, held) = match (self.repository.entry, self.image.entry) {
            // `repository: nvcr.io/nvidia`, `image: driver`
            (Some(repository), Some(image)) => {
                let folder = repository.value.trim_end_matches('/');
                (format!("{folder}/{}", image.value), image)
            }
            (Some(one), None) | (None, Some(one)) => (one.value.to_owned(), one),
            (None, None) => return None,
        };
        if Written::of(held.value).is_exact() {
            return None;
        }
        let own_host = Written::of(&name).host();
        if own_host.is_some_and(is_no_registry) || own_host.is_some() && registry.is_some() {
            return None;
        }
        let certain = under_image
            || self.of_image
            || self.pull_policy
            || registry.is_some()
            || own_host.is_some();
        if !certain {
            return None;
        }
        let has_host = own_host.is_some() || registry.is_some();
        let name = match registry {
            Some(registry) => format!("{registry}/{name}"),
            None => name,
        };
        // With a name alone, `version` says nothing about the image; with folder and name it does.
        let version_counts =
            under_image || self.repository.entry.is_some() && (self.of_image || self.pull_policy);
        let version = self.version.value().filter(|_| version_counts);
        let (tag, digest) = match (self.tag.value().or(version), self.digest.value()) {
            (Some(tag), digest) if tag.starts_with("sha256:") => (None, digest.or(Some(tag))),
            other => other,
        };
        let mut whole = name.clone();
        if let Some(tag) = tag {
            whole.push(':');
            whole.push_str(tag);
        }
        if let Some(digest) = digest {
            whole.push('@');
            if !digest.contains(':') {
                whole.push_str("sha256:");
            }
            whole.push_str(digest);
        }
        if tag.is_none() && digest.is_none() {
            // A list of repositories: the first and those to fall back on.
            let mut each = name.split(',');
            let likely = has_host
                && each.all(|name| name.contains('/') && name.parse::<Reference>().is_ok());
            return likely.then_some(Group::NoVersion(name, held.index));
        }
        let reference = whole.parse().ok()?;
        Some(Group::Whole(reference, held.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)], under_image: bool) -> Vec<String> {
        let entries = fields
            .iter()
            .enumerate()
            .map(|(index, (key, value))| Entry { key, value, index });
        groups(entries, under_image)
            .into_iter()
            .map(|group| match group {
                Group::Whole(reference, index) => format!("{reference} {index}"),
                Group::NoVersion(name, index) => format!("? {name} {index}"),
            })
            .collect()
    }

    #[test]
    fn fields_that_belong_together() {
        let digest = "0a".repeat(32);
        let pinned = format!("quay.io/a/b:v1@sha256:{digest} 0");
        for (fields, expected) in [
            (
                &[
                    ("repository", "nvcr.io/nvidia"),
                    ("image", "gpu-operator"),
                    ("version", "v1"),
                ][..],
                "nvcr.io/nvidia/gpu-operator:v1 1",
            ),
            (
                &[
                    ("registry", "quay.io"),
                    ("repository", "a/b"),
                    ("tag", "v1"),
                ],
                "quay.io/a/b:v1 1",
            ),
            (
                &[("registry", "quay.io/"), ("image", "a/b"), ("tag", "v1")],
                "quay.io/a/b:v1 1",
            ),
            (
                &[
                    ("trivy.repository", "mirror.gcr.io/aquasec/trivy"),
                    ("trivy.tag", "0.72.0"),
                ],
                "mirror.gcr.io/aquasec/trivy:0.72.0 0",
            ),
            (
                &[("PROXY_IMAGE", "quay.io/a/b"), ("PROXY_IMAGE_TAG", "v1")],
                "quay.io/a/b:v1 0",
            ),
            (
                &[("FOO_IMAGE", "busybox"), ("FOO_TAG", "1")],
                "docker.io/library/busybox:1 0",
            ),
            (
                &[("initImageRepository", "a/b"), ("initImageTag", "v1")],
                "docker.io/a/b:v1 0",
            ),
            (
                &[("initImageRepository", "a/b"), ("initImageVersion", "v1")],
                "docker.io/a/b:v1 0",
            ),
            (
                &[
                    ("repository", "a/b"),
                    ("tag", "v1"),
                    ("pullPolicy", "Always"),
                ],
                "docker.io/a/b:v1 0",
            ),
            (
                &[
                    ("repository", "quay.io/a/b"),
                    ("tag", "v1"),
                    ("digest", &digest),
                ],
                pinned.as_str(),
            ),
        ] {
            assert_eq!(of(fields, false), [expected], "{fields:?}");
        }
        assert_eq!(
            of(&[("name", "a/b"), ("tag", "v1")], true),
            ["docker.io/a/b:v1 0"]
        );
        assert_eq!(
            of(
                &[("DB_REPOSITORY", "mirror.gcr.io/a/db,ghcr.io/a/db")],
                false
            ),
            ["? mirror.gcr.io/a/db,ghcr.io/a/db 0"]
        );
        assert_eq!(
            of(
                &[("trivy.dbRepository", "mirror.gcr.io/aquasec/trivy-db")],
                false
            ),
            ["? mirror.gcr.io/aquasec/trivy-db 0"]
        );
    }

    #[test]
    fn what_is_no_image_is_not_put_together() {
        for fields in [
            &[
                ("repository", "https://charts.example.com"),
                ("version", "1.2"),
            ][..],
            &[("repository", "kubernetes/foo"), ("tag", "v1")],
            &[("repository", "github.com/a/b"), ("tag", "v1")],
            &[("repository", "a/b"), ("version", "1.0")],
            &[("image", "quay.io/prometheus/prometheus:v3"), ("tag", "v2")],
            &[("name", "a/b"), ("tag", "v1")],
            &[("image", "a"), ("version", "v1")],
            &[("TIGERA_OPERATOR_INIT_IMAGE_VERSION", "master")],
            &[
                ("registry", "quay.io"),
                ("repository", "gcr.io/a/b"),
                ("tag", "v1"),
            ],
            &[("image", "{{ .x }}"), ("tag", "v1")],
            &[("image", "vgpu-manager"), ("imagePullPolicy", "Always")],
            &[
                ("FOO_IMAGE", "a/b"),
                ("FOO_IMAGE_TAG", "1"),
                ("FOO_TAG", "2"),
            ],
            &[("version", "v1"), ("chart", "x")],
        ] {
            assert_eq!(of(fields, false), Vec::<String>::new(), "{fields:?}");
        }
    }
}
