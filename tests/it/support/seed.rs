//! The world of the seed: what quay.io, us-docker.pkg.dev and docker.io hold for an installation of
//! Calico Cloud, as registries on loopback, and the repository with its chart.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use sneakernet::oci::{Digest, Reference};
use tempfile::TempDir;

use super::{
    calico_cloud,
    distribution::{Options, Registry},
    images::{
        Compression, Family, Image, ImageBuilder, Layer, Platform, attestation, index, index_with,
    },
    netns::NetNs,
    pki::TestCa,
    pusher::{Access, Authorization},
    static_server::StaticServer,
    token_service::{self, Anonymous, TokenService},
    tools::{Home, temp_dir},
};

/// The user whom quay.io knows.
pub const USER: &str = "tigera+calicocloud_images";
/// The password of [`USER`].
pub const PASSWORD: &str = "correct horse battery staple";
/// What the registries that hold Windows images take (`validation.manifests.urls.allow`).
pub const WINDOWS_URLS: &str = "^https://mcr\\.microsoft\\.com/";

const QUAY: &str = "quay.io";
const GOOGLE: &str = "us-docker.pkg.dev";
const HUB: &str = "docker.io";

/// The list that users give to `--images-from`.
pub fn list_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/calico-cloud/images.txt")
}

/// All 41 references: the installer, which `bundle.yaml` names, and those of the list, as written
/// there.
pub fn references() -> Vec<String> {
    let text = std::fs::read_to_string(list_path()).expect("the list of the example");
    let listed = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty());
    let installer = std::iter::once(calico_cloud::INSTALLER);
    installer.chain(listed).map(str::to_owned).collect()
}

/// An image of the seed.
#[derive(Clone, Debug)]
pub struct SeedImage {
    /// As it is written by whoever asks for it.
    pub written: String,
    /// The registry, `docker.io` where the list names none.
    pub host: String,
    /// The repository, with `library/` for Docker's own.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The image.
    pub image: Image,
}

/// The images of the list, and a registry's storage for each of the three hosts that holds them.
/// Made once for all tests that run at the same time.
pub struct SeedContent {
    /// All images, in the order of the list.
    pub images: Vec<SeedImage>,
    storage: BTreeMap<&'static str, TempDir>,
}

impl SeedContent {
    /// The content, made where no other test has it at the moment.
    pub fn get() -> Arc<Self> {
        static CURRENT: Mutex<Weak<SeedContent>> = Mutex::new(Weak::new());
        let mut current = CURRENT
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(content) = current.upgrade() {
            return content;
        }
        let content = Arc::new(Self::make());
        *current = Arc::downgrade(&content);
        content
    }

    fn make() -> Self {
        let images = images_of(&references());
        let storage = [QUAY, GOOGLE, HUB].map(|host| {
            let storage = temp_dir("seed");
            let registry = Registry::start(Options {
                storage: Some(storage.path().to_owned()),
                allow_urls: vec![WINDOWS_URLS.to_owned()],
                ..Options::default()
            });
            let client = registry.client();
            for image in images.iter().filter(|image| image.host == host) {
                client.push(&image.repository, &image.tag, &image.image);
            }
            (host, storage)
        });
        Self {
            images,
            storage: storage.into(),
        }
    }

    fn storage_of(&self, host: &str) -> PathBuf {
        self.storage[host].path().to_owned()
    }
}

/// The three registries, running. quay.io wants a token, which its token service gives to [`USER`];
/// the others let everybody pull (docker.io by a token for nobody in particular).
pub struct SeedWorld {
    /// What they hold.
    pub content: Arc<SeedContent>,
    /// Stands for quay.io.
    pub quay: Registry,
    /// Stands for us-docker.pkg.dev.
    pub google: Registry,
    /// Stands for docker.io.
    pub hub: Registry,
    /// The token service of quay.io.
    pub quay_tokens: TokenService,
    /// The token service of docker.io.
    pub hub_tokens: TokenService,
    /// The repository of charts at installer.calicocloud.io.
    pub charts: StaticServer,
    // With the certificate of the authority, on loopback.
    ca_dir: Option<TempDir>,
}

impl SeedWorld {
    /// The world on free loopback ports, the registries over plain HTTP and the charts over TLS;
    /// see [`SeedWorld::mirrors`].
    pub fn on_loopback() -> Self {
        let content = SeedContent::get();
        let (ca, ca_dir) = (TestCa::new(), temp_dir("seed-ca"));
        ca.write_to(ca_dir.path());
        let charts = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let quay_tokens = TokenService::start(quay_token_options());
        let hub_tokens = TokenService::start(hub_token_options());
        let options = |host: &str| options(&content, host);
        Self {
            quay: Registry::start(Options {
                token: Some(quay_tokens.auth()),
                ..options(QUAY)
            }),
            google: Registry::start(options(GOOGLE)),
            hub: Registry::start(Options {
                token: Some(hub_tokens.auth()),
                ..options(HUB)
            }),
            quay_tokens,
            hub_tokens,
            charts: charts_at(charts, &ca, "127.0.0.1"),
            ca_dir: Some(ca_dir),
            content,
        }
    }

