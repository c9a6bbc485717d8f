//! What a load and a check find out about a hand-off, and where they say so.

use serde_json::Value;

use crate::support::{
    distribution::{Options, Registry},
    images::{Family, sample},
    shop::{HOST, Shop, chart, chart_with},
    tools::{Finished, PATIENCE, require, run, run_with},
};

const FILE: &str = "shop.bundle";

fn check(shop: &Shop, more: &[&str]) -> Finished {
    run(shop.bundle(&[&["check", "handoff"], more].concat()))
}

fn deleting() -> Registry {
    Registry::start(Options {
        delete: true,
        ..Options::default()
    })
}

fn text(shop: &Shop, name: &str) -> String {
    std::fs::read_to_string(shop.dir().join("handoff").join(name)).unwrap()
}

fn record(shop: &Shop) -> Value {
    serde_json::from_str(&text(shop, "handoff.json")).unwrap()
}

#[test]
fn what_only_a_mirror_brings_is_in_every_account() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let fixed = "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed}\nspec:\n  \
                 containers: [{name: f, image: registry.example.com/shop/tester:1}]\n";
    let archive = shop.archive(&chart().file("templates/fixed.yaml", fixed));
    shop.create(FILE, &["--chart", &archive]).success();
    let registry = deleting();
    let handoff = ["--handoff", "handoff"];
    let loaded = shop.load(FILE, registry.host(), &handoff).success();
    let name = format!("{HOST}/shop/tester:1");
    let said = format!("release shop: {name} keeps its name (Pod/fixed spec.containers[0].image)");
    assert!(loaded.stderr.contains(&said), "{loaded:?}");
    let page = text(&shop, "INSTALL.md");
    let destination = format!("{}/shop/tester:1", registry.host());
    for line in [
        "## Nodes that pull by the original names (required for 1 image)".to_owned(),
        format!("| `{name}` | `{destination}` | `shop` | `Pod/fixed spec.containers[0].image` |"),
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    let record = record(&shop);
    assert_eq!(record["checked"], true);
    let only = record["onlyByMirror"].as_array().unwrap();
    assert_eq!(only.len(), 1);
    assert_eq!(
        (&only[0]["image"], &only[0]["release"]),
        (&name.into(), &"shop".into())
    );
    assert_eq!(only[0]["destination"], destination);

    // Without a helm nobody knows, and it says so.
    let mut command = shop.bundle(&["load", FILE, "--allow-unsigned", "--to", registry.host()]);
    command
        .args(handoff)
        .env_remove("BUNDLE_HELM")
        .env("PATH", "/nowhere");
    let loaded = run(command).success();
    assert!(loaded.stderr.contains("nothing was checked"), "{loaded:?}");
    assert!(loaded.stderr.contains("bundle check"), "{loaded:?}");
    assert!(!text(&shop, "INSTALL.md").contains("(optional)"));
    assert!(text(&shop, "INSTALL.md").contains("Nobody has looked"));
}

#[test]
fn a_chart_is_looked_for_by_its_tag_and_by_its_digest() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.create(FILE, &["--chart", &archive]).success();
    let registry = deleting();
    shop.load(FILE, registry.host(), &["--handoff", "handoff"])
        .success();
    let json = check(&shop, &["--format", "json"]).success().json();
    assert_eq!(json["releases"][0]["chart"]["good"], true);
    // Another chart under its tag: the digest is still there, but `helm` would take the tag.
    let client = registry.client();
    let other = sample(79, Family::Oci, "linux/amd64");
    client.push("charts/shop", "1.2.3_0", &other);
    let checked = check(&shop, &["--format", "json"]).exits(6);
    let json = checked.json();
    assert_eq!(json["releases"][0]["chart"]["good"], false);
    assert_eq!(json["releases"][0]["good"], false);
    let images = json["others"].as_array().unwrap();
    assert_eq!(
        images.len(),
        4,
        "what was brought is looked for all the same"
    );
    assert!(
        checked
            .stderr
            .contains("1 chart would not be found by helm"),
        "{checked:?}"
    );
    assert!(checked.stderr.contains("is another one"), "{checked:?}");
}

