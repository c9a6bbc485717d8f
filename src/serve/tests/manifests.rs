//! Pushing and deleting manifests and tags.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fixture, code, descriptor, header, image};
use crate::oci::{Algorithm, Digest, Hasher, MAX_DOCUMENT_BYTES, media_type};

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn index_of(children: &[&[u8]]) -> Vec<u8> {
    let children: Vec<_> = children
        .iter()
        .map(|child| descriptor(media_type::OCI_MANIFEST, child))
        .collect();
    bytes(&json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children}))
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_is_refused() {
    let registry = Fixture::new().await;
    registry.push_blob("a", b"config").await;
    registry.push_blob("elsewhere", b"layer").await;
    let manifest = image(b"config", b"layer");
    let response = registry
        .put("a", "v1", media_type::OCI_MANIFEST, &manifest)
        .await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body: Value = response.json().await.unwrap();
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        errors[0]["detail"]["digest"],
        Digest::sha256_of(b"layer").to_string()
    );
    assert_eq!(
        registry.head("/v2/a/manifests/v1").await.status(),
        StatusCode::NOT_FOUND
    );

    registry.push_blob("a", b"layer").await;
    let response = registry
        .put("a", "v1", media_type::OCI_MANIFEST, &manifest)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let digest = Digest::sha256_of(&manifest);
    assert_eq!(
        header(&response, "location"),
        format!("/v2/a/manifests/{digest}")
    );
    assert_eq!(
        header(&response, "docker-content-digest"),
        digest.to_string()
    );
}

#[tokio::test]
async fn the_children_of_an_index_come_first_unless_it_may_be_sparse() {
    let registry = Fixture::new().await;
    let (_, here) = registry.push_image("a", "v1", "x").await;
    let absent = image(b"no config", b"no layer");
    let index = index_of(&[&here, &absent]);
    let response = registry
        .put("a", "all", media_type::OCI_INDEX, &index)
        .await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(code(response).await, "MANIFEST_BLOB_UNKNOWN");
    let full = index_of(&[&here]);
    let response = registry.put("a", "all", media_type::OCI_INDEX, &full).await;
    assert_eq!(response.status(), StatusCode::CREATED);

    let registry = registry
        .restarted(|options| options.allow_sparse_indexes = true)
        .await;
    let response = registry
        .put("a", "all", media_type::OCI_INDEX, &index)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let got = registry.get("/v2/a/manifests/all").await;
    assert_eq!(header(&got, "content-type"), media_type::OCI_INDEX);
    assert_eq!(got.bytes().await.unwrap(), index);
}

