//! A registry with images, a key, a place for bundles, and a registry to load them into.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use sneakernet::{
    oci::Digest,
    serve::{FaultPlan, LoggedRequest, RequestLog, ServeOptions, Server},
};
use tempfile::TempDir;

use crate::support::{
    background::block_on,
    images::{Compression, Entry, Family, Image, ImageBuilder, Layer},
    pusher::{Access, Client},
    random::Random,
    tools::{Finished, Home, Running, run, temp_dir, wait_until},
};

/// Content of a frame, which is what may be lost of each transfer under way.
pub const FRAME: u64 = 8 << 20;
/// When the bundles were made, by `SOURCE_DATE_EPOCH`.
pub const EPOCH: &str = "1700000000";

/// Names in the registry, and images.
pub type Images = Vec<(&'static str, Image)>;

/// A registry in this process whose requests are written down.
pub struct Source {
    server: Option<Server>,
    pub log: RequestLog,
    store: TempDir,
    address: SocketAddr,
}

impl Source {
    /// An empty registry.
    pub fn new(faults: &str) -> Self {
        let mut source = Self {
            server: None,
            log: RequestLog::default(),
            store: temp_dir("store"),
            address: ([127, 0, 0, 1], 0).into(),
        };
        source.restart(faults);
        source
    }

    /// A registry with these images, tag `1`, that misbehaves only from then on.
    pub fn with(images: &Images, faults: &str) -> Self {
        let mut source = Self::new("");
        for (name, image) in images {
            source.client().push(name, "1", image);
        }
        source.restart(faults);
        source
    }

    /// The same content at the same address, other faults. Cuts all connections.
    pub fn restart(&mut self, faults: &str) {
        let faults: FaultPlan = faults.parse().unwrap();
        drop(self.server.take());
        self.log.clear();
        // The store is free when the requests of the server before have come to their ends.
        wait_until("the registry starts again", Duration::from_secs(20), || {
            let mut options = ServeOptions::new(self.store.path(), self.address);
            options.faults = faults.clone();
            options.record = Some(self.log.clone());
            match block_on(Server::start(options)) {
                Ok(server) => {
                    self.address = server.local_addr();
                    self.server = Some(server);
                    true
                }
                Err(_) => false,
            }
        });
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Another client, for looking at what is there.
    pub fn client(&self) -> Client {
        let access = Access {
            url: format!("http://{}", self.address),
            ..Access::default()
        };
        access.client()
    }

    /// Bytes of a blob that were sent since the log was cleared.
    pub fn sent_of(&self, digest: &Digest) -> u64 {
        let mut entries = self.requests_of(digest);
        entries.retain(|entry| entry.method == "GET");
        entries.iter().map(|entry| entry.bytes_out).sum()
    }

    /// The requests for a blob.
    pub fn requests_of(&self, digest: &Digest) -> Vec<LoggedRequest> {
        let end = format!("/blobs/{digest}");
        let mut entries = self.log.entries();
        entries.retain(|entry| entry.path.ends_with(&end));
        entries
    }
}

/// The program with a home, a key and a directory for bundles.
pub struct World {
    pub home: Home,
    pub dir: TempDir,
    pub source: Source,
    pub names: Vec<&'static str>,
    /// To open a key costs more time than all the rest of a small bundle.
    signs: bool,
}

impl World {
    /// A source with these images, for unsigned bundles.
    pub fn new(images: &Images, faults: &str) -> Self {
        Self {
            home: Home::new(),
            signs: false,
            dir: temp_dir("crash"),
            source: Source::with(images, faults),
            names: images.iter().map(|(name, _)| *name).collect(),
        }
    }

    /// The same for signed bundles.
    pub fn signing(images: &Images, faults: &str) -> Self {
        let mut world = Self::new(images, faults);
        let keygen = ["keygen", "--no-password", "--quiet"];
        world.home.run_bundle(keygen).success();
        world.signs = true;
        world
    }

    /// A path for a bundle.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `bundle create` of all images.
    pub fn create(&self, output: &Path) -> Command {
        let mut command = self.home.bundle();
        self.create_arguments(&mut command, output);
        command
    }

    /// Adds the arguments of [`create`](Self::create) to a command that runs the program.
    pub fn create_arguments(&self, command: &mut Command, output: &Path) {
        command
            .arg("create")
            .args(self.signing_arguments())
            .args(["--quiet", "-o"])
            .arg(output)
            .args(["--name", "crash", "--bundle-version", "1"])
            .env("SOURCE_DATE_EPOCH", EPOCH);
        for name in &self.names {
            command.arg("--image");
            command.arg(format!("{}/{name}:1", self.source.host()));
        }
    }

    fn signing_arguments(&self) -> &'static [&'static str] {
        match self.signs {
            true => &["--key", "cosign.key"],
            false => &["--unsigned"],
        }
    }

    /// What makes the bundles trusted.
    pub fn trust_arguments(&self) -> &'static [&'static str] {
        match self.signs {
            true => &["--key", "cosign.pub"],
            false => &["--allow-unsigned"],
        }
    }

    /// Another tool that runs the program: `strace`, `sh -c`.
    pub fn create_under(&self, tool: &str, arguments: &[&str], output: &Path) -> Command {
        let mut command = self.home.tool(tool);
        command
            .args(arguments)
            .arg(crate::support::tools::bundle_path());
        self.create_arguments(&mut command, output);
        command
    }

    /// Makes the bundle without anything in between.
    #[track_caller]
    pub fn made(&self, name: &str) -> (PathBuf, Digest) {
        let path = self.path(name);
        run(self.create(&path)).success();
        let digest = digest_of(&path);
        (path, digest)
    }

    /// `bundle load` into a registry below a prefix.
    pub fn load(&self, bundle: &Path, to: &str) -> Command {
        let mut command = self.home.bundle();
        command.arg("load").arg(bundle).args(["--to", to]);
        command.args(self.trust_arguments()).arg("--quiet");
        command
    }
}

