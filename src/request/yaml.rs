//! The shape of `bundle.yaml` as it is written, before its values are checked.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_saphyr::{
    Error, Location, MessageFormatter as _, Spanned, UserMessageFormatter, options::MergeKeyPolicy,
};

use super::{Problem, names::clip, suggest::nearest};

/// The document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "apiVersion")]
    pub _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    pub _kind: IgnoredAny,
    pub metadata: Metadata,
    pub platforms: Option<Vec<Spanned<String>>>,
    #[serde(rename = "kubeVersion")]
    pub kube_version: Option<Spanned<String>>,
    pub charts: Option<Vec<Spanned<ChartKeys>>>,
    pub images: Option<Vec<Spanned<ImageItem>>>,
    pub files: Option<Vec<Spanned<FileItem>>>,
    pub operators: Option<Vec<Spanned<FileItem>>>,
    pub referrers: Option<bool>,
    #[serde(rename = "referrerTypes")]
    pub referrer_types: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub name: Spanned<String>,
    pub version: Option<Spanned<String>>,
}

/// What says that a document is a `bundle.yaml` at all; looked at before everything else, so that
/// some other YAML file is called that instead of being blamed for its keys.
#[derive(Debug, Deserialize)]
pub(super) struct Heading {
    #[serde(rename = "apiVersion")]
    pub api_version: Option<Spanned<String>>,
    pub kind: Option<Spanned<String>>,
}

/// An entry of `charts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ChartKeys {
    pub name: Option<Spanned<String>>,
    pub repo: Option<Spanned<String>>,
    pub chart: Option<Spanned<String>>,
    pub version: Option<Spanned<String>>,
    pub release: Option<Spanned<String>>,
    pub namespace: Option<Spanned<String>>,
    pub kube_version: Option<Spanned<String>>,
    pub api_versions: Option<Vec<Spanned<String>>>,
    pub values: Option<Vec<Spanned<FileItem>>>,
    pub discover: Option<Spanned<String>>,
    pub tests: Option<bool>,
    pub images: Option<Vec<Spanned<ImageItem>>>,
    pub allow_secrets: Option<Vec<String>>,
    pub relocate: Option<BTreeMap<String, String>>,
    pub pass_credentials: Option<bool>,
    pub allow_digest_mismatch: Option<bool>,
}

/// An entry of `images`: a reference, `{from: LIST}`, or `{image: REFERENCE, platforms: [..]}`.
#[derive(Debug)]
pub(super) enum ImageItem {
    Reference(String),
    Keys(ImageKeys),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageKeys {
    pub from: Option<String>,
    pub image: Option<String>,
    pub platforms: Option<Vec<String>>,
}

/// An entry of `files`: a path, or `{path: PATH, name: NAME}`.
#[derive(Debug)]
pub(super) enum FileItem {
    Path(String),
    Keys(FileKeys),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    pub path: String,
    pub name: Option<String>,
}

/// An untagged enum would lose the place of what is wrong inside, so the two forms are told apart
/// by hand.
struct TextOrKeys<T> {
    expected: &'static str,
    from_text: fn(String) -> T,
}

impl<'de, T: FromKeys<'de>> Visitor<'de> for TextOrKeys<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        Ok((self.from_text)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_keys(MapAccessDeserializer::new(map))
    }
}

trait FromKeys<'de>: Sized {
    fn from_keys<D: Deserializer<'de>>(keys: D) -> Result<Self, D::Error>;
}

impl<'de> FromKeys<'de> for ImageItem {
    fn from_keys<D: Deserializer<'de>>(keys: D) -> Result<Self, D::Error> {
        ImageKeys::deserialize(keys).map(Self::Keys)
    }
}

impl<'de> FromKeys<'de> for FileItem {
    fn from_keys<D: Deserializer<'de>>(keys: D) -> Result<Self, D::Error> {
        FileKeys::deserialize(keys).map(Self::Keys)
    }
}

impl<'de> Deserialize<'de> for ImageItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrKeys {
            expected: "an image reference, {from: LIST} or {image: REFERENCE, platforms: [..]}",
            from_text: Self::Reference,
        })
    }
}

impl<'de> Deserialize<'de> for FileItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrKeys {
            expected: "a path or {path: PATH, name: NAME}",
            from_text: Self::Path,
        })
    }
}

/// Parses YAML strictly: no unknown tags, no merge keys, no duplicate keys, one document, and
/// within the budget of the parser for aliases and depth.
pub(super) fn parse<'de, T: Deserialize<'de>>(text: &'de str, shown: &str) -> Result<T, Problem> {
    let options = serde_saphyr::options! {
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        problem_at(shown, at, describe(error))
    })
}

/// A problem at a place in the file.
pub(super) fn problem_at(shown: &str, at: Location, message: impl Into<String>) -> Problem {
    Problem {
        file: shown.to_owned(),
        line: at.line(),
        column: at.column(),
        message: message.into(),
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let known = expected.join("`, `");
            match nearest(field, expected) {
                Some(meant) => format!("unknown key `{}`: did you mean `{meant}`?", clip(field)),
                None => format!("unknown key `{}`: known here are `{known}`", clip(field)),
            }
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::MultipleDocuments { .. } => "more than one YAML document".to_owned(),
        other => {
            let message: Cow<'_, str> = UserMessageFormatter.format_message(other);
            clip(message.trim_end_matches('.'))
        }
    }
}
