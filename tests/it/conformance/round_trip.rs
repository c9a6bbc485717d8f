//! Content of the suite's shapes goes from a registry into a bundle and from there into others,
//! where everything is what it was: bytes, digests, media types.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sneakernet::oci::{Digest, Document, media_type};

use super::data::{self, Shape};
use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    product::Product,
    pusher::Client,
    tools::{Finished, Home, require, run},
};

/// The host in the names of all shapes; nothing answers there, a mirror stands for it.
const HOST: &str = "registry.example.com";

/// A registry that shapes come from or go to; it ends when dropped.
struct Place {
    name: &'static str,
    host: String,
    client: Client,
    _registry: Box<dyn std::any::Any>,
}

impl Place {
    const SPARSE: &str = "embedded, sparse";

    fn embedded() -> Self {
        let registry = Embedded::start();
        Self {
            name: "embedded",
            host: registry.host(),
            client: registry.client(),
            _registry: Box::new(registry),
        }
    }

    /// One that takes an index without all of its children.
    fn sparse() -> Self {
        let registry = Embedded::with(|options| options.allow_sparse_indexes = true);
        Self {
            name: Self::SPARSE,
            host: registry.host(),
            client: registry.client(),
            _registry: Box::new(registry),
        }
    }

    fn real(name: &'static str, product: Product) -> Self {
        let registry = Registry::start(Options::of(product));
        Self {
            name,
            host: registry.host().to_owned(),
            client: registry.client(),
            _registry: Box::new(registry),
        }
    }

    fn push(&self, shapes: &[Shape]) {
        for shape in shapes {
            let (repository, image) = (shape.repository(), &shape.image);
            self.client.push(&repository, "1", image);
        }
    }
}

/// Everything that the registries of these tests have to take.
fn places() -> Vec<Place> {
    vec![
        Place::embedded(),
        Place::real("Distribution 2.8", Product::Distribution2),
        Place::real("Distribution 3", Product::Distribution3),
    ]
}

/// Somebody with a key, and the bundles that he makes.
struct Carrier {
    home: Home,
}

