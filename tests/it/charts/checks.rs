//! `bundle check`: whatever is not as it was brought is found, with its place, before anybody installs.

use serde_json::Value;

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    helm::HELMS,
    images::{Family, sample},
    recording::Recording,
    shop::{HOST, Shop, chart, listing},
    tools::{Finished, require, run},
};

const FILE: &str = "shop.bundle";

/// The chart in a registry, with a hand-off.
fn loaded(helm: &'static str) -> (Shop, Registry) {
    let shop = Shop::rendering_with(helm);
    let archive = shop.archive(&chart());
    shop.write("mine.yaml", "image: {tag: \"2.0\"}\n");
    let arguments = ["--chart", &archive, "--values", "mine.yaml"];
    shop.create(FILE, &arguments).success();
    let registry = Registry::start(Options {
        delete: true,
        ..Options::default()
    });
    let handoff = ["--handoff", "handoff"];
    shop.load(FILE, registry.host(), &handoff).success();
    (shop, registry)
}

fn check(shop: &Shop, more: &[&str]) -> Finished {
    run(shop.bundle(&[&["check", "handoff"], more].concat()))
}

/// The state of an image in what `check --format json` prints.
fn state<'v>(checked: &'v Value, name: &str) -> (bool, &'v str) {
    let images = checked["releases"][0]["images"].as_array().unwrap();
    let named = |image: &&Value| image["reference"].as_str().unwrap().ends_with(name);
    let image = images.iter().find(named).unwrap();
    (
        image["good"].as_bool().unwrap(),
        image["state"].as_str().unwrap(),
    )
}

#[test]
fn what_was_deleted_moved_or_is_foreign_is_found_with_its_place() {
    require!("docker-registry", "helm3", "helm4");
    for helm in HELMS {
        let (shop, registry) = loaded(helm);
        check(&shop, &[]).success();
        let client = registry.client();
        client.delete_manifest("shop/db", shop.images["shop/db:2.1"].digest);
        let moved = sample(77, Family::Oci, "linux/amd64");
        client.push("shop/proxy", "3", &moved);
        let before = listing(shop.dir());
        let checked = check(&shop, &["--format", "json"]).exits(6);
        let json = checked.json();
        assert_eq!(json["releases"][0]["release"], "shop");
        assert_eq!(json["releases"][0]["namespace"], "default");
        assert_eq!(state(&json, "shop/db:2.1"), (false, "MISSING"), "{helm}");
        let (good, what) = state(&json, "shop/proxy:3");
        let wanted = shop.images["shop/proxy:3"].digest.short();
        assert_eq!(
            (good, what),
            (
                false,
                &*format!("ANOTHER IMAGE: {}, not {wanted}", moved.digest.short())
            )
        );
        assert_eq!(state(&json, "shop/web:2.0"), (true, "there"));
        for text in [
            "2 of 4 images would not be found by nodes",
            "(Pod/db spec.containers[0].image)",
            "(Deployment/shop-web spec.template.spec.containers[0].args[0])",
            "load the bundle again",
        ] {
            assert!(checked.stderr.contains(text), "{helm}: {text}: {checked:?}");
        }
        assert_eq!(listing(shop.dir()), before, "a check writes nothing");

        // Another load repairs it, as far as it may.
        shop.load(FILE, registry.host(), &[]).exits(6);
        let replace = ["--on-conflict", "replace"];
        shop.load(FILE, registry.host(), &replace).success();
        check(&shop, &[]).success();

        // Values that were changed inside, to what nobody brought.
        shop.write("handoff/values/shop/mine.yaml", "image: {tag: \"1.0\"}\n");
        let checked = check(&shop, &["--format", "json"]).exits(6);
        let json = checked.json();
        let foreign = (false, "NOT FROM THIS BUNDLE");
        assert_eq!(state(&json, "shop/web:1.0"), foreign, "{helm}");
        let web = format!("{}/shop/web:1.0", registry.host());
        assert!(checked.stderr.contains(&web), "{checked:?}");
    }
}

#[test]
fn tags_that_were_kept_are_not_what_was_brought() {
    require!("docker-registry", "helm3");
    let (shop, registry) = loaded("helm3");
    let other = Registry::start(Options::default());
    let client = other.client();
    client.push("shop/proxy", "3", &sample(78, Family::Oci, "linux/amd64"));
    let keep = ["--on-conflict", "keep", "--handoff", "kept"];
    let loaded = shop.load(FILE, other.host(), &keep).exits(6);
    assert!(loaded.stderr.contains("ANOTHER IMAGE"), "{loaded:?}");
    assert!(
        shop.dir().join("kept/handoff.json").exists(),
        "to be looked at"
    );

    // The same with the chart itself.
    let archive = shop.archive(&chart().file("README.md", "another one\n"));
    shop.create("other.bundle", &["--chart", &archive])
        .success();
    let kept = shop.load("other.bundle", registry.host(), &keep).exits(6);
    let said = format!(
        "the chart {}/charts/shop:1.2.3_0 is another one",
        registry.host()
    );
    assert!(kept.stderr.contains(&said), "{kept:?}");
}

