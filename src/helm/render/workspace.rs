//! The private directory of one call, and the environment that points to nothing else.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

use super::HelmError;

/// The chart as arguments name it. Relative to the workspace, which is the working directory: a
/// path with a comma would be split by `helm`.
pub(super) const CHART: &str = "./chart.tgz";

/// A values file as arguments name it.
pub(super) fn values_name(number: usize) -> String {
    format!("./values-{number}.yaml")
}

/// The directories that are in use.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory that only this user can enter, removed with its content when dropped.
#[derive(Debug)]
pub(super) struct Workspace {
    directory: TempDir,
}

impl Drop for Workspace {
    fn drop(&mut self) {
        in_use().remove(self.directory.path());
    }
}

fn in_use() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what calls have written that are still going on: for a program that ends without
/// waiting for them. Values may hold what nobody else should read.
pub fn abandon_workspaces() {
    for directory in std::mem::take(&mut *in_use()) {
        // The program is ending: there is nobody to tell.
        let _ = fs::remove_dir_all(directory);
    }
}

impl Workspace {
    pub(super) fn create() -> Result<Self, HelmError> {
        let create = || {
            let directory = tempfile::Builder::new()
                .prefix("bundle-helm-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()?;
            in_use().insert(directory.path().to_owned());
            for name in HOMES.map(|(_, name)| name) {
                fs::create_dir_all(directory.path().join(name))?;
            }
            Ok(Self { directory })
        };
        create().map_err(HelmError::io("make a temporary directory"))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn write_chart(&self, archive: &[u8]) -> Result<(), HelmError> {
        self.write(CHART, archive)
    }

    /// Writes the values file of this number, and says what arguments call it.
    pub(super) fn write_values(&self, number: usize, content: &[u8]) -> Result<String, HelmError> {
        let name = values_name(number);
        self.write(&name, content)?;
        Ok(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), HelmError> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path().join(name))
            .and_then(|mut file| file.write_all(content))
            .map_err(HelmError::io("write a temporary file"))
    }

    /// Every way in which messages may name these files, longest first, and what to say instead.
    pub(super) fn names_in_messages(&self, files: &[(String, String)]) -> Vec<(String, String)> {
        let root = self.path().to_string_lossy();
        let mut names = Vec::new();
        for (file, shown) in files {
            let bare = file.trim_start_matches("./");
            for written in [format!("{root}/{bare}"), file.clone(), bare.to_owned()] {
                names.push((written, shown.clone()));
            }
        }
        names.push((root.into_owned(), "the working directory".to_owned()));
        names
    }

    /// The whole environment of `helm`: no plugins, no cluster, no proxy that answers, no `PATH`.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.path().join(name).to_string_lossy().into_owned();
        let own = HOMES.map(|(variable, name)| (variable, at(name)));
        own.into_iter()
            .chain(FIXED.map(|(variable, value)| (variable, value.to_owned())))
            .collect()
    }
}

/// Variables that name directories, all empty and in the workspace.
const HOMES: [(&str, &str); 9] = [
    ("HOME", "home"),
    ("XDG_CACHE_HOME", "home/.cache"),
    ("XDG_CONFIG_HOME", "home/.config"),
    ("XDG_DATA_HOME", "home/.local/share"),
    ("HELM_CACHE_HOME", "helm/cache"),
    ("HELM_CONFIG_HOME", "helm/config"),
    ("HELM_DATA_HOME", "helm/data"),
    ("HELM_PLUGINS", "helm/plugins"),
    ("TMPDIR", "tmp"),
];

/// The port 9 (discard) of this machine answers nobody, should there be a network at all.
const FIXED: [(&str, &str); 14] = [
    ("HELM_NO_PLUGINS", "1"),
    ("KUBECONFIG", "/dev/null"),
    ("DOCKER_CONFIG", "/dev/null"),
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
    ("http_proxy", "http://127.0.0.1:9"),
    ("https_proxy", "http://127.0.0.1:9"),
    ("all_proxy", "http://127.0.0.1:9"),
    ("NO_PROXY", ""),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("NO_COLOR", "1"),
    // A crash of helm is told in a line, not with the stacks of all its threads.
    ("GOTRACEBACK", "none"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_private_and_goes_away() {
        let workspace = Workspace::create().unwrap();
        let path = workspace.path().to_owned();
        workspace.write_chart(b"chart").unwrap();
        let name = workspace.write_values(0, b"a: 1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(name)), 0o600);
        assert_eq!(fs::read(path.join(CHART)).unwrap(), b"chart");
        drop(workspace);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_written_once() {
        let workspace = Workspace::create().unwrap();
        workspace.write_chart(b"first").unwrap();
        let error = workspace.write_chart(b"second").unwrap_err();
        assert!(matches!(error, HelmError::Io { .. }));
    }

    #[test]
    fn every_directory_of_the_environment_is_in_the_workspace() {
        let workspace = Workspace::create().unwrap();
        let environment = workspace.environment();
        for (variable, value) in &environment {
            if HOMES.iter().any(|(name, _)| name == variable) {
                let directory = Path::new(value);
                assert!(directory.starts_with(workspace.path()), "{variable}");
                assert!(directory.is_dir(), "{variable}");
            }
        }
        assert!(environment.iter().all(|(variable, _)| *variable != "PATH"));
    }
}
