//! An index of which one platform travels: what each registry takes, and what is told of it.

use serde_json::Value;
use sneakernet::oci::Digest;

use super::{Traveller, is_ready};
use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Family, Image, sample_index},
    product::Product::*,
};

const SETTING: &str = "validation.manifests.indexes.platforms";

/// Loads the amd64 half of an index in all three ways; `insists` is whether the registry takes no
/// index without all of its children.
#[track_caller]
fn one_platform(registry: &Options, insists: bool) {
    if !is_ready(&[registry.product], &[]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let index = sample_index(41, Family::Oci);
    source.client().push("team/app", "1", &index);
    let name = format!("{}/team/app:1", source.host());
    let file = traveller.create(&[name], &["--platform", "linux/amd64"]);

    for mode in ["keep", "auto", "filter"] {
        // Each into a registry of its own, so that nothing is there from before.
        let place = Registry::start(registry.clone());
        let client = place.client();
        let loaded = traveller.load(&file, place.host(), &["--index", mode]);
        if mode == "keep" && insists {
            let refused = loaded.exits(6);
            for part in ["team/app", SETTING] {
                assert!(refused.stderr.contains(part), "{part}: {refused:?}");
            }
            assert_eq!(client.tags("team/app"), [""; 0], "no tag on half an image");
            continue;
        }
        let loaded = loaded.success();
        let served = client.manifest("team/app", "1").expect("a tag");
        let digest = Digest::sha256_of(&served.bytes);
        let receipt = loaded.json();
        let image = &receipt["images"][0];
        assert_eq!(image["digest"], index.digest.to_string());
        if mode == "filter" || insists {
            assert_eq!(image["reducedTo"], digest.to_string(), "{mode}: {receipt}");
            assert!(loaded.stderr.contains(&digest.to_string()), "{loaded:?}");
            let smaller: Value = serde_json::from_slice(&served.bytes).unwrap();
            let mut expected: Value = serde_json::from_slice(&index.bytes).unwrap();
            expected["manifests"].as_array_mut().unwrap().truncate(1);
            assert_eq!(smaller, expected, "{mode}");
        } else {
            assert_eq!(served.bytes, index.bytes, "{mode}");
            assert!(image["reducedTo"].is_null(), "{mode}: {receipt}");
        }
        let amd64: &Image = &index.children[0];
        client.assert_holds("team/app", &amd64.digest.to_string(), amd64);
        let again = traveller.load(&file, place.host(), &["--index", mode]);
        let again = again.success().json();
        assert_eq!(again["images"][0]["tag"], "present", "{mode}: {again}");
        assert_eq!(again["blobs"]["sent"], 0, "{mode}: {again}");
    }
}

#[test]
fn q65_distribution_2_gets_a_smaller_index() {
    one_platform(&Options::of(Distribution2), true);
}

#[test]
fn q65_distribution_3_gets_a_smaller_index() {
    one_platform(&Options::of(Distribution3), true);
}

#[test]
fn q65_distribution_3_that_is_told_not_to_insist_gets_the_whole_index() {
    let registry = Options {
        sparse_indexes: true,
        ..Options::of(Distribution3)
    };
    one_platform(&registry, false);
}

#[test]
fn q65_ggcr_gets_a_smaller_index() {
    one_platform(&Options::of(Ggcr), true);
}

#[test]
fn q65_zot_gets_a_smaller_index() {
    one_platform(&Options::of(Zot), true);
}
