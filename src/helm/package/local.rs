//! Dependencies in a directory nearby: `repository: file://../common`.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::helm::chart::{Dependency, clip};

use super::{Package, PackageError};

/// Deepest chain of directories that depend on each other.
const MAX_DEPTH: usize = 16;

/// A chart in a directory that another one depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalChart {
    /// The directory, without links in it.
    pub path: PathBuf,
    /// The version that its `Chart.yaml` says.
    pub version: String,
}

/// Finds the directory of a `file://` dependency: relative to the chart, and not through a link.
pub(super) fn find(
    directory: &Path,
    within: Option<&Path>,
    dependency: &Dependency,
) -> Result<LocalChart, PackageError> {
    let repository = dependency.repository.as_deref().unwrap_or_default();
    let shown = clip(repository);
    let fail = |problem: &str| PackageError::Dependency {
        name: clip(&dependency.name),
        problem: format!("names {shown}, {problem}"),
    };
    let relative = repository.strip_prefix("file://").unwrap_or_default();
    let relative = Path::new(relative);
    if relative.as_os_str().is_empty() || relative.is_absolute() {
        return Err(fail("which is not relative to the chart"));
    }
    let read = |path: &Path, source| PackageError::Read {
        path: path.to_owned(),
        source,
    };
    let directory = fs::canonicalize(directory).map_err(|error| read(directory, error))?;
    let mut expected = directory.clone();
    for component in relative.components() {
        match component {
            Component::ParentDir => {
                expected.pop();
            }
            Component::Normal(part) => expected.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let path = fs::canonicalize(directory.join(relative))
        .map_err(|_| fail("where there is no directory"))?;
    if path != expected {
        return Err(fail("which leads through a symbolic link"));
    }
    if within.is_some_and(|within| !path.starts_with(within)) {
        return Err(fail("which leads out of the directory of bundle.yaml"));
    }
    if !path.is_dir() || !path.join("Chart.yaml").is_file() {
        return Err(fail("which is not the directory of a chart"));
    }
    let (walked, _) = super::relevant(super::walk(&path)?);
    let found = crate::helm::chart::Chart::from_loose_files(walked.files)?.metadata;
    if found.name != dependency.name {
        return Err(fail(&format!("where the chart `{}` is", clip(&found.name))));
    }
    Ok(LocalChart {
        path,
        version: found.version,
    })
}

/// Packages it, with the directories that it depends on itself.
pub(super) fn package(
    local: &LocalChart,
    from: &Path,
    within: Option<&Path>,
    above: &mut Vec<PathBuf>,
) -> Result<Package, PackageError> {
    let from = fs::canonicalize(from).map_err(|source| PackageError::Read {
        path: from.to_owned(),
        source,
    })?;
    above.push(from);
    if above.contains(&local.path) || above.len() > MAX_DEPTH {
        return Err(PackageError::File {
            file: clip(&local.path.to_string_lossy()),
            problem: "depends on itself through file:// repositories".to_owned(),
        });
    }
    let package = super::package(&local.path, within, &[], above);
    above.pop();
    package
}
