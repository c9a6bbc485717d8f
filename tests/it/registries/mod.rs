//! Bundles come out of real registries and get into them, whatever each of them does in its own
//! way, and whatever happens to it meanwhile.

mod content;
mod faults;
mod fronts;
mod indexes;
mod load;
mod mounts;
mod referrers;
mod travel;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    distribution::{Options, Registry},
    nginx::{self, Nginx},
    pki::TestCa,
    product::Product,
    pusher::{Access, Authorization, Client},
    token_service::{self, TokenService},
    tools::{Finished, Home, offered, present, run},
};

/// A user name as Harbor makes them for robots.
const USER: &str = "robot$team+ci";
const PASSWORD: &str = "pass:word with $1, %, + & ü";

/// Whether a test with these registries can run here.
fn is_ready(products: &[Product], tools: &[&str]) -> bool {
    let mut needed: Vec<&str> = tools.to_vec();
    let set_up = products.iter().filter(|product| **product != Product::Zot);
    needed.extend(set_up.map(|product| product.program()));
    present(&needed) && (!products.contains(&Product::Zot) || offered(Product::Zot.program()))
}

/// Who gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Everybody, over plain HTTP.
    Open,
    /// Who knows the password, over TLS.
    Password,
    /// Who has a token of the token service, over TLS.
    Token,
}

/// A running registry with its door.
struct Place {
    host: String,
    access: Access,
    tokens: Option<TokenService>,
    _registry: Registry,
    /// Stands in front of a registry that has no door of its own.
    _front: Option<Nginx>,
}

impl Place {
    #[track_caller]
    fn start(product: Product, door: Door, ca: &TestCa) -> Self {
        let open = Options::of(product);
        let own_door = product != Product::Ggcr;
        let mut tokens = None;
        let registry = match door {
            Door::Password if own_door => open.with_tls(ca, &[]).with_user(USER, PASSWORD),
            Door::Token => {
                let service = tokens.insert(TokenService::start(token_service::Options {
                    service: "registry.test".to_owned(),
                    users: vec![(USER.to_owned(), PASSWORD.to_owned())],
                    tls: Some(ca.issue(&["127.0.0.1"])),
                    ..token_service::Options::default()
                }));
                Options {
                    token: Some(service.auth()),
                    ..open.with_tls(ca, &[])
                }
            }
            _ => open,
        };
        let registry = Registry::start(registry);
        let front = (door == Door::Password && !own_door).then(|| {
            let options = nginx::Options::in_front_of(registry.host());
            Nginx::start(options.with_tls(ca).with_user(USER, PASSWORD))
        });
        let (host, access) = match &front {
            Some(front) => (front.host(), front.access()),
            None => (registry.host(), registry.access()),
        };
        Self {
            host: host.to_owned(),
            access,
            tokens,
            _registry: registry,
            _front: front,
        }
    }

    /// A client that may do everything in these repositories.
    fn client(&self, repositories: &[&str]) -> Client {
        let mut access = self.access.clone();
        if let Some(tokens) = &self.tokens {
            let scope = |name: &&str| format!("repository:{name}:pull,push");
            let scopes: Vec<String> = repositories.iter().map(scope).collect();
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            access.authorization = Some(Authorization::Bearer(tokens.token(&scopes)));
        }
        access.client()
    }
}

/// The program with a home in which it is logged in to some places.
struct Traveller {
    home: Home,
    ca: TestCa,
    ca_file: PathBuf,
}

impl Traveller {
    fn new() -> Self {
        let (home, ca) = (Home::new(), TestCa::new());
        let ca_file = ca.write_to(home.path());
        Self { home, ca, ca_file }
    }

    fn place(&self, product: Product, door: Door) -> Place {
        Place::start(product, door, &self.ca)
    }

    /// Knows the password of these places, and no other.
    fn log_in(&self, hosts: &[&str]) {
        let login = |host: &&str| (host.to_string(), USER, PASSWORD);
        let logins: Vec<(String, &str, &str)> = hosts.iter().map(login).collect();
        let logins: Vec<(&str, &str, &str)> = logins
            .iter()
            .map(|(h, u, p)| (h.as_str(), *u, *p))
            .collect();
        self.home.log_in(&logins);
    }

    fn bundle(&self, arguments: &[&str]) -> std::process::Command {
        let mut bundle = self.home.bundle();
        bundle.args(arguments).env("BUNDLE_CA_FILE", &self.ca_file);
        bundle
    }

    /// Makes a bundle of these images, named as they are asked for.
    #[track_caller]
    fn create(&self, images: &[String], more: &[&str]) -> PathBuf {
        let file = self.home.path().join("made.bundle.tar.zst");
        let mut create = self.bundle(&["create", "--unsigned", "--quiet", "--force", "-o"]);
        create.arg(&file).args(more);
        for image in images {
            create.args(["--image", image]);
        }
        run(create).success();
        file
    }

    /// Loads a bundle; the receipt is on standard output.
    #[track_caller]
    fn load(&self, file: &Path, to: &str, more: &[&str]) -> Finished {
        let mut load = self.bundle(&["load", "--allow-unsigned", "--format", "json", "--to", to]);
        load.arg(file).args(more);
        run(load)
    }
}

/// How many blobs a load has sent and mounted, by its receipt.
fn moved(receipt: &Value) -> [u64; 2] {
    ["sent", "mounted"].map(|kind| receipt["blobs"][kind].as_u64().expect("a number"))
}
