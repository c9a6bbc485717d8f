//! Layers that two repositories share are sent once and mounted.

use super::{Traveller, is_ready, moved};
use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Compression, Family, Image, ImageBuilder, Layer},
    nginx::{self, Nginx},
    product::Product,
};

/// Images of two repositories with one layer in common.
fn relatives() -> [(&'static str, Image); 2] {
    let shared = Layer::sample(51, "shared", 700 << 10, Compression::Gzip);
    ["team/one", "team/two"].map(|name| {
        let own = Layer::sample(52, name, 20 << 10, Compression::Gzip);
        let image = ImageBuilder::new(Family::Oci, "linux/amd64").layer(&shared);
        (name, image.layer(&own).build())
    })
}

#[track_caller]
fn mounts(product: Product) {
    if !is_ready(&[product], &[nginx::TOOL]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let images = relatives();
    for (name, image) in &images {
        source.client().push(name, "1", image);
    }
    let names = images.each_ref();
    let names = names.map(|(name, _)| format!("{}/{name}:1", source.host()));
    let file = traveller.create(&names, &[]);

    let registry = Registry::start(Options::of(product));
    let front = Nginx::start(nginx::Options::in_front_of(registry.host()));
    let loaded = traveller.load(&file, front.host(), &[]).success();
    // The shared layer; the configurations differ.
    assert_eq!(moved(&loaded.json()), [5, 1], "{loaded:?}");
    for (name, image) in &images {
        registry.client().assert_holds(name, "1", image);
    }
    let requests = front.requests();
    let shared = &images[0].1.blobs[1];
    let mounted: Vec<_> = requests
        .iter()
        .filter(|r| r.method == "POST" && r.status == 201 && r.path.contains("mount="))
        .collect();
    assert_eq!(mounted.len(), 1, "{requests:#?}");
    let path = mounted[0].path.replace("%3A", ":").replace("%2F", "/");
    assert!(path.contains(&shared.digest.to_string()), "{path}");
    let from = images
        .iter()
        .find(|(name, _)| path.contains(&format!("from={name}")));
    assert!(from.is_some(), "{path}");
    let sent: Vec<_> = requests
        .iter()
        .filter(|r| {
            ["PUT", "PATCH"].contains(&r.method.as_str()) && r.length > shared.bytes.len() as u64
        })
        .collect();
    assert_eq!(
        sent.len(),
        1,
        "the layer goes over the wire once: {sent:#?}"
    );
}

#[test]
fn q31_mounts_between_repositories_of_distribution_2() {
    mounts(Product::Distribution2);
}

#[test]
fn q31_mounts_between_repositories_of_distribution_3() {
    mounts(Product::Distribution3);
}

#[test]
fn q31_mounts_between_repositories_of_zot() {
    mounts(Product::Zot);
}