#[test]
fn tags_that_were_kept_are_noted_and_not_listed_as_there() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.create(FILE, &["--chart", &archive]).success();
    let registry = Registry::start(Options::default());
    let client = registry.client();
    client.push("shop/proxy", "3", &sample(78, Family::Oci, "linux/amd64"));
    client.push(
        "charts/shop",
        "1.2.3_0",
        &sample(79, Family::Oci, "linux/amd64"),
    );
    let refused = shop.load(FILE, registry.host(), &[]).exits(6);
    assert!(refused.stderr.contains("2 tags exist at"), "{refused:?}");
    let keep = ["--on-conflict", "keep", "--handoff", "handoff"];
    let bundle = std::fs::read(shop.dir().join(FILE)).unwrap();
    for piped in [false, true] {
        let loaded = if piped {
            let to = ["load", "-", "--allow-unsigned", "--to", registry.host()];
            let command = shop.bundle(&[&to[..], &keep].concat());
            run_with(command, bundle.clone(), PATIENCE).exits(6)
        } else {
            shop.load(FILE, registry.host(), &keep).exits(6)
        };
        for text in [
            "shop/proxy:3 was kept",
            "charts/shop:1.2.3_0 was kept",
            "is another one",
        ] {
            assert!(loaded.stderr.contains(text), "{piped} {text}: {loaded:?}");
        }
        assert_eq!(loaded.stderr.contains("its chart was not read"), piped);
        for name in ["images.csv", "images.json"] {
            let table = text(&shop, name);
            assert!(
                table.contains("shop/db") && !table.contains("shop/proxy"),
                "{table}"
            );
        }
        assert!(text(&shop, "INSTALL.md").contains("shop/proxy:3 was kept"));
        let checked = check(&shop, &[]).exits(6);
        for text in ["ANOTHER IMAGE", "ANOTHER CHART", "shop/proxy:3"] {
            assert!(checked.text().contains(text), "{text}: {checked:?}");
        }
    }
}

#[test]
fn releases_that_are_not_rendered_are_not_silently_fine() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let (db, web) = (
        format!("{HOST}/shop/db:2.1"),
        format!("{HOST}/shop/web:1.0"),
    );
    shop.spec(&format!(
        "charts:\n  - {{chart: {archive}, discover: none, images: [\"{db}\", \"{web}\"]}}\n"
    ));
    shop.create(FILE, &[]).success();
    let registry = deleting();
    let handoff = ["--handoff", "handoff"];
    let loaded = shop.load(FILE, registry.host(), &handoff).success();
    let said = "not rendered (discover: none)";
    assert!(loaded.stderr.contains(said), "{loaded:?}");
    assert!(text(&shop, "INSTALL.md").contains(said));
    let checked = check(&shop, &[]).success();
    assert!(checked.text().contains(said), "{checked:?}");
    assert!(checked.text().contains("shop/db:2.1"), "{checked:?}");
    let client = registry.client();
    client.delete_manifest("shop/db", shop.images["shop/db:2.1"].digest);
    let checked = check(&shop, &["--format", "json"]).exits(6);
    assert_eq!(checked.json()["releases"][0]["notRendered"], said);
    let said = "1 other image of the bundle cannot be had from the registry";
    assert!(checked.stderr.contains(said), "{checked:?}");
}

#[test]
fn a_hand_off_without_charts_is_checked_too() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let name = format!("{HOST}/shop/db:2.1");
    shop.create(FILE, &["--image", &name]).success();
    let registry = deleting();
    shop.load(FILE, registry.host(), &["--handoff", "handoff"])
        .success();
    assert!(check(&shop, &[]).success().text().contains("shop/db:2.1"));
    let client = registry.client();
    client.delete_manifest("shop/db", shop.images["shop/db:2.1"].digest);
    let checked = check(&shop, &[]).exits(6);
    assert!(checked.stderr.contains("MISSING"), "{checked:?}");
}

#[test]
fn all_failures_are_told_together() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let second = shop.archive(&chart_with(
        "stall",
        "2.0.0",
        &format!("{HOST}/shop/tester:1"),
    ));
    shop.write("a.yaml", "x: 1\n");
    shop.spec(&format!(
        "charts:\n  - {{chart: {archive}, values: [a.yaml]}}\n  - {{chart: {second}, values: [a.yaml]}}\n"
    ));
    shop.create(FILE, &[]).success();
    let registry = deleting();
    let loaded = shop
        .load(FILE, registry.host(), &["--handoff", "handoff"])
        .success();
    assert!(!loaded.stderr.contains("there already"), "{loaded:?}");
    let again = shop.load(FILE, registry.host(), &[]).success();
    assert!(
        again.stderr.contains(", 5 images, 2 charts there already"),
        "{again:?}"
    );
    for release in ["shop", "stall"] {
        shop.write(&format!("handoff/values/{release}/a.yaml"), "image: [\n");
    }
    let checked = check(&shop, &[]).exits(2);
    for text in [
        "2 of 2 releases could not be checked",
        "release shop: ",
        "release stall: ",
    ] {
        assert!(checked.stderr.contains(text), "{text}: {checked:?}");
    }
    assert!(!checked.stderr.contains("--values"), "{checked:?}");
}
