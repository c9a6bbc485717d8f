//! Charts at the other end: where they go, what is handed off, and what real `helm` makes of both.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    helm::{HELMS, HelmCli},
    recording::Recording,
    shop::{HOST, Shop, chart, chart_with, listing},
    tools::{Finished, PATIENCE, require, run, run_with},
};

const FILE: &str = "shop.bundle";

/// A bundle of the chart with values of the user's.
fn bundled() -> Shop {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.write("mine.yaml", "# mine\nimage: {tag: \"2.0\"}\n");
    let spec = format!(
        "charts:\n  - {{chart: {archive}, release: market, namespace: stalls, values: [mine.yaml]}}\n"
    );
    shop.spec(&spec);
    shop.create(FILE, &[]).success();
    shop
}

/// The images that the rendered text of a chart names in `image:` and the argument.
fn images_in(rendered: &str) -> Vec<String> {
    let mut images: Vec<String> = rendered
        .lines()
        .filter_map(|line| {
            let behind = line
                .split_once("image: ")
                .or_else(|| line.split_once("image="));
            let image = behind?.1.trim_end_matches([']', '}']);
            Some(image.trim_matches('"').to_owned())
        })
        .collect();
    images.sort();
    images
}

fn handoff(shop: &Shop, to: &str, more: &[&str]) -> Finished {
    shop.load(FILE, to, &[&["--handoff", "handoff"], more].concat())
}

/// What a hand-off's commands do, but for the cluster: `helm template` in place of `helm upgrade`.
fn template(helm: &str, directory: &Path, command: &str) -> Finished {
    let cli = HelmCli::new(HELMS.into_iter().find(|name| *name == helm).unwrap());
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[..3], ["helm", "upgrade", "--install"], "{command}");
    let mut command = cli.command();
    command.arg("template").args(&words[3..]);
    command.current_dir(directory);
    run(command)
}

fn commands(directory: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(directory.join("INSTALL.md")).unwrap();
    let commands = page.lines().filter(|line| line.starts_with("helm upgrade"));
    commands
        .map(|command| command.replace(" --create-namespace", ""))
        .collect()
}

#[test]
fn the_commands_of_the_hand_off_render_with_either_helm_to_what_was_loaded() {
    require!("docker-registry", "helm3", "helm4");
    let shop = bundled();
    for (layout, expected) in [
        ("strip", "shop/"),
        ("host", "registry.example.com/shop/"),
        ("last2", "shop/"),
        ("flat", ""),
    ] {
        let registry = Registry::start(Options::default());
        let to = format!("{}/mirror", registry.host());
        let loaded = handoff(&shop, &to, &["--layout", layout]).success();
        let said = "release market: 4 of 4 images will be found";
        assert!(loaded.stderr.contains(said), "{layout}: {loaded:?}");
        let directory = shop.dir().join("handoff");
        let commands = commands(&directory);
        assert_eq!(commands.len(), 2, "by version and by digest: {commands:?}");
        let mut expected: Vec<String> = ["db:2.1", "migrate:1", "proxy:3", "web:2.0"]
            .map(|name| format!("{to}/{expected}{name}"))
            .into();
        expected.sort();
        for helm in HELMS {
            for command in &commands {
                let rendered = template(helm, &directory, command).success().text();
                let mut found = images_in(&rendered);
                // That of the test hook is fixed, and left out of the bundle.
                found.retain(|image| !image.ends_with("shop/tester:1"));
                assert_eq!(found, expected, "{layout}, {helm}: {command}\n{rendered}");
            }
        }
        let checked = run(shop.bundle(&["check", "handoff"])).success();
        let there = checked.text().matches(" there").count();
        assert_eq!(there, 5, "the images and the chart: {checked:?}");
    }
}

