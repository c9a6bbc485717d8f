//! Registries that do not take every manifest: what is told, and what to do.

use serde_json::{Value, json};
use sneakernet::oci::{Algorithm, Digest, Hasher, media_type as known};

use super::Carried;
use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    front::answering,
    images::{Blob, Family, Image, artifact, empty_config, sample},
    scripted::{Answer, Asked},
    tools::require,
};

fn is_manifest_put(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.path.contains("/manifests/")
}

/// What this answers to the manifest is told with all of `parts`, and no tag is written.
#[track_caller]
fn assert_told(carried: &Carried, refusal: Answer, parts: &[&str]) {
    let registry = Embedded::start();
    let front = answering(&registry.host(), move |asked| {
        is_manifest_put(asked).then(|| refusal.clone())
    });
    let refused = carried.load(&front.host(), &[]).exits(6);
    for part in parts {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    for (repository, _) in &carried.images {
        assert_eq!(registry.client().tags(repository), [""; 0]);
    }
}

fn ecr() -> Answer {
    let message =
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'";
    let body = json!({"errors": [{"code": "MANIFEST_INVALID", "message": message}]});
    Answer::status(405)
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// The same without the member `mediaType`.
fn without_media_type(image: &Image) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
    manifest.as_object_mut().unwrap().remove("mediaType");
    let bytes = manifest.to_string().into_bytes();
    Image {
        digest: Digest::sha256_of(&bytes),
        bytes: bytes.into(),
        ..image.clone()
    }
}

#[test]
fn q52_a_manifest_without_media_type_arrives_or_the_refusal_is_explained() {
    let config = Blob::new(known::HELM_CONFIG, r#"{"name":"x","version":"1.0.0"}"#);
    let chart = artifact(
        None,
        config,
        vec![Blob::new(known::HELM_CONTENT, "x")],
        None,
    );
    let chart = without_media_type(&chart);
    let carried = Carried::new(&[("charts/x", &chart)], &[]);
    let registry = Embedded::start();
    carried.load(&registry.host(), &[]).success();
    carried.assert_arrived(&registry.client());
    let parts = [
        "charts/x:1",
        "media type",
        "Invalid JSON syntax",
        "`mediaType`",
    ];
    assert_told(&carried, ecr(), &parts);
    let cloudflare = Answer::status(400).body("Bad Request");
    assert_told(
        &carried,
        cloudflare,
        &["does not say its own media type", "400"],
    );

    // What has one is refused for some other reason.
    let image = sample(52, Family::Oci, "linux/amd64");
    let carried = Carried::new(&[("a/one", &image)], &[]);
    let front = answering(&registry.host(), |asked| is_manifest_put(asked).then(ecr));
    let refused = carried.load(&front.host(), &[]).exits(6);
    assert!(
        !refused.stderr.contains("its own media type"),
        "{refused:?}"
    );
}

#[test]
fn q66_media_types_with_a_parameter_arrive_or_the_refusal_is_explained() {
    let bundle = "application/vnd.dev.sigstore.bundle+json;version=0.3";
    let as_layer = artifact(None, empty_config(), vec![Blob::new(bundle, "{ }")], None);
    let as_type = artifact(Some(bundle), empty_config(), vec![empty_config()], None);
    for image in [&as_layer, &as_type] {
        let carried = Carried::new(&[("a/signature", image)], &[]);
        let registry = Embedded::start();
        carried.load(&registry.host(), &[]).success();
        carried.assert_arrived(&registry.client());
        assert_told(&carried, ecr(), &["a/signature:1", bundle, "signed anew"]);
    }
}

fn sha512(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(content);
    hasher.finish()
}

/// An artifact whose layer is named by its SHA-512.
fn long_named() -> Image {
    let layer = Blob::new("x/y", "layer");
    let mut image = artifact(Some("x/y"), empty_config(), vec![layer], None);
    let layer = &mut image.blobs[1];
    let text = String::from_utf8(image.bytes.to_vec()).unwrap();
    let named = sha512(b"layer");
    let text = text.replace(&layer.digest.to_string(), &named.to_string());
    layer.digest = named;
    image.digest = Digest::sha256_of(text.as_bytes());
    image.bytes = text.into();
    image
}

#[test]
fn q57_sha512_travels_into_distribution_too() {
    require!("docker-registry");
    let image = long_named();
    let carried = Carried::new(&[("a/long", &image)], &[]);
    let real = Registry::start(Options::default());
    carried.load(real.host(), &[]).success();
    let client = real.client();
    assert_eq!(client.manifest("a/long", "1").unwrap().bytes, image.bytes);
    assert_eq!(client.blob("a/long", sha512(b"layer")).unwrap(), "layer");
}

#[test]
fn q57_sha512_travels_and_a_registry_without_it_is_told_as_such() {
    let image = long_named();
    let carried = Carried::new(&[("a/long", &image)], &[]);
    let registry = Embedded::start();
    carried.load(&registry.host(), &[]).success();
    let client = registry.client();
    assert_eq!(client.manifest("a/long", "1").unwrap().bytes, image.bytes);
    assert_eq!(client.blob("a/long", sha512(b"layer")).unwrap(), "layer");

    for refused in ["digest-algorithm=sha512", "digest=sha512"] {
        let registry = Embedded::start();
        let front = answering(&registry.host(), move |asked| {
            let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"invalid digest"}]}"#;
            let is_it = asked.path.contains(refused);
            is_it.then(|| {
                Answer::status(400)
                    .header("content-type", "application/json")
                    .body(body)
            })
        });
        let told = carried.load(&front.host(), &[]).exits(6);
        for part in ["no sha512 digests", "sha256"] {
            assert!(told.stderr.contains(part), "{part}: {told:?}");
        }
    }
}