/// The digest of a file.
#[track_caller]
pub fn digest_of(path: &Path) -> Digest {
    Digest::sha256_of(&fs::read(path).unwrap())
}

/// `PATH.partial` and the like.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Files in a directory, by name.
pub fn listed(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Nothing is there that looks like a bundle.
#[track_caller]
pub fn assert_no_bundle(path: &Path, finished: &Finished) {
    let found = fs::symlink_metadata(path);
    assert!(found.is_err(), "{} is there: {finished:?}", path.display());
    let directory = listed(path.parent().unwrap());
    let own = |name: &String| name.ends_with(".zst.partial") || name.ends_with(".zst.resume");
    let mut strangers = directory;
    strangers.retain(|name| !own(name) && name.contains("tmp"));
    assert!(strangers.is_empty(), "left behind: {strangers:?}");
}

/// Starts a command and waits until a condition holds, while it runs.
#[track_caller]
pub fn start_until(command: Command, what: &str, condition: impl Fn() -> bool) -> Running {
    let mut running = Running::start(command, Vec::new());
    wait_until(what, Duration::from_secs(30), || {
        condition() || !running.is_running()
    });
    assert!(condition(), "{what}: it ended before");
    running
}

fn random_layer(seed: u64, size: usize, compression: Compression) -> Layer {
    let content = Random(seed).bytes(size);
    let file = Entry::File(format!("data/{seed}"), 0o644, content);
    Layer::of(&[file], compression)
}

fn text_layer(seed: u64, size: usize) -> Layer {
    let content = Random(seed).text(size);
    let file = Entry::File(format!("text/{seed}"), 0o644, content);
    Layer::of(&[file], Compression::None)
}

fn image(layers: &[Layer]) -> Image {
    let mut image = ImageBuilder::new(Family::Oci, "linux/amd64");
    for layer in layers {
        image = image.layer(layer);
    }
    image.build()
}

/// Images whose blobs have several frames: two stored ones, a compressed one, and more small ones
/// than one frame holds.
pub fn large_images() -> &'static Images {
    static IMAGES: OnceLock<Images> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let stored = |seed| random_layer(seed, 20 << 20, Compression::Gzip);
        let small: Vec<_> = (10..22)
            .map(|seed| random_layer(seed, 900 << 10, Compression::Gzip))
            .collect();
        vec![
            ("team/stored", image(&[stored(1), stored(2)])),
            ("team/text", image(&[text_layer(3, 40 << 20)])),
            ("team/small", image(&small)),
        ]
    })
}

/// Images of a few MiB, with blobs of every class.
pub fn images() -> &'static Images {
    static IMAGES: OnceLock<Images> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let shared = random_layer(30, 3 << 20, Compression::Gzip);
        let other = random_layer(31, 4 << 20, Compression::Gzip);
        let raw = random_layer(32, 3 << 20, Compression::None);
        let small = random_layer(33, 200 << 10, Compression::Gzip);
        vec![
            ("team/one", image(&[shared.clone(), small])),
            ("team/two", image(&[shared, other])),
            ("team/three", image(&[raw, text_layer(34, 9 << 20)])),
        ]
    })
}
