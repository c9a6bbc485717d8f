//! Image references: every form that Docker accepts, normalised once and never split again.
//!
//! The grammar is that of the OCI distribution specification ("Pulling manifests": name and
//! reference) with Docker's rules for what may be left out: `alpine` is
//! `docker.io/library/alpine:latest`.

use std::{fmt, str::FromStr};

use super::{Digest, DigestError};

/// The host that an image name without one means.
const DEFAULT_HOST: &str = "docker.io";
/// Other names under which Docker Hub is written.
const DEFAULT_HOST_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Longest repository path, as registries enforce it (host included, by Docker's grammar).
const MAX_NAME: usize = 255;
/// Longest tag, by the distribution specification.
const MAX_TAG: usize = 128;

/// A registry host with its port and a repository in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// Builds a repository from a host (`HOST[:PORT]`) and a path (`a/b/c`), checking both.
    ///
    /// # Errors
    /// When either is not of the grammar.
    pub fn new(host: &str, path: &str) -> Result<Self, ReferenceError> {
        check_host(host, host)?;
        check_path(path, path)?;
        let host = host.to_ascii_lowercase();
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(clip(path)));
        }
        Ok(Self {
            host,
            path: path.to_owned(),
        })
    }

    /// `HOST[:PORT]`, lower case; Docker Hub is always `docker.io`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository path, for example `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagOrDigest {
    /// A tag, by the grammar `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    Tag(String),
    /// A digest.
    Digest(Digest),
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// A parsed, normalised image reference. Its [`Display`](fmt::Display) is the full form:
/// host, path, tag and digest, for example `quay.io/tigera/cni:v3.16.1`.
#[derive(Clone, Debug)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
    as_written: String,
}

/// Two references are the same when they name the same thing, however they were written.
impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Reference {}
impl PartialOrd for Reference {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Reference {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
impl std::hash::Hash for Reference {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Why a string is not an image reference. Every message shows the (clipped) input.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("the image reference is empty")]
    Empty,
    /// A URL scheme in front.
    #[error("`{0}` is not an image reference: leave out the `{1}` in front")]
    Scheme(String, String),
    /// Upper case in the repository path.
    #[error("`{0}` is not an image reference: the repository path must be lower case")]
    UpperCase(String),
    /// A host or port that cannot be one.
    #[error("`{0}` is not an image reference: `{1}` is not a host name with an optional port")]
    Host(String, String),
    /// A path component against the grammar.
    #[error(
        "`{0}` is not an image reference: `{1}` is not a repository path \
         (lower-case letters and digits, separated by `.`, `_`, `-` or `/`)"
    )]
    Path(String, String),
    /// A tag against the grammar.
    #[error(
        "`{0}` is not an image reference: `{1}` is not a tag \
         (up to 128 letters, digits, `_`, `.`, `-`; not starting with `.` or `-`)"
    )]
    Tag(String, String),
    /// A digest against the grammar.
    #[error("`{0}` is not an image reference: {1}")]
    Digest(String, DigestError),
    /// Host and path are longer than 255 characters together.
    #[error("`{0}…` is not an image reference: host and path are longer than 255 characters")]
    TooLong(String),
}

impl Reference {
    /// Puts a reference together from its parts; a reference without tag and digest gets `latest`.
    ///
    /// # Errors
    /// When the tag is not of the grammar.
    pub fn new(
        repository: Repository,
        tag: Option<&str>,
        digest: Option<Digest>,
    ) -> Result<Self, ReferenceError> {
        if let Some(tag) = tag {
            check_tag(tag, tag)?;
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        let mut reference = Self {
            repository,
            tag,
            digest,
            as_written: String::new(),
        };
        reference.as_written = reference.to_string();
        Ok(reference)
    }

    /// Host and path.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if one was given, or `latest` when neither tag nor digest was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference pins one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What to ask a registry for: the digest where there is one, for it is exact.
    pub fn tag_or_digest(&self) -> TagOrDigest {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => TagOrDigest::Digest(*digest),
            (None, Some(tag)) => TagOrDigest::Tag(tag.clone()),
            (None, None) => TagOrDigest::Tag("latest".to_owned()),
        }
    }

