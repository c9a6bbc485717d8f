//! Tags, referrers and the catalog.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Fixture, code, descriptor, header};
use crate::oci::{Digest, media_type};

/// The target of the `Link` header, if there is one.
fn next(response: &reqwest::Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().unwrap();
    let (target, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(relation, "; rel=\"next\"");
    Some(target.to_owned())
}

#[tokio::test]
async fn tags_come_in_pages() {
    let registry = Fixture::new().await;
    let (_, manifest) = registry.push_image("a/b", "c", "x").await;
    for tag in ["a", "e", "b", "D"] {
        registry
            .put("a/b", tag, media_type::OCI_MANIFEST, &manifest)
            .await;
    }
    let all: Value = registry
        .get("/v2/a/b/tags/list")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        all,
        json!({"name": "a/b", "tags": ["D", "a", "b", "c", "e"]})
    );

    let (mut path, mut seen) = (Some("/v2/a/b/tags/list?n=2".to_owned()), Vec::new());
    while let Some(page) = path {
        let response = registry.get(&page).await;
        path = next(&response);
        let body: Value = response.json().await.unwrap();
        seen.push(body["tags"].clone());
    }
    assert_eq!(seen, [json!(["D", "a"]), json!(["b", "c"]), json!(["e"])]);

    for (query, tags) in [
        ("last=b", json!(["c", "e"])),
        ("last=bb", json!(["c", "e"])),
        ("last=e", json!([])),
        ("n=0", json!([])),
        ("n=5", json!(["D", "a", "b", "c", "e"])),
        ("n=1&last=a", json!(["b"])),
    ] {
        let response = registry.get(&format!("/v2/a/b/tags/list?{query}")).await;
        let more = next(&response).is_some();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["tags"], tags, "{query}");
        assert_eq!(more, query == "n=1&last=a", "{query}");
    }
    let response = registry.get("/v2/a/b/tags/list?n=x").await;
    assert_eq!(code(response).await, "PAGINATION_NUMBER_INVALID");
}

#[tokio::test]
async fn the_catalog_lists_repositories() {
    let registry = Fixture::new().await;
    for name in ["b", "a/c", "a", "a/c/d"] {
        registry.push_blob(name, b"x").await;
    }
    let all: Value = registry.get("/v2/_catalog").await.json().await.unwrap();
    assert_eq!(all, json!({"repositories": ["a", "a/c", "a/c/d", "b"]}));
    let page = registry.get("/v2/_catalog?n=2&last=a").await;
    assert_eq!(
        next(&page).as_deref(),
        Some("/v2/_catalog?n=2&last=a%2Fc%2Fd")
    );
}

/// An artifact manifest about `subject`.
fn artifact(subject: &Value, kind: Option<&str>, note: &str) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor("application/vnd.example.config", b"{}"),
        "layers": [],
        "subject": subject,
        "annotations": {"note": note},
    });
    if let Some(kind) = kind {
        manifest["artifactType"] = json!(kind);
    }
    serde_json::to_vec(&manifest).unwrap()
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let registry = Fixture::with(|options| options.allow_delete = true).await;
    registry.push_blob("a", b"{}").await;
    // The subject may come later, or never.
    let subject = descriptor(media_type::OCI_MANIFEST, b"not pushed yet");
    let digest = subject["digest"].as_str().unwrap().to_owned();
    let path = format!("/v2/a/referrers/{digest}");
    let empty: Value = registry.get(&path).await.json().await.unwrap();
    assert_eq!(empty["manifests"], json!([]));

    let typed = artifact(&subject, Some("application/vnd.example.sbom+json"), "typed");
    let plain = artifact(&subject, None, "plain");
    for manifest in [&typed, &plain] {
        let name = Digest::sha256_of(manifest).to_string();
        let response = registry
            .put("a", &name, media_type::OCI_MANIFEST, manifest)
            .await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(header(&response, "oci-subject"), digest);
    }
    let response = registry.get(&path).await;
    assert_eq!(header(&response, "content-type"), media_type::OCI_INDEX);
    assert!(!response.headers().contains_key("oci-filters-applied"));
    let list: Value = response.json().await.unwrap();
    assert_eq!(
        (&list["schemaVersion"], &list["mediaType"]),
        (&json!(2), &json!(media_type::OCI_INDEX))
    );
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2);

    // Escaped and not: a plus sign in a query means a space, which no media type has.
    for filter in [
        "application/vnd.example.sbom%2Bjson",
        "application/vnd.example.sbom+json",
    ] {
        let response = registry.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!(header(&response, "oci-filters-applied"), "artifactType");
        let list: Value = response.json().await.unwrap();
        let expected = json!([{
            "mediaType": media_type::OCI_MANIFEST,
            "digest": Digest::sha256_of(&typed),
            "size": typed.len(),
            "artifactType": "application/vnd.example.sbom+json",
            "annotations": {"note": "typed"},
        }]);
        assert_eq!(list["manifests"], expected);
    }
    // Without an artifact type of its own, a manifest is known by its config.
    let filter = "application/vnd.example.config";
    let list = registry.get(&format!("{path}?artifactType={filter}")).await;
    let list: Value = list.json().await.unwrap();
    assert_eq!(
        list["manifests"][0]["digest"],
        Digest::sha256_of(&plain).to_string()
    );

    let gone = format!("/v2/a/manifests/{}", Digest::sha256_of(&typed));
    assert_eq!(registry.delete(&gone).await.status(), StatusCode::ACCEPTED);
    let list: Value = registry.get(&path).await.json().await.unwrap();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
    let elsewhere = registry.get(&format!("/v2/b/referrers/{digest}")).await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}

#[tokio::test]
async fn many_referrers_come_in_pages() {
    let registry = Fixture::new().await;
    registry.push_blob("a", b"{}").await;
    let subject = descriptor(media_type::OCI_MANIFEST, b"subject");
    let mut pushed = Vec::new();
    for index in 0..3 {
        let manifest = artifact(
            &subject,
            Some("application/x"),
            &format!("{index}{}", "y".repeat(2 << 20)),
        );
        let name = Digest::sha256_of(&manifest).to_string();
        let response = registry
            .put("a", &name, media_type::OCI_MANIFEST, &manifest)
            .await;
        assert_eq!(response.status(), StatusCode::CREATED);
        pushed.push(name);
    }
    let start = format!(
        "/v2/a/referrers/{}?artifactType=application/x",
        subject["digest"].as_str().unwrap()
    );
    let (mut path, mut seen, mut pages) = (Some(start), Vec::new(), 0);
    while let Some(page) = path {
        let response = registry.get(&page).await;
        path = next(&response);
        pages += 1;
        let body: Value = response.json().await.unwrap();
        for entry in body["manifests"].as_array().unwrap() {
            seen.push(entry["digest"].as_str().unwrap().to_owned());
        }
    }
    pushed.sort();
    assert_eq!(seen, pushed);
    assert!(pages > 1, "one answer of more than 4 MiB");
}
