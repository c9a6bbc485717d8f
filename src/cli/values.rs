//! Values of arguments that have a grammar of their own.

use std::{fmt, path::Path, str::FromStr};

use crate::oci::{Digest, Reference, Repository};

/// A value that is not of its grammar; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ValueError(String);

/// `--to`: a registry and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `HOST[:PORT]`, lower case.
    pub host: String,
    /// What every repository path starts with, without slashes around it; may be empty.
    pub prefix: String,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl FromStr for Destination {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |why: String| {
            ValueError(format!(
                "HOST[:PORT][/PREFIX], such as registry.local:5000 or harbor.local/project: {why}"
            ))
        };
        if text.contains("://") {
            return Err(wrong("leave out the scheme in front".to_owned()));
        }
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let path = if prefix.is_empty() { "a" } else { prefix };
        let repository = Repository::new(host, path).map_err(|e| wrong(e.to_string()))?;
        Ok(Self {
            host: repository.host().to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// `--map FROM=TO`: where images whose name starts with FROM go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRule {
    /// The start of a normalised image name: `HOST[:PORT][/PATH]`, without a slash at its end.
    pub from: String,
    /// The repository path at the destination that takes its place; empty for none.
    pub to: String,
}

impl FromStr for MapRule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |why: String| {
            ValueError(format!(
                "FROM=TO, such as quay.io/tigera=mirror/calico (a host with or without a path, \
                 and a path at the destination): {why}"
            ))
        };
        let Some((from, to)) = text.split_once('=') else {
            return Err(wrong("there is no `=`".to_owned()));
        };
        let (from, to) = (from.trim_end_matches('/'), to.trim_matches('/'));
        let (host, path) = from.split_once('/').unwrap_or((from, "a"));
        let checked = Repository::new(host, path).map_err(|e| wrong(e.to_string()))?;
        if !to.is_empty() {
            Repository::new("x", to).map_err(|e| wrong(e.to_string()))?;
        }
        let from = from.replacen(host, checked.host(), 1);
        Ok(Self {
            from,
            to: to.to_owned(),
        })
    }
}

/// `--raw`: which document of a bundle is written out as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawDocument {
    /// The root index, which is what signatures sign.
    Root,
    /// `index.json` of the layout.
    Index,
    /// The lock.
    Lock,
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

/// A switch in an environment variable; set but empty means that it is off.
pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(ValueError("1 or 0, true or false, yes or no".to_owned())),
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
    fn destinations() {
        for (text, host, prefix) in [
            ("registry.local:5000", "registry.local:5000", ""),
            ("Harbor.local/project/", "harbor.local", "project"),
            ("localhost/a/b", "localhost", "a/b"),
            ("registry", "registry", ""),
            ("[::1]:5000/a", "[::1]:5000", "a"),
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(
                (destination.host.as_str(), destination.prefix.as_str()),
                (host, prefix)
            );
        }
        for text in [
            "",
            "/a",
            "https://a.b",
            "a.b/C",
            "a.b//c",
            "a b",
            "a.b:x",
            "a.b/..",
            "a\x1b",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn map_rules() {
        for (text, from, to) in [
            (
                "quay.io/tigera=mirror/calico",
                "quay.io/tigera",
                "mirror/calico",
            ),
            ("Quay.io/=", "quay.io", ""),
            ("docker.io/library=/hub/", "docker.io/library", "hub"),
        ] {
            let rule: MapRule = text.parse().unwrap();
            assert_eq!((rule.from.as_str(), rule.to.as_str()), (from, to));
        }
        for text in ["", "a", "=b", "a/B=c", "a=B", "a=b c", "a=b=c"] {
            assert!(text.parse::<MapRule>().is_err(), "{text:?}");
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
            if let Ok(rule) = text.parse::<MapRule>() {
                prop_assert_eq!(format!("{}={}", rule.from, rule.to).parse(), Ok(rule));
            }
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }
    }
}