#[test]
fn a_chart_and_an_image_that_would_get_one_name_are_refused_before_anything_is_sent() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let client = shop.upstream.client();
    client.push("charts/shop", "1.2.3_0", &shop.images["shop/web:1.0"]);
    let image = format!("{HOST}/charts/shop:1.2.3_0");
    shop.create(FILE, &["--chart", &archive, "--image", &image])
        .success();
    let recording = Recording::refusing();
    let loaded = shop.load(FILE, &recording.host(), &[]).exits(6);
    assert!(loaded.stderr.contains("charts/shop:1.2.3_0"), "{loaded:?}");
    recording.assert_untouched();
    let elsewhere = Embedded::start();
    let path = ["--charts-path", "helm"];
    shop.load(FILE, &elsewhere.host(), &path).success();
    assert_eq!(elsewhere.client().tags("helm/shop"), ["1.2.3_0"]);
}

#[test]
fn a_chart_that_is_gone_is_missed() {
    require!("docker-registry", "helm3");
    let (shop, registry) = loaded("helm3");
    let record = std::fs::read(shop.dir().join("handoff/handoff.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let digest = record["releases"][0]["chart"].as_str().unwrap();
    let client = registry.client();
    client.delete_manifest("charts/shop", digest.parse().unwrap());
    let checked = check(&shop, &[]).exits(6);
    let said = format!(
        "{}/charts/shop:1.2.3_0 is not at the destination",
        registry.host()
    );
    assert!(checked.stderr.contains(&said), "{checked:?}");
    shop.load(FILE, registry.host(), &[]).success();
    check(&shop, &[]).success();
}

#[test]
fn what_only_a_mirror_brings_is_said() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let fixed = "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed}\nspec:\n  \
                 containers: [{name: f, image: registry.example.com/shop/tester:1}]\n";
    let archive = shop.archive(&chart().file("templates/fixed.yaml", fixed));
    let created = shop.create(FILE, &["--chart", &archive]).success();
    let name = format!("{HOST}/shop/tester:1");
    let said = format!(
        "1 image of release shop cannot be relocated by values: nodes need a mirror for {name}"
    );
    assert!(created.stderr.contains(&said), "{created:?}");
    let plan = shop.plan(&["--chart", &archive]);
    let fixed = &plan["notRelocatable"][0];
    assert_eq!(fixed["reference"], name);
    assert_eq!(fixed["places"][0]["object"], "Pod/fixed");

    let registry = Registry::start(Options::default());
    let loaded = shop
        .load(FILE, registry.host(), &["--handoff", "handoff"])
        .success();
    let said = "5 of 5 images will be found, 1 of them only by a mirror";
    assert!(loaded.stderr.contains(said), "{loaded:?}");
    let json = check(&shop, &["--format", "json"]).success().json();
    let there = format!("by mirror, as {}/shop/tester:1", registry.host());
    assert_eq!(state(&json, &name), (true, &*there));
    // Where the layout has no mirror for it, nobody would find it.
    let flat = ["--layout", "flat", "--handoff", "flat"];
    let loaded = shop.load(FILE, registry.host(), &flat).exits(6);
    assert!(loaded.stderr.contains(&name), "{loaded:?}");
}

#[test]
fn what_is_no_hand_off_and_who_does_not_answer_have_codes_of_their_own() {
    require!("docker-registry", "helm3");
    let (shop, mut registry) = loaded("helm3");
    for (arguments, code, because) in [
        (["check", "gone"], 2, "bundle load --handoff"),
        (["check", "shop.bundle"], 7, "shop.bundle"),
        (["check", "."], 2, "handoff.json"),
    ] {
        let checked = run(shop.bundle(&arguments)).exits(code);
        assert!(checked.stderr.contains(because), "{checked:?}");
    }
    let path = shop.dir().join("handoff/handoff.json");
    let record = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("sneakernet/v1", "sneakernet/v9"),
        ("\"kind\"", "\"kin\""),
        ("{", "["),
    ] {
        std::fs::write(&path, record.replacen(from, to, 1)).unwrap();
        let checked = check(&shop, &[]).exits(2);
        assert!(checked.stderr.contains("handoff.json"), "{checked:?}");
    }
    std::fs::write(&path, record).unwrap();
    let values = shop.dir().join("handoff/values/shop/mine.yaml");
    let content = std::fs::read(&values).unwrap();
    std::fs::remove_file(&values).unwrap();
    let checked = check(&shop, &[]).exits(2);
    assert!(checked.stderr.contains("mine.yaml"), "{checked:?}");
    std::fs::write(&values, "image: [\n").unwrap();
    check(&shop, &[]).exits(2);
    std::fs::write(&values, content).unwrap();
    registry.stop();
    let checked = check(&shop, &["--retries", "1"]).exits(6);
    assert!(checked.stderr.contains(registry.host()), "{checked:?}");
    registry.restart();
    check(&shop, &[]).success();
}