#[test]
fn rules_for_single_images_are_in_the_hand_off_too() {
    require!("docker-registry", "helm3");
    let shop = bundled();
    let registry = Registry::start(Options::default());
    let to = registry.host();
    let map = format!("{HOST}/shop/db=data/base");
    handoff(&shop, to, &["--map", &map, "--charts-path", "helm/all"]).success();
    let client = registry.client();
    assert_eq!(client.tags("helm/all/shop"), ["1.2.3_0"]);
    assert_eq!(client.tags("data/base"), ["2.1"]);
    let directory = shop.dir().join("handoff");
    let command = &commands(&directory)[0];
    assert!(
        command.contains(&format!("oci://{to}/helm/all/shop ")),
        "{command}"
    );
    let rendered = template("helm3", &directory, command).success().text();
    assert!(images_in(&rendered).contains(&format!("{to}/data/base:2.1")));
    let map: Value = {
        let text = std::fs::read(directory.join("images.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    assert!(map.to_string().contains("data/base"), "{map}");
}

#[test]
fn a_pipe_hands_off_what_a_file_does() {
    require!("docker-registry", "helm3");
    let shop = bundled();
    // One larger than what is a small blob, so that it comes behind the layers.
    let large = format!("note: {}\n", "word ".repeat(400_000));
    shop.write("mine.yaml", large);
    shop.create(FILE, &["--force"]).success();
    let registry = Registry::start(Options::default());
    let to = registry.host();
    handoff(&shop, to, &[]).success();
    let from_file = listing(&shop.dir().join("handoff"));
    assert!(from_file.len() > 10, "{from_file:?}");
    let bundle = std::fs::read(shop.dir().join(FILE)).unwrap();
    // The second time there is nothing in the registry: all of it comes out of the pipe.
    let empty = Registry::start(Options::default());
    for (number, to) in [to, empty.host()].into_iter().enumerate() {
        let directory = format!("piped{number}");
        let load = [
            "load",
            "-",
            "--allow-unsigned",
            "--to",
            to,
            "--handoff",
            &directory,
        ];
        run_with(shop.bundle(&load), bundle.clone(), PATIENCE).success();
    }
    assert_eq!(listing(&shop.dir().join("piped0")), from_file);
    handoff(&shop, empty.host(), &[]).success();
    let (from_file, piped) = (shop.dir().join("handoff"), shop.dir().join("piped1"));
    assert_eq!(listing(&piped), listing(&from_file));
    let values = std::fs::read(shop.dir().join("piped1/values/market/mine.yaml")).unwrap();
    assert!(values == std::fs::read(shop.dir().join("mine.yaml")).unwrap());
}

#[test]
fn a_directory_that_is_something_else_is_refused_before_anything_is_sent() {
    require!("helm3");
    let shop = bundled();
    let recording = Recording::refusing();
    shop.write("mine/notes.txt", "not to be lost\n");
    shop.write("afile", "not to be lost\n");
    shop.write("like/handoff.json", "{\"kind\": \"Handoff\"}\n");
    std::os::unix::fs::symlink("mine", shop.dir().join("link")).unwrap();
    std::fs::create_dir_all(shop.dir().join("tmp")).unwrap();
    let before = shop.listing();
    for directory in ["mine", "afile", "like", "link", "."] {
        let refused = shop.load(FILE, &recording.host(), &["--handoff", directory]);
        let refused = refused.exits(2);
        assert!(refused.stderr.contains(directory), "{refused:?}");
    }
    // What could not be written into one is refused as early.
    for wrong in [
        ["--node-ca-file", "ca.crt"],
        ["--pull-secret", "No Name"],
        ["--charts-path", "UPPER"],
    ] {
        let arguments = [&["--handoff", "handoff"], &wrong[..]].concat();
        let refused = shop.load(FILE, &recording.host(), &arguments).exits(2);
        assert!(refused.stderr.contains(wrong[0]), "{refused:?}");
    }
    assert_eq!(shop.listing(), before);
    recording.assert_untouched();
}

#[test]
fn a_hand_off_from_before_is_replaced_as_a_whole() {
    require!("docker-registry", "helm3");
    let shop = bundled();
    let registry = Registry::start(Options::default());
    std::fs::create_dir(shop.dir().join("handoff")).unwrap();
    handoff(&shop, registry.host(), &[]).success();
    let first = listing(&shop.dir().join("handoff"));
    let other = Registry::start(Options::default());
    handoff(&shop, other.host(), &["--pull-secret", "others"]).success();
    let second = listing(&shop.dir().join("handoff"));
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
    assert_ne!(first, second);
    for entry in std::fs::read_dir(shop.dir().join("handoff")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        assert!(!text.contains(registry.host()), "{}", path.display());
    }
    // Nothing is written by a rehearsal, and nothing of it is left beside.
    let before = shop.listing();
    handoff(&shop, registry.host(), &["--dry-run"]).success();
    assert_eq!(shop.listing(), before);
}

#[test]
fn every_release_has_its_own_part() {
    require!("docker-registry", "helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.write("a/values.yaml", "image: {tag: \"1.0\"}\n");
    shop.write("b/values.yaml", "image: {tag: \"2.0\"}\n");
    let second = shop.archive(&chart_with(
        "stall",
        "2.0.0",
        &format!("{HOST}/shop/tester:1"),
    ));
    shop.spec(&format!(
        "charts:\n  \
         - {{chart: {archive}, release: one, values: [a/values.yaml]}}\n  \
         - {{chart: {archive}, release: two, values: [b/values.yaml]}}\n  \
         - {{chart: {archive}, release: two, namespace: other, values: [a/values.yaml]}}\n  \
         - {{chart: {second}}}\n"
    ));
    shop.create(FILE, &[]).success();
    let registry = Registry::start(Options::default());
    let loaded = handoff(&shop, registry.host(), &[]).success();
    assert_eq!(
        loaded.stderr.matches("images will be found").count(),
        3,
        "{loaded:?}"
    );
    let directory = shop.dir().join("handoff");
    let commands = commands(&directory);
    assert_eq!(commands.len(), 8, "{commands:?}");
    for (command, web) in commands.iter().zip(["web:1.0", "web:2.0", "web:1.0"]) {
        let rendered = template("helm3", &directory, command).success().text();
        let expected = format!("{}/shop/{web}", registry.host());
        assert!(
            images_in(&rendered).contains(&expected),
            "{command}: {rendered}"
        );
    }
    let checked = run(shop.bundle(&["check", "handoff", "--format", "json"]))
        .success()
        .json();
    let releases = checked["releases"].as_array().unwrap();
    let names: Vec<_> = releases
        .iter()
        .map(|release| (release["namespace"].as_str(), release["release"].as_str()))
        .collect();
    let expected = [
        ("default", "one"),
        ("default", "two"),
        ("other", "two"),
        ("default", "stall"),
    ];
    assert_eq!(names, expected.map(|(n, r)| (Some(n), Some(r))));
}

#[test]
fn without_helm_the_hand_off_is_written_and_says_that_nothing_was_checked() {
    require!("helm3");
    let shop = bundled();
    let registry = Embedded::start();
    let nowhere = shop.dir().join("empty");
    std::fs::create_dir(&nowhere).unwrap();
    let without = |arguments: &[&str]| -> Command {
        let mut command = shop.bundle(arguments);
        command.env_remove("BUNDLE_HELM").env("PATH", &nowhere);
        command
    };
    let host = registry.host();
    let load = [
        "load",
        FILE,
        "--allow-unsigned",
        "--to",
        &host,
        "--handoff",
        "handoff",
    ];
    let loaded = run(without(&load)).success();
    assert!(
        loaded.stderr.contains("no helm was found here"),
        "{loaded:?}"
    );
    assert!(shop.dir().join("handoff/INSTALL.md").exists());
    let refused = run(without(&["check", "handoff"])).exits(2);
    assert!(refused.stderr.contains("--helm"), "{refused:?}");
    let named = [&load[..], &["--helm", "/nowhere/helm"]].concat();
    run(without(&named)).exits(2);
    run(shop.bundle(&["check", "handoff"])).success();
}

#[test]
fn chart_tags_are_looked_after_like_those_of_images() {
    require!("docker-registry", "helm3");
    let shop = bundled();
    let registry = Registry::start(Options::default());
    shop.load(FILE, registry.host(), &[]).success();
    let again = shop.load(FILE, registry.host(), &[]).success();
    assert!(again.stderr.contains("there already"), "{again:?}");
    // Another chart of this version is in the way.
    let other = chart().file("README.md", "another one\n");
    let archive = shop.archive(&other);
    shop.create("other.bundle", &["--chart", &archive])
        .success();
    let before = registry
        .client()
        .manifest("charts/shop", "1.2.3_0")
        .unwrap();
    let refused = shop.load("other.bundle", registry.host(), &[]).exits(6);
    for text in ["charts/shop:1.2.3_0", "--on-conflict"] {
        assert!(refused.stderr.contains(text), "{text}: {refused:?}");
    }
    assert_eq!(
        registry
            .client()
            .manifest("charts/shop", "1.2.3_0")
            .unwrap(),
        before
    );
    let replace = ["--on-conflict", "replace"];
    shop.load("other.bundle", registry.host(), &replace)
        .success();
    assert_ne!(
        registry
            .client()
            .manifest("charts/shop", "1.2.3_0")
            .unwrap(),
        before
    );
}
