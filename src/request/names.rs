//! The grammars of names that end up in file names and annotations.

use crate::bundle::{is_bundle_name, is_bundle_version, is_file_name};

/// A name against its grammar. The message says what the grammar is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not {what}: {rule}")]
pub struct NameError {
    shown: String,
    what: &'static str,
    rule: &'static str,
}

fn refuse(text: &str, what: &'static str, rule: &'static str) -> NameError {
    NameError {
        shown: clip(text),
        what,
        rule,
    }
}

/// Keeps foreign text in a message short.
pub(super) fn clip(text: &str) -> String {
    crate::human::clip(text, 120)
}

/// Checks `metadata.name`: `[a-z0-9][a-z0-9._-]*`, at most 63 bytes.
///
/// # Errors
/// When `name` is not of that grammar.
pub fn check_bundle_name(name: &str) -> Result<(), NameError> {
    is_bundle_name(name).then_some(()).ok_or_else(|| {
        refuse(
            name,
            "a name for a bundle",
            "up to 63 lower-case letters, digits, `.`, `_`, `-`, starting with a letter or digit",
        )
    })
}

/// Checks `metadata.version`: `[A-Za-z0-9][A-Za-z0-9._+-]*`, at most 63 bytes.
///
/// # Errors
/// When `version` is not of that grammar.
pub fn check_bundle_version(version: &str) -> Result<(), NameError> {
    is_bundle_version(version).then_some(()).ok_or_else(|| {
        refuse(
            version,
            "a version for a bundle",
            "up to 63 letters, digits, `.`, `_`, `+`, `-`, starting with a letter or digit",
        )
    })
}

/// Checks the name of a carried file: one path component of up to 128 bytes that every file
/// system takes.
///
/// # Errors
/// When it has separators or control characters, is `.` or `..`, or is too long.
pub fn check_file_name(name: &str) -> Result<(), NameError> {
    is_file_name(name).then_some(()).ok_or_else(|| {
        refuse(
            name,
            "a name for a carried file",
            "one file name of up to 128 bytes, without directories, control characters, \
             or any of \\ : * ? \" < > |",
        )
    })
}

/// Checks a platform, `OS/ARCH[/VARIANT]`, by the values of the image specification ("Image Index
/// Property Descriptions"): they are Go's, so lower-case letters and digits.
///
/// # Errors
/// When it does not have two or three such parts.
pub fn check_platform(platform: &str) -> Result<(), NameError> {
    let part_ok = |part: &str| {
        !part.is_empty()
            && part.len() <= 32
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let parts: Vec<&str> = platform.split('/').take(4).collect();
    let ok = matches!(parts.len(), 2 | 3) && parts.iter().all(|part| part_ok(part));
    ok.then_some(()).ok_or_else(|| {
        refuse(
            platform,
            "a platform",
            "expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_of_bundles() {
        for good in ["a", "calico-cloud", "0x", "a.b_c-d", &"a".repeat(63)] {
            assert!(check_bundle_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "A",
            "a/b",
            "a b",
            "ä",
            "..",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(check_bundle_name(bad).is_err(), "{bad:?}");
        }
        for good in ["1", "3.16.1", "v1.0.0-rc.1+build5", "2026-11-23", "A"] {
            assert!(check_bundle_version(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "../x",
            "+1",
            "1 2",
            "1/2",
            "\u{1b}[31m",
            &"1".repeat(64),
        ] {
            assert!(check_bundle_version(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_files_are_one_component() {
        for good in ["install.md", "READ ME.txt", ".env", "Übersicht.pdf"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "C:x",
            "a\0",
            " a",
            "a\n",
            &"a".repeat(129),
        ] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn platforms_have_two_or_three_parts() {
        for good in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert!(check_platform(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "Linux/amd64",
            "linux/arm/v7/x",
            "linux/arm 64",
        ] {
            assert!(check_platform(bad).is_err(), "{bad:?}");
        }
    }
}
