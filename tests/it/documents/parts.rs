//! Registries that say that they do not have what they took a moment ago.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Carried;
use crate::support::{
    embedded::Embedded,
    front::answering,
    images::{Family, Image, sample, sample_index},
    scripted::{Answer, Asked, Scripted},
    tools::{PATIENCE, run_with},
};

fn unknown() -> Answer {
    refusal(404, "MANIFEST_BLOB_UNKNOWN")
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"in the test"}}]}}"#);
    Answer::status(status)
        .header("content-type", "application/json")
        .body(body)
}

/// A front that says of a document that it misses a part of it, the first `times` times.
fn forgetful(upstream: &Embedded, document: &Image, times: usize) -> Scripted {
    refusing(upstream, document, times, unknown())
}

fn refusing(upstream: &Embedded, document: &Image, times: usize, answer: Answer) -> Scripted {
    let path = format!("/manifests/{}", document.digest);
    let said = AtomicUsize::new(0);
    answering(&upstream.host(), move |asked| {
        let is_it = asked.method == "PUT" && asked.path.ends_with(&path);
        (is_it && said.fetch_add(1, Ordering::Relaxed) < times).then(|| answer.clone())
    })
}

fn puts(front: &Scripted, document: &Image) -> usize {
    let path = format!("/manifests/{}", document.digest);
    let put = |asked: &&Asked| asked.method == "PUT" && asked.path.ends_with(&path);
    front.asked().iter().filter(put).count()
}

#[test]
fn q63_children_that_an_index_is_said_to_miss_are_put_again_once() {
    let index = sample_index(63, Family::Oci);
    let carried = Carried::new(&[("a/one", &index)], &[]);
    let registry = Embedded::start();
    let front = forgetful(&registry, &index, 1);
    carried.load(&front.host(), &[]).success();
    carried.assert_arrived(&registry.client());
    assert_eq!(puts(&front, &index), 2);
    for child in &index.children {
        assert_eq!(puts(&front, child), 2);
    }

    let registry = Embedded::start();
    let front = forgetful(&registry, &index, usize::MAX);
    let refused = carried.load(&front.host(), &[]).exits(6);
    assert!(
        refused.stderr.contains("MANIFEST_BLOB_UNKNOWN"),
        "{refused:?}"
    );
    assert_eq!(puts(&front, &index), 2, "not for ever");
    assert_eq!(registry.client().tags("a/one"), [""; 0]);
}

#[test]
fn q63_an_index_with_some_platforms_is_not_made_smaller_too_soon() {
    let index = sample_index(63, Family::Docker);
    let carried = Carried::new(&[("a/one", &index)], &["--platform", "linux/amd64"]);
    let registry = Embedded::with(|options| options.allow_sparse_indexes = true);
    let front = forgetful(&registry, &index, 1);
    carried.load(&front.host(), &[]).success();
    let served = registry.client().manifest("a/one", "1").unwrap();
    assert_eq!(served.bytes, index.bytes);
    // Where the registry stays with it, the smaller one stands in.
    let registry = Embedded::start();
    let front = forgetful(&registry, &index, usize::MAX);
    carried.load(&front.host(), &[]).success();
    let served = registry.client().manifest("a/one", "1").unwrap();
    let smaller: serde_json::Value = serde_json::from_slice(&served.bytes).unwrap();
    assert_eq!(smaller["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(puts(&front, &index), 2);
}

#[test]
fn q63_blobs_that_a_manifest_is_said_to_miss_are_looked_for_and_named() {
    let image = sample(63, Family::Oci, "linux/amd64");
    let carried = Carried::new(&[("a/one", &image)], &[]);
    // They are there: the registry only did not know yet.
    let registry = Embedded::start();
    let front = forgetful(&registry, &image, 1);
    carried.load(&front.host(), &[]).success();
    carried.assert_arrived(&registry.client());
    assert_eq!(puts(&front, &image), 2);

    // One is lost behind its upload.
    let registry = Embedded::start();
    let (lost, kept) = (&image.blobs[1].digest, &image.blobs[0].digest);
    let blob = format!("/blobs/{lost}");
    let manifest = Arc::new(format!("/manifests/{}", image.digest));
    let front = answering(&registry.host(), move |asked| {
        let of_blob = asked.method == "HEAD" && asked.path.ends_with(&blob);
        let of_manifest = asked.method == "PUT" && asked.path.ends_with(manifest.as_str());
        match (of_blob, of_manifest) {
            (true, _) => Some(Answer::status(404)),
            (_, true) => Some(unknown()),
            _ => None,
        }
    });
    let refused = carried.load(&front.host(), &[]).exits(6);
    let said = &refused.stderr;
    for part in [
        "does not have 1 blob",
        "MANIFEST_BLOB_UNKNOWN",
        "load again",
        &lost.to_string(),
    ] {
        assert!(said.contains(part), "{part}: {refused:?}");
    }
    assert!(!said.contains(&kept.to_string()), "{refused:?}");
    // The same from a pipe.
    let registry = Embedded::start();
    let front = forgetful(&registry, &image, 1);
    let bundle = std::fs::read(carried.home.path().join("bundle")).unwrap();
    let mut load = carried.home.bundle();
    load.args(["load", "-", "--allow-unsigned", "--to", &front.host()]);
    run_with(load, bundle, PATIENCE).success();
    carried.assert_arrived(&registry.client());
}

#[test]
fn q63_a_digest_that_is_said_to_be_wrong_though_it_is_not_is_tried_once_more() {
    let image = sample(63, Family::Docker, "linux/amd64");
    let carried = Carried::new(&[("a/one", &image)], &[]);
    let wrong = || refusal(400, "DIGEST_INVALID");
    let registry = Embedded::start();
    let front = refusing(&registry, &image, 1, wrong());
    carried.load(&front.host(), &[]).success();
    carried.assert_arrived(&registry.client());
    let registry = Embedded::start();
    let front = refusing(&registry, &image, usize::MAX, wrong());
    let refused = carried.load(&front.host(), &[]).exits(6);
    assert!(refused.stderr.contains("DIGEST_INVALID"), "{refused:?}");
    assert_eq!(puts(&front, &image), 2);
}
