//! Both flows against registries at which three requests out of ten go wrong, in every way there is.
//!
//! What goes wrong with which request follows from a seed. Here the run is short; `tests/soak` makes it
//! long, with the same code.

use std::{collections::BTreeMap, io::Write as _, time::Instant};

use sneakernet::serve::LoggedRequest;

use crate::{
    crashes::world::{Source, World, digest_of},
    support::{
        images::{Compression, Family, Image, ImageBuilder, Layer},
        tools::{Finished, run_with},
    },
};

/// How many requests are wanted, in all.
const SHORT: usize = 500;
/// Requests that one image takes without any fault, roughly: create and load.
const REQUESTS_AN_IMAGE: usize = 14;
/// Refusals that pass, overload, broken connections, damage.
const FAULTS: [&str; 10] = [
    "status=500",
    "status=502",
    "status=503",
    "status=504",
    "status=429:retry-after=1",
    "reset",
    "lose-answer",
    "cut=1000",
    "stall=6s:at=100",
    "corrupt=100",
];
/// Rarer than the others, for each takes seconds during which much else waits.
const SLOW: [&str; 2] = ["status=429:retry-after=1", "stall=6s:at=100"];

/// Three requests of ten, by this seed.
fn faults(methods: &str, seed: u64) -> String {
    let rules = FAULTS.iter().enumerate().map(|(number, fault)| {
        let probability = if SLOW.contains(fault) { 0.006 } else { 0.042 };
        let seed = seed * 100 + number as u64;
        format!("{methods}::{fault}:probability={probability}:seed={seed}")
    });
    rules.collect::<Vec<_>>().join(";")
}

fn wanted_requests() -> usize {
    let wanted = std::env::var("SNEAKERNET_SOAK").ok();
    wanted.map_or(SHORT, |text| text.parse().expect("a number of requests"))
}

/// Images with a base that they share, a layer of their own each, and some large layers of both kinds:
/// those that are stored and those that are compressed.
fn images(count: usize) -> Vec<(&'static str, Image)> {
    let base = Layer::sample(1, "base", 200 << 10, Compression::Gzip);
    let number = |n: usize| -> &'static str { Box::leak(format!("soak/n{n}").into_boxed_str()) };
    (0..count)
        .map(|n| {
            let (size, compression) = match n {
                0 => (12 << 20, Compression::Gzip),
                1 => (12 << 20, Compression::None),
                _ => (2000 + n * 37 % 60_000, Compression::Gzip),
            };
            let own = Layer::sample(100 + n as u64, "own", size, compression);
            let image = ImageBuilder::new(Family::Oci, "linux/amd64")
                .layer(&base)
                .layer(&own)
                .build();
            (number(n), image)
        })
        .collect()
}

/// Says what requests came to; returns how many of them something was made to go wrong with.
fn report(
    what: &str,
    entries: &[LoggedRequest],
    (needed, moved): (u64, u64),
    started: Instant,
) -> usize {
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let Some(fault) = entry.fault else { continue };
        let fault = match fault {
            "status" => format!("status={}", entry.status),
            other => other.to_owned(),
        };
        *faults.entry(fault).or_default() += 1;
    }
    let inflicted = faults.values().sum();
    let line = format!(
        "soak: {what}: {} requests in {:.0} s, {inflicted} of them with a fault {faults:?}; {moved} bytes \
         moved for {needed}, {} of them again ({:.1} %)",
        entries.len(),
        started.elapsed().as_secs_f64(),
        moved.saturating_sub(needed),
        (moved as f64 / needed as f64 - 1.0) * 100.0,
    );
    // Not `println!`: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "{line}");
    // In a long run there is some of everything.
    let kinds = if entries.len() > 2000 {
        FAULTS.len()
    } else {
        6
    };
    assert!(faults.len() >= kinds, "{faults:?}");
    inflicted
}

fn patient(mut command: std::process::Command) -> Finished {
    command.args(["--retries", "25", "--stall-timeout", "2s"]);
    run_with(
        command,
        Vec::new(),
        std::time::Duration::from_secs(3 * 3600),
    )
}

