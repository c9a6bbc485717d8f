//! Charts: an archive read safely, and as Helm reads it.

mod archive;
mod artifact;
mod error;
mod fields;
mod go_json;
mod lock;
mod metadata;
#[cfg(test)]
pub(crate) mod testing;
mod yaml;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use archive::File;
pub use archive::{MAX_ARCHIVE_BYTES, MAX_DECOMPRESSED_BYTES, MAX_FILE_BYTES, MAX_MEMBERS};
pub use artifact::Artifact;
pub use error::ChartError;
pub(crate) use error::clip;
pub use lock::Lock;
pub use metadata::{Dependency, Maintainer, Metadata};

use archive::{Budget, unpack};
use fields::Fields;

/// Reads a values file as Helm does: `file` is its name in errors.
///
/// # Errors
/// When it is not UTF-8, not YAML, or not a mapping.
pub fn parse_values(file: &str, content: &[u8]) -> Result<Value, ChartError> {
    yaml::parse_values(file, content)
}

/// Deepest nesting of sub-charts.
pub const MAX_DEPTH: usize = 16;

/// A chart, as far as this program looks into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// `Chart.yaml`, with the dependencies of `requirements.yaml` for a `v1` chart.
    pub metadata: Metadata,
    /// `values.yaml`; null where there is none.
    pub values: Value,
    /// The charts in `charts/`, by the name of their directory or archive.
    pub dependencies: Vec<Chart>,
    /// `Images.lock`, as Bitnami's tools write it.
    pub images_lock: Option<String>,
    /// Whether there is a `values.schema.json`.
    pub has_schema: bool,
    /// `Chart.lock` or `requirements.lock`.
    pub lock: Option<Lock>,
}

impl Chart {
    /// Reads a chart archive (`.tgz`) with all sub-charts, and checks what Helm checks.
    ///
    /// # Errors
    /// When the archive is larger than [`MAX_ARCHIVE_BYTES`], holds more than
    /// [`MAX_DECOMPRESSED_BYTES`] or [`MAX_MEMBERS`] with its sub-charts, a file larger than
    /// [`MAX_FILE_BYTES`], sub-charts deeper than [`MAX_DEPTH`], or anything but files and
    /// directories in one directory of the chart's name; when a YAML file cannot be read, or
    /// `Chart.yaml` is not valid for Helm or its name not for a registry.
    pub fn read(archive: &[u8]) -> Result<Self, ChartError> {
        let mut budget = Budget::new();
        let unpacked = unpack(archive, &mut budget)?;
        let chart = Self::from_files(unpacked.files, &mut budget, 0)?;
        chart.metadata.check_repository_name()?;
        if unpacked.directory != chart.metadata.name {
            return Err(ChartError::Directory {
                directory: clip(&unpacked.directory),
                name: clip(&chart.metadata.name),
            });
        }
        Ok(chart)
    }

    /// Declared dependencies that are not in `charts/`. As in Helm, which looks at names only and
    /// refuses to install a chart that lacks one.
    pub fn missing(&self) -> Vec<&Dependency> {
        let is_there = |wanted: &&Dependency| {
            self.dependencies
                .iter()
                .any(|chart| chart.metadata.name == wanted.name)
        };
        let declared = self.metadata.dependencies.iter();
        declared.filter(|wanted| !is_there(wanted)).collect()
    }

    /// Checks that this is the chart that was asked for: an index, a tag or a file name is only
    /// somebody's word for what is in an archive. The version is compared as a text, with `_` as
    /// good as `+`, since a tag cannot say `+`.
    ///
    /// # Errors
    /// When name or version differ.
    pub fn check_identity(&self, name: &str, version: Option<&str>) -> Result<(), ChartError> {
        let found = &self.metadata;
        let same_version = version.is_none_or(|version| version.replace('+', "_") == found.tag());
        if found.name == name && same_version {
            return Ok(());
        }
        Err(ChartError::OtherChart {
            asked: clip(&[name, version.unwrap_or_default()].join(" "))
                .trim_end()
                .to_owned(),
            found: clip(&format!("{} {}", found.name, found.version)),
        })
    }

    /// Reads a chart that is a directory, not an archive; names are relative to it.
    pub(crate) fn from_loose_files(files: Vec<File>) -> Result<Self, ChartError> {
        let chart = Self::from_files(files, &mut Budget::new(), 0)?;
        chart.metadata.check_repository_name()?;
        Ok(chart)
    }

