//! What refers to a chart is found at the destination, also where the registry keeps no list of it.

use std::process::Command;

use serde_json::{Value, json};
use sneakernet::{
    oci::{Digest, media_type as known},
    registry::referrers_tag,
};

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    front::in_front_of,
    helm::ChartFiles,
    images::{Blob, Family, Image, artifact, empty_config, sample, sample_index},
    pusher::Client,
    scripted::Answer,
    shop::artifact_of,
    tools::{Finished, Home, PATIENCE, Running, require, run},
};

const REPOSITORY: &str = "charts/shop";
const TAG: &str = "1.0.0";

/// The chart, the same in every source.
fn chart() -> Image {
    artifact_of(&ChartFiles::new("shop", TAG))
}

/// An artifact about another.
fn about(subject: &Image, name: &str) -> Image {
    let layer = Blob::new("application/x.signature", name.to_owned());
    artifact(
        Some("application/x.signed"),
        empty_config(),
        vec![layer],
        Some(subject),
    )
}

/// A home with a bundle of the chart and all that refers to it in a registry.
fn bundled(source: &str) -> Home {
    let home = Home::new();
    let chart = format!("oci://{source}/{REPOSITORY}");
    let create = ["create", "--unsigned", "-o", "bundle", "--discover", "none"];
    let of_chart = ["--chart", chart.as_str()];
    home.run_bundle([&create[..], &of_chart].concat()).success();
    home
}

/// A bundle of the chart with one signature, from a registry that keeps lists.
fn signed(name: &str) -> (Home, Image) {
    let source = Embedded::start();
    let (client, signature) = (source.client(), about(&chart(), name));
    client.push(REPOSITORY, TAG, &chart());
    client.push_untagged(REPOSITORY, &signature);
    (bundled(&source.host()), signature)
}

fn loading(home: &Home, to: &str, more: &[&str]) -> Command {
    let mut load = home.bundle();
    load.args(["load", "bundle", "--allow-unsigned", "--to", to]);
    load.args(["--format", "json"]).args(more);
    load
}

#[track_caller]
fn load(home: &Home, to: &str) -> Finished {
    run(loading(home, to, &[])).success()
}

/// The list that is kept under a tag.
#[track_caller]
fn list(client: &Client, subject: &Image) -> Value {
    let tag = referrers_tag(&subject.digest);
    let served = client.manifest(REPOSITORY, &tag);
    let served = served.unwrap_or_else(|| panic!("{tag} is missing"));
    assert_eq!(served.media_type, known::OCI_INDEX);
    serde_json::from_slice(&served.bytes).unwrap()
}

