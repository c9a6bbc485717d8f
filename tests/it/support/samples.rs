//! One image of every kind that bundles carry, and a bundle with all of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;

use super::{
    distribution::{Options, Registry},
    images::{
        Blob, Compression, Entry, Family, Image, ImageBuilder, Layer, Platform, artifact,
        attestation, empty_config, index_with, sample, sample_index,
    },
    pusher::Client,
    tools::{Home, run, temp_dir, tool},
};

/// The tools that a test with [`Bundled`] asks for.
pub const TOOLS: [&str; 2] = ["docker-registry", "zstd"];

/// The host in the names of most samples; nothing answers there, a mirror stands for it.
pub const HOST: &str = "registry.example.com";

/// A time of 2023, for `SOURCE_DATE_EPOCH`.
pub const EPOCH: &str = "1700000000";

/// An image under a name.
#[derive(Clone, Debug)]
pub struct Sample {
    /// As it is asked for.
    pub written: String,
    /// As bundles name it.
    pub reference: String,
    /// The repository without the host: where `--layout strip` puts it.
    pub repository: String,
    /// The tag, or the digest where the name has only that.
    pub tag: String,
    /// The image.
    pub image: Image,
    /// What it is.
    pub kind: Kind,
}

/// What a tool has to understand to read an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image of the OCI family.
    Oci,
    /// An image of Docker's family.
    Docker,
    /// Something else in the form of an OCI manifest.
    Artifact,
}

impl Sample {
    fn named(path: &str, image: Image, kind: Kind) -> Self {
        let reference = format!("{HOST}/{path}");
        let (repository, tag) = path.split_once(['@', ':']).expect("a tag or digest");
        // Of a name with both, the digest says what is meant.
        let tag = tag.split_once('@').map_or(tag, |(tag, _)| tag);
        Self {
            written: reference.clone(),
            reference,
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            image,
            kind,
        }
    }

    fn of_docker_hub(name: &str, tag: &str, image: Image) -> Self {
        Self {
            written: format!("{name}:{tag}"),
            reference: format!("docker.io/library/{name}:{tag}"),
            repository: format!("library/{name}"),
            tag: tag.to_owned(),
            image,
            kind: Kind::Docker,
        }
    }

    /// Whether the name has no tag, only a digest.
    pub fn is_untagged(&self) -> bool {
        self.tag.contains(':')
    }

    /// The digest of the manifest or index.
    pub fn digest(&self) -> String {
        self.image.digest.to_string()
    }
}

/// The samples: indexes of both families, layers of every compression, small and larger than a
/// frame of a bundle, artifacts, names with a tag, a digest, and both.
pub fn samples() -> Vec<Sample> {
    let pinned = sample(7, Family::Oci, "linux/amd64");
    let both = sample(8, Family::Oci, "linux/amd64");
    let by_digest = format!("apps/pinned@{}", pinned.digest);
    let by_both = format!("apps/both:1.0@{}", both.digest);
    vec![
        Sample::named("apps/attested:1", attested(), Kind::Oci),
        Sample::named("apps/list:1", sample_index(2, Family::Docker), Kind::Docker),
        Sample::named("apps/zstd:1", zstd_layers(), Kind::Oci),
        Sample::named("apps/big:v2.0", big(), Kind::Oci),
        Sample::named(&by_digest, pinned, Kind::Oci),
        Sample::named(&by_both, both, Kind::Oci),
        Sample::named("charts/chart:0.1.0", chart(), Kind::Artifact),
        Sample::named("charts/empty-config:1", empty_artifact(), Kind::Artifact),
        Sample::of_docker_hub("alpine", "3.20", docker_image()),
    ]
}

fn attested() -> Image {
    let members = ["linux/amd64", "linux/arm64"]
        .map(|platform| (Platform::new(platform), sample(1, Family::Oci, platform)));
    let attestations: Vec<Image> = members.iter().map(|(_, i)| attestation(i)).collect();
    index_with(Family::Oci, &members, &attestations)
}

fn zstd_layers() -> Image {
    ImageBuilder::new(Family::Oci, "linux/amd64")
        .layer(&Layer::sample(3, "zstd", 400 << 10, Compression::Zstd))
        .layer(&named_layer("zstd", Compression::None))
        .annotation("org.opencontainers.image.title", "Gr\u{fc}n \u{2713}")
        .build()
}

/// A stored layer and a compressible one, each larger than a frame.
fn big() -> Image {
    ImageBuilder::new(Family::Oci, "linux/amd64")
        .layer(&Layer::sample(4, "stored", 18 << 20, Compression::Gzip))
        .layer(&Layer::sample(5, "plain", 9 << 20, Compression::None))
        .layer(&named_layer("big", Compression::Gzip))
        .build()
}

fn docker_image() -> Image {
    ImageBuilder::new(Family::Docker, "linux/amd64")
        .layer(&Layer::sample(6, "docker", 2 << 20, Compression::Gzip))
        .layer(&named_layer("docker", Compression::None))
        .build()
}

