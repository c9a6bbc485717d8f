//! How a chart of a `bundle.yaml` or of the arguments becomes part of a request.

use std::path::{Path, PathBuf};

use super::{
    ChartImage, ChartSource, ImageTemplate, ListedImage, Origin, Problem, RequestBuilder,
    RequestError, RequestedChart, SpecChart, SpecChartImageSource, ValuesFile, check_api_version,
    check_file_name, check_kube_version, check_namespace, check_release_name,
    source::{check_regular, contained_file, contained_path, read_contained_list},
};
use crate::bundle::Discover;

/// The namespace of a release for which none is said, as in Helm.
const DEFAULT_NAMESPACE: &str = "default";

/// A chart and its release, from the arguments.
#[derive(Clone, Debug, Default)]
pub struct ChartArguments<'a> {
    /// A name in `repo`, `oci://…`, or a path.
    pub chart: &'a str,
    /// The URL of a repository.
    pub repo: Option<&'a str>,
    /// One version, or a constraint.
    pub version: Option<&'a str>,
    /// The release's name.
    pub release: Option<&'a str>,
    /// The namespace.
    pub namespace: Option<&'a str>,
    /// The Kubernetes version.
    pub kube_version: Option<&'a str>,
    /// API versions of the cluster.
    pub api_versions: &'a [String],
    /// Values files, in order.
    pub values: &'a [PathBuf],
    /// How its images are found.
    pub discover: Discover,
    /// Images with gaps.
    pub images: &'a [String],
    /// Fields that may hold what looks like a secret.
    pub allow_secrets: &'a [String],
    /// Whether credentials go wherever the repository's index points.
    pub pass_credentials: bool,
    /// Whether an archive without the index's digest is taken.
    pub allow_digest_mismatch: bool,
}

impl ChartArguments<'_> {
    /// Checks them all.
    pub(super) fn requested(&self) -> Result<RequestedChart, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |message: String| problems.push(Problem::of_argument(message));
        let source = ChartSource::parse(self.chart, self.repo, |path| {
            chart_path(Path::new(path)).map(|path| (path, None))
        });
        let source = source.map_err(&mut wrong).ok();
        for checked in [
            self.release.map(check_release_name),
            self.namespace.map(check_namespace),
            self.kube_version.map(check_kube_version),
        ] {
            if let Some(Err(message)) = checked {
                wrong(message);
            }
        }
        for version in self.api_versions {
            let _ = check_api_version(version).map_err(&mut wrong);
        }
        let mut values = Vec::new();
        for path in self.values {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            let checked = check_regular(path).map_err(|error| error.to_string());
            let checked = checked.and_then(|()| check_file_name(&name).map_err(|e| e.to_string()));
            let _ = checked.map_err(&mut wrong);
            values.push(ValuesFile {
                name,
                path: path.clone(),
            });
        }
        let _ = check_distinct(&values).map_err(&mut wrong);
        let mut images = Vec::new();
        for text in self.images {
            if let Ok(template) = ImageTemplate::parse(text).map_err(&mut wrong) {
                let origin = Origin::Argument;
                images.push(ChartImage { template, origin });
            }
        }
        let version = source
            .as_ref()
            .map(|(_, tag)| one_version(self.version, tag.as_deref()));
        let version = version.and_then(|version| version.map_err(&mut wrong).ok());
        let (Some((source, _)), Some(version), []) = (source, version, problems.as_slice()) else {
            return Err(problems);
        };
        Ok(RequestedChart {
            source,
            version,
            release: self.release.map(str::to_owned),
            namespace: self.namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
            kube_version: self.kube_version.map(str::to_owned),
            api_versions: self.api_versions.to_vec(),
            values,
            discover: self.discover,
            images,
            allow_secrets: self.allow_secrets.to_vec(),
            relocate: Vec::new(),
            pass_credentials: self.pass_credentials,
            allow_digest_mismatch: self.allow_digest_mismatch,
            origin: Origin::Argument,
        })
    }
}

