//! A directory packaged as `helm package` does it, but the same bytes each time and on each host.
//!
//! What differs from Helm: `Chart.yaml` and `Chart.lock` are the author's own bytes (Helm parses and
//! rewrites them), vendored archives stay archives (Helm unpacks them), and a link that leaves the
//! directory is refused (Helm follows it).

mod error;
mod glob;
mod ignore;
mod local;
mod walk;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::chart::{Chart, Dependency, File, Lock, Metadata, clip};

pub use error::PackageError;
pub use local::LocalChart;

use walk::{Walked, walk};

/// A directory that holds a chart, and what it takes to package it.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryChart {
    /// Its `Chart.yaml`.
    pub metadata: Metadata,
    /// Its `Chart.lock`.
    pub lock: Option<Lock>,
    /// Declared dependencies that are not in `charts/`.
    pub missing: Vec<Wanted>,
}

/// A dependency that is not in `charts/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The dependency as `Chart.yaml` declares it.
    pub dependency: Dependency,
    /// The exact version that the lock says; without one, take the newest that the constraint
    /// permits.
    pub locked: Option<String>,
    /// The directory that a `file://` repository names. [`package_directory`] packages it by
    /// itself; whether its version is within the constraint is for the caller to check.
    pub local: Option<LocalChart>,
}

/// A packaged directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// `NAME-VERSION.tgz`.
    pub file_name: String,
    /// The archive.
    pub archive: Vec<u8>,
    /// The archive, read back.
    pub chart: Chart,
    /// What `.helmignore` and Helm's own rules left out; a directory ends in `/`.
    pub excluded: Vec<String>,
    /// Links within the chart, packaged as what they lead to.
    pub links: Vec<String>,
    /// Its `values.yaml`.
    pub values: Option<Vec<u8>>,
    /// Files that are in the package, but look as if they should not leave the host: keys,
    /// credentials, a repository's history.
    pub private: Vec<String>,
}

/// Says what a chart's directory is and which dependencies must be fetched before it can be packaged.
///
/// # Errors
/// When the directory cannot be read, holds anything that must not travel, or is not a chart; when
/// something is missing and the lock does not fit `Chart.yaml`, as `helm dependency build` would say;
/// and when a missing dependency has no repository that this program could fetch it from.
pub fn inspect_directory(
    directory: &Path,
    within: Option<&Path>,
) -> Result<DirectoryChart, PackageError> {
    let (walked, _) = relevant(walk(directory)?);
    inspect(directory, within, Chart::from_loose_files(walked.files)?)
}

fn inspect(
    directory: &Path,
    within: Option<&Path>,
    chart: Chart,
) -> Result<DirectoryChart, PackageError> {
    let mut missing = Vec::new();
    for dependency in chart.missing() {
        missing.push(wanted(directory, within, &chart, dependency)?);
    }
    if !missing.is_empty()
        && chart
            .lock
            .as_ref()
            .is_some_and(|lock| !lock.fits(&chart.metadata))
    {
        let (lock, declared) = match chart.metadata.api_version.as_str() {
            "v1" => ("requirements.lock", "requirements.yaml"),
            _ => ("Chart.lock", "Chart.yaml"),
        };
        return Err(PackageError::LockOutOfSync { lock, declared });
    }
    Ok(DirectoryChart {
        metadata: chart.metadata,
        lock: chart.lock,
        missing,
    })
}

fn wanted(
    directory: &Path,
    within: Option<&Path>,
    chart: &Chart,
    dependency: &Dependency,
) -> Result<Wanted, PackageError> {
    let fail = |problem: String| PackageError::Dependency {
        name: clip(&dependency.name),
        problem,
    };
    let repository = dependency.repository.as_deref().unwrap_or_default();
    let scheme = repository.split_once("://").map(|(scheme, _)| scheme);
    let local = match scheme {
        Some("file") => Some(local::find(directory, within, dependency)?),
        Some("https" | "http" | "oci") => None,
        _ if repository.is_empty() => {
            return Err(fail("is not in charts/ and names no repository".to_owned()));
        }
        _ if repository.starts_with('@') || repository.starts_with("alias:") => {
            return Err(fail(format!(
                "names the repository `{}`, which only the Helm that added it knows",
                clip(repository)
            )));
        }
        _ => {
            return Err(fail(format!(
                "names the repository `{}`, which is not https://, oci:// or file://",
                clip(repository)
            )));
        }
    };
    // The lock lists the dependencies in the order of Chart.yaml; one name may be there twice.
    let position = chart
        .metadata
        .dependencies
        .iter()
        .position(|other| other == dependency);
    let locked = chart.lock.as_ref().and_then(|lock| {
        let locked = lock.dependencies.get(position?)?;
        if locked.name == dependency.name {
            locked.version.clone()
        } else {
            None
        }
    });
    Ok(Wanted {
        dependency: dependency.clone(),
        locked,
        local,
    })
}

/// Packages a directory. `fetched` are the archives of the dependencies that [`inspect_directory`]
/// found missing, each with its file name (`NAME-VERSION.tgz`); they go into `charts/`. Those of
/// `file://` repositories are packaged here.
///
/// # Errors
/// As [`inspect_directory`]; and when dependencies are still missing, or the result is not a chart
/// that Helm would take.
pub fn package_directory(
    directory: &Path,
    within: Option<&Path>,
    fetched: &[(String, Bytes)],
) -> Result<Package, PackageError> {
    package(directory, within, fetched, &mut Vec::new())
}

