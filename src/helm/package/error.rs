//! Why a directory cannot be packaged.

use std::{io, path::PathBuf};

use crate::helm::chart::ChartError;

/// Why a directory cannot be packaged as a chart.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Something cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path leads to something other than a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file that must not travel, or cannot.
    #[error("`{file}` {problem}")]
    File {
        /// The file, relative to the chart.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A line of `.helmignore` that Helm does not understand.
    #[error(".helmignore:{line}: {reason}")]
    Ignore {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What is packaged is not a chart that Helm would take.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// `Chart.lock` was made for other dependencies than `Chart.yaml` has now.
    #[error("the lock file ({lock}) is out of sync with the dependencies file ({declared})")]
    LockOutOfSync {
        /// `Chart.lock` or `requirements.lock`.
        lock: &'static str,
        /// `Chart.yaml` or `requirements.yaml`.
        declared: &'static str,
    },
    /// A dependency that is not in `charts/` and cannot be fetched.
    #[error("dependency `{name}` {problem}")]
    Dependency {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Dependencies that were neither in `charts/` nor fetched.
    #[error("found in Chart.yaml, but missing in charts/ directory: {}", names.join(", "))]
    Missing {
        /// Their names.
        names: Vec<String>,
    },
    /// The chart cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(io::Error),
}

impl PackageError {
    /// What to do next, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotADirectory { .. } => "give a directory with a Chart.yaml",
            Self::File { problem, .. } if problem.contains("symbolic link") => {
                "put what it leads to in its place, or run `helm package` and give the .tgz"
            }
            Self::File { .. } => "leave it out with a line in .helmignore",
            Self::LockOutOfSync { .. } => "run `helm dependency update` in the directory",
            Self::Missing { .. } | Self::Dependency { .. } => {
                "run `helm dependency build` in the directory, so that charts/ holds everything"
            }
            Self::Chart(error) => return error.hint(),
            Self::Read { .. } | Self::Ignore { .. } | Self::Write(_) => return None,
        };
        Some(hint.to_owned())
    }
}
