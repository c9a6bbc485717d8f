//! Operators make pods whose images stand in no rendered text. A catalogue says, for an operator's image, which
//! images it will pull; a short list of known operators says where a catalogue entry is missing.
//!
//! ```yaml
//! apiVersion: sneakernet/v1
//! kind: OperatorCatalogue
//! operators:
//!   - operator: quay.io/tigera/operator
//!     versions: "v1.29.*"          # tags of the operator; every tag where it is left out
//!     images:
//!       - quay.io/calico/node:v3.26.0
//!   - operator: docker.elastic.co/eck/eck-operator
//!     from: eck-images.txt         # a list of images, relative to the catalogue
//! ```

mod known;

use std::path::{Component, Path};

use serde::Deserialize;

use super::discover::{Found, clip};
use crate::oci::{Reference, ReferenceError, Repository};

pub use known::{KNOWN, KnownOperator};

/// The largest catalogue that is read, in bytes.
pub const MAX_CATALOGUE: usize = 4 * 1024 * 1024;

/// Which images operators pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// In the order of the file.
    pub operators: Vec<OperatorList>,
}

/// The images that one operator pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorList {
    /// The operator's own image, without a tag.
    pub operator: Repository,
    /// The tags of the operator for which the list holds: `*` stands for any text. None: every tag.
    pub versions: Option<String>,
    /// What it pulls, as the file says it.
    pub images: OperatorImages,
}

/// Where the list of images is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorImages {
    /// In the catalogue.
    Listed(Vec<Reference>),
    /// In a list of images beside it: a relative path without `..`.
    From(String),
}

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// More than a catalogue has.
    #[error("the operator catalogue is {0} bytes, more than the {MAX_CATALOGUE} that are read")]
    TooLarge(usize),
    /// Not YAML, or not of the form.
    #[error("the operator catalogue cannot be read: {0}")]
    Yaml(String),
    /// Another `apiVersion` or `kind`.
    #[error("this is no operator catalogue: {0} is `{1}`, not `{2}`")]
    Heading(&'static str, String, &'static str),
    /// An image that is no reference.
    #[error("operator catalogue, entry {0}: {1}")]
    Reference(usize, ReferenceError),
    /// An entry that cannot mean anything.
    #[error("operator catalogue, entry {0} (`{1}`): {2}")]
    Entry(usize, String, &'static str),
}

impl CatalogueError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Heading(..) => Some(
                "a catalogue starts with `apiVersion: sneakernet/v1` and \
                 `kind: OperatorCatalogue`"
                    .to_owned(),
            ),
            Self::Entry(..) => Some(
                "an entry has `operator`, and `images` or `from`; `versions` is optional"
                    .to_owned(),
            ),
            Self::TooLarge(_) | Self::Yaml(_) | Self::Reference(..) => None,
        }
    }
}

const API_VERSION: &str = "sneakernet/v1";
const KIND: &str = "OperatorCatalogue";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    operators: Vec<EntryDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryDocument {
    operator: String,
    versions: Option<String>,
    images: Option<Vec<String>>,
    from: Option<String>,
}

impl Catalogue {
    /// Reads a catalogue; unknown keys are errors.
    ///
    /// # Errors
    /// When the text is not a catalogue, or one of its entries means nothing.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        if text.len() > MAX_CATALOGUE {
            return Err(CatalogueError::TooLarge(text.len()));
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            reject_unsupported_tags: true,
            strict_booleans: true,
        };
        let document: Document = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| CatalogueError::Yaml(clip(&error.without_snippet().to_string())))?;
        for (key, is, expected) in [
            ("apiVersion", &document.api_version, API_VERSION),
            ("kind", &document.kind, KIND),
        ] {
            if is != expected {
                return Err(CatalogueError::Heading(key, clip(is), expected));
            }
        }
        let operators = document.operators.into_iter().enumerate();
        Ok(Self {
            operators: operators
                .map(|(index, entry)| entry.check(index + 1))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The lists that hold for the operators among `found`.
    pub fn lists_for<'c>(
        &'c self,
        found: &'c [Found],
    ) -> impl Iterator<Item = (&'c Found, &'c OperatorList)> {
        found.iter().flat_map(|found| {
            let holds = |list: &&OperatorList| list.holds_for(&found.reference);
            let lists = self.operators.iter().filter(holds);
            lists.map(move |list| (found, list))
        })
    }
}

