//! Everything that was asked for arrives, byte for byte, from a file and from a pipe, under the
//! names that were asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Carried, Private, open_registry, writes};
use crate::support::{
    calico_cloud::{self, VERSION},
    distribution::{Options, Registry},
    seed::SeedImage,
    tools::{Home, PATIENCE, require, run, run_with},
};

#[test]
fn all_images_arrive_byte_for_byte_and_nothing_is_sent_twice() {
    require!("docker-registry", "htpasswd", "skopeo", "helm3");
    let carried = Carried::get();
    let private = Private::start();
    let home = Home::new();
    let ca_file = private.log_in(&home);
    let receipt_file = home.path().join("receipt.json");
    let load = || {
        let mut load = carried.load(&home, private.registry.host());
        load.arg("--ca-file").arg(&ca_file);
        load.arg("--receipt").arg(&receipt_file);
        load.args(["--format", "json"]);
        let printed = run(load).success().json();
        let receipt = std::fs::read(&receipt_file).unwrap();
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(receipt, printed);
        receipt
    };
    let receipt = load();

    let client = private.registry.client();
    for seed in &carried.content.images {
        let mut skopeo = home.tool("skopeo");
        skopeo.args(["inspect", "--raw", "--cert-dir"]);
        skopeo.arg(home.path()).arg(format!(
            "docker://{}/{}:{}",
            private.registry.host(),
            seed.repository,
            seed.tag
        ));
        let raw = run(skopeo).success().stdout;
        assert!(raw == seed.image.bytes, "{} is not the same", seed.written);
        client.assert_holds(&seed.repository, &seed.tag, &seed.image);
    }
    assert_receipt(&receipt, &private, &carried.content.images);

    let before = writes(&private.registry.log());
    assert!(before > 41, "the log knows of what was written: {before}");
    let again = load();
    assert_eq!(writes(&private.registry.log()), before);
    assert_eq!(again["blobs"]["sent"], 0);
    assert_eq!(again["blobs"]["sentBytes"], 0);
    let tags = again["images"].as_array().unwrap().iter();
    assert!(tags.clone().count() == 41 && tags.clone().all(|image| image["tag"] == "present"));
}

fn assert_receipt(receipt: &Value, private: &Private, images: &[SeedImage]) {
    assert_eq!(receipt["apiVersion"], "sneakernet/v1");
    assert_eq!(receipt["kind"], "Receipt");
    assert_eq!(
        receipt["bundle"],
        json!({"name": "calico-cloud", "version": "3.16.1"})
    );
    assert_eq!(receipt["destination"], private.registry.host());
    assert_eq!(receipt["dryRun"], false);
    assert_eq!(receipt["threshold"], 1);
    assert_eq!(receipt["signatures"].as_array().unwrap().len(), 1);
    assert_eq!(receipt["files"][0]["name"], "install.md");
    let listed = receipt["images"].as_array().unwrap();
    let chart = &receipt["charts"][0]["destination"];
    let expected = format!("{}/charts/calico-cloud:3.16.1_0", private.registry.host());
    assert_eq!(*chart, expected);
    let found: BTreeMap<String, Value> = listed
        .iter()
        .map(|image| (image["source"].as_str().unwrap().to_owned(), image.clone()))
        .collect();
    let expected: BTreeMap<String, Value> = images
        .iter()
        .map(|seed| {
            let place = format!("{}:{}", seed.repository, seed.tag);
            let source = format!("{}/{place}", seed.host);
            let image = json!({
                "source": source,
                "destination": format!("{}/{place}", private.registry.host()),
                "digest": seed.image.digest,
                "tag": "new",
            });
            (source, image)
        })
        .collect();
    assert_eq!(found, expected);
    let counts = &receipt["blobs"];
    let sizes: BTreeMap<_, _> = images
        .iter()
        .flat_map(|seed| seed.image.all_blobs())
        .map(|blob| (blob.digest, blob.bytes.len()))
        .collect();
    // Each once, whatever the number of repositories that share it; the chart is a configuration
    // and the archive.
    assert_eq!(counts["sent"], sizes.len() + 2);
    let of_chart = counts["sentBytes"].as_u64().unwrap() - sizes.values().sum::<usize>() as u64;
    let archive = calico_cloud::chart(VERSION).archive().len() as u64;
    assert!(
        (archive + 1..archive + 2000).contains(&of_chart),
        "{of_chart}"
    );
    assert!(counts["mounted"].as_u64().unwrap() > 41, "{counts}");
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    require!("docker-registry", "helm3");
    let carried = Carried::get();
    let registry = open_registry();
    let home = Home::new();
    let mut load = home.bundle();
    load.args(["load", "-", "--to", registry.host(), "--format", "json"]);
    load.arg("--key").arg(carried.key());
    let stream = std::fs::read(carried.file()).unwrap();
    let receipt = run_with(load, stream, PATIENCE).success().json();
    assert_eq!(receipt["images"].as_array().unwrap().len(), 41);
    let client = registry.client();
    for seed in &carried.content.images {
        client.assert_holds(&seed.repository, &seed.tag, &seed.image);
    }
}

#[test]
fn last2_makes_the_names_that_the_loop_of_the_seed_makes() {
    require!("docker-registry", "sed", "helm3");
    let carried = Carried::get();
    let registry = open_registry();
    let home = Home::new();
    let mut load = carried.load(&home, &format!("{}/mirror", registry.host()));
    load.args(["--layout", "last2", "--format", "json"]);
    run(load).success();
    let client = registry.client();
    let mut names = Vec::new();
    for seed in &carried.content.images {
        // The very command of the article.
        let mut sed = home.tool("sed");
        sed.arg(r"s#^.*/\([^/]*/[^/]*$\)#\1#");
        let line = format!("{}\n", seed.written).into_bytes();
        let base = run_with(sed, line, PATIENCE).success().text();
        let (name, tag) = base.trim().rsplit_once(':').unwrap();
        let name = format!("mirror/{name}");
        let served = client.manifest(&name, tag);
        let served = served.unwrap_or_else(|| panic!("{name}:{tag} is missing"));
        assert_eq!(served.bytes, seed.image.bytes, "{name}");
        names.push(name);
    }
    names.push("mirror/charts/calico-cloud".to_owned());
    names.sort();
    assert_eq!(client.repositories(), names, "and nothing else");
    assert!(names.contains(&"mirror/alpine".to_owned()));
    assert!(names.contains(&"mirror/calico-cloud-public/cc-operator".to_owned()));
}

#[test]
fn a_registry_without_foreign_layers_is_told_which_setting_permits_them() {
    require!("docker-registry", "helm3");
    let carried = Carried::get();
    let registry = Registry::start(Options::default());
    let home = Home::new();
    let refused = run(carried.load(&home, registry.host())).exits(6);
    assert!(refused.text().is_empty(), "{refused:?}");
    for part in ["tigera/fluentd-windows", "validation.manifests.urls.allow"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    // Tags come last, so there is none of any image.
    let client = registry.client();
    for repository in client.repositories() {
        assert_eq!(client.tags(&repository), [""; 0], "{repository}");
    }
}
