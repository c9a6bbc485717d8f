//! What stands in front of registries: a real nginx that limits bodies, ends TLS, takes blobs in one
//! way only, or is no registry at all.

use std::path::PathBuf;

use sneakernet::oci::Digest;

use super::{
    Traveller, is_ready,
    load::{Load, is_long, tell_measured},
};
use crate::support::{
    attempt::{MEMORY, watch},
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Blob, Image, artifact, empty_config},
    nginx::{self, Nginx, Request},
    product::Product::Distribution2,
    random::Random,
    tools::{Finished, run, run_with},
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1800);

/// An artifact with one blob of so many bytes that no compression makes smaller.
fn weighing(bytes: usize) -> Image {
    let layer = Blob::new(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        Random(bytes as u64).bytes(bytes),
    );
    artifact(None, empty_config(), vec![layer], None)
}

fn is_upload(request: &Request) -> bool {
    request.path.contains("/blobs/uploads/") && ["PUT", "PATCH"].contains(&request.method.as_str())
}

#[test]
fn q37_a_layer_goes_through_a_proxy_that_limits_bodies() {
    if !is_ready(&[Distribution2], &[nginx::TOOL, "oras"]) {
        return;
    }
    let (size, limit, bytes) = match is_long() {
        true => (5 << 30, "100m", 100 << 20),
        false => (24 << 20, "4m", 4 << 20),
    };
    let traveller = Traveller::new();
    let load = Load::of(&[size]);
    let file = load.bundled(&traveller);

    let registry = Registry::start(Options::default());
    let front = Nginx::start(nginx::Options {
        body_limit: Some(limit),
        ..nginx::Options::in_front_of(registry.host())
    });
    let mut command = traveller.bundle(&["load", "--allow-unsigned", "--to", front.host()]);
    command.arg(&file);
    let started = std::time::Instant::now();
    let loaded = watch(command, Vec::new(), PATIENCE);
    tell_measured(size, started.elapsed(), &loaded);
    loaded.finished.success();
    assert!(loaded.peak <= MEMORY, "{} MiB", loaded.peak >> 20);
    load.assert_arrived(registry.host());

    let requests = front.requests();
    let refused = requests.iter().filter(|r| r.status == 413).count();
    assert!(refused > 0, "nothing met the limit: {requests:?}");
    let taken = requests.iter().filter(|r| is_upload(r) && r.status < 300);
    let largest = taken.clone().map(|r| r.length).max().expect("uploads");
    assert!(largest <= bytes + (4 << 10), "{largest}");
    assert!(taken.count() as u64 >= size / bytes, "{requests:?}");
}

#[test]
fn q41_a_registry_that_takes_blobs_only_whole_gets_them_whole() {
    if !is_ready(&[Distribution2], &[nginx::TOOL]) {
        return;
    }
    let trip = Trip::through("if ($request_method = PATCH) { return 405; }");
    trip.load(false).success();
    let uploads = trip.uploads();
    let whole = |r: &Request| r.method == "PUT" && r.length > 20 << 20;
    assert!(uploads.iter().any(whole), "{uploads:#?}");
    assert!(uploads.iter().all(|r| r.method == "PUT"), "{uploads:#?}");
    trip.assert_arrived();

    // What comes from a pipe is sent in chunks, and cannot be sent again in another way.
    let trip = Trip::through("if ($request_method = PATCH) { return 405; }");
    let refused = trip.load(true).exits(6);
    assert!(refused.stderr.contains("load from a file"), "{refused:?}");
}

#[test]
fn q42_a_registry_that_takes_blobs_only_in_chunks_gets_chunks() {
    if !is_ready(&[Distribution2], &[nginx::TOOL]) {
        return;
    }
    let no_whole_blobs = r#"
        set $sent "$request_method $uri $http_content_length";
        if ($sent ~ "^PUT /v2/.*/blobs/uploads/.* [1-9][0-9]*$") { return 400; }"#;
    for piped in [false, true] {
        let trip = Trip::through(no_whole_blobs);
        trip.load(piped).success();
        let uploads = trip.uploads();
        let chunks = uploads.iter().filter(|r| r.method == "PATCH").count();
        // The one large blob, and the empty configuration.
        assert!(chunks >= 3, "piped {piped}: {uploads:#?}");
        trip.assert_arrived();
    }
}