impl EntryDocument {
    fn check(self, number: usize) -> Result<OperatorList, CatalogueError> {
        let wrong = |why| CatalogueError::Entry(number, clip(&self.operator), why);
        let reference = |text: &str| -> Result<Reference, CatalogueError> {
            text.parse()
                .map_err(|error| CatalogueError::Reference(number, error))
        };
        let operator = reference(&self.operator)?;
        let path = self.operator.rsplit('/').next().unwrap_or_default();
        if path.contains([':', '@']) {
            return Err(wrong(
                "the operator is named without a tag; `versions` says which it is for",
            ));
        }
        let images = match (&self.images, &self.from) {
            (Some(images), None) if !images.is_empty() => {
                let images = images.iter().map(|text| reference(text));
                OperatorImages::Listed(images.collect::<Result<_, _>>()?)
            }
            (None, Some(from)) if is_beside(from) => OperatorImages::From(from.clone()),
            (None, Some(_)) => return Err(wrong("`from` is a relative path without `..`")),
            (Some(_), None) => return Err(wrong("`images` is empty")),
            (Some(_), Some(_)) => return Err(wrong("it has `images` and `from`: one is enough")),
            (None, None) => return Err(wrong("it has neither `images` nor `from`")),
        };
        if self.versions.as_deref() == Some("") {
            return Err(wrong("`versions` is empty"));
        }
        Ok(OperatorList {
            operator: operator.repository().clone(),
            versions: self.versions,
            images,
        })
    }
}

fn is_beside(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.is_empty() && !path.contains(['\\', '\0']) && Path::new(path).components().all(plain)
}

impl OperatorList {
    /// Whether the list is for this image of an operator.
    pub fn holds_for(&self, operator: &Reference) -> bool {
        let version = |pattern: &String| operator.tag().is_some_and(|tag| matches(pattern, tag));
        &self.operator == operator.repository() && self.versions.as_ref().is_none_or(version)
    }
}

/// Whether `text` is of a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

/// A known operator of which nobody says what it pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// What is known of it.
    pub operator: &'static KnownOperator,
    /// The image that was found.
    pub reference: Reference,
}

/// Known operators among `found` for which neither the catalogue has a list nor `found` (which may hold the images
/// of explicit lists too) has what they pull.
pub fn uncovered(found: &[Found], catalogue: &Catalogue) -> Vec<Uncovered> {
    let is_there = |repository: &&str| {
        let mut paths = found.iter().map(|f| f.reference.repository().path());
        paths.any(|path| is_repository(path, repository))
    };
    found
        .iter()
        .filter_map(|image| {
            let path = image.reference.repository().path();
            let operator = KNOWN.iter().find(|k| is_repository(path, k.repository))?;
            let listed = |list: &OperatorList| list.holds_for(&image.reference);
            let covered = catalogue.operators.iter().any(listed)
                || operator
                    .covered_by
                    .iter()
                    .any(|set| set.iter().all(is_there));
            (!covered).then(|| Uncovered {
                operator,
                reference: image.reference.clone(),
            })
        })
        .collect()
}

