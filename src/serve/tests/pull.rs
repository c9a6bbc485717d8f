//! Pulling manifests and blobs.

use reqwest::{Method, StatusCode};

use super::{Fixture, code, header};
use crate::oci::{Digest, media_type};

#[tokio::test]
async fn an_image_is_pulled_as_it_was_pushed() {
    let registry = Fixture::new().await;
    let base = registry.get("/v2/").await;
    assert_eq!(base.status(), StatusCode::OK);
    assert_eq!(
        header(&base, "docker-distribution-api-version"),
        "registry/2.0"
    );

    let (digest, manifest) = registry.push_image("a/b", "v1", "x").await;
    for reference in [
        "v1".to_owned(),
        digest.to_string(),
        digest.to_string().replace(':', "%3A"),
    ] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let head = registry.head(&path).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(header(&head, "content-length"), manifest.len().to_string());
        assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&head, "content-type"), media_type::OCI_MANIFEST);
        let got = registry.get(&path).await;
        assert_eq!(header(&got, "docker-content-digest"), digest.to_string());
        assert_eq!(got.bytes().await.unwrap(), manifest);
    }
    let layer = Digest::sha256_of(b"layer x");
    let path = format!("/v2/a/b/blobs/{layer}");
    let head = registry.head(&path).await;
    assert_eq!(
        (head.status(), header(&head, "content-length")),
        (StatusCode::OK, "7")
    );
    assert_eq!(header(&head, "accept-ranges"), "bytes");
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), "layer x");
}

#[tokio::test]
async fn what_is_not_there_is_reported_by_kind() {
    let registry = Fixture::new().await;
    registry.push_image("a", "v1", "x").await;
    let digest = Digest::sha256_of(b"nothing");
    for (path, status, expected) in [
        ("/v2/a/manifests/v2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/a/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/a/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("/v2/a/blobs/sha256:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/md5:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/-v1".to_owned(), 400, "TAG_INVALID"),
        ("/v2/A/manifests/v1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/b/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        (
            "/v2/a/blobs/uploads/0".to_owned(),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("/elsewhere".to_owned(), 404, "UNSUPPORTED"),
    ] {
        let head = registry.head(&path).await;
        assert_eq!(head.status(), status, "{path}");
        let response = registry.get(&path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(code(response).await, expected, "{path}");
    }
    // A blob of another repository is not visible, although its content is in the store.
    registry.push_blob("other", b"secret").await;
    let path = format!("/v2/a/blobs/{}", Digest::sha256_of(b"secret"));
    assert_eq!(registry.get(&path).await.status(), StatusCode::NOT_FOUND);
    // Nor is a manifest a blob.
    let (digest, _) = registry.push_image("a", "v1", "x").await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.get(&path).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ranges_of_a_blob() {
    let registry = Fixture::new().await;
    // Longer than what is read from the disk at once, and of no round length.
    let content: Vec<u8> = (0..3_000_017u32).map(|i| (i % 251) as u8).collect();
    let digest = registry.push_blob("a", &content).await;
    let path = format!("/v2/a/blobs/{digest}");
    let size = content.len();
    for (range, first, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2999999", 1_000_000, 3_000_000),
        ("bytes=3000000-", 3_000_000, size),
        ("bytes=-5", size - 5, size),
        ("bytes=5-999999999", 5, size),
    ] {
        let request = registry.request(Method::GET, &path).header("range", range);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let expected = format!("bytes {first}-{}/{size}", end - 1);
        assert_eq!(header(&response, "content-range"), expected);
        assert_eq!(
            header(&response, "content-length"),
            (end - first).to_string()
        );
        assert_eq!(
            response.bytes().await.unwrap(),
            content[first..end],
            "{range}"
        );
    }
    let behind = registry
        .request(Method::GET, &path)
        .header("range", format!("bytes={size}-"));
    let response = behind.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        header(&response, "content-range"),
        format!("bytes */{size}")
    );

    for (condition, status) in [(format!("\"{digest}\""), 206), ("\"old\"".to_owned(), 200)] {
        let request = registry
            .request(Method::GET, &path)
            .header("range", "bytes=0-0");
        let response = request.header("if-range", condition).send().await.unwrap();
        assert_eq!(response.status(), status);
    }
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), content);
}

#[tokio::test]
async fn the_log_tells_what_went_through() {
    let registry = Fixture::new().await;
    let digest = registry.push_blob("a", &[7; 5000]).await;
    registry.log.clear();
    let path = format!("/v2/a/blobs/{digest}");
    let request = registry
        .request(Method::GET, &path)
        .header("range", "bytes=0-99");
    request.send().await.unwrap().bytes().await.unwrap();
    registry.push_blob("b", &[7; 5000]).await;
    let entries = registry.log.entries();
    assert_eq!(entries.len(), 3);
    assert_eq!(
        (entries[0].method.as_str(), entries[0].path.as_str()),
        ("GET", path.as_str())
    );
    assert_eq!((entries[0].status, entries[0].bytes_out), (206, 100));
    assert_eq!(entries[0].range.as_deref(), Some("bytes=0-99"));
    let mutating = registry.log.mutating();
    assert_eq!(mutating, entries[1..]);
    assert_eq!((mutating[1].status, mutating[1].bytes_in), (201, 5000));
    assert_eq!(mutating[1].query, format!("digest={digest}"));
}
