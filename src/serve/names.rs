//! Names that arrive from the network and become file names. Only what passes here reaches the
//! store, so that no request can name a file outside of it.

use std::fmt;

use crate::oci::{Reference, Repository};

/// The shortest host that the grammar accepts: only the path matters here.
const ANY_HOST: &str = "r";

/// A repository path by the grammar of the distribution specification ("Pulling manifests",
/// `<name>`). No component starts with `_` or `.`, which is what keeps the store's own
/// directories apart from repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RepositoryName(String);

impl RepositoryName {
    /// Checks the grammar and the length (253 characters).
    pub(super) fn parse(path: &str) -> Option<Self> {
        let repository = Repository::new(ANY_HOST, path).ok()?;
        Some(Self(repository.path().to_owned()))
    }

    /// The path, for example `library/alpine`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this is a tag by the grammar of the distribution specification.
pub(super) fn is_tag(text: &str) -> bool {
    Repository::new(ANY_HOST, ANY_HOST)
        .is_ok_and(|repository| Reference::new(repository, Some(text), None).is_ok())
}

/// Identifier of an upload session: 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UploadId(String);

impl UploadId {
    /// Takes a new one from the system's random numbers.
    pub(super) fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// Checks the shape.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keeps foreign text in an answer short.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for path in [
            "", ".", "..", "a/..", "../a", "a//b", "/a", "a/", "_tags", "a/_blobs", ".a", "A",
            "a\\b", "a\0b", "a b", "a/%2e%2e",
        ] {
            assert!(RepositoryName::parse(path).is_none(), "{path:?}");
        }
        assert!(RepositoryName::parse(&"a/".repeat(127)[..253]).is_some());
        assert!(RepositoryName::parse(&"a".repeat(254)).is_none());
        for tag in [
            "",
            ".",
            "..",
            "a/b",
            "-a",
            ".hidden",
            "a\0",
            &"a".repeat(129),
        ] {
            assert!(!is_tag(tag), "{tag:?}");
        }
        assert!(is_tag("_A.b-1"));
        for id in ["", "..", &"A".repeat(32), &"a".repeat(31), &"a/".repeat(16)] {
            assert!(UploadId::parse(id).is_none(), "{id:?}");
        }
    }

    #[test]
    fn upload_ids_are_unique_and_parse() {
        let (a, b) = (UploadId::random().unwrap(), UploadId::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(UploadId::parse(a.as_str()), Some(a));
    }
}
