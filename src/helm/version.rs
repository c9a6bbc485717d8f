//! Chart versions and the constraints on them, by the rules of the library that Helm uses
//! (Masterminds semver 3.4), which are looser than Semantic Versioning and than Cargo's.
//!
//! A version is never printed again from its parts: its text is part of a chart's name, tag and
//! signature.

mod constraint;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, fmt, str::FromStr};

pub use self::constraint::Constraint;

/// Longest version or constraint that is read, in bytes.
const MAX_TEXT: usize = 1024;

/// A version as it was written: `1.2.3`, `v1.2.3-rc.1+build`, and also `v1`, `1.2` and `0.1.000`.
///
/// Versions are ordered, and equal, by precedence (Semantic Versioning 2.0, section 11): missing
/// parts are zero, build metadata does not count.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    numbers: [u64; 3],
    prerelease: String,
    strict: bool,
}

/// Why a text is no version, or no constraint on versions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not a version.
    #[error("`{0}` is not a version")]
    Version(String),
    /// Not a constraint.
    #[error("`{0}` is not a version constraint")]
    Constraint(String),
}

impl VersionError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Version(_) => {
                "versions look like `1.2.3`, `v1.2.3-rc.1` or `1.2.3+build`; no part before the `+` \
                 may have a leading zero behind the `-`"
            }
            Self::Constraint(_) => {
                "constraints look like `1.2.3`, `~1.2`, `^1`, `1.x`, `>=1.2, <2`, `1.2 - 1.4` or `1.x || >=3`"
            }
        };
        Some(text.to_owned())
    }
}

impl Version {
    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has a pre-release part (`-rc.1`).
    pub fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }

    /// Whether it is written as Semantic Versioning wants it: three numbers without leading zeros,
    /// no `v`.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The same version without its pre-release part.
    fn without_prerelease(&self) -> Self {
        Self {
            prerelease: String::new(),
            ..self.clone()
        }
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError::Version(clip(text));
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let (parts, rest) = Parts::scan(text, |byte| byte.is_ascii_digit()).ok_or_else(wrong)?;
        if !rest.is_empty() {
            return Err(wrong());
        }
        let number = |part: Option<&str>| part.map_or(Ok(0), str::parse::<u64>);
        let numbers = [
            number(Some(parts.major)),
            number(parts.minor),
            number(parts.patch),
        ];
        let [Ok(major), Ok(minor), Ok(patch)] = numbers else {
            return Err(wrong());
        };
        let padded = |part: &str| part.len() > 1 && part.starts_with('0');
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.prerelease.split('.').any(|p| numeric(p) && padded(p)) {
            return Err(wrong());
        }
        let written = [Some(parts.major), parts.minor, parts.patch];
        let strict = written.iter().all(|part| part.is_some_and(|p| !padded(p)));
        Ok(Self {
            text: text.to_owned(),
            numbers: [major, minor, patch],
            prerelease: parts.prerelease.to_owned(),
            strict: strict && !text.starts_with('v'),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.is_prerelease(), other.is_prerelease()) {
                (true, true) => compare_prereleases(&self.prerelease, &other.prerelease),
                (mine, others) => others.cmp(&mine),
            }
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// The highest version that a constraint accepts; without a constraint, the highest that is no
/// pre-release. Of several that are equal, the first.
pub fn newest<'v>(
    versions: impl Iterator<Item = &'v Version>,
    constraint: Option<&Constraint>,
) -> Option<&'v Version> {
    versions
        .filter(|version| match constraint {
            Some(constraint) => constraint.matches(version),
            None => !version.is_prerelease(),
        })
        .reduce(|best, version| if *version > *best { version } else { best })
}

/// Whether a chart's `kubeVersion` accepts a cluster. What a vendor adds to the cluster's version
/// (`v1.33.2-gke.1`) does not make it a pre-release.
pub fn accepts_kube(constraint: &Constraint, kube: &Version) -> bool {
    constraint.matches(&kube.without_prerelease())
}

/// Compares pre-release parts; an absent identifier is lower than any.
fn compare_prereleases(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => compare_identifiers(a.unwrap_or_default(), b.unwrap_or_default()),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Numbers are lower than words; a number that does not fit 64 bits counts as a word.
fn compare_identifiers(a: &str, b: &str) -> Ordering {
    if a.is_empty() || b.is_empty() {
        return a.len().cmp(&b.len());
    }
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// A version, or what stands for one in a constraint, cut into its parts.
struct Parts<'t> {
    major: &'t str,
    minor: Option<&'t str>,
    patch: Option<&'t str>,
    prerelease: &'t str,
    /// All of it.
    whole: &'t str,
}

impl<'t> Parts<'t> {
    /// Takes as much as can be taken from the beginning of `text`; `in_number` tells the characters
    /// of a number. Also gives what is left.
    fn scan(text: &'t str, in_number: fn(u8) -> bool) -> Option<(Self, &'t str)> {
        let mut rest = text.strip_prefix('v').unwrap_or(text);
        let major = take(&mut rest, "", in_number)?;
        let minor = take(&mut rest, ".", in_number);
        let patch = match minor {
            Some(_) => take(&mut rest, ".", in_number),
            None => None,
        };
        let prerelease = take_identifiers(&mut rest, "-");
        take_identifiers(&mut rest, "+");
        let parts = Self {
            major,
            minor,
            patch,
            prerelease,
            whole: &text[..text.len() - rest.len()],
        };
        Some((parts, rest))
    }
}

/// Takes `lead` and at least one of the characters behind it, or nothing.
fn take<'t>(rest: &mut &'t str, lead: &str, wanted: fn(u8) -> bool) -> Option<&'t str> {
    let behind = rest.strip_prefix(lead)?;
    let length = behind.bytes().take_while(|byte| wanted(*byte)).count();
    if length == 0 {
        return None;
    }
    // Only ASCII is wanted, so this is the boundary of a character.
    let (taken, left) = behind.split_at(length);
    *rest = left;
    Some(taken)
}

/// Takes `lead` and identifiers with dots between them, or nothing.
fn take_identifiers<'t>(rest: &mut &'t str, lead: &str) -> &'t str {
    let in_identifier = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let before = *rest;
    if take(rest, lead, in_identifier).is_none() {
        return "";
    }
    while take(rest, ".", in_identifier).is_some() {}
    &before[lead.len()..before.len() - rest.len()]
}

/// Foreign text, short enough for a message.
fn clip(text: &str) -> String {
    text.chars()
        .take(120)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
