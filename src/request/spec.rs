//! `bundle.yaml`: the file that says what is in a bundle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_saphyr::{Location, Spanned};

use super::{
    Problem, ReferrerChoice, RequestError, SpecChart, check_bundle_name, check_bundle_version,
    check_file_name, check_kube_version, check_platform, check_referrer_type,
    source::{check_contained_text, open_argument, read_capped},
    yaml::{self, Document, FileItem, Heading, ImageItem, ImageKeys, problem_at},
};
use crate::oci::Reference;

/// Largest `bundle.yaml` that is read, in bytes.
pub const MAX_SPEC_BYTES: u64 = 1 << 20;
/// The value of `apiVersion`.
const API_VERSION: &str = "sneakernet/v1";
/// The value of `kind`.
const KIND: &str = "Bundle";

/// A `bundle.yaml` whose every value is of its grammar. Files that it names have not been looked
/// at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.version`.
    pub version: Option<String>,
    /// `platforms`, in the order of the file.
    pub platforms: Option<Vec<String>>,
    /// `images`, in the order of the file.
    pub images: Vec<SpecImage>,
    /// `files`, in the order of the file.
    pub files: Vec<SpecFile>,
    /// `kubeVersion`: what charts are rendered for that say nothing else.
    pub kube_version: Option<String>,
    /// `charts`, in the order of the file.
    pub charts: Vec<SpecChart>,
    /// `operators`: catalogues of what operators run.
    pub operators: Vec<SpecFile>,
    /// `referrers` and `referrerTypes`: which signatures and the like come along, where it says so.
    pub referrers: Option<ReferrerChoice>,
}

/// An entry of `images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecImage {
    /// The line of the entry, counted from 1.
    pub line: u64,
    /// What it says.
    pub source: SpecImageSource,
}

/// What an entry of `images` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecImageSource {
    /// One image.
    Image {
        /// The image.
        reference: Reference,
        /// The platforms wanted of this one, if it says so itself.
        platforms: Option<Vec<String>>,
    },
    /// A list of images: a path relative to `bundle.yaml` that does not leave its directory.
    List(String),
}

/// An entry of `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecFile {
    /// The line of the entry, counted from 1.
    pub line: u64,
    /// A path relative to `bundle.yaml` that does not leave its directory.
    pub path: String,
    /// The name that it gets in the bundle: what is said, or the last part of the path.
    pub name: String,
}

/// Reads and parses a `bundle.yaml`; gives it with the directory that its paths are relative to.
///
/// # Errors
/// When the file cannot be read or is larger than [`MAX_SPEC_BYTES`], and as [`parse_spec`].
pub fn load_spec(path: &Path) -> Result<(Spec, PathBuf), RequestError> {
    let shown = path.display().to_string();
    let content = read_capped(open_argument(path)?, &shown, MAX_SPEC_BYTES)?;
    let text = String::from_utf8(content).map_err(|_| RequestError::Invalid {
        problems: vec![problem_at(&shown, Location::UNKNOWN, "not UTF-8 text")],
    })?;
    let spec = parse_spec(&text, &shown)?;
    // Relative to the file itself where it is reached through a symbolic link: that is where
    // the files lie that it was written for.
    let real = fs::canonicalize(path).map_err(|source| RequestError::Read {
        file: shown,
        source,
    })?;
    let directory = real.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok((spec, directory))
}

/// Parses the text of a `bundle.yaml`. `shown` is the name of the file in messages.
///
/// # Errors
/// [`RequestError::Invalid`] with everything that is wrong: a first mistake in the YAML or its
/// keys hides others, all values of a well-formed file are checked at once.
pub fn parse_spec(text: &str, shown: &str) -> Result<Spec, RequestError> {
    let one = |problem| RequestError::Invalid {
        problems: vec![problem],
    };
    check_heading(&yaml::parse(text, shown).map_err(one)?, shown).map_err(one)?;
    let document: Document = yaml::parse(text, shown).map_err(one)?;
    let mut checker = Checker {
        shown,
        problems: Vec::new(),
    };
    let spec = checker.document(document);
    if checker.problems.is_empty() {
        Ok(spec)
    } else {
        Err(RequestError::Invalid {
            problems: checker.problems,
        })
    }
}

fn check_heading(heading: &Heading, shown: &str) -> Result<(), Problem> {
    let is = |value: &Option<Spanned<String>>, key: &str, wanted: &str| match value {
        Some(value) if value.value == wanted => Ok(()),
        Some(value) => {
            let found = super::names::clip(&value.value);
            let message = format!("`{key}` is `{found}`: this version reads `{key}: {wanted}`");
            Err(problem_at(shown, value.referenced, message))
        }
        None => Err(problem_at(
            shown,
            Location::UNKNOWN,
            format!("not a bundle.yaml: `{key}: {wanted}` is missing"),
        )),
    };
    is(&heading.kind, "kind", KIND)?;
    is(&heading.api_version, "apiVersion", API_VERSION)
}

