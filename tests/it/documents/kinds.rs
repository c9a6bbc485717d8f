//! Every kind of document and layer arrives as it is.

use serde_json::{Value, json};
use sneakernet::oci::{Digest, media_type as known};

use super::Carried;
use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{
        Blob, Compression, Family, Image, ImageBuilder, Layer, artifact, attestation, empty_config,
        sample, sample_index,
    },
    scripted::{Answer, Scripted},
    tools::require,
};

/// A document of any JSON.
fn document(media_type: &str, content: &Value, children: Vec<Image>, blobs: Vec<Blob>) -> Image {
    let bytes = serde_json::to_vec_pretty(content).unwrap();
    Image {
        media_type: media_type.to_owned(),
        digest: Digest::sha256_of(&bytes),
        bytes: bytes.into(),
        children,
        blobs,
    }
}

fn entry(image: &Image) -> Value {
    json!({"mediaType": image.media_type, "digest": image.digest, "size": image.bytes.len()})
}

/// Loads into Distribution and into the embedded registry.
#[track_caller]
fn assert_travels(carried: &Carried) {
    let (real, embedded) = (Registry::start(Options::default()), Embedded::start());
    carried.load(real.host(), &[]).success();
    carried.assert_arrived(&real.client());
    carried.load(&embedded.host(), &[]).success();
    carried.assert_arrived(&embedded.client());
}

#[test]
fn q58_indexes_of_indexes_and_of_things_that_are_no_images_arrive() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    require!("docker-registry");
    let inner = sample_index(71, Family::Oci);
    let bare = ImageBuilder::new(Family::Oci, "linux/amd64").build();
    let thing = artifact(Some("x/thing"), empty_config(), vec![empty_config()], None);
    let attests = attestation(&bare);
    let mut platform = entry(&attests);
    platform["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    platform["annotations"] = json!({"vnd.docker.reference.digest": bare.digest});
    let mut with_data = entry(&thing);
    with_data["data"] = json!(STANDARD.encode(&thing.bytes));
    with_data["artifactType"] = json!("x/thing");
    let content = json!({
        "schemaVersion": 2, "mediaType": known::OCI_INDEX, "annotations": {"a": "b"},
        "manifests": [entry(&inner), entry(&bare), platform, with_data],
    });
    let children = vec![inner, bare.clone(), attests, thing.clone()];
    let mixed = document(known::OCI_INDEX, &content, children, vec![]);
    let mut empty_data = json!({
        "schemaVersion": 2, "mediaType": known::OCI_MANIFEST, "artifactType": "x/data",
        "config": {"mediaType": known::EMPTY, "digest": empty_config().digest, "size": 2, "data": "e30="},
    });
    empty_data["layers"] = json!([empty_data["config"]]);
    let data = document(
        known::OCI_MANIFEST,
        &empty_data,
        vec![],
        vec![empty_config()],
    );
    let nothing = json!({"schemaVersion": 2, "mediaType": known::OCI_INDEX, "manifests": []});
    let nothing = document(known::OCI_INDEX, &nothing, vec![], vec![]);
    let all = [
        ("odd/mixed", &mixed),
        ("odd/no-layers", &bare),
        ("odd/data", &data),
        ("odd/empty-index", &nothing),
    ];
    assert_travels(&Carried::new(&all, &[]));
}