/// A large blob on its way into a registry through an nginx.
struct Trip {
    traveller: Traveller,
    image: Image,
    file: PathBuf,
    registry: Registry,
    front: Nginx,
}

impl Trip {
    fn through(directives: &str) -> Self {
        let traveller = Traveller::new();
        let source = Embedded::start();
        let image = weighing(21 << 20);
        source.client().push("team/large", "1", &image);
        let file = traveller.create(&[format!("{}/team/large:1", source.host())], &[]);
        let registry = Registry::start(Options::default());
        let front = Nginx::start(nginx::Options {
            directives: format!("{} {directives}", nginx::HONEST),
            ..nginx::Options::in_front_of(registry.host())
        });
        Self {
            traveller,
            image,
            file,
            registry,
            front,
        }
    }

    fn load(&self, piped: bool) -> Finished {
        let to = self.front.host();
        let mut load = self
            .traveller
            .bundle(&["load", "--allow-unsigned", "--to", to]);
        if !piped {
            load.arg(&self.file);
            return run(load);
        }
        load.arg("-");
        run_with(load, std::fs::read(&self.file).unwrap(), PATIENCE)
    }

    /// The requests with parts of blobs that got through.
    fn uploads(&self) -> Vec<Request> {
        let mut requests = self.front.requests();
        requests.retain(|request| is_upload(request) && request.status < 300);
        requests
    }

    #[track_caller]
    fn assert_arrived(&self) {
        let client = self.registry.client();
        client.assert_holds("team/large", "1", &self.image);
    }
}

#[test]
fn q25_tls_that_ends_before_the_registry() {
    if !is_ready(&[Distribution2], &[nginx::TOOL]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let image = weighing(100 << 10);
    source.client().push("team/app", "1", &image);
    let file = traveller.create(&[format!("{}/team/app:1", source.host())], &[]);
    let registry = Registry::start(Options::default());
    let front = |directives: &str| {
        Nginx::start(nginx::Options {
            directives: directives.to_owned(),
            ..nginx::Options::in_front_of(registry.host()).with_tls(&traveller.ca)
        })
    };
    // The registry takes itself for one with plain HTTP, and names such addresses.
    let wrong = front("proxy_set_header Host $http_host;");
    let loaded = traveller.load(&file, wrong.host(), &[]).success();
    for part in [wrong.host(), "X-Forwarded-Proto"] {
        assert!(loaded.stderr.contains(part), "{part}: {loaded:?}");
    }
    registry.client().assert_holds("team/app", "1", &image);
    // Nothing was said in plain HTTP, which nginx answers with 400 on a port with TLS.
    let statuses: Vec<u16> = wrong.requests().into_iter().map(|r| r.status).collect();
    assert!(!statuses.contains(&400), "{statuses:?}");

    let right = front(nginx::HONEST);
    let loaded = traveller.load(&file, right.host(), &[]).success();
    assert!(!loaded.stderr.contains("warning"), "{loaded:?}");
}

#[test]
fn q81_a_portal_that_answers_everything_is_no_registry() {
    if !is_ready(&[], &[nginx::TOOL]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let image = weighing(100 << 10);
    source.client().push("team/app", "1", &image);
    let file = traveller.create(&[format!("{}/team/app:1", source.host())], &[]);
    let portal = Nginx::start(nginx::Options {
        directives: "default_type text/html; return 200 '<html>please log in</html>';".to_owned(),
        ..nginx::Options::default().with_tls(&traveller.ca)
    });
    let loaded = traveller.load(&file, portal.host(), &[]).exits(6);
    let asked = format!("{}/team/app@{}", portal.host(), Digest::sha256_of(b"?"));
    let mut create = traveller.bundle(&["create", "--unsigned", "-o", "none", "--image", &asked]);
    create.args(["--retries", "1"]);
    let created = run(create).exits(5);
    for refused in [loaded, created] {
        assert!(refused.stderr.contains(portal.host()), "{refused:?}");
        assert!(refused.stderr.contains("not a registry"), "{refused:?}");
    }
    let methods: Vec<String> = portal.requests().into_iter().map(|r| r.method).collect();
    assert!(methods.iter().all(|m| m == "GET"), "{methods:?}");
}