    /// The addresses of the world inside a network namespace, and their names.
    pub const NAMES: [(&str, &str); 6] = [
        ("127.0.1.1", "quay.io"),
        ("127.0.1.2", "us-docker.pkg.dev"),
        (
            "127.0.1.3",
            "registry-1.docker.io docker.io index.docker.io",
        ),
        ("127.0.1.4", "auth.quay.io"),
        ("127.0.1.5", "auth.docker.io"),
        ("127.0.1.6", calico_cloud::HOST),
    ];

    /// The world inside a network namespace, over TLS with certificates of `ca`, under the names
    /// that the registries have on the Internet. This sets the namespace's `hosts`.
    pub fn inside(netns: &NetNs, ca: &TestCa) -> Self {
        netns.hosts(&Self::NAMES);
        let content = SeedContent::get();
        let tokens = |address: &str, name: &str, options: token_service::Options| {
            TokenService::start(token_service::Options {
                listener: Some(netns.listen(address)),
                name: Some(name.to_owned()),
                tls: Some(ca.issue(&[name])),
                ..options
            })
        };
        let quay_tokens = tokens("127.0.1.4:443", "auth.quay.io", quay_token_options());
        let hub_tokens = tokens("127.0.1.5:443", "auth.docker.io", hub_token_options());
        let options = |host: &str, names: &[&str], listen: &str| {
            options(&content, host)
                .with_tls(ca, names)
                .inside(netns, listen)
        };
        let hub_names = ["registry-1.docker.io", "docker.io", "index.docker.io"];
        Self {
            quay: Registry::start(Options {
                token: Some(quay_tokens.auth()),
                ..options(QUAY, &["quay.io"], "127.0.1.1:443")
            }),
            google: Registry::start(options(GOOGLE, &["us-docker.pkg.dev"], "127.0.1.2:443")),
            hub: Registry::start(Options {
                token: Some(hub_tokens.auth()),
                ..options(HUB, &hub_names, "127.0.1.3:443")
            }),
            quay_tokens,
            hub_tokens,
            charts: charts_at(netns.listen("127.0.1.6:443"), ca, calico_cloud::HOST),
            ca_dir: None,
            content,
        }
    }

    /// The arguments that send `create` to loopback for the four hosts.
    pub fn mirrors(&self) -> Vec<String> {
        let charts = self.charts.address().to_string();
        let places = [
            (QUAY, self.quay.host()),
            (GOOGLE, self.google.host()),
            (HUB, self.hub.host()),
            (calico_cloud::HOST, charts.as_str()),
        ];
        let mirrors = places
            .into_iter()
            .flat_map(|(host, place)| ["--mirror".to_owned(), format!("{host}={place}")]);
        let ca_file = self.ca_dir.iter().flat_map(|dir| {
            let file = dir.path().join("ca.crt").display().to_string();
            ["--ca-file".to_owned(), file]
        });
        mirrors.chain(ca_file).collect()
    }

    /// Writes the login of [`USER`] for quay.io, and for the place where it stands on loopback.
    pub fn log_in(&self, home: &Home) {
        let logins = [QUAY, self.quay.host()].map(|host| (host, USER, PASSWORD));
        home.log_in(&logins);
    }

    /// How one of the registries on loopback is reached, with a token for this repository.
    pub fn access(&self, host: &str, repository: &str) -> Access {
        let scope = format!("repository:{repository}:pull");
        let (registry, tokens) = match host {
            QUAY => (&self.quay, Some(&self.quay_tokens)),
            HUB => (&self.hub, Some(&self.hub_tokens)),
            GOOGLE => (&self.google, None),
            _ => panic!("no such registry: {host}"),
        };
        Access {
            authorization: tokens.map(|tokens| Authorization::Bearer(tokens.token(&[&scope]))),
            ..registry.access()
        }
    }
}

fn charts_at(listener: std::net::TcpListener, ca: &TestCa, name: &str) -> StaticServer {
    StaticServer::start(listener, ca.issue(&[name]), calico_cloud::repository())
}

fn options(content: &SeedContent, host: &str) -> Options {
    Options {
        storage: Some(content.storage_of(host)),
        allow_urls: vec![WINDOWS_URLS.to_owned()],
        // Several tests read the same storage.
        read_only: true,
        ..Options::default()
    }
}

fn quay_token_options() -> token_service::Options {
    token_service::Options {
        service: QUAY.to_owned(),
        users: vec![(USER.to_owned(), PASSWORD.to_owned())],
        ..token_service::Options::default()
    }
}

