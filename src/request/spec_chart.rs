//! The entries of `charts` in a `bundle.yaml`.

use serde_saphyr::{Location, Spanned};

use super::{
    chart::{check_api_version, check_kube_version, check_namespace, check_release_name},
    names::clip,
    source::check_contained_text,
    spec::{Checker, SpecFile},
    template::ImageTemplate,
    yaml::{ChartKeys, ImageItem},
};
use crate::bundle::{Discover, Setting};

/// An entry of `charts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecChart {
    /// The line of the entry, counted from 1.
    pub line: u64,
    /// `chart`: a path or `oci://…`; or `name`, the chart's name in `repo`.
    pub chart: String,
    /// `repo`: the repository that has it.
    pub repo: Option<String>,
    /// `version`: one, or a constraint.
    pub version: Option<String>,
    /// `release`.
    pub release: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `kubeVersion`.
    pub kube_version: Option<String>,
    /// `apiVersions`.
    pub api_versions: Vec<String>,
    /// `values`, in the order of the file.
    pub values: Vec<SpecFile>,
    /// `discover` and `tests`.
    pub discover: Discover,
    /// `images`, in the order of the file.
    pub images: Vec<SpecChartImage>,
    /// `allowSecrets`.
    pub allow_secrets: Vec<String>,
    /// `relocate`, by path.
    pub relocate: Vec<Setting>,
    /// `passCredentials`.
    pub pass_credentials: bool,
    /// `allowDigestMismatch`.
    pub allow_digest_mismatch: bool,
}

/// An entry of a chart's `images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecChartImage {
    /// The line of the entry, counted from 1.
    pub line: u64,
    /// What it says.
    pub source: SpecChartImageSource,
}

/// What an entry of a chart's `images` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecChartImageSource {
    /// One image, perhaps with gaps.
    Image(ImageTemplate),
    /// A list of images: a path relative to `bundle.yaml` that does not leave its directory.
    List(String),
}

impl Checker<'_> {
    pub(super) fn chart(&mut self, item: Spanned<ChartKeys>) -> Option<SpecChart> {
        let at = item.referenced;
        let keys = item.value;
        let (chart, repo) = self.chart_name(at, &keys)?;
        if let Some(release) = &keys.release {
            self.check(release.referenced, check_release_name(&release.value));
        }
        if let Some(namespace) = &keys.namespace {
            self.check(namespace.referenced, check_namespace(&namespace.value));
        }
        if let Some(version) = &keys.kube_version {
            self.check(version.referenced, check_kube_version(&version.value));
        }
        for version in keys.api_versions.iter().flatten() {
            self.check(version.referenced, check_api_version(&version.value));
        }
        let discover = self.discover(&keys);
        let values = keys.values.unwrap_or_default().into_iter();
        let images = keys.images.unwrap_or_default().into_iter();
        let relocate = keys.relocate.unwrap_or_default().into_iter();
        let relocate = relocate.map(|(path, value)| Setting { path, value });
        let text = |value: Option<Spanned<String>>| value.map(|value| value.value);
        Some(SpecChart {
            line: at.line(),
            chart,
            repo,
            version: text(keys.version),
            release: text(keys.release),
            namespace: text(keys.namespace),
            kube_version: text(keys.kube_version),
            api_versions: keys
                .api_versions
                .into_iter()
                .flatten()
                .map(|version| version.value)
                .collect(),
            values: values.filter_map(|item| self.file(item)).collect(),
            discover,
            images: images.filter_map(|item| self.chart_image(item)).collect(),
            allow_secrets: keys.allow_secrets.unwrap_or_default(),
            relocate: relocate
                .filter(|setting| self.check(at, check_setting(setting)).is_some())
                .collect(),
            pass_credentials: keys.pass_credentials.unwrap_or(false),
            allow_digest_mismatch: keys.allow_digest_mismatch.unwrap_or(false),
        })
    }

    /// The chart, and the repository that it is in.
    fn chart_name(&mut self, at: Location, keys: &ChartKeys) -> Option<(String, Option<String>)> {
        let repo = keys.repo.as_ref().map(|repo| repo.value.clone());
        match (&keys.name, &keys.chart, repo) {
            (Some(name), None, Some(repo)) => Some((name.value.clone(), Some(repo))),
            (None, Some(chart), None) => {
                if !chart.value.contains("://") {
                    self.check(chart.referenced, check_contained_text(&chart.value))?;
                }
                Some((chart.value.clone(), None))
            }
            _ => {
                self.wrong(
                    at,
                    "a chart needs `name: NAME` with `repo: URL`, or `chart: PATH` or `chart: oci://…`",
                );
                None
            }
        }
    }

    fn discover(&mut self, keys: &ChartKeys) -> Discover {
        let tests = keys.tests.unwrap_or(false);
        match keys
            .discover
            .as_ref()
            .map(|d| (d.referenced, d.value.as_str()))
        {
            None | Some((_, "render")) if tests => Discover::RenderWithTests,
            None | Some((_, "render")) => Discover::Render,
            Some((at, "none")) if tests => {
                self.wrong(at, "`tests` goes with `discover: render`");
                Discover::None
            }
            Some((_, "none")) => Discover::None,
            Some((at, other)) => {
                let other = clip(other);
                self.wrong(
                    at,
                    format!("`{other}` is not a way to find images: render or none"),
                );
                Discover::Render
            }
        }
    }

    fn chart_image(&mut self, item: Spanned<ImageItem>) -> Option<SpecChartImage> {
        let at = item.referenced;
        let source = match item.value {
            ImageItem::Reference(text) => {
                SpecChartImageSource::Image(self.check(at, ImageTemplate::parse(&text))?)
            }
            ImageItem::Keys(keys) => match (keys.from, keys.image, keys.platforms) {
                (Some(list), None, None) => {
                    self.check(at, check_contained_text(&list))?;
                    SpecChartImageSource::List(list)
                }
                (None, Some(text), None) => {
                    SpecChartImageSource::Image(self.check(at, ImageTemplate::parse(&text))?)
                }
                _ => {
                    self.wrong(at, "an image of a chart is a reference or `{from: LIST}`");
                    return None;
                }
            },
        };
        Some(SpecChartImage {
            line: at.line(),
            source,
        })
    }
}

fn check_setting(setting: &Setting) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    let path = &setting.path;
    if path.len() > 250 || !path.split('.').all(part) {
        return Err(format!(
            "`{}` is not the path of a value: a.b.c",
            clip(path)
        ));
    }
    if setting.value.len() > 1024 || setting.value.chars().any(char::is_control) {
        return Err(format!(
            "the value of `{}` is not one line of text",
            clip(path)
        ));
    }
    Ok(())
}
