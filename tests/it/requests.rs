//! How often registries are asked: once for each thing, however many images need it.

use std::collections::BTreeMap;

use sneakernet::serve::LoggedRequest;

use crate::{
    crashes::world::{Source, World},
    support::{
        images::{Compression, Family, ImageBuilder, Layer},
        tools::run,
    },
};

/// How often each path was asked for with this method.
fn counted(entries: &[LoggedRequest], method: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.method == method) {
        *counts.entry(entry.path.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn q44_a_blob_is_moved_once_however_many_images_have_it_and_however_often() {
    let shared = Layer::sample(1, "shared", 3 << 20, Compression::Gzip);
    let own = |seed| Layer::sample(seed, "own", 2000, Compression::Gzip);
    let image = |seed| {
        ImageBuilder::new(Family::Oci, "linux/amd64")
            .layer(&shared)
            .layer(&own(seed))
            // The same layer twice in one manifest.
            .layer(&shared)
            .build()
    };
    let images = vec![
        ("a/one", image(2)),
        ("a/two", image(3)),
        ("b/three", image(4)),
    ];
    let world = World::new(&images, "");
    let (bundle, _) = world.made("once.bundle.tar.zst");
    let gets = counted(&world.source.log.entries(), "GET");
    assert!(gets.values().all(|count| *count == 1), "q78: {gets:?}");

    let destination = Source::new("");
    run(world.load(&bundle, &destination.host())).success();
    let entries = destination.log.entries();
    let digest = shared.digest().to_string();
    let uploads = |entry: &&LoggedRequest| {
        entry.method == "PUT" && entry.query.replace("%3A", ":").contains(&digest)
    };
    assert_eq!(entries.iter().filter(uploads).count(), 1);
    let mounts = |entry: &&LoggedRequest| {
        entry.method == "POST"
            && entry
                .query
                .replace("%3A", ":")
                .contains(&format!("mount={digest}"))
    };
    assert_eq!(
        entries.iter().filter(mounts).count(),
        2,
        "into the two others"
    );
    for (name, image) in &images {
        destination.client().assert_holds(name, "1", image);
    }
}