impl RequestBuilder {
    /// A chart of a `bundle.yaml`, or what is wrong with it and in which line.
    pub(super) fn spec_chart(
        &mut self,
        chart: SpecChart,
        kube_version: Option<&str>,
        directory: &Path,
        file: &str,
        shown: &str,
    ) -> Result<RequestedChart, (RequestError, u64)> {
        let line = chart.line;
        let place = |line: u64| Origin::File {
            file: file.to_owned(),
            line,
        };
        let problem = |message: String, line: u64| {
            let problem = Problem {
                file: shown.to_owned(),
                line,
                column: 0,
                message,
            };
            let problems = vec![problem];
            (RequestError::Invalid { problems }, line)
        };
        let path = |path: &str| {
            let found = contained_path(directory, path).map_err(|error| error.to_string())?;
            let found = chart_path(&found);
            let found =
                found.map_err(|_| format!("{path} is not a chart: a directory or a .tgz"))?;
            let within = directory
                .canonicalize()
                .map_err(|error| error.to_string())?;
            Ok((found, Some(within)))
        };
        let (source, tag) = ChartSource::parse(&chart.chart, chart.repo.as_deref(), path)
            .map_err(|message| problem(message, line))?;
        let version = one_version(chart.version.as_deref(), tag.as_deref());
        let version = version.map_err(|message| problem(message, line))?;
        let mut values = Vec::new();
        for wanted in chart.values {
            let path = contained_file(directory, &wanted.path).map_err(|e| (e, wanted.line))?;
            let name = wanted.name;
            values.push(ValuesFile { name, path });
        }
        check_distinct(&values).map_err(|message| problem(message, line))?;
        let mut images = Vec::new();
        for image in chart.images {
            match image.source {
                SpecChartImageSource::Image(template) => images.push(ChartImage {
                    template,
                    origin: place(image.line),
                }),
                SpecChartImageSource::List(list) => {
                    let listed = read_contained_list(directory, &list);
                    for image in listed.map_err(|error| (error, image.line))? {
                        images.push(listed_image(image, &list).map_err(|m| problem(m, line))?);
                    }
                }
            }
        }
        Ok(RequestedChart {
            source,
            version,
            release: chart.release,
            namespace: chart.namespace.unwrap_or(DEFAULT_NAMESPACE.to_owned()),
            kube_version: chart.kube_version.or(kube_version.map(str::to_owned)),
            api_versions: chart.api_versions,
            values,
            discover: chart.discover,
            images,
            allow_secrets: chart.allow_secrets,
            relocate: chart.relocate,
            pass_credentials: chart.pass_credentials,
            allow_digest_mismatch: chart.allow_digest_mismatch,
            origin: place(line),
        })
    }
}

fn listed_image(image: ListedImage, list: &str) -> Result<ChartImage, String> {
    Ok(ChartImage {
        template: ImageTemplate::parse(image.reference.as_written())?,
        origin: Origin::File {
            file: list.to_owned(),
            line: image.line,
        },
    })
}

/// A directory or a regular file.
fn chart_path(path: &Path) -> Result<PathBuf, String> {
    let kind = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if kind.is_dir() || kind.is_file() {
        return Ok(path.to_owned());
    }
    Err(format!(
        "{} is not a chart: a directory or a .tgz",
        path.display()
    ))
}

/// A version is said once: behind the chart's name or by itself.
fn one_version(version: Option<&str>, tag: Option<&str>) -> Result<Option<String>, String> {
    match (version, tag) {
        (Some(version), Some(tag)) if version != tag => Err(format!(
            "two versions: `{version}`, and `{tag}` behind the chart's name"
        )),
        (version, tag) => Ok(version.or(tag).map(str::to_owned)),
    }
}

fn check_distinct(values: &[ValuesFile]) -> Result<(), String> {
    let mut names: Vec<_> = values.iter().map(|file| &file.name).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!(
            "two values files would be named `{}`: give one of them another name \
             in bundle.yaml, `{{path: PATH, name: NAME}}`",
            pair[0]
        )),
    }
}
