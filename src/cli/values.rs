//! Values of arguments that have a grammar of their own.

use std::{num::NonZeroU64, path::Path, str::FromStr, time::Duration};

use crate::{
    oci::{Digest, Reference, Repository},
    open::Input,
};

/// A value that is not of its grammar; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ValueError(String);

/// `--raw`: which document of a bundle is written out as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawDocument {
    /// The root index, which is what signatures sign.
    Root,
    /// `index.json` of the layout.
    Index,
    /// The lock.
    Lock,
    /// The first embedded signature, a Sigstore bundle.
    Signature,
    /// The blob, manifest or index of this digest.
    Digest(Digest),
    /// The manifest or index of this entry.
    Reference(Reference),
}

impl FromStr for RawDocument {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "root" => Ok(Self::Root),
            "index" => Ok(Self::Index),
            "lock" => Ok(Self::Lock),
            "signature" => Ok(Self::Signature),
            digest if digest.starts_with("sha256:") || digest.starts_with("sha512:") => digest
                .parse()
                .map(Self::Digest)
                .map_err(|e: crate::oci::DigestError| ValueError(format!("a digest: {e}"))),
            reference => reference
                .parse()
                .map(Self::Reference)
                .map_err(|e| ValueError(format!("root, index, lock, a digest or an image: {e}"))),
        }
    }
}

/// A registry host, `HOST[:PORT]`, lower case.
pub(super) fn host(text: &str) -> Result<String, ValueError> {
    let wrong = |why: &str| ValueError(format!("HOST or HOST:PORT: {why}"));
    if text.contains('/') {
        return Err(wrong("no scheme and no path"));
    }
    Repository::new(text, "a")
        .map(|repository| repository.host().to_owned())
        .map_err(|_| wrong("this is no host name"))
}

/// The name of an object in Kubernetes.
pub(super) fn kubernetes_name(text: &str) -> Result<String, ValueError> {
    match crate::bundle::is_dns_name(text) {
        true => Ok(text.to_owned()),
        false => Err(ValueError(
            "a name of lower-case letters, digits, `-` and `.`".to_owned(),
        )),
    }
}

/// The place of a file on the nodes of a cluster.
pub(super) fn path_on_nodes(text: &str) -> Result<String, ValueError> {
    match text.starts_with('/') && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(ValueError(
            "an absolute path on the nodes, such as /etc/ssl/certs/registry-ca.crt".to_owned(),
        )),
    }
}

/// A path of a repository, or nothing.
pub(super) fn repository_path(text: &str) -> Result<String, ValueError> {
    let path = text.trim_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    Repository::new("x", path)
        .map(|repository| repository.path().to_owned())
        .map_err(|error| ValueError(format!("a path in a registry: {error}")))
}

/// A switch in an environment variable; set but empty means that it is off.
pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(ValueError("1 or 0, true or false, yes or no".to_owned())),
    }
}

/// A time, at most a day: a whole number with `s`, `m` or `h`; seconds without.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let (number, unit) = split_number(text);
    let factor = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(factor);
    let seconds = seconds.and_then(|(number, factor)| number.checked_mul(factor));
    match seconds {
        Some(seconds @ 0..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(ValueError("a time such as 90s, 10m or 1h".to_owned())),
    }
}

/// A time from one second on: shorter silences are no sign of anything.
pub(super) fn stall_timeout(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        time if time.is_zero() => Err(ValueError("one second or more".to_owned())),
        time => Ok(time),
    }
}

/// Bytes a second, from one byte on. `K`, `M`, `G` and `KiB`, `MiB`, `GiB` are powers of 1024, `kB`,
/// `MB`, `GB` powers of 1000.
pub(super) fn byte_rate(text: &str) -> Result<NonZeroU64, ValueError> {
    let (number, unit) = split_number(text);
    let lower = unit.to_ascii_lowercase();
    let base: Option<u64> = match lower.strip_prefix(['k', 'm', 'g']) {
        None if lower.is_empty() || lower == "b" => Some(1),
        Some("" | "ib") => Some(1024),
        Some("b") => Some(1000),
        _ => None,
    };
    let power = match lower.bytes().next() {
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        _ => 0,
    };
    let number = number.parse::<f64>().ok().filter(|n| n.is_finite());
    let bytes = number.zip(base).map(|(n, base)| n * base.pow(power) as f64);
    bytes
        .and_then(|bytes| NonZeroU64::new(bytes as u64))
        .ok_or_else(|| ValueError("bytes a second, such as 500K, 10M or 12.5MB".to_owned()))
}

/// A number and the unit behind it.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text.split_at(end.unwrap_or(text.len()))
}

/// The bundle that an argument names: a file, or `-` for standard input.
pub(super) fn input(path: &Path) -> Input {
    if is_dash(path) {
        Input::Stdin
    } else {
        Input::File(path.to_owned())
    }
}

/// Whether an argument stands for standard input or output.
pub(super) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_and_rates_have_units() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("24h", 86_400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5m", "1d", "25h", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(stall_timeout("0").is_err());
        for (text, bytes) in [
            ("1", 1),
            ("700b", 700),
            ("500K", 512_000),
            ("10M", 10 << 20),
            ("10MiB", 10 << 20),
            ("12.5MB", 12_500_000),
            ("1g", 1 << 30),
        ] {
            assert_eq!(byte_rate(text).map(NonZeroU64::get), Ok(bytes), "{text}");
        }
        for text in ["", "0", "0.5", "M", "-1", "1X", "1 M", "1Mbit", "1..5K"] {
            assert!(byte_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn raw_documents() {
        let hex = "sha256:".to_owned() + &"a".repeat(64);
        assert_eq!("root".parse(), Ok(RawDocument::Root));
        assert_eq!(hex.parse(), Ok(RawDocument::Digest(hex.parse().unwrap())));
        assert_eq!(
            "alpine".parse(),
            Ok(RawDocument::Reference("alpine".parse().unwrap()))
        );
        assert!("sha256:xyz".parse::<RawDocument>().is_err());
        assert!("A".parse::<RawDocument>().is_err());
    }

    #[test]
    fn hosts_and_switches() {
        assert_eq!(host("Registry.local:5000").unwrap(), "registry.local:5000");
        for text in ["", "http://a", "a/b", "a b", "-x"] {
            assert!(host(text).is_err(), "{text:?}");
        }
        for (text, value) in [("1", true), ("TRUE", true), ("", false), ("no", false)] {
            assert_eq!(switch(text).unwrap(), value);
        }
        assert!(switch("maybe").is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_them_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<RawDocument>();
            let _ = host(&text);
            let _ = switch(&text);
        }
    }
}
