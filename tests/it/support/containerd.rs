//! A private containerd: what a Kubernetes node does with the images that were loaded.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    netns::NetNs,
    tools::{Finished, PATIENCE, run, run_with, temp_dir, tool, wait_until},
};

/// The tools that a test with containerd asks for.
pub const TOOLS: [&str; 3] = ["containerd", "ctr", "root"];

/// A running containerd with its own root, state and socket; ended by its process id when dropped.
pub struct Containerd {
    dir: TempDir,
    child: Child,
    snapshotter: &'static str,
    netns: Option<String>,
}

/// How an image is pulled.
#[derive(Clone, Debug, Default)]
pub struct Pull {
    /// The authority that signed the registry's certificate. (Loopback is reached by TLS only
    /// with this or `hosts_dir`: containerd takes it for plain HTTP.)
    pub ca_file: Option<PathBuf>,
    /// A directory with `HOST/hosts.toml`, as a node has it in `/etc/containerd/certs.d`.
    pub hosts_dir: Option<PathBuf>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// Uses plain HTTP.
    pub plain_http: bool,
    /// The platform, in place of that of this machine.
    pub platform: Option<String>,
}

impl Containerd {
    /// Starts containerd on the machine's own network, to pull from loopback.
    pub fn start() -> Self {
        Self::run(None)
    }

    /// Starts containerd inside a network namespace.
    pub fn start_in(netns: &NetNs) -> Self {
        Self::run(Some(netns.name().to_owned()))
    }

    fn run(netns: Option<String>) -> Self {
        // A short path: the name of a socket has at most 107 bytes.
        let dir = temp_dir("ctrd");
        let path = dir.path();
        let config = path.join("config.toml");
        std::fs::write(&config, configuration(path)).expect("a file");
        let log = File::create(path.join("log")).expect("a file");
        let mut command = command(netns.as_deref(), "containerd");
        let child = command
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("containerd");
        let mut containerd = Self {
            dir,
            child,
            snapshotter: "native",
            netns,
        };
        wait_until("containerd answers", Duration::from_secs(30), || {
            if containerd.child.try_wait().expect("a child").is_some() {
                panic!("containerd does not start:\n{}", containerd.log());
            }
            containerd.ctr(["version"]).status.success()
        });
        if containerd.has_overlayfs() {
            containerd.snapshotter = "overlayfs";
        }
        containerd
    }

    // Overlay file systems do not go on top of each other, so not in every container.
    fn has_overlayfs(&self) -> bool {
        let plugins = self.ctr(["plugins", "ls"]).success().text();
        plugins.lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.get(1) == Some(&"overlayfs") && columns.last() == Some(&"ok")
        })
    }

    /// Runs `ctr` with these arguments, whatever it answers.
    pub fn ctr<I, S>(&self, arguments: I) -> Finished
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        run(self.ctr_command(arguments))
    }

    fn ctr_command<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut ctr = command(self.netns.as_deref(), "ctr");
        ctr.arg("--address").arg(self.dir.path().join("socket"));
        ctr.args(arguments);
        ctr.env("HOME", self.dir.path());
        ctr
    }

    /// Pulls an image from a registry and unpacks it.
    pub fn pull(&self, reference: &str, how: &Pull) -> Finished {
        let mut arguments: Vec<String> = ["images", "pull", "--snapshotter", self.snapshotter]
            .map(str::to_owned)
            .to_vec();
        let of_ca = how.ca_file.as_deref().map(|file| {
            let host = reference.split('/').next().unwrap_or_default();
            self.hosts_dir_for(host, file)
        });
        if let Some(dir) = how.hosts_dir.clone().or(of_ca) {
            arguments.push("--hosts-dir".into());
            arguments.push(dir.display().to_string());
        }
        if let Some((user, password)) = &how.user {
            arguments.push("--user".into());
            arguments.push(format!("{user}:{password}"));
        }
        if how.plain_http {
            arguments.push("--plain-http".into());
        }
        if let Some(platform) = &how.platform {
            arguments.push("--platform".into());
            arguments.push(platform.clone());
        }
        arguments.push(reference.to_owned());
        self.ctr(arguments)
    }

    fn hosts_dir_for(&self, host: &str, ca_file: &Path) -> PathBuf {
        let dir = self.dir.path().join("certs.d");
        // containerd 1.6 takes no file without a `host` table.
        let text = format!("[host.\"https://{host}\"]\nca = {ca_file:?}\n");
        std::fs::create_dir_all(dir.join(host)).expect("a directory");
        std::fs::write(dir.join(host).join("hosts.toml"), text).expect("a file");
        dir
    }

    /// Imports an archive of an OCI layout from standard input, without unpacking it.
    pub fn import(&self, archive: Vec<u8>) -> Finished {
        let arguments = ["images", "import", "--no-unpack", "-"];
        run_with(self.ctr_command(arguments), archive, PATIENCE)
    }

    /// The images that are there, each with the digest of its manifest or index.
    pub fn images(&self) -> Vec<(String, String)> {
        let listed = self.ctr(["images", "ls"]).success().text();
        let columns = |line: &str| {
            let mut columns = line.split_whitespace().map(str::to_owned);
            Some((columns.next()?, columns.nth(1)?))
        };
        listed.lines().skip(1).filter_map(columns).collect()
    }

    /// Whether an image is complete and unpacked, by containerd's own check.
    pub fn is_unpacked(&self, reference: &str) -> bool {
        let filter = format!("name=={reference}");
        let arguments = [
            "images",
            "check",
            "--snapshotter",
            self.snapshotter,
            &filter,
        ];
        let listed = self.ctr(arguments).success().text();
        listed.lines().skip(1).any(|line| {
            line.starts_with(reference)
                && line.contains(" complete ")
                && line.trim_end().ends_with("true")
        })
    }

    /// A file of an unpacked image.
    pub fn read_file(&self, reference: &str, path: &str) -> Option<Vec<u8>> {
        let place = self.dir.path().join("mounted");
        std::fs::create_dir_all(&place).expect("a directory");
        let place = place.to_str().expect("UTF-8");
        let arguments = ["images", "mount", "--snapshotter", self.snapshotter];
        let mut mount = self.outside_ctr(arguments);
        mount.args([reference, place]);
        run(mount).success();
        let content = std::fs::read(Path::new(place).join(path)).ok();
        let arguments = ["images", "unmount", "--rm"];
        let mut unmount = self.outside_ctr(arguments);
        unmount.arg(place);
        run(unmount).success();
        content
    }

    /// `ctr` outside of any namespace, as what it mounts inside is gone with it. The socket is in
    /// the file system, so that it reaches containerd from anywhere.
    fn outside_ctr<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut ctr = tool("ctr");
        ctr.arg("--address").arg(self.dir.path().join("socket"));
        ctr.args(arguments);
        ctr
    }

    /// What containerd wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(netns: Option<&str>, name: &str) -> Command {
    match netns {
        Some(netns) => super::netns::command_in(netns, name),
        None => tool(name),
    }
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    // Without the plugins that want more of the machine than pulling and unpacking takes.
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{dir}/socket"
[ttrpc]
  address = "{dir}/socket.ttrpc"
"#
    )
}