fn hub_token_options() -> token_service::Options {
    token_service::Options {
        service: "registry.docker.io".to_owned(),
        anonymous: Anonymous::Pulls,
        ..token_service::Options::default()
    }
}

fn images_of(references: &[String]) -> Vec<SeedImage> {
    let parts = Parts::new();
    let image = |(number, written): (usize, &String)| {
        let reference: Reference = written.parse().expect("a reference of the list");
        let repository = reference.repository().path().to_owned();
        let name = repository.rsplit('/').next().unwrap_or(&repository);
        SeedImage {
            written: written.clone(),
            host: reference.repository().host().to_owned(),
            tag: reference.tag().expect("the list has tags").to_owned(),
            image: parts.image(name, number as u64),
            repository,
        }
    };
    references.iter().enumerate().map(image).collect()
}

/// What the images share: base layers per platform.
struct Parts {
    bases: BTreeMap<&'static str, Layer>,
}

impl Parts {
    fn new() -> Self {
        let bases = [
            ("linux/amd64", 6 << 20),
            ("linux/arm64", 5 << 20),
            ("linux/ppc64le", 1 << 20),
            ("linux/s390x", 1 << 20),
            ("linux/arm/v7", 1 << 20),
            ("windows/amd64", 2 << 20),
        ];
        let base = |(number, (platform, size)): (usize, (&'static str, usize))| {
            let seed = 0xca11_c000 + number as u64;
            (
                platform,
                Layer::sample(seed, "base", size, Compression::Gzip),
            )
        };
        Self {
            bases: bases.into_iter().enumerate().map(base).collect(),
        }
    }

    fn image(&self, name: &str, number: u64) -> Image {
        let linux = ["linux/amd64", "linux/arm64"];
        match name {
            // As released by projects that build for everything.
            "alpine" => self.list(
                Family::Docker,
                name,
                number,
                &[
                    "linux/amd64",
                    "linux/arm/v7",
                    "linux/arm64",
                    "linux/ppc64le",
                    "linux/s390x",
                ],
            ),
            "cc-operator" => self.attested(name, number),
            "fluentd-windows" => self.windows(name, number),
            "operator" | "cnx-node" | "cni" | "typha" => {
                self.list(Family::Docker, name, number, &linux)
            }
            "csi" | "node-driver-registrar" | "key-cert-provisioner" => {
                self.list(Family::Oci, name, number, &linux)
            }
            "skimble" | "cc-core" | "runtime-security-operator" => {
                self.platform(Family::Oci, name, number, linux[0])
            }
            _ => self.platform(Family::Docker, name, number, linux[0]),
        }
    }

    /// A base, something larger of its own, and a little on top.
    fn platform(&self, family: Family, name: &str, number: u64, platform: &'static str) -> Image {
        let seed = number * 1000 + platform.len() as u64;
        let size = (300 << 10) + (number as usize * 7919 % 17) * (100 << 10);
        ImageBuilder::new(family, platform)
            .layer(&self.bases[platform])
            .layer(&Layer::sample(seed, name, size, Compression::Gzip))
            .layer(&Layer::sample(
                seed + 1,
                "licenses",
                4 << 10,
                Compression::Gzip,
            ))
            .build()
    }

    fn list(&self, family: Family, name: &str, number: u64, platforms: &[&'static str]) -> Image {
        index(family, &self.members(family, name, number, platforms))
    }

    fn members(
        &self,
        family: Family,
        name: &str,
        number: u64,
        platforms: &[&'static str],
    ) -> Vec<(Platform, Image)> {
        platforms
            .iter()
            .map(|platform| {
                let image = self.platform(family, name, number, platform);
                (Platform::new(platform), image)
            })
            .collect()
    }

    /// As BuildKit writes it: an OCI index with an attestation for each platform.
    fn attested(&self, name: &str, number: u64) -> Image {
        let platforms = ["linux/amd64", "linux/arm64"];
        let members = self.members(Family::Oci, name, number, &platforms);
        let attestations: Vec<_> = members
            .iter()
            .map(|(_, image)| attestation(image))
            .collect();
        index_with(Family::Oci, &members, &attestations)
    }

    /// As Windows images are: the layer of the operating system is not in the registry.
    fn windows(&self, name: &str, number: u64) -> Image {
        let platform = Platform::new("windows/amd64").version("10.0.17763.4252");
        let system = Digest::sha256_of(b"the base layer of Windows");
        let url = format!("https://mcr.microsoft.com/v2/windows/servercore/blobs/{system}");
        let image = ImageBuilder::new(Family::Docker, platform.clone())
            .foreign_layer(system, 1_718_332_879, &[&url])
            .layer(&self.bases["windows/amd64"])
            .layer(&Layer::sample(number, name, 700 << 10, Compression::Gzip))
            .build();
        index(Family::Docker, &[(platform, image)])
    }
}
