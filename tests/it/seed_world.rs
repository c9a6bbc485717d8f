//! The example of Calico Cloud, as its user goes the way: the chart from its repository and all 41
//! images from their three registries into one file, from that file into a registry behind the
//! gap, and from there into a cluster, as far as there is one.

mod arrival;
mod installation;
mod isolation;
mod lock;
mod nodes;
mod platforms;
mod refusals;
mod walkthrough;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, Weak},
};

use tempfile::TempDir;

use crate::support::{
    distribution::{Options, Registry},
    helm::{HELMS, helm_path},
    pki::TestCa,
    seed::{SeedContent, SeedWorld, WINDOWS_URLS},
    tools::{Finished, Home, find, run, run_with, temp_dir},
};

/// What `create` calls the bundle of the example.
const BUNDLE: &str = "calico-cloud-3.16.1.bundle.tar.zst";

/// A user's copy of `examples/calico-cloud`, with a key to sign with.
struct Project {
    home: Home,
}

impl Project {
    fn new() -> Self {
        let project = Self { home: Home::new() };
        std::fs::create_dir(project.dir()).unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/calico-cloud");
        for entry in std::fs::read_dir(example).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), project.dir().join(entry.file_name())).unwrap();
        }
        project.run(["keygen", "--no-password"]).success();
        project
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("calico-cloud")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The names of all files in the directory.
    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.dir()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The program, in the project's directory.
    fn bundle<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.home.bundle();
        command.current_dir(self.dir()).args(arguments);
        with_helm(&mut command);
        command
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        run(self.bundle(arguments))
    }
}

/// Has the program render charts with a `helm` of the tests, where there is one.
fn with_helm(command: &mut Command) {
    if find(HELMS[0]).is_some() {
        command.env("BUNDLE_HELM", helm_path(HELMS[0]));
    }
}

/// The bundle of the example, carried to a place where none of the registries that it came from
/// exists any more. Made once for all tests that run at the same time.
struct Carried {
    content: Arc<SeedContent>,
    dir: TempDir,
}

impl Carried {
    fn get() -> Arc<Self> {
        static CURRENT: Mutex<Weak<Carried>> = Mutex::new(Weak::new());
        let mut current = CURRENT
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(carried) = current.upgrade() {
            return carried;
        }
        let carried = Arc::new(Self::make());
        *current = Arc::downgrade(&carried);
        carried
    }

    fn make() -> Self {
        let world = SeedWorld::on_loopback();
        let project = Project::new();
        world.log_in(&project.home);
        let mut create = project.bundle(["create", "-f", "bundle.yaml", "--key", "cosign.key"]);
        create.args(world.mirrors());
        run(create).success();
        let dir = temp_dir("carried");
        for name in [BUNDLE, "cosign.pub"] {
            std::fs::rename(project.path(name), dir.path().join(name)).unwrap();
        }
        Self {
            content: Arc::clone(&world.content),
            dir,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(BUNDLE)
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("cosign.pub")
    }

    /// `bundle load FILE --key PUB --to HOST`, to be completed.
    fn load(&self, home: &Home, to: &str) -> Command {
        load(home, &self.file(), &self.key(), to)
    }
}

fn load(home: &Home, file: &Path, key: &Path, to: &str) -> Command {
    let mut load = home.bundle();
    load.arg("load").arg(file).arg("--key").arg(key);
    load.args(["--to", to]);
    load
}

/// Distribution as the private registry behind the gap, over TLS with an authority of its own and
/// with one user.
struct Private {
    registry: Registry,
    ca: TestCa,
}

impl Private {
    const USER: &str = "operator";
    const PASSWORD: &str = "of the gap";

    fn start() -> Self {
        let ca = TestCa::new();
        let options = Options {
            allow_urls: vec![WINDOWS_URLS.to_owned()],
            ..Options::default()
        };
        let options = options
            .with_tls(&ca, &[])
            .with_user(Self::USER, Self::PASSWORD);
        Self {
            registry: Registry::start(options),
            ca,
        }
    }

    /// Logs in with the program itself; returns the authority's file.
    fn log_in(&self, home: &Home) -> PathBuf {
        let ca_file = self.ca.write_to(home.path());
        let mut login = home.bundle();
        login.args(["login", self.registry.host(), "--username", Self::USER]);
        login.arg("--password-stdin").arg("--ca-file").arg(&ca_file);
        let password = format!("{}\n", Self::PASSWORD).into_bytes();
        run_with(login, password, crate::support::tools::PATIENCE).success();
        ca_file
    }
}

/// An open Distribution that takes Windows images.
fn open_registry() -> Registry {
    Registry::start(Options {
        allow_urls: vec![WINDOWS_URLS.to_owned()],
        ..Options::default()
    })
}

/// Requests in a registry's log that write.
fn writes(log: &str) -> usize {
    ["\"POST /", "\"PUT /", "\"PATCH /", "\"DELETE /"]
        .iter()
        .map(|method| log.matches(method).count())
        .sum()
}