/// Whether a repository path is a known one, also below the folder of a mirror.
fn is_repository(path: &str, known: &str) -> bool {
    path.strip_suffix(known)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: sneakernet/v1\nkind: OperatorCatalogue\noperators:\n";

    fn found(images: &[&str]) -> Vec<Found> {
        let one = |text: &&str| Found {
            reference: text.parse().unwrap(),
            places: Vec::new(),
        };
        images.iter().map(one).collect()
    }

    fn error(text: &str) -> String {
        Catalogue::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_catalogue_gives_the_lists_of_the_operators_that_are_there() {
        let text = format!(
            "{HEAD}- operator: quay.io/tigera/operator\n  versions: v1.29.*\n  images: [quay.io/calico/node:v3.26.0]\n\
             - operator: quay.io/tigera/operator\n  from: lists/calico.txt\n- {{operator: redis, images: [busybox]}}\n"
        );
        let catalogue = Catalogue::parse(&text).unwrap();
        let images = found(&["quay.io/tigera/operator:v1.29.4", "alpine:3"]);
        let lists: Vec<_> = catalogue
            .lists_for(&images)
            .map(|(_, list)| &list.images)
            .collect();
        assert_eq!(
            lists,
            [
                &OperatorImages::Listed(vec!["quay.io/calico/node:v3.26.0".parse().unwrap()]),
                &OperatorImages::From("lists/calico.txt".to_owned()),
            ]
        );
        let newer = found(&["quay.io/tigera/operator:v1.30.0", "library/redis:7"]);
        assert_eq!(catalogue.lists_for(&newer).count(), 2);
        let elsewhere = found(&["r.io/tigera/operator:v1.29.4"]);
        assert_eq!(catalogue.lists_for(&elsewhere).count(), 0);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (entry, message) in [
            (
                "- operator: quay.io/a/b:v1\n  images: [c]\n",
                "without a tag",
            ),
            (
                "- operator: quay.io/A/b\n  images: [c]\n",
                "entry 1: `quay.io/A/b` is not an image reference",
            ),
            (
                "- operator: a/b\n  images: ['x y']\n",
                "entry 1: `x y` is not an image reference",
            ),
            ("- operator: a/b\n", "neither `images` nor `from`"),
            ("- operator: a/b\n  images: []\n", "`images` is empty"),
            (
                "- operator: a/b\n  images: [c]\n  from: x\n",
                "one is enough",
            ),
            ("- operator: a/b\n  from: ../x\n", "without `..`"),
            ("- operator: a/b\n  from: /etc/passwd\n", "without `..`"),
            ("- operator: a/b\n  from: ''\n", "without `..`"),
            (
                "- operator: a/b\n  images: [c]\n  versions: ''\n",
                "`versions` is empty",
            ),
            ("- operator: a/b\n  image: [c]\n", "cannot be read"),
            (
                "- operator: a/b\n  operator: c\n  images: [c]\n",
                "cannot be read",
            ),
        ] {
            let error = error(&format!("{HEAD}{entry}"));
            assert!(error.contains(message), "{entry}: {error}");
        }
        let other = "apiVersion: sneakernet/v2\nkind: OperatorCatalogue\noperators: []\n";
        assert_eq!(
            error(other),
            "this is no operator catalogue: apiVersion is `sneakernet/v2`, not `sneakernet/v1`"
        );
        assert!(error(&" ".repeat(MAX_CATALOGUE + 1)).contains("more than"));
        assert!(Catalogue::parse(other).unwrap_err().hint().is_some());
    }

    #[test]
    fn patterns() {
        for (pattern, text, matched) in [
            ("v1.29.*", "v1.29.4", true),
            ("v1.29.*", "v1.290", false),
            ("v1.29.4", "v1.29.4", true),
            ("v1.29.4", "v1.29.40", false),
            ("*", "", true),
            ("*-ubi", "3.1-ubi", true),
            ("v*.2.*-x", "v1.2.3-x", true),
            ("v*.2.*-x", "v1.3.3-x", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, text), matched, "{pattern} {text}");
        }
    }

    #[test]
    fn a_known_operator_without_a_list_is_named() {
        let names = |images: &[&str], catalogue: &Catalogue| -> Vec<&str> {
            let uncovered = uncovered(&found(images), catalogue);
            uncovered.iter().map(|u| u.operator.repository).collect()
        };
        let none = Catalogue::default();
        assert_eq!(
            names(&["quay.io/tigera/operator:v1.29.4"], &none),
            ["tigera/operator"]
        );
        assert_eq!(
            names(&["my.io/mirror/tigera/operator:v1"], &none),
            ["tigera/operator"]
        );
        assert_eq!(
            names(
                &["quay.io/nottigera/operator:v1", "a/xtigera/operator:1"],
                &none
            ),
            [""; 0]
        );
        let text = format!("{HEAD}- operator: quay.io/tigera/operator\n  from: calico.txt\n");
        let catalogue = Catalogue::parse(&text).unwrap();
        assert_eq!(
            names(&["docker.elastic.co/eck/eck-operator:3.6.0"], &none),
            ["eck/eck-operator"]
        );
        assert_eq!(
            names(&["quay.io/tigera/operator:v1.29.4"], &catalogue),
            [""; 0]
        );
        let prometheus = "quay.io/prometheus-operator/prometheus-operator:v0.90.0";
        assert_eq!(
            names(&[prometheus], &none),
            ["prometheus-operator/prometheus-operator"]
        );
        let all = [
            prometheus,
            "quay.io/prometheus/prometheus:v3",
            "quay.io/prometheus/alertmanager:v0.34.0",
            "quay.io/thanos/thanos:v0.42.4",
        ];
        assert_eq!(names(&all, &none), [""; 0]);
    }
}
