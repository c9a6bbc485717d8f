//! The grammars of a bundle's name, version and time.

/// Longest name or version, in bytes.
const LONGEST: usize = 63;

/// Whether `text` can be the name of a bundle: `[a-z0-9][a-z0-9._-]{0,62}`.
pub fn is_bundle_name(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    is_word(text, first, |b| first(b) || b"._-".contains(&b))
}

/// Whether `text` can be the version of a bundle: `[A-Za-z0-9][A-Za-z0-9._+-]{0,62}`.
pub fn is_bundle_version(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric();
    is_word(text, first, |b| first(b) || b"._+-".contains(&b))
}

/// Whether `text` is RFC 3339 in UTC with whole seconds: `2026-11-23T04:10:00Z`.
pub(super) fn is_time(text: &str) -> bool {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.is_ok_and(|moment| moment.to_string() == text && text.len() == 20)
}

fn is_word(text: &str, first: impl Fn(u8) -> bool, other: impl Fn(u8) -> bool) -> bool {
    text.len() <= LONGEST && text.bytes().next().is_some_and(first) && text.bytes().all(other)
}

/// Longest name of a carried file, in bytes; every file system has at least this.
const LONGEST_FILE_NAME: usize = 128;

/// Whether a carried file can have this name (bundle-spec, "Files"): one path component of 1 to 128
/// bytes that every file system takes.
pub fn is_file_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !"/\\:*?\"<>|".contains(c);
    !matches!(name, "" | "." | "..")
        && name.len() <= LONGEST_FILE_NAME
        && name.trim() == name
        && name.chars().all(allowed)
}

/// Longest name of a release: Helm adds a suffix to it in names of objects.
const LONGEST_RELEASE: usize = 53;

/// Whether a release can have this name, by Helm's rule: a name as [`is_dns_name`] has it, of at
/// most 53 bytes.
pub fn is_release_name(text: &str) -> bool {
    text.len() <= LONGEST_RELEASE && is_dns_name(text)
}

/// Whether a namespace can have this name: one label of a name as [`is_dns_name`] has it.
pub fn is_namespace(text: &str) -> bool {
    is_dns_name(text) && !text.contains('.')
}

/// Whether this is a name as Kubernetes has it (RFC 1123, "subdomain"), of at most 63 bytes: labels
/// of lower-case letters, digits and inner `-`, with dots between them.
pub fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && ends && label.bytes().all(inner)
    };
    text.len() <= LONGEST && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_those_of_kubernetes() {
        for name in ["a", "calico-cloud", "a.b-c.0", &"a".repeat(53)] {
            assert!(is_dns_name(name) && is_release_name(name), "{name}");
            assert_eq!(is_namespace(name), !name.contains('.'), "{name}");
        }
        let long = "a".repeat(63);
        assert!(is_namespace(&long) && !is_release_name(&long));
        let longer = "a".repeat(64);
        for name in [
            "", "A", "-a", "a-", "a..b", "a_b", "a b", "a\n", "ä", &longer,
        ] {
            assert!(!is_dns_name(name) && !is_release_name(name), "{name:?}");
            assert!(!is_namespace(name), "{name:?}");
        }
    }
}
