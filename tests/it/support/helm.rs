//! The real `helm`, of both major versions, and small charts for it.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::tools::{Finished, Home, find, run, temp_dir};

/// The names that [`require!`](super::tools::require) and [`HelmCli`] know the versions by.
pub const HELMS: [&str; 2] = ["helm3", "helm4"];

/// Where a version is; for a test that has asked for it with `require!`.
#[track_caller]
pub fn helm_path(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing"))
}

/// A `helm` as an administrator uses it, with a home, caches and logins of its own.
#[derive(Debug)]
pub struct HelmCli {
    name: &'static str,
    home: Home,
}

impl HelmCli {
    /// This version, with an empty home.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            home: Home::new(),
        }
    }

    /// Its home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The command, with its directories in the home.
    pub fn command(&self) -> Command {
        let mut command = self.home.tool(self.name);
        let home = self.home.path();
        command
            .env("HELM_CACHE_HOME", home.join("helm/cache"))
            .env("HELM_CONFIG_HOME", home.join("helm/config"))
            .env("HELM_DATA_HOME", home.join("helm/data"))
            .env("HELM_REGISTRY_CONFIG", self.registry_config())
            .env("KUBECONFIG", "/dev/null");
        command
    }

    /// Where it keeps its logins, in Docker's format.
    pub fn registry_config(&self) -> PathBuf {
        self.home.docker_config().join("config.json")
    }

    /// Writes logins: host, user, password.
    pub fn log_in(&self, logins: &[(&str, &str, &str)]) {
        self.home.log_in(logins);
    }

    /// Runs it with these arguments, whatever it answers.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        run(command)
    }

    /// Runs it with these arguments against a registry or repository with a private CA.
    #[track_caller]
    pub fn run_with_ca(&self, arguments: &[&str], ca: &Path) -> Finished {
        let mut command = self.command();
        command.args(arguments).arg("--ca-file").arg(ca);
        run(command)
    }
}

/// A chart, made file by file.
#[derive(Clone, Debug)]
pub struct ChartFiles {
    name: String,
    version: String,
    files: Vec<(String, String)>,
}

impl ChartFiles {
    /// A chart with a `Chart.yaml` and nothing else.
    pub fn new(name: &str, version: &str) -> Self {
        let metadata = format!("apiVersion: v2\nname: {name}\nversion: \"{version}\"\n");
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            files: vec![("Chart.yaml".to_owned(), metadata)],
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Adds lines to `Chart.yaml`.
    #[must_use]
    pub fn metadata(mut self, lines: &str) -> Self {
        self.files[0].1.push_str(lines);
        self
    }

    /// Adds a file; a path within the chart.
    #[must_use]
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    /// Adds a chart in `charts/`.
    #[must_use]
    pub fn subchart(mut self, chart: &Self) -> Self {
        for (path, content) in &chart.files {
            let path = format!("charts/{}/{path}", chart.name);
            self.files.push((path, content.clone()));
        }
        self
    }

    /// Its files under a directory of its name within `parent`; the directory.
    pub fn write_to(&self, parent: &Path) -> PathBuf {
        let root = parent.join(&self.name);
        for (path, content) in &self.files {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().expect("within the chart")).unwrap();
            std::fs::write(file, content).unwrap();
        }
        root
    }

    /// What `helm package` would call the archive.
    pub fn archive_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// As a `.tgz`; the same bytes each time.
    pub fn archive(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in &self.files {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            let path = format!("{}/{path}", self.name);
            tar.append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }
}

/// A program that says it is `helm` and does something else when it is to render.
#[derive(Debug)]
pub struct FakeHelm {
    dir: TempDir,
}

impl FakeHelm {
    /// Answers `helm version` as a supported version does, and runs this script for the rest.
    /// In the script, `$here` is [`dir`](Self::dir).
    pub fn new(script: &str) -> Self {
        Self::of_version("v3.17.3", script)
    }

    /// The same with another version.
    pub fn of_version(version: &str, script: &str) -> Self {
        let dir = temp_dir("fake-helm");
        let fake = Self { dir };
        let text = format!(
            "#!/bin/bash\nif [ \"$1\" = version ]; then echo '{version}'; exit; fi\nhere='{}'\n{script}\n",
            fake.dir().display()
        );
        // Written by another process: while this one has the file open for writing, a child that
        // another test starts at that moment has it open, too, and it cannot be executed.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat >\"$0\""])
            .arg(fake.program())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = shell.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(shell.wait().unwrap().success());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(fake.program(), executable).unwrap();
        fake
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.dir.path().join("helm")
    }

    /// A directory that it may write to.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has written to a file there, once it is there.
    pub fn wrote(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir().join(name)).ok()?;
        text.ends_with('\n').then(|| text.trim_end().to_owned())
    }
}