/// A layer with a file that tells which image it is of.
fn named_layer(name: &str, compression: Compression) -> Layer {
    let content = format!("{name}\n").into_bytes();
    let file = Entry::File("etc/sample".into(), 0o644, content);
    Layer::of(&[Entry::Dir("etc/".into()), file], compression)
}

fn chart() -> Image {
    let config = json!({"apiVersion": "v2", "name": "chart", "version": "0.1.0"}).to_string();
    artifact(
        None,
        Blob::new("application/vnd.cncf.helm.config.v1+json", config),
        vec![Blob::new(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            vec![0x5a; 3000],
        )],
        None,
    )
}

/// An artifact whose layers are of no known type, one of them empty and one the configuration.
fn empty_artifact() -> Image {
    artifact(
        Some("application/vnd.example.things.v1"),
        empty_config(),
        vec![
            empty_config(),
            Blob::new("text/plain; charset=utf-8", Bytes::new()),
            Blob::new("application/x-custom", &b"\0\x01\x02"[..]),
        ],
        None,
    )
}

/// Puts the samples into a registry, where [`mirrors`] finds them.
pub fn push(client: &Client, samples: &[Sample]) {
    for sample in samples {
        let repository = if sample.reference.starts_with(HOST) {
            sample.repository.clone()
        } else {
            format!("hub/{}", sample.repository)
        };
        if sample.is_untagged() {
            client.push_untagged(&repository, &sample.image);
        } else {
            client.push(&repository, &sample.tag, &sample.image);
        }
    }
}

/// The arguments that let a registry stand for the hosts in the samples' names.
pub fn mirrors(host: impl std::fmt::Display) -> [String; 4] {
    [
        "--mirror".to_owned(),
        format!("{HOST}={host}"),
        "--mirror".to_owned(),
        format!("docker.io={host}/hub"),
    ]
}

/// A signed bundle of all samples and two plain files.
pub struct Bundled {
    /// What is in it.
    pub samples: Vec<Sample>,
    /// The plain files: name and content.
    pub files: [(&'static str, Vec<u8>); 2],
    /// The bundle.
    pub file: PathBuf,
    /// The public key of its maker.
    pub public: PathBuf,
    _home: Home,
    unpacked: OnceLock<TempDir>,
    tar: OnceLock<Bytes>,
}

impl Bundled {
    /// The bundle, made where no other test has it at the moment.
    pub fn get() -> Arc<Self> {
        static CURRENT: Mutex<Weak<Bundled>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundled) = current.upgrade() {
            return bundled;
        }
        let bundled = Arc::new(Self::make());
        *current = Arc::downgrade(&bundled);
        bundled
    }

    fn make() -> Self {
        let upstream = Registry::start(Options::default());
        let samples = samples();
        push(&upstream.client(), &samples);
        let home = Home::new();
        let keygen = ["keygen", "--no-password", "--output-key-prefix", "maker"];
        home.run_bundle(keygen).success();
        let files = [
            ("install.md", b"# How to install\n".to_vec()),
            // As large as that the file is no small blob.
            ("notes.txt", b"word ".repeat(300_000)),
        ];
        let mut create = home.bundle();
        create.args(["create", "--key", "maker.key", "-o", "all.bundle.tar.zst"]);
        create.args(["--name", "all", "--bundle-version", "1"]);
        create.args(mirrors(upstream.host()));
        create.env("SOURCE_DATE_EPOCH", EPOCH);
        for sample in &samples {
            create.args(["--image", &sample.written]);
        }
        for (name, content) in &files {
            std::fs::write(home.path().join(name), content).expect("a file");
            create.args(["--add-file", name]);
        }
        run(create).success();
        Self {
            samples,
            files,
            file: home.path().join("all.bundle.tar.zst"),
            public: home.path().join("maker.pub"),
            _home: home,
            unpacked: OnceLock::new(),
            tar: OnceLock::new(),
        }
    }

    /// What `zstd -dc` makes of the file.
    pub fn tar(&self) -> &Bytes {
        self.tar.get_or_init(|| {
            let mut zstd = tool("zstd");
            zstd.arg("-dc").arg(&self.file);
            run(zstd).success().stdout.into()
        })
    }

    /// The directory into which `tar` has unpacked the file: an OCI image layout.
    pub fn unpacked(&self) -> &std::path::Path {
        let dir = self.unpacked.get_or_init(|| {
            let dir = temp_dir("unpacked");
            let mut tar = tool("tar");
            tar.args(["-x", "-f", "-", "-C"]).arg(dir.path());
            let input = self.tar().to_vec();
            super::tools::run_with(tar, input, super::tools::PATIENCE).success();
            dir
        });
        dir.path()
    }

    /// Runs the program with the maker's key.
    pub fn bundle(&self, home: &Home, command: &str) -> std::process::Command {
        let mut bundle = home.bundle();
        bundle.arg(command).arg(&self.file);
        bundle.arg("--key").arg(&self.public);
        bundle
    }
}