    /// The user's own spelling, before normalisation.
    pub fn as_written(&self) -> &str {
        &self.as_written
    }

    fn key(&self) -> (&Repository, &Option<String>, &Option<Digest>) {
        (&self.repository, &self.tag, &self.digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let mut prefix = clip(scheme);
            prefix.push_str("://");
            return Err(ReferenceError::Scheme(clip(text), prefix));
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let parsed = digest
                    .parse()
                    .map_err(|e| ReferenceError::Digest(clip(text), e))?;
                (name, Some(parsed))
            }
        };
        let (host, rest) = split_host(name);
        // Behind the host, a colon can only start a tag.
        let (path, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((path, tag)) => (path, Some(tag)),
        };
        if let Some(tag) = tag {
            check_tag(text, tag)?;
        }
        let host = match host {
            None => DEFAULT_HOST.to_owned(),
            Some(host) => {
                check_host(text, host)?;
                let host = host.to_ascii_lowercase();
                // `K/eo` names a host only as long as it is written so, and the path `k/eo` otherwise.
                if split_host(&format!("{host}/")).0.is_none() {
                    return Err(ReferenceError::UpperCase(clip(text)));
                }
                if DEFAULT_HOST_ALIASES.contains(&host.as_str()) {
                    DEFAULT_HOST.to_owned()
                } else {
                    host
                }
            }
        };
        let path = if host == DEFAULT_HOST && !path.contains('/') && !path.is_empty() {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        check_path(text, &path)?;
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(clip(text)));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        let repository = Repository { host, path };
        Ok(Self {
            repository,
            tag,
            digest,
            as_written: text.to_owned(),
        })
    }
}

/// Docker's rule for what is a host: what stands before the first slash, when it has a dot or a
/// colon, is `localhost`, or has upper-case letters (which no path has).
fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn check_host(text: &str, host: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Host(clip(text), clip(host));
    let (name, port) = if let Some(bracketed) = host.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').ok_or_else(wrong)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
        match rest {
            "" => (None, None),
            _ => (None, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        }
    } else {
        match host.split_once(':') {
            None => (Some(host), None),
            Some((name, port)) => (Some(name), Some(port)),
        }
    };
    if let Some(name) = name {
        let label_ok = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !name.split('.').all(label_ok) {
            return Err(wrong());
        }
    }
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|p| *p > 0);
        if !digits || number.is_none() {
            return Err(wrong());
        }
    }
    Ok(())
}

fn check_path(text: &str, path: &str) -> Result<(), ReferenceError> {
    if path.split('/').all(path_component_ok) {
        return Ok(());
    }
    if path.to_ascii_lowercase().split('/').all(path_component_ok) {
        return Err(ReferenceError::UpperCase(clip(text)));
    }
    Err(ReferenceError::Path(clip(text), clip(path)))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, by hand: no regular expression for one rule.
fn path_component_ok(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .all(|separator| match separator {
            b"" | b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|b| *b == b'-'),
        })
}

fn check_tag(text: &str, tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ok = !tag.is_empty()
        && tag.len() <= MAX_TAG
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if ok {
        Ok(())
    } else {
        Err(ReferenceError::Tag(clip(text), clip(tag)))
    }
}