#[tokio::test]
async fn layers_from_elsewhere_need_not_be_there() {
    let registry = Fixture::new().await;
    registry.push_blob("a", b"config").await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut layer = descriptor(foreign, b"windows");
    layer["urls"] = json!(["https://example.com/layer"]);
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": media_type::DOCKER_MANIFEST,
        "config": descriptor(media_type::DOCKER_CONFIG, b"config"),
        "layers": [layer],
    }));
    let response = registry
        .put("a", "v1", media_type::DOCKER_MANIFEST, &manifest)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn manifests_must_be_what_they_say() {
    let registry = Fixture::new().await;
    registry.push_blob("a", b"config").await;
    registry.push_blob("a", b"layer").await;
    let manifest = image(b"config", b"layer");
    let mut lie: Value = serde_json::from_slice(&manifest).unwrap();
    lie["layers"][0]["size"] = json!(4);
    let mut old: Value = serde_json::from_slice(&manifest).unwrap();
    old["schemaVersion"] = json!(1);
    let mut bad: Value = serde_json::from_slice(&manifest).unwrap();
    bad["layers"][0]["digest"] = json!("sha256:../../etc/passwd");
    let oci = media_type::OCI_MANIFEST;
    for (kind, body, expected) in [
        (oci, b"not json".to_vec(), "MANIFEST_INVALID"),
        (oci, b"[]".to_vec(), "MANIFEST_INVALID"),
        (oci, bytes(&lie), "SIZE_INVALID"),
        (oci, bytes(&old), "MANIFEST_INVALID"),
        (oci, bytes(&bad), "MANIFEST_INVALID"),
        (oci, "[".repeat(100_000).into_bytes(), "MANIFEST_INVALID"),
        (media_type::OCI_INDEX, manifest.clone(), "MANIFEST_INVALID"),
        ("a b", b"{}".to_vec(), "MANIFEST_INVALID"),
        ("", b"{}".to_vec(), "MANIFEST_INVALID"),
    ] {
        let response = registry.put("a", "v1", kind, &body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{kind}");
        assert_eq!(code(response).await, expected, "{kind}");
    }
    let other = Digest::sha256_of(b"other").to_string();
    let response = registry.put("a", &other, oci, &manifest).await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );

    // Parameters are no part of the type; a missing header is made up for by the document.
    let response = registry
        .put("a", "v1", &format!("{oci}; charset=utf-8"), &manifest)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let response = registry
        .send(Method::PUT, "/v2/a/manifests/v2", manifest)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    for tag in ["v1", "v2"] {
        let head = registry.head(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(header(&head, "content-type"), oci);
    }
}

#[tokio::test]
async fn other_types_are_stored_as_they_are() {
    let registry = Fixture::new().await;
    for (tag, kind, body) in [
        (
            "one",
            "application/vnd.example.thing.v1",
            "no json at all \u{1F600}",
        ),
        (
            "two",
            media_type::DOCKER_SCHEMA1_SIGNED,
            "{\"schemaVersion\": 1, \"fsLayers\": []}",
        ),
    ] {
        let response = registry.put("a", tag, kind, body.as_bytes()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let got = registry.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(header(&got, "content-type"), kind);
        assert_eq!(got.bytes().await.unwrap(), body);
    }
}

#[tokio::test]
async fn manifests_have_a_largest_size() {
    let registry = Fixture::new().await;
    let kind = "application/vnd.example.thing.v1";
    let largest = vec![b'x'; MAX_DOCUMENT_BYTES];
    assert_eq!(
        registry.put("a", "v1", kind, &largest).await.status(),
        StatusCode::CREATED
    );
    let got = registry.get("/v2/a/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), largest);
    let larger = vec![b'x'; MAX_DOCUMENT_BYTES + 1];
    let response = registry.put("a", "v1", kind, &larger).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(code(response).await, "SIZE_INVALID");
}

#[tokio::test]
async fn tags_move() {
    let registry = Fixture::new().await;
    let (first, _) = registry.push_image("a", "latest", "x").await;
    let (second, _) = registry.push_image("a", "latest", "y").await;
    let head = registry.head("/v2/a/manifests/latest").await;
    assert_eq!(header(&head, "docker-content-digest"), second.to_string());
    let old = registry.head(&format!("/v2/a/manifests/{first}")).await;
    assert_eq!(old.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_push_by_digest_sets_the_tags_of_its_parameters() {
    let registry = Fixture::new().await;
    let (_, bytes) = registry.push_image("a", "old", "x").await;
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let digest = hasher.finish();
    let push = async |query: &str| {
        let reference = format!("{digest}{query}");
        registry
            .put("a", &reference, media_type::OCI_MANIFEST, &bytes)
            .await
    };
    let response = push("").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers().get("oci-tag"), None);
    let response = push("?tag=1.2&tag=%31&tag=latest").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(header(&response, "oci-tag"), "1.2, 1, latest");
    for tag in ["1.2", "1", "latest"] {
        let got = registry.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(header(&got, "docker-content-digest"), digest.to_string());
        assert_eq!(got.bytes().await.unwrap(), bytes);
    }

    // One that cannot be set, and none is.
    let response = push("?tag=new&tag=../x").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(code(response).await, "TAG_INVALID");
    let many: String = (0..65).map(|n| format!("&tag=t{n}")).collect();
    let response = push(&format!("?{}", &many[1..])).await;
    assert_eq!(response.status(), StatusCode::URI_TOO_LONG);
    // A push by tag is for that tag.
    let by_tag = "old?tag=other";
    let response = registry
        .put("a", by_tag, media_type::OCI_MANIFEST, &bytes)
        .await;
    assert_eq!(response.headers().get("oci-tag"), None);
    let listed: Value = registry.get("/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(listed["tags"], json!(["1", "1.2", "latest", "old"]));
}

#[tokio::test]
async fn deletion_is_off_unless_allowed() {
    let registry = Fixture::new().await;
    let (digest, _) = registry.push_image("a", "v1", "x").await;
    let layer = Digest::sha256_of(b"layer x");
    for path in [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{digest}"),
        format!("/v2/a/blobs/{layer}"),
    ] {
        let response = registry.delete(&path).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(code(response).await, "UNSUPPORTED");
        assert_eq!(registry.head(&path).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_frees_its_space() {
    let registry = Fixture::with(|options| options.allow_delete = true).await;
    let (digest, _) = registry.push_image("a", "v1", "x").await;
    registry
        .put(
            "a",
            "v2",
            media_type::OCI_MANIFEST,
            &registry_manifest(&registry).await,
        )
        .await;
    let layer = Digest::sha256_of(b"layer x");
    registry
        .post(&format!("/v2/b/blobs/uploads/?mount={layer}&from=a"))
        .await;

    // A tag alone.
    assert_eq!(
        registry.delete("/v2/a/manifests/v1").await.status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(
        registry.delete("/v2/a/manifests/v1").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        registry.head("/v2/a/manifests/v2").await.status(),
        StatusCode::OK
    );
    // The manifest with the other tag.
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.delete(&path).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        registry.head("/v2/a/manifests/v2").await.status(),
        StatusCode::NOT_FOUND
    );
    let hex = digest.hex();
    let content = registry
        .store()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    assert!(!content.exists());

    // A blob that another repository has stays there, and on the disk, until it is the last.
    let hex = layer.hex();
    let content = registry
        .store()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    for (name, left) in [("a", true), ("b", false)] {
        let path = format!("/v2/{name}/blobs/{layer}");
        assert_eq!(registry.head(&path).await.status(), StatusCode::OK);
        assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
        assert_eq!(registry.head(&path).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(registry.delete(&path).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(content.exists(), left);
    }
}

async fn registry_manifest(registry: &Fixture) -> Vec<u8> {
    let got = registry.get("/v2/a/manifests/v1").await;
    got.bytes().await.unwrap().to_vec()
}