    /// Helm's `LoadFiles`.
    fn from_files(files: Vec<File>, budget: &mut Budget, depth: usize) -> Result<Self, ChartError> {
        if depth > MAX_DEPTH {
            return Err(ChartError::TooDeep { limit: MAX_DEPTH });
        }
        let mut metadata = Metadata::parse(&chart_yaml(&files)?.data)?;
        let mut chart = Parts::default();
        for file in files {
            chart.take(file, &mut metadata)?;
        }
        metadata.check()?;
        let mut dependencies = Vec::new();
        for (name, files) in chart.sub_charts {
            let sub_chart = read_sub_chart(&name, files, budget, depth).map_err(|source| {
                ChartError::InSubChart {
                    sub_chart: clip(&format!("charts/{name}")),
                    source: Box::new(source),
                }
            })?;
            dependencies.push(sub_chart);
        }
        Ok(Self {
            metadata,
            values: chart.values,
            dependencies,
            images_lock: chart.images_lock,
            has_schema: chart.has_schema,
            lock: chart.lock,
        })
    }
}

/// A mapping of texts out of a YAML document that belongs to a chart, `key` of its top level.
pub(crate) fn text_map_of_yaml(
    file: &str,
    text: &[u8],
    key: &str,
) -> Result<BTreeMap<String, String>, ChartError> {
    let value = yaml::parse(file, text)?;
    Fields::of(file, "the file", &value)?.text_map(key)
}

fn chart_yaml(files: &[File]) -> Result<&File, ChartError> {
    let named = |name: &str| files.iter().find(|file| file.name == name);
    named("Chart.yaml").ok_or_else(|| {
        let nearly = files.iter().find(|file| {
            let (stem, ending) = file.name.rsplit_once('.').unwrap_or((&file.name, ""));
            stem.eq_ignore_ascii_case("chart")
                && matches!(ending.to_ascii_lowercase().as_str(), "yaml" | "yml")
        });
        ChartError::FileMissing {
            file: "Chart.yaml",
            found: nearly.map(|file| clip(&file.name)),
        }
    })
}

/// What is gathered from the files of a chart.
#[derive(Default)]
struct Parts {
    values: Value,
    images_lock: Option<String>,
    has_schema: bool,
    lock: Option<Lock>,
    /// By the first part of the path below `charts/`; names relative to `charts/`.
    sub_charts: BTreeMap<String, Vec<File>>,
}

impl Parts {
    fn take(&mut self, mut file: File, metadata: &mut Metadata) -> Result<(), ChartError> {
        match file.name.as_str() {
            "values.yaml" => self.values = yaml::parse_values("values.yaml", &file.data)?,
            "values.schema.json" => self.has_schema = true,
            "requirements.yaml" => metadata.add_requirements(&file.data)?,
            "Chart.lock" | "requirements.lock" => {
                self.lock = Lock::parse(&file.name, &file.data)?.or(self.lock.take());
            }
            name if name.eq_ignore_ascii_case("images.lock") => {
                self.images_lock = Some(String::from_utf8_lossy(&file.data).into_owned());
            }
            name => {
                let Some(below) = name.strip_prefix("charts/") else {
                    return Ok(());
                };
                // What Helm passes over: provenance of sub-charts, and what is hidden from it.
                if name.ends_with(".prov") || below.starts_with(['_', '.']) {
                    return Ok(());
                }
                let sub_chart = below.split('/').next().unwrap_or(below).to_owned();
                file.name = below.to_owned();
                self.sub_charts.entry(sub_chart).or_default().push(file);
            }
        }
        Ok(())
    }
}

fn read_sub_chart(
    name: &str,
    files: Vec<File>,
    budget: &mut Budget,
    depth: usize,
) -> Result<Chart, ChartError> {
    if name.ends_with(".tgz") {
        let archive = files.iter().find(|file| file.name == name);
        let archive = archive.ok_or_else(|| ChartError::Member {
            member: clip(name),
            problem: "is a directory with the name of an archive",
        })?;
        let unpacked = unpack(&archive.data, budget)?;
        return Chart::from_files(unpacked.files, budget, depth + 1);
    }
    let below = |mut file: File| {
        file.name = file.name.split_once('/')?.1.to_owned();
        Some(file)
    };
    let files = files.into_iter().filter_map(below).collect();
    Chart::from_files(files, budget, depth + 1)
}

#[cfg(test)]
mod tests;