impl Carrier {
    fn new() -> Self {
        let home = Home::new();
        home.run_bundle(["keygen", "--no-password"]).success();
        Self { home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(format!("{name}.bundle.tar.zst"))
    }

    /// Makes a bundle of these references, all of which a registry at `from` stands for.
    fn create(&self, name: &str, from: &str, references: &[String], more: &[&str]) -> Finished {
        let mut create = self.home.bundle();
        create.env("SOURCE_DATE_EPOCH", "1700000000");
        create.args(["create", "--key", "cosign.key", "--name", "shapes"]);
        create.arg("--mirror").arg(format!("{HOST}={from}"));
        for reference in references {
            create.args(["--image", reference]);
        }
        create.args(more).arg("-o").arg(self.file(name));
        run(create)
    }

    fn load(&self, file: &Path, to: &str, more: &[&str]) -> Finished {
        let mut load = self.home.bundle();
        load.arg("load").arg(file).args(["--key", "cosign.pub"]);
        load.args(["--to", to]).args(more);
        run(load)
    }
}

fn references(shapes: &[Shape]) -> Vec<String> {
    let name = |shape: &Shape| format!("{HOST}/{}:1", shape.repository());
    shapes.iter().map(name).collect()
}

#[test]
fn every_shape_arrives_as_it_was_sent() {
    require!(
        Product::Distribution2.program(),
        Product::Distribution3.program()
    );
    let carrier = Carrier::new();
    let shapes = data::shapes();
    let mut files = Vec::new();
    for source in places() {
        source.push(&shapes);
        carrier
            .create(source.name, &source.host, &references(&shapes), &[])
            .success();
        files.push(carrier.file(source.name));
    }
    // Whichever registry it comes from.
    let bytes: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
    for other in &bytes[1..] {
        assert!(*other == bytes[0]);
    }
    for place in places() {
        carrier.load(&files[0], &place.host, &[]).success();
        for shape in &shapes {
            let repository = shape.repository();
            place.client.assert_holds(&repository, "1", &shape.image);
        }
        let again = carrier.load(&files[0], &place.host, &["--format", "json"]);
        let receipt = again.success().json();
        assert_eq!(receipt["blobs"]["sent"], 0, "{}", place.name);
    }
}

#[test]
fn digests_of_sha512_stay_what_they_are() {
    require!(Product::Distribution2.program());
    let carrier = Carrier::new();
    let shape = data::sha512();
    let (repository, digest) = (shape.repository(), shape.image.digest);
    let source = Place::embedded();
    // A tag for a digest that is not of SHA-256 is set together with it.
    let both = format!("{digest}?tag=1");
    source.client.push(&repository, &both, &shape.image);
    let strict = Place::real("Distribution 2.8", Product::Distribution2);
    for (name, reference, tag) in [
        ("by-digest", format!("{HOST}/{repository}@{digest}"), None),
        ("by-tag", format!("{HOST}/{repository}:1"), Some("1")),
        (
            "by-both",
            format!("{HOST}/{repository}:1@{digest}"),
            Some("1"),
        ),
    ] {
        let create = ["--format", "json"];
        let created = carrier.create(name, &source.host, &[reference], &create);
        let created = created.success().json();
        let locked = &created["lock"]["images"][0]["digest"];
        assert_eq!(*locked, digest.to_string(), "{name}");

        let place = Place::embedded();
        // A registry may name the digest of a tag by SHA-256: that is no other image.
        for state in ["new", "present"] {
            let loaded = carrier.load(&carrier.file(name), &place.host, &["--format", "json"]);
            let receipt = loaded.success().json();
            assert_eq!(receipt["images"][0]["tag"], state, "{name}");
            assert_eq!(receipt["images"][0]["digest"], digest.to_string());
        }
        let client = &place.client;
        client.assert_holds(
            &repository,
            tag.unwrap_or(&digest.to_string()),
            &shape.image,
        );
        assert_eq!(client.tags(&repository), Vec::from_iter(tag));

        let refused = carrier
            .load(&carrier.file(name), &strict.host, &[])
            .exits(6);
        for part in [&repository, "DIGEST_INVALID", "no sha512 digests"] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
        assert_eq!(strict.client.tags(&repository), [""; 0]);
    }
}

#[test]
fn layers_from_elsewhere_stay_there() {
    require!(Product::Distribution2.program());
    let carrier = Carrier::new();
    let shapes = [data::nondistributable()];
    let source = Place::embedded();
    source.push(&shapes);
    let created = carrier.create("foreign", &source.host, &references(&shapes), &[]);
    let created = created.success();
    assert!(created.stderr.contains("foreign layer"), "{created:?}");
    let file = carrier.file("foreign");
    let place = Place::embedded();
    carrier.load(&file, &place.host, &[]).success();
    let repository = shapes[0].repository();
    place
        .client
        .assert_holds(&repository, "1", &shapes[0].image);

    let strict = Place::real("Distribution 2.8", Product::Distribution2);
    let refused = carrier.load(&file, &strict.host, &[]).exits(6);
    for part in [
        &repository,
        "https://store.example.com",
        "validation.manifests.urls.allow",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert_eq!(strict.client.tags(&repository), [""; 0]);
}

#[test]
fn a_sparse_index_is_carried_for_the_platform_that_is_there() {
    require!(Product::Distribution2.program());
    let carrier = Carrier::new();
    let shapes = [data::sparse_index()];
    let (repository, index) = (shapes[0].repository(), &shapes[0].image);
    let source = Place::sparse();
    source.push(&shapes);

    // What is not there is not left out in silence.
    let refused = carrier.create("all", &source.host, &references(&shapes), &[]);
    let refused = refused.exits(5);
    let absent = Document::parse(&index.bytes, &index.media_type).unwrap();
    let absent = absent.children()[1].digest.to_string();
    assert!(refused.stderr.contains(&absent), "{refused:?}");
    assert!(!carrier.file("all").exists());

    let one = ["--platform", "linux/amd64"];
    let created = carrier.create("one", &source.host, &references(&shapes), &one);
    created.success();
    let strict = || Place::real("Distribution 2.8", Product::Distribution2);
    for place in [Place::sparse, Place::embedded, strict] {
        for mode in ["auto", "keep", "filter"] {
            let place = place();
            let takes_it = place.name == Place::SPARSE;
            let load = carrier.load(&carrier.file("one"), &place.host, &["--index", mode]);
            let shown = format!("{} {mode}", place.name);
            match mode {
                "keep" if !takes_it => {
                    let refused = load.exits(6);
                    let setting = "validation.manifests.indexes.platforms";
                    assert!(refused.stderr.contains(setting), "{shown}: {refused:?}");
                    assert_eq!(place.client.tags(&repository), [""; 0], "{shown}");
                }
                "auto" | "keep" if takes_it => {
                    load.success();
                    place.client.assert_holds(&repository, "1", index);
                }
                _ => {
                    let receipt = load.success();
                    let served = place.client.manifest(&repository, "1").unwrap();
                    let mut expected: Value = serde_json::from_slice(&index.bytes).unwrap();
                    expected["manifests"].as_array_mut().unwrap().pop();
                    let found: Value = serde_json::from_slice(&served.bytes).unwrap();
                    assert_eq!(found, expected, "{shown}");
                    let digest = Digest::sha256_of(&served.bytes).to_string();
                    assert!(receipt.stderr.contains(&digest), "{shown}: {receipt:?}");
                    let child = &index.children[0];
                    let name = child.digest.to_string();
                    place.client.assert_holds(&repository, &name, child);
                }
            }
        }
    }
}

#[test]
fn a_smaller_index_repeats_what_it_lists_and_nothing_else() {
    let carrier = Carrier::new();
    let shapes = [data::nested_index_with_data()];
    let source = Place::embedded();
    source.push(&shapes);
    let one = ["--platform", "linux/amd64"];
    let created = carrier.create("one", &source.host, &references(&shapes), &one);
    created.success();
    let place = Place::embedded();
    let load = carrier.load(&carrier.file("one"), &place.host, &["--index", "filter"]);
    load.success();
    let repository = shapes[0].repository();
    let mut open = vec!["1".to_owned()];
    let mut indexes = 0;
    while let Some(name) = open.pop() {
        let served = place.client.manifest(&repository, &name).unwrap();
        if !media_type::is_index(&served.media_type) {
            continue;
        }
        indexes += 1;
        let document: Value = serde_json::from_slice(&served.bytes).unwrap();
        for listed in document["manifests"].as_array().unwrap() {
            let name = listed["digest"].as_str().unwrap().to_owned();
            let child = place.client.manifest(&repository, &name).unwrap();
            assert_eq!(listed["size"], child.bytes.len());
            // The content in the descriptor, where there is any, is that of the digest.
            let data = listed.get("data").map(|data| data.as_str().unwrap());
            assert!(
                data.is_none_or(|data| data == data::base64(&child.bytes)),
                "{name}"
            );
            open.push(name);
        }
    }
    assert_eq!(indexes, 3);
}
