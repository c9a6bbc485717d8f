//! Where a hand-off goes: nothing of the user's is lost, and what cannot be written is known first.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    recording::Recording,
    shop::{Shop, chart, listing},
    tools::{Running, require, run},
};

const FILE: &str = "shop.bundle";

fn bundled() -> Shop {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.write("mine.yaml", "image: {tag: \"2.0\"}\n");
    let arguments = ["--chart", &archive, "--values", "mine.yaml"];
    shop.create(FILE, &arguments).success();
    shop
}

#[test]
fn what_the_user_has_changed_or_added_stops_a_load_before_it_begins() {
    require!("helm3");
    let shop = bundled();
    let registry = Embedded::start();
    let handoff = ["--handoff", "handoff"];
    shop.load(FILE, &registry.host(), &handoff).success();
    shop.load(FILE, &registry.host(), &handoff).success();
    let recording = Recording::refusing();
    for (path, content) in [
        ("handoff/values/shop/mine.yaml", "image: {tag: \"1.0\"}\n"),
        ("handoff/auth.json", "{}"),
        ("handoff/values/shop/more.yaml", ""),
    ] {
        let file = shop.dir().join(path);
        let original = std::fs::read(&file).ok();
        shop.write(path, content);
        let before = shop.listing();
        for more in [&[][..], &["--dry-run"]] {
            let arguments = [&handoff[..], more].concat();
            let refused = shop.load(FILE, &recording.host(), &arguments).exits(2);
            let name = path.strip_prefix("handoff/").unwrap();
            assert!(
                refused.stderr.contains(&format!("  {name}\n")),
                "{refused:?}"
            );
        }
        assert_eq!(shop.listing(), before);
        match original {
            Some(original) => std::fs::write(file, original).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
    }
    recording.assert_untouched();
    shop.load(FILE, &registry.host(), &handoff).success();
    // From within it: `.` and whatever else means it.
    let here = shop.dir().join("handoff");
    let host = recording.host();
    for directory in [".", "../handoff", ".."] {
        let mut load = shop.bundle(&["load", "../shop.bundle", "--allow-unsigned"]);
        load.args(["--to", &host, "--handoff", directory]);
        load.current_dir(&here);
        let refused = run(load).exits(2);
        assert!(refused.stderr.contains(directory), "{refused:?}");
    }
    recording.assert_untouched();
}

#[test]
fn what_cannot_be_is_known_before_the_first_request() {
    require!("helm3");
    let shop = bundled();
    shop.write("afile", "");
    let recording = Recording::refusing();
    let before = shop.listing();
    for (arguments, code, because) in [
        (&["--handoff", "afile/handoff"][..], 7, "afile"),
        (
            &["--handoff", "handoff", "--node-ca-file", "ca.crt"],
            2,
            "absolute path",
        ),
        (
            &["--handoff", "handoff", "--helm", "/nowhere"],
            2,
            "nowhere",
        ),
        (
            &["--handoff", "handoff", "--ca-file", "gone.crt"],
            7,
            "gone.crt",
        ),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let arguments = [arguments, more].concat();
            let refused = shop.load(FILE, &recording.host(), &arguments);
            assert_ne!(refused.code(), Some(0), "{refused:?}");
            if because != "gone.crt" {
                assert_eq!(refused.code(), Some(code), "{refused:?}");
            }
            assert!(refused.stderr.contains(because), "{refused:?}");
            assert!(
                !refused.stderr.contains("everything was pushed"),
                "{refused:?}"
            );
        }
    }
    assert_eq!(shop.listing(), before);
    recording.assert_untouched();
}

#[test]
fn settings_for_hand_offs_in_the_environment_do_not_stop_a_load_without_one() {
    require!("helm3");
    let shop = bundled();
    let registry = Embedded::start();
    let host = registry.host();
    let mut load = shop.bundle(&["load", FILE, "--allow-unsigned", "--to", &host]);
    load.env("BUNDLE_NODE_CA_FILE", "/nowhere/ca.crt");
    load.env("BUNDLE_HELM", "/nowhere/helm");
    load.env("BUNDLE_PULL_SECRET", "other");
    run(load).success();
}

#[test]
fn the_receipt_outlives_a_hand_off_that_fails() {
    require!("helm3", "docker-registry");
    let shop = bundled();
    let registry = Registry::start(Options::default());
    let mut load = shop.bundle(&["load", FILE, "--allow-unsigned", "--format", "json"]);
    load.args(["--to", registry.host(), "--receipt", "receipt.json"]);
    load.args(["--handoff", "handoff"]);
    let running = Running::start(load, Vec::new());
    // Somebody takes the name while the load goes on.
    let end = Instant::now() + Duration::from_secs(60);
    let has_begun = || {
        let entries = std::fs::read_dir(shop.dir()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .into_iter()
            .any(|name| name.starts_with(".bundle-handoff-"))
    };
    while !has_begun() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    shop.write("handoff/notes.txt", "mine\n");
    let failed = running.finish(Duration::from_secs(60)).exits(7);
    assert!(
        failed.stderr.contains("everything was pushed, but"),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("hint: "), "{failed:?}");
    assert_eq!(failed.json()["kind"], "Receipt");
    let receipt = std::fs::read(shop.dir().join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["charts"].as_array().unwrap().len(), 1);
    let left = listing(&shop.dir().join("handoff"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!has_begun(), "nothing is left of the work");
}

#[test]
fn a_rehearsal_says_what_the_hand_off_would() {
    require!("helm3", "docker-registry");
    let shop = Shop::new();
    let fixed = "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed}\nspec:\n  \
                 containers: [{name: f, image: registry.example.com/shop/tester:1}]\n";
    let archive = shop.archive(&chart().file("templates/fixed.yaml", fixed));
    shop.create(FILE, &["--chart", &archive]).success();
    let registry = Registry::start(Options::default());
    let before = shop.listing();
    let handoff = ["--handoff", "handoff", "--dry-run"];
    let planned = shop.load(FILE, registry.host(), &handoff).success();
    for text in [
        "release shop: 5 of 5 images will be found, 1 of them only by a mirror",
        "shop/tester:1 keeps its name (Pod/fixed spec.containers[0].image): nodes need a mirror",
        "files in handoff",
    ] {
        assert!(planned.stderr.contains(text), "{text}: {planned:?}");
    }
    // With this layout no mirror could bring it.
    let flat = [&handoff[..], &["--layout", "flat"]].concat();
    let planned = shop.load(FILE, registry.host(), &flat).exits(6);
    assert!(planned.stderr.contains("1 of 5 images"), "{planned:?}");
    assert!(
        !planned.stderr.contains("everything was pushed"),
        "{planned:?}"
    );
    assert_eq!(shop.listing(), before);
    assert_eq!(registry.client().manifest("charts/shop", "1.2.3_0"), None);
}