/// `above` are the directories whose dependencies are being packaged, without links in them.
fn package(
    directory: &Path,
    within: Option<&Path>,
    fetched: &[(String, Bytes)],
    above: &mut Vec<PathBuf>,
) -> Result<Package, PackageError> {
    let (mut walked, left_out) = relevant(walk(directory)?);
    let found = inspect(
        directory,
        within,
        Chart::from_loose_files(walked.files.clone())?,
    )?;
    for (file_name, archive) in fetched {
        add_archive(&mut walked.files, file_name, archive)?;
    }
    let mut private_inside = Vec::new();
    for wanted in &found.missing {
        if let Some(local) = &wanted.local {
            let inner = local::package(local, directory, within, above)?;
            let name = &wanted.dependency.name;
            private_inside.extend(inner.private.iter().map(|file| format!("{name}/{file}")));
            // Two aliases of one chart are one archive.
            let is_same = |file: &File| file.name == format!("charts/{}", inner.file_name);
            if !walked.files.iter().any(is_same) {
                add_archive(&mut walked.files, &inner.file_name, &inner.archive)?;
            }
        }
    }
    check_schema(&walked.files)?;
    walked.files.sort_by_key(|file| place(&file.name));
    let archive = write(&found.metadata.name, &walked.files).map_err(PackageError::Write)?;
    let chart = Chart::read(&archive)?;
    let missing: Vec<_> = chart.missing().iter().map(|d| clip(&d.name)).collect();
    if !missing.is_empty() {
        return Err(PackageError::Missing { names: missing });
    }
    let values = walked.files.iter().find(|file| file.name == "values.yaml");
    let mut excluded = [walked.excluded, left_out].concat();
    excluded.sort_unstable();
    Ok(Package {
        file_name: found.metadata.archive_name(),
        values: values.map(|file| file.data.clone()),
        private: [private(&walked.files), private_inside].concat(),
        archive,
        chart,
        excluded,
        links: walked.links,
    })
}

fn add_archive(files: &mut Vec<File>, file_name: &str, data: &[u8]) -> Result<(), PackageError> {
    let name = format!("charts/{file_name}");
    let problem = if file_name.contains(['/', '\\']) || file_name.starts_with(['.', '_']) {
        "is not a name for an archive in charts/"
    } else if !file_name.ends_with(".tgz") {
        "is not named as an archive: NAME-VERSION.tgz"
    } else if files.iter().any(|file| file.name == name) {
        "is in charts/ already"
    } else {
        files.push(File {
            name,
            data: data.to_vec(),
        });
        return Ok(());
    };
    Err(PackageError::File {
        file: clip(&name),
        problem: problem.to_owned(),
    })
}

/// Leaves out what Helm passes over in `charts/`; returns the names of that.
fn relevant(mut walked: Walked) -> (Walked, Vec<String>) {
    let passed_over = |name: &str| {
        let below = name.strip_prefix("charts/");
        below.is_some_and(|below| below.starts_with(['_', '.']))
    };
    let mut left_out = Vec::new();
    walked.files.retain(|file| {
        let out = passed_over(&file.name);
        if out {
            left_out.push(file.name.clone());
        }
        !out
    });
    (walked, left_out)
}

/// `helm package` refuses a schema that is not JSON.
fn check_schema(files: &[File]) -> Result<(), PackageError> {
    const NAME: &str = "values.schema.json";
    let Some(file) = files.iter().find(|file| file.name == NAME) else {
        return Ok(());
    };
    let data = file
        .data
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&file.data);
    serde_json::from_slice::<serde::de::IgnoredAny>(data)
        .map(|_| ())
        .map_err(|error| PackageError::File {
            file: NAME.to_owned(),
            problem: format!("is not JSON: {error}"),
        })
}

/// Where `helm package` puts a file; those of one place stay in the order of the directory.
fn place(name: &str) -> u8 {
    match name {
        "Chart.yaml" => 0,
        "Chart.lock" => 1,
        "values.yaml" => 2,
        "values.schema.json" => 3,
        name if name.starts_with("templates/") => 4,
        name if name.starts_with("charts/") => 6,
        _ => 5,
    }
}

fn write(directory: &str, files: &[File]) -> io::Result<Vec<u8>> {
    let zipper = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = Builder::new(zipper);
    for file in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(file.data.len() as u64);
        let name = format!("{directory}/{}", file.name);
        tar.append_data(&mut header, name, file.data.as_slice())?;
    }
    tar.into_inner()?.finish()
}

fn private(files: &[File]) -> Vec<String> {
    let mut private: Vec<String> = Vec::new();
    for file in files {
        let parts: Vec<&str> = file.name.split('/').collect();
        if let Some(at) = parts.iter().position(|part| is_private(part)) {
            let mut shown = parts[..=at].join("/");
            if at + 1 < parts.len() {
                shown.push('/');
            }
            if private.last() != Some(&shown) {
                private.push(shown);
            }
        }
    }
    private
}

fn is_private(part: &str) -> bool {
    const NAMES: [&str; 14] = [
        ".git",
        ".hg",
        ".svn",
        ".ssh",
        ".aws",
        ".docker",
        ".kube",
        ".netrc",
        ".npmrc",
        "kubeconfig",
        "id_rsa",
        "id_ed25519",
        "id_ecdsa",
        "cosign.key",
    ];
    NAMES.contains(&part) || part == ".env" || part.starts_with(".env.")
}

#[cfg(test)]
mod tests;