/// Collects what is wrong while it takes a document apart.
pub(super) struct Checker<'a> {
    shown: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    pub(super) fn wrong(&mut self, at: Location, message: impl ToString) {
        self.problems
            .push(problem_at(self.shown, at, message.to_string()));
    }

    pub(super) fn check<T, E: ToString>(
        &mut self,
        at: Location,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.wrong(at, error)).ok()
    }

    fn document(&mut self, document: Document) -> Spec {
        let name = document.metadata.name;
        self.check(name.referenced, check_bundle_name(&name.value));
        let version = document.metadata.version.map(|version| {
            self.check(version.referenced, check_bundle_version(&version.value));
            version.value
        });
        let kube_version = document.kube_version.map(|version| {
            self.check(version.referenced, check_kube_version(&version.value));
            version.value
        });
        let platforms = document.platforms.map(|platforms| {
            if platforms.is_empty() {
                self.wrong(
                    Location::UNKNOWN,
                    "`platforms` is empty: leave it out instead",
                );
            }
            for platform in &platforms {
                self.check(platform.referenced, check_platform(&platform.value));
            }
            platforms
                .into_iter()
                .map(|platform| platform.value)
                .collect()
        });
        let referrers = self.referrers(document.referrers, document.referrer_types);
        let images = document.images.unwrap_or_default();
        let files = document.files.unwrap_or_default();
        let charts = document.charts.unwrap_or_default();
        let operators = document.operators.unwrap_or_default();
        Spec {
            name: name.value,
            version,
            platforms,
            images: images
                .into_iter()
                .filter_map(|item| self.image(item))
                .collect(),
            files: files
                .into_iter()
                .filter_map(|item| self.file(item))
                .collect(),
            kube_version,
            charts: charts
                .into_iter()
                .filter_map(|item| self.chart(item))
                .collect(),
            operators: operators
                .into_iter()
                .filter_map(|item| self.file(item))
                .collect(),
            referrers,
        }
    }

    fn referrers(
        &mut self,
        wanted: Option<bool>,
        types: Option<Vec<Spanned<String>>>,
    ) -> Option<ReferrerChoice> {
        let Some(types) = types else {
            return wanted.map(|wanted| match wanted {
                true => ReferrerChoice::All,
                false => ReferrerChoice::None,
            });
        };
        if wanted == Some(false) {
            self.wrong(
                Location::UNKNOWN,
                "`referrers: false` and `referrerTypes` exclude each other",
            );
        }
        if types.is_empty() {
            self.wrong(
                Location::UNKNOWN,
                "`referrerTypes` is empty: leave it out for all, or say `referrers: false`",
            );
        }
        for one in &types {
            self.check(one.referenced, check_referrer_type(&one.value));
        }
        let types = types.into_iter().map(|one| one.value);
        Some(ReferrerChoice::of_types(types.collect()))
    }

    fn image(&mut self, item: Spanned<ImageItem>) -> Option<SpecImage> {
        let at = item.referenced;
        let keys = match item.value {
            ImageItem::Reference(image) => ImageKeys {
                from: None,
                image: Some(image),
                platforms: None,
            },
            ImageItem::Keys(keys) => keys,
        };
        let source = match keys {
            ImageKeys {
                from: Some(list),
                image: None,
                platforms: None,
            } => {
                self.check(at, check_contained_text(&list))?;
                SpecImageSource::List(list)
            }
            ImageKeys {
                from: None,
                image: Some(image),
                platforms,
            } => {
                let reference = self.check(at, image.parse::<Reference>());
                for platform in platforms.iter().flatten() {
                    self.check(at, check_platform(platform));
                }
                if platforms.as_ref().is_some_and(Vec::is_empty) {
                    self.wrong(at, "`platforms` is empty: leave it out instead");
                }
                SpecImageSource::Image {
                    reference: reference?,
                    platforms,
                }
            }
            ImageKeys {
                from: Some(_),
                image: None,
                platforms: Some(_),
            } => {
                self.wrong(at, "`platforms` goes with `image`, not with `from`");
                return None;
            }
            ImageKeys {
                from: Some(_),
                image: Some(_),
                ..
            } => {
                self.wrong(
                    at,
                    "`from` and `image` exclude each other: make two entries of it",
                );
                return None;
            }
            ImageKeys {
                from: None,
                image: None,
                ..
            } => {
                self.wrong(at, "an image needs `image: REFERENCE` or `from: LIST`");
                return None;
            }
        };
        Some(SpecImage {
            line: at.line(),
            source,
        })
    }

    pub(super) fn file(&mut self, item: Spanned<FileItem>) -> Option<SpecFile> {
        let at = item.referenced;
        let (path, name) = match item.value {
            FileItem::Path(path) => (path, None),
            FileItem::Keys(keys) => (keys.path, keys.name),
        };
        self.check(at, check_contained_text(&path))?;
        let name = name.unwrap_or_else(|| {
            let last = Path::new(&path).file_name().unwrap_or_default();
            last.to_string_lossy().into_owned()
        });
        self.check(at, check_file_name(&name))?;
        Some(SpecFile {
            line: at.line(),
            path,
            name,
        })
    }
}