/// Keeps foreign text in a message short; the terminal layer escapes it.
fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn full(text: &str) -> String {
        text.parse::<Reference>()
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .to_string()
    }

    #[test]
    fn every_form_that_docker_accepts_is_normalised() {
        for (written, normal) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.12.1", "docker.io/library/alpine:3.12.1"),
            ("library/alpine", "docker.io/library/alpine:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            (
                "index.docker.io/library/nginx:1",
                "docker.io/library/nginx:1",
            ),
            (
                "registry-1.docker.io/bitnami/nginx",
                "docker.io/bitnami/nginx:latest",
            ),
            ("bitnami/nginx", "docker.io/bitnami/nginx:latest"),
            (
                "quay.io/tigera/operator:v1.29.4",
                "quay.io/tigera/operator:v1.29.4",
            ),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:x", "localhost:5000/a/b:x"),
            ("registry.local:5000/a", "registry.local:5000/a:latest"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
            ("QUAY.io/a/b", "quay.io/a/b:latest"),
            ("a/b__c--d.e_f", "docker.io/a/b__c--d.e_f:latest"),
            ("x.y/z:_t.-", "x.y/z:_t.-"),
        ] {
            assert_eq!(full(written), normal);
        }
        assert_eq!(
            full(&format!("quay.io/a/b@{HEX}")),
            format!("quay.io/a/b@{HEX}")
        );
        assert_eq!(
            full(&format!("alpine:3@{HEX}")),
            format!("docker.io/library/alpine:3@{HEX}")
        );
    }

    #[test]
    fn q68_addresses_ports_and_long_names_are_told_from_tags() {
        for (text, host, path, tag) in [
            (
                "[2001:db8::1]:5000/a/b:1",
                "[2001:db8::1]:5000",
                "a/b",
                Some("1"),
            ),
            ("[::1]/a", "[::1]", "a", Some("latest")),
            ("r.example:5000/a", "r.example:5000", "a", Some("latest")),
            ("r.example/a:5000", "r.example", "a", Some("5000")),
            // What Helm makes of a version `1.2.3+meta`.
            (
                "r.example/charts/a:1.2.3_meta",
                "r.example",
                "charts/a",
                Some("1.2.3_meta"),
            ),
        ] {
            let parsed: Reference = text.parse().unwrap();
            let repository = parsed.repository();
            assert_eq!(
                (repository.host(), repository.path()),
                (host, path),
                "{text}"
            );
            assert_eq!(parsed.tag().or(Some("latest")), tag, "{text}");
        }
        assert!(
            "r.example/charts/a:1.2.3+meta"
                .parse::<Reference>()
                .is_err()
        );
        let path = |length: usize| format!("r.example/{}", "a".repeat(length));
        assert!(path(200).parse::<Reference>().is_ok());
        assert!(path(256).parse::<Reference>().is_err());
        let tag = |length: usize| format!("r.example/a:{}", "t".repeat(length));
        assert!(tag(128).parse::<Reference>().is_ok());
        assert!(tag(129).parse::<Reference>().is_err());
    }

    #[test]
    fn q68_what_no_registry_would_take_is_refused() {
        for text in [
            "",
            "-rf",
            "--help",
            "@sha256:",
            "a:b:c",
            "a b",
            "a\n",
            "a\0",
            "ä",
            "../x",
            "a//b",
            "/a",
            "a/",
            "file:///etc/passwd",
            "http://x/y",
            "docker://alpine",
            "Alpine",
            "K/eo",
            "quay.io/A/b",
            "x:",
            "x:.a",
            "quay.io:0/a",
            "quay.io:65536/a",
            "quay.io:/a",
            "q..io/a",
            "-q.io/a",
            "[::1/a",
            "[xyz]:1/a",
            "a/b_-c",
            "a/.b",
            "ghcr.\u{456}o/a",
            "x.y/",
            ":5000/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("x@{}", &HEX[..70]).parse::<Reference>().is_err());
        assert!(
            format!("quay.io/{}", "a".repeat(300))
                .parse::<Reference>()
                .is_err()
        );
        assert!(
            format!("x:{}", "a".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }

    #[test]
    fn q79_the_spelling_is_kept_but_does_not_make_a_difference() {
        let short: Reference = "alpine:3".parse().unwrap();
        let long: Reference = "docker.io/library/alpine:3".parse().unwrap();
        assert_eq!(short, long);
        assert_eq!(short.as_written(), "alpine:3");
        for host in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            for path in ["alpine", "library/alpine"] {
                let text = format!("{host}/{path}:3");
                let other: Reference = text.parse().unwrap();
                assert_eq!(other, short, "{text}");
                assert_eq!(other.to_string(), "docker.io/library/alpine:3");
                assert_eq!(other.as_written(), text);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_normalises_to_a_fixed_point(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(&again, &reference);
                prop_assert_eq!(again.to_string(), reference.to_string());
            }
        }

        #[test]
        fn likely_references_are_a_fixed_point_too(
            text in "([a-z]{1,4}(\\.[a-z]{1,3})?(:[0-9]{1,5})?/)?[a-z0-9._/-]{1,12}(:[A-Za-z0-9._-]{1,8})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, reference);
            }
        }
    }
}