#[test]
fn q59_artifacts_of_any_type_arrive_with_layers_that_nobody_knows() {
    require!("docker-registry");
    let config = Blob::new(known::HELM_CONFIG, r#"{"name":"x","version":"1.0.0"}"#);
    let chart = artifact(
        None,
        config,
        vec![
            Blob::new(known::HELM_CONTENT, vec![7; 5000]),
            Blob::new(known::HELM_PROVENANCE, "-----BEGIN PGP SIGNED MESSAGE-----"),
        ],
        None,
    );
    let repeated = Blob::new("application/x-layer", "twice");
    let thing = artifact(
        Some("application/vnd.example.thing.v1+json"),
        Blob::new("application/vnd.example.config.v1", "not JSON at all"),
        vec![
            Blob::new("text/plain; charset=utf-8", "text"),
            repeated.clone(),
            Blob::new("x/y", ""),
            repeated,
        ],
        None,
    );
    let empty = artifact(
        Some("x/only-type"),
        empty_config(),
        vec![empty_config()],
        None,
    );
    let all = [
        ("things/chart", &chart),
        ("things/any", &thing),
        ("things/empty", &empty),
    ];
    assert_travels(&Carried::new(&all, &[]));
}

#[test]
fn q60_layers_keep_their_compression_and_their_encryption() {
    require!("docker-registry");
    let layers = [Compression::Gzip, Compression::Zstd, Compression::None]
        .map(|compression| Layer::sample(60, "layer", 40 << 10, compression));
    let mut oci = ImageBuilder::new(Family::Oci, "linux/amd64");
    for layer in &layers {
        oci = oci.layer(layer);
    }
    let oci = oci.build();
    let types: Vec<_> = oci
        .blobs
        .iter()
        .map(|blob| blob.media_type.clone())
        .collect();
    for compression in [".tar+gzip", ".tar+zstd", ".tar"] {
        assert!(types.iter().any(|t| t.ends_with(compression)), "{types:?}");
    }
    let docker = sample(60, Family::Docker, "linux/amd64");
    let encrypted = artifact(
        None,
        oci.blobs[0].clone(),
        ["gzip+encrypted", "zstd+encrypted"]
            .map(|kind| {
                let kind = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
                let key = kind.clone().into_bytes();
                Blob::new(&kind, key)
            })
            .to_vec(),
        None,
    );
    let all = [
        ("layers/oci", &oci),
        ("layers/docker", &docker),
        ("layers/encrypted", &encrypted),
    ];
    // Each blob is compared by its digest, which a transcoded one would not have.
    assert_travels(&Carried::new(&all, &[]));
}

#[test]
fn q61_foreign_layers_are_listed_as_absent_and_nobody_is_asked_for_them() {
    let elsewhere = Scripted::start(|_| Answer::status(404));
    let far_away = Digest::sha256_of(b"far away");
    let url = format!("http://{}/layers/{far_away}", elsewhere.host());
    let windows = ImageBuilder::new(Family::Docker, "windows/amd64")
        .foreign_layer(far_away, 1 << 30, &[&url])
        .layer(&Layer::sample(61, "own", 10 << 10, Compression::Gzip))
        .build();
    let carried = Carried::new(&[("win/base", &windows)], &[]);
    let absent = &carried.created.json()["lock"]["absent"];
    assert_eq!(absent.as_array().unwrap().len(), 1, "{absent}");
    assert_eq!(absent[0]["digest"], far_away.to_string());
    assert_eq!(absent[0]["reason"], "foreign");
    assert_eq!(absent[0]["urls"], json!([url]));
    let told = &carried.created.stderr;
    assert!(
        told.contains("foreign layer") && told.contains(&url),
        "{told}"
    );
    let asked = carried.source.log.entries();
    assert!(
        asked.iter().all(|r| !r.path.contains(&far_away.hex())),
        "{asked:?}"
    );

    let destination = Embedded::start();
    carried.load(&destination.host(), &[]).success();
    carried.assert_arrived(&destination.client());
    assert_eq!(destination.client().blob("win/base", far_away), None);
    let asked = elsewhere.asked();
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn q64_children_come_first_then_the_index_and_the_tag_last() {
    let (one, two) = (
        sample_index(64, Family::Oci),
        sample_index(65, Family::Docker),
    );
    let carried = Carried::new(&[("a/one", &one), ("a/two", &two)], &[]);
    let destination = Embedded::start();
    carried.load(&destination.host(), &[]).success();
    carried.assert_arrived(&destination.client());
    let puts = destination.manifests_put();
    let at = |path: String| {
        let line = format!("PUT /v2/{path}");
        let found = puts.iter().position(|put| *put == line);
        found.unwrap_or_else(|| panic!("{line}: {puts:#?}"))
    };
    let mut tags = Vec::new();
    for (repository, image) in &carried.images {
        let index = at(format!("{repository}/manifests/{}", image.digest));
        for child in &image.children {
            assert!(at(format!("{repository}/manifests/{}", child.digest)) < index);
        }
        tags.push(at(format!("{repository}/manifests/1")));
    }
    tags.sort();
    assert_eq!(tags, [puts.len() - 2, puts.len() - 1], "{puts:#?}");
    // Blobs before anything that names them.
    let log = destination.log.mutating();
    let last_blob = log
        .iter()
        .rposition(|r| r.path.contains("/blobs/"))
        .unwrap();
    let first_manifest = log
        .iter()
        .position(|r| r.path.contains("/manifests/"))
        .unwrap();
    assert!(last_blob < first_manifest, "{log:#?}");
}
