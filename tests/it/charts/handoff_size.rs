//! Hand-offs of many releases with much in their values.

use std::time::Duration;

use crate::support::{
    attempt::{MEMORY, watch},
    embedded::Embedded,
    helm::ChartFiles,
    shop::{HOST, Shop},
    tools::require,
};

const RELEASES: usize = 10;

/// Values of about this many bytes.
fn values(bytes: usize, word: &str) -> String {
    let line = |number: usize| format!("{word}{number}: {{text: \"{}\"}}\n", "words ".repeat(12));
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&line(number));
    }
    text
}

#[test]
fn the_values_of_one_release_are_in_memory_at_a_time() {
    require!("helm3");
    let shop = Shop::new();
    let name = format!("{HOST}/shop/web:1.0");
    let large = format!("image: {name}\n{}", values(2_700_000, "of_the_chart"));
    let archive = shop.archive(&ChartFiles::new("large", "1.0.0").file("values.yaml", &large));
    let mut spec = "charts:\n".to_owned();
    for number in 0..RELEASES {
        let file = format!("mine{number}.yaml");
        shop.write(&file, values(50_000, &format!("mine{number}_")));
        spec.push_str(&format!(
            "  - {{chart: {archive}, release: r{number}, discover: none, images: [\"{name}\"], values: [{file}]}}\n"
        ));
    }
    shop.spec(&spec);
    shop.create("large.bundle", &[]).success();
    let registry = Embedded::start();
    let host = registry.host();
    let mut load = shop.bundle(&["load", "large.bundle", "--allow-unsigned", "--to", &host]);
    load.args(["--handoff", "handoff"]);
    let watched = watch(load, Vec::new(), Duration::from_secs(300));
    watched.finished.success();
    assert!(watched.peak <= MEMORY, "{} MiB", watched.peak >> 20);
    let last = shop.dir().join("handoff/values/r9/mine9.yaml");
    let expected = std::fs::read(shop.dir().join("mine9.yaml")).unwrap();
    assert!(std::fs::read(last).unwrap() == expected);
}
