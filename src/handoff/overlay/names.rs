//! How values files write image names, and which keys they write them under.

use crate::oci::{Reference, Repository};

/// The name in an image reference, and what stands behind it (`:TAG`, `@DIGEST`, or a template
/// that makes one).
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    // A template may hold slashes; the name ends before it in any case.
    let search_from = match text.find("{{") {
        Some(template) if template < last => text[..template].rfind('/').map_or(0, |s| s + 1),
        _ => last,
    };
    // The port of `localhost:5000` is not in the last part, unless there is only one part.
    match text[search_from..].find([':', '@']) {
        Some(end) => text.split_at(search_from + end),
        None => (text, ""),
    }
}

/// Whether a name starts with a registry host, by Docker's rule.
pub(super) fn has_host(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(first, _)| is_host(first))
}

/// Whether this is written like a registry host.
pub(super) fn is_host(text: &str) -> bool {
    text == "localhost" || (text.contains(['.', ':']) && Repository::new(text, "x").is_ok())
}

/// The normalised repository of a name without tag and digest.
pub(super) fn repository(name: &str) -> Option<Repository> {
    let reference: Reference = name.parse().ok()?;
    Some(reference.repository().clone())
}

/// The host and path that the value of a key for registries stands for (`quay.io`,
/// `docker.io/istio/`), normalised and without a slash at the end. Without a host it is a path at
/// Docker Hub, if the key says that it is a registry.
pub(super) fn base(key: &str, text: &str) -> Option<String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let (host, path) = match trimmed.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (trimmed, None),
    };
    if !is_host(host) {
        let whole = repository(&format!("{trimmed}/x")).filter(|_| is_registry_key(key))?;
        return Some(format!("{}/{trimmed}", whole.host()));
    }
    let whole = repository(&format!("{host}/{}/x", path.unwrap_or("x")))?;
    Some(match path {
        Some(path) => format!("{}/{path}", whole.host()),
        None => whole.host().to_owned(),
    })
}

fn plain(key: &str) -> String {
    key.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Keys whose value is a registry, or the start of image names.
pub(super) fn is_base_key(key: &str) -> bool {
    let key = plain(key);
    key.contains("registry")
        || key == "hub"
        || key.ends_with("repository")
        || key.ends_with("repo")
        || key.ends_with("imageprefix")
}

/// Keys of a registry alone, which name parts stand beside.
pub(super) fn is_registry_key(key: &str) -> bool {
    let key = plain(key);
    key.contains("registry") || key == "hub"
}

/// Keys whose value is the name of an image.
pub(super) fn is_image_key(key: &str) -> bool {
    let key = plain(key);
    key.ends_with("image")
        || key.ends_with("images")
        || key.ends_with("repository")
        || key.ends_with("repo")
        || key.ends_with("imagename")
}

/// Keys whose value is the name of an image when a tag or a registry stands beside them.
pub(super) fn is_weak_image_key(key: &str) -> bool {
    matches!(plain(key).as_str(), "name" | "path" | "img")
}

/// Keys of a tag or digest.
pub(super) fn is_tag_key(key: &str) -> bool {
    let key = plain(key);
    key.ends_with("tag") || key.ends_with("version") || key.ends_with("digest")
}

/// Keys of the part between registry and name.
pub(super) fn is_namespace_key(key: &str) -> bool {
    let key = plain(key);
    matches!(key.as_str(), "repository" | "repo" | "org" | "organization")
        || key.ends_with("imagerepository")
        || key.ends_with("imagenamespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_ends_where_the_tag_starts() {
        for (text, name, rest) in [
            ("quay.io/a/b:v1", "quay.io/a/b", ":v1"),
            ("localhost:5000/a/b", "localhost:5000/a/b", ""),
            ("localhost:5000/a@sha256:0", "localhost:5000/a", "@sha256:0"),
            ("a:1", "a", ":1"),
            ("quay.io/a/b:{{ .x/y }}", "quay.io/a/b", ":{{ .x/y }}"),
            ("a", "a", ""),
        ] {
            assert_eq!(split_name(text), (name, rest), "{text}");
        }
    }

    #[test]
    fn bases_are_hosts_with_or_without_a_path() {
        for (text, expected) in [
            ("quay.io", Some("quay.io")),
            ("quay.io/", Some("quay.io")),
            ("index.docker.io/istio", Some("docker.io/istio")),
            ("localhost:5000/a/b/", Some("localhost:5000/a/b")),
            ("bitnami", Some("docker.io/bitnami")),
            ("a b", None),
            ("https://quay.io", None),
            ("quay.io//a", None),
            ("", None),
        ] {
            assert_eq!(base("registry", text).as_deref(), expected, "{text}");
        }
        assert_eq!(base("repository", "bitnami"), None);
    }
}
