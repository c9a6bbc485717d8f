//! Platforms of images: `OS/ARCHITECTURE[/VARIANT]`, as in the image index specification.

use std::{fmt, str::FromStr};

use oci_spec::image as spec;
use serde::{Deserialize, Serialize};

/// A platform that an image is for, or that a user asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a platform: expected OS/ARCHITECTURE[/VARIANT], for example linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// Whether this, as a user's choice, covers what `offered` says. Without a variant every variant
    /// is covered; `arm64` and `arm64/v8` are the same.
    pub fn covers(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.normal_variant() == offered.normal_variant())
    }

    /// Whether this is the `unknown/unknown` of an attestation manifest.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    fn normal_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        }
    }
}

impl From<&spec::Platform> for Platform {
    fn from(platform: &spec::Platform) -> Self {
        Self {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone().filter(|v| !v.is_empty()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.chars().take(80).collect());
        let part_ok = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| part_ok(part)) {
            return Err(wrong());
        }
        Ok(Self {
            os: parts[0].to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).map(|v| (*v).to_owned()),
        })
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

impl schemars::JsonSchema for Platform {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_choice_covers_its_variants() {
        assert!(platform("linux/arm").covers(&platform("linux/arm/v6")));
        assert!(platform("linux/arm/v7").covers(&platform("linux/arm")));
        assert!(!platform("linux/arm/v7").covers(&platform("linux/arm/v6")));
        assert!(platform("linux/arm64/v8").covers(&platform("linux/arm64")));
        assert!(!platform("linux/amd64").covers(&platform("windows/amd64")));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/a b",
            "all",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?} was accepted");
        }
    }
}