fn digests(list: &Value) -> Vec<String> {
    let entries = list["manifests"].as_array().unwrap().iter();
    let mut all: Vec<_> = entries
        .map(|e| e["digest"].as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

fn sorted(images: &[&Image]) -> Vec<String> {
    let mut all: Vec<_> = images
        .iter()
        .map(|image| image.digest.to_string())
        .collect();
    all.sort();
    all
}

#[test]
fn q71_where_a_registry_keeps_no_list_one_is_kept_under_a_tag() {
    require!("docker-registry", "oras");
    let source = Embedded::start();
    let (client, chart) = (source.client(), chart());
    let signature = about(&chart, "signature");
    let of_signature = about(&signature, "of the signature");
    client.push(REPOSITORY, TAG, &chart);
    client.push_untagged(REPOSITORY, &signature);
    client.push_untagged(REPOSITORY, &of_signature);
    let home = bundled(&source.host());
    let destination = Registry::start(Options::default());
    let loaded = load(&home, destination.host());
    assert!(!loaded.stderr.contains("referr"), "{loaded:?}");

    let client = destination.client();
    assert_eq!(
        digests(&list(&client, &signature)),
        sorted(&[&of_signature])
    );
    assert_eq!(
        list(&client, &chart)["manifests"],
        json!([{
            "mediaType": known::OCI_MANIFEST,
            "digest": signature.digest,
            "size": signature.bytes.len(),
            "artifactType": "application/x.signed",
        }])
    );
    let mut discover = home.tool("oras");
    discover.args(["discover", "--plain-http", "--format", "json"]);
    discover.arg(format!("{}/{REPOSITORY}:{TAG}", destination.host()));
    let discovered = run(discover).success().text();
    for found in [&signature, &of_signature] {
        assert!(
            discovered.contains(&found.digest.to_string()),
            "{discovered}"
        );
    }

    let before = [&chart, &signature].map(|subject| list(&client, subject));
    let puts = |registry: &Registry| registry.log().matches("\"PUT /v2/").count();
    let sent = puts(&destination);
    assert!(sent > 0);
    load(&home, destination.host());
    let after = [&chart, &signature].map(|subject| list(&client, subject));
    assert_eq!(before, after);
    assert_eq!(puts(&destination), sent, "nothing is written twice");
    // What a registry lists itself needs no tag.
    let embedded = Embedded::start();
    load(&home, &embedded.host());
    assert_eq!(embedded.client().tags(REPOSITORY), [TAG]);
}

#[test]
fn q71_of_two_loads_at_once_neither_loses_what_the_other_lists() {
    require!("docker-registry");
    let (one, two) = (signed("one"), signed("two"));
    for _ in 0..3 {
        let destination = Registry::start(Options::default());
        let start = |home: &Home| {
            let load = loading(home, destination.host(), &["--retries", "5"]);
            Running::start(load, Vec::new())
        };
        let both = [start(&one.0), start(&two.0)];
        for running in both {
            running.finish(PATIENCE).success();
        }
        let found = digests(&list(&destination.client(), &chart()));
        assert_eq!(found, sorted(&[&one.1, &two.1]));
    }
}

/// A bundle of the chart with one signature, from a registry where a client keeps the list.
fn signed_under_a_tag(name: &str) -> (Home, Image) {
    let source = Registry::start(Options::default());
    let (client, signature) = (source.client(), about(&chart(), name));
    client.push(REPOSITORY, TAG, &chart());
    client.push_untagged(REPOSITORY, &signature);
    let content = json!({
        "schemaVersion": 2, "mediaType": known::OCI_INDEX,
        "manifests": [{
            "mediaType": known::OCI_MANIFEST, "digest": signature.digest,
            "size": signature.bytes.len(), "artifactType": "application/x.signed",
            "x-of": name,
        }],
    });
    let bytes = serde_json::to_vec_pretty(&content).unwrap();
    let kept = Image {
        media_type: known::OCI_INDEX.to_owned(),
        digest: Digest::sha256_of(&bytes),
        bytes: bytes.into(),
        children: vec![signature.clone()],
        blobs: vec![],
    };
    client.push(REPOSITORY, &referrers_tag(&chart().digest), &kept);
    (bundled(source.host()), signature)
}

#[test]
fn q71_a_list_that_travels_is_added_to_the_one_there_and_is_no_conflict() {
    require!("docker-registry");
    let (one, two) = (signed_under_a_tag("one"), signed_under_a_tag("two"));
    for more in [
        &[][..],
        &["--on-conflict", "keep"],
        &["--on-conflict", "replace"],
    ] {
        let destination = Registry::start(Options::default());
        let client = destination.client();
        load(&one.0, destination.host());
        assert_eq!(digests(&list(&client, &chart())), sorted(&[&one.1]));
        let loaded = run(loading(&two.0, destination.host(), more)).success();
        let after = list(&client, &chart());
        assert_eq!(digests(&after), sorted(&[&one.1, &two.1]), "{more:?}");
        let of = |name: &str| {
            let mut entries = after["manifests"].as_array().unwrap().iter();
            entries.any(|entry| entry["x-of"] == name)
        };
        assert!(of("one") && of("two"), "unknown fields stay: {after}");
        let receipt = loaded.json();
        let states = receipt["images"].as_array().unwrap();
        assert!(
            states.iter().any(|image| image["tag"] == "extended"),
            "{receipt}"
        );
        // Either bundle again changes nothing.
        for home in [&one.0, &two.0] {
            load(home, destination.host());
            assert_eq!(list(&client, &chart()), after);
        }
    }
}

#[test]
fn q71_a_load_that_ended_before_its_lists_is_completed_by_the_next() {
    require!("docker-registry");
    let (home, signature) = signed("one");
    let destination = Registry::start(Options::default());
    let client = destination.client();
    client.push(REPOSITORY, TAG, &chart());
    client.push_untagged(REPOSITORY, &signature);
    load(&home, destination.host());
    assert_eq!(digests(&list(&client, &chart())), sorted(&[&signature]));
}

#[test]
fn q72_a_registry_that_answers_a_question_for_its_list_may_still_keep_none() {
    let (home, signature) = signed("one");
    for (media_type, body) in [
        (known::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#),
        ("text/html", "<html>Welcome</html>"),
    ] {
        let registry = Embedded::start();
        let front = in_front_of(
            &registry.host(),
            move |asked| {
                let is_list = asked.path.contains("/referrers/");
                is_list.then(|| Answer::ok(media_type, body))
            },
            |_, answer| answer.without_header("oci-subject"),
        );
        for _ in 0..2 {
            load(&home, &front.host());
            let found = digests(&list(&registry.client(), &chart()));
            assert_eq!(found, sorted(&[&signature]));
        }
        let puts = registry.manifests_put();
        let tag = referrers_tag(&chart().digest);
        let of_list = puts.iter().filter(|put| put.ends_with(&tag));
        assert_eq!(of_list.count(), 1, "{puts:#?}");
    }
}

#[test]
fn q73_referrers_of_what_is_in_an_index_that_refers_to_a_chart_go_where_the_chart_goes() {
    let source = Embedded::start();
    let (client, chart) = (source.client(), chart());
    let child = artifact(
        Some("application/x.part"),
        empty_config(),
        vec![empty_config()],
        None,
    );
    let of_child = about(&child, "of the child");
    let listed = |image: &Image| json!({"mediaType": image.media_type, "digest": image.digest, "size": image.bytes.len()});
    let content = json!({
        "schemaVersion": 2, "mediaType": known::OCI_INDEX, "artifactType": "application/x.parts",
        "manifests": [listed(&child)], "subject": listed(&chart),
    });
    let bytes = content.to_string().into_bytes();
    let index = Image {
        media_type: known::OCI_INDEX.to_owned(),
        digest: Digest::sha256_of(&bytes),
        bytes: bytes.into(),
        children: vec![child],
        blobs: vec![],
    };
    // Charts go to `charts/NAME` wherever they come from.
    let from = "team/apps/shop";
    client.push(from, TAG, &chart);
    client.push_untagged(from, &index);
    client.push_untagged(from, &of_child);
    let home = Home::new();
    let name = format!("oci://{}/{from}", source.host());
    let create = ["create", "--unsigned", "-o", "bundle", "--discover", "none"];
    home.run_bundle([&create[..], &["--chart", &name]].concat())
        .success();
    let destination = Embedded::start();
    load(&home, &destination.host());
    let client = destination.client();
    for image in [&chart, &index, &of_child] {
        client.assert_holds(REPOSITORY, &image.digest.to_string(), image);
    }
    assert_eq!(client.repositories(), [REPOSITORY]);
}

#[test]
fn q74_tags_made_of_a_digest_arrive_byte_for_byte() {
    require!("docker-registry");
    let source = Registry::start(Options::default());
    let (client, chart) = (source.client(), chart());
    client.push(REPOSITORY, TAG, &chart);
    // As cosign writes them: a layer for each signature, the same payload twice.
    let payload = Blob::new(
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "{\"critical\":{}}",
    );
    let legacy: Vec<_> = [".sig", ".att", ".sbom"]
        .into_iter()
        .map(|suffix| {
            let config = Blob::new(known::OCI_CONFIG, format!("{{\"of\":\"{suffix}\"}}"));
            let image = artifact(None, config, vec![payload.clone(), payload.clone()], None);
            (format!("{}{suffix}", referrers_tag(&chart.digest)), image)
        })
        .collect();
    for (tag, image) in &legacy {
        client.push(REPOSITORY, tag, image);
    }
    let home = bundled(source.host());
    let (real, embedded) = (Registry::start(Options::default()), Embedded::start());
    load(&home, real.host());
    load(&home, &embedded.host());
    for client in [real.client(), embedded.client()] {
        for (tag, image) in &legacy {
            client.assert_holds(REPOSITORY, tag, image);
        }
        assert_eq!(client.tags(REPOSITORY).len(), 1 + legacy.len());
    }
}

#[test]
fn q71_a_smaller_index_with_a_subject_is_loaded_twice_as_once() {
    let source = Embedded::start();
    let subject = sample(70, Family::Oci, "linux/amd64");
    let mut list = sample_index(71, Family::Oci);
    let mut document: Value = serde_json::from_slice(&list.bytes).unwrap();
    document["subject"] = Value::Object(subject.descriptor());
    list.bytes = document.to_string().into();
    list.digest = Digest::sha256_of(&list.bytes);
    source.client().push(REPOSITORY, "subject", &subject);
    source.client().push(REPOSITORY, "list", &list);
    let home = Home::new();
    let mut create = home.bundle();
    create.args([
        "create",
        "--unsigned",
        "-o",
        "bundle",
        "--platform",
        "linux/amd64",
    ]);
    for tag in ["subject", "list"] {
        create.arg("--image");
        create.arg(format!("{}/{REPOSITORY}:{tag}", source.host()));
    }
    run(create).success();
    // It insists on all children, and lists referrers itself.
    let destination = Embedded::start();
    for state in ["new", "present"] {
        let loaded = load(&home, &destination.host()).json();
        let images = loaded["images"].as_array().unwrap();
        assert!(images.iter().all(|image| image["tag"] == state), "{loaded}");
    }
}