#[test]
fn both_flows_come_through_a_network_that_fails_three_times_out_of_ten() {
    let seed = 7;
    let wanted = wanted_requests();
    let images = images(wanted.div_ceil(REQUESTS_AN_IMAGE));
    let mut world = World::signing(&images, "");
    let bytes_of = |image: &Image| -> u64 {
        let blobs: u64 = image.all_blobs().iter().map(|b| b.bytes.len() as u64).sum();
        blobs + image.bytes.len() as u64
    };
    let base = images[0].1.all_blobs()[1].bytes.len() as u64;
    let needed: u64 = images
        .iter()
        .map(|(_, image)| bytes_of(image) - base)
        .sum::<u64>()
        + base;
    let (quiet, expected) = world.made("quiet.bundle.tar.zst");

    world.source.restart(&faults("GET", seed));
    let (bundle, started) = (world.path("soak.bundle.tar.zst"), Instant::now());
    patient(world.create(&bundle)).success();
    assert_eq!(digest_of(&bundle), expected, "no byte is another");
    let created = world.source.log.entries();
    let moved = created.iter().map(|entry| entry.bytes_out).sum();
    let mut inflicted = report("create", &created, (needed, moved), started);

    let mut destination = Source::new(&faults("*", seed + 1));
    let started = Instant::now();
    patient(world.load(&quiet, &destination.host())).success();
    let loaded = destination.log.entries();
    let bodies = loaded
        .iter()
        .filter(|entry| matches!(entry.method.as_str(), "PUT" | "PATCH"));
    let moved = bodies.map(|entry| entry.bytes_in).sum();
    inflicted += report("load", &loaded, (needed, moved), started);
    destination.restart("");
    for (name, image) in &images {
        destination.client().assert_holds(name, "1", image);
    }

    let all = created.len() + loaded.len();
    assert!(all >= wanted, "{all} requests are too few");
    assert!(inflicted * 4 >= all, "only {inflicted} of {all} went wrong");
}

#[test]
fn a_registry_that_throttles_a_load_from_a_pipe_does_not_stop_it() {
    // What cannot be mounted is copied within the registry: its upload and its source are requests to
    // the same host at the same time, which takes one at a time after it has said that it is too many.
    let images: Vec<_> = images(4).split_off(2);
    let world = World::new(&images, "");
    let (bundle, _) = world.made("piped.bundle.tar.zst");
    let mut destination =
        Source::new("POST:mount=:status=403;POST:/blobs/uploads/:status=429:nth=2");
    let input = std::fs::read(&bundle).unwrap();
    let load = world.load(std::path::Path::new("-"), &destination.host());
    run_with(load, input, std::time::Duration::from_secs(120)).success();
    let entries = destination.log.entries();
    assert!(entries.iter().any(|entry| entry.status == 429));
    assert!(entries.iter().any(|entry| entry.status == 403));
    destination.restart("");
    for (name, image) in &images {
        destination.client().assert_holds(name, "1", image);
    }
}

#[test]
fn content_that_was_damaged_on_its_way_is_fetched_again_for_each_blob() {
    let layer = |seed| Layer::sample(seed, "text", 3 << 20, Compression::None);
    let layers = [layer(1), layer(2), layer(3), layer(4)];
    let builder = ImageBuilder::new(Family::Oci, "linux/amd64");
    let image = layers.iter().fold(builder, ImageBuilder::layer).build();
    let images = vec![("soak/damaged", image)];
    let mut world = World::new(&images, "");
    let (_, expected) = world.made("whole.bundle.tar.zst");
    let damage = |layer: &Layer| format!("GET:/blobs/{}:corrupt=100000:times=2", layer.digest());
    world
        .source
        .restart(&layers.each_ref().map(damage).join(";"));
    let bundle = world.path("again.bundle.tar.zst");
    run_with(
        world.create(&bundle),
        Vec::new(),
        std::time::Duration::from_secs(120),
    )
    .success();
    assert_eq!(digest_of(&bundle), expected);
    let inflicted = world.source.log.entries().into_iter();
    assert_eq!(inflicted.filter(|e| e.fault == Some("corrupt")).count(), 8);
}
