//! Pushing blobs.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Fixture, code, header};
use crate::oci::{Algorithm, Digest, Hasher};

fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

#[tokio::test]
async fn a_blob_can_be_sent_with_the_first_request() {
    let registry = Fixture::new().await;
    let digest = Digest::sha256_of(b"whole");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let response = registry.send(Method::POST, &path, "whole").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(
        header(&response, "location"),
        format!("/v2/a/blobs/{digest}")
    );
    let got = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(got.bytes().await.unwrap(), "whole");

    let wrong = registry.send(Method::POST, &path, "other").await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert_eq!(code(wrong).await, "DIGEST_INVALID");
    assert_no_uploads(&registry);
}

#[tokio::test]
async fn empty_blobs_and_sha512_are_supported() {
    let registry = Fixture::new().await;
    let empty = registry.push_blob("a", b"").await;
    let got = registry.get(&format!("/v2/a/blobs/{empty}")).await;
    assert_eq!(
        (got.status(), header(&got, "content-length")),
        (StatusCode::OK, "0")
    );

    let digest = sha512(b"long digest");
    for query in ["", "?digest-algorithm=sha512"] {
        let name = if query.is_empty() { "b" } else { "c" };
        let response = registry
            .post(&format!("/v2/{name}/blobs/uploads/{query}"))
            .await;
        let session = header(&response, "location").to_owned();
        assert_eq!(
            registry.chunk(&session, 0, b"long ").await.status(),
            StatusCode::ACCEPTED
        );
        let path = format!("{session}?digest={digest}");
        let response = registry.send(Method::PUT, &path, "digest").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let got = registry.get(&format!("/v2/{name}/blobs/{digest}")).await;
        assert_eq!(got.bytes().await.unwrap(), "long digest");
    }
    let refused = registry
        .post("/v2/a/blobs/uploads/?digest-algorithm=md5")
        .await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn chunks_are_taken_in_order_only() {
    let registry = Fixture::new().await;
    let content: Vec<u8> = (0..2_500_000u32).map(|i| (i % 253) as u8).collect();
    let digest = Digest::sha256_of(&content);
    let session = registry.session("a").await;
    let accepted = registry.chunk(&session, 0, &content[..1_500_000]).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&accepted, "range"), "0-1499999");
    assert_eq!(header(&accepted, "location"), session);

    for first in [0, 1_499_999, 1_500_001] {
        let refused = registry.chunk(&session, first, &content[1_500_000..]).await;
        assert_eq!(refused.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header(&refused, "range"), "0-1499999");
        assert_eq!(header(&refused, "location"), session);
    }
    let status = registry.get(&session).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&status, "range"), "0-1499999");

    // Not before the end: nobody sees half of it.
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.head(&blob).await.status(), StatusCode::NOT_FOUND);
    registry
        .chunk(&session, 1_500_000, &content[1_500_000..2_000_000])
        .await;
    let last = registry
        .request(Method::PUT, &format!("{session}?digest={digest}"))
        .header("content-range", format!("2000000-{}", content.len() - 1))
        .body(content[2_000_000..].to_vec());
    assert_eq!(last.send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(registry.get(&blob).await.bytes().await.unwrap(), content);
    assert_eq!(registry.get(&session).await.status(), StatusCode::NOT_FOUND);
    assert_no_uploads(&registry);
}

#[tokio::test]
async fn a_chunk_that_contradicts_itself_changes_nothing() {
    let registry = Fixture::new().await;
    let session = registry.session("a").await;
    registry.chunk(&session, 0, b"first ").await;
    for (range, status) in [
        ("6-99", StatusCode::BAD_REQUEST),
        ("6-7", StatusCode::BAD_REQUEST),
        ("6", StatusCode::RANGE_NOT_SATISFIABLE),
        ("nonsense", StatusCode::RANGE_NOT_SATISFIABLE),
    ] {
        let request = registry
            .request(Method::PATCH, &session)
            .header("content-range", range);
        let response = request.body("second").send().await.unwrap();
        assert_eq!(response.status(), status, "{range}");
        let position = registry.get(&session).await;
        assert_eq!(header(&position, "range"), "0-5", "{range}");
    }
    // The digest, too, knows nothing of what was refused.
    let digest = Digest::sha256_of(b"first second");
    let path = format!("{session}?digest={digest}");
    let response = registry.send(Method::PUT, &path, "second").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let got = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(got.bytes().await.unwrap(), "first second");
}

#[tokio::test]
async fn content_with_another_digest_is_refused() {
    let registry = Fixture::new().await;
    let digest = Digest::sha256_of(b"right");
    let session = registry.session("a").await;
    let response = registry.send(Method::PUT, &session, "right").await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );

    let path = format!("{session}?digest={digest}");
    let response = registry.send(Method::PUT, &path, "wrong").await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.head(&blob).await.status(), StatusCode::NOT_FOUND);
    assert_no_uploads(&registry);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let registry = Fixture::new().await;
    let session = registry.session("a").await;
    registry.chunk(&session, 0, b"some").await;
    let elsewhere = session.replace("/a/", "/b/");
    assert_eq!(
        registry.get(&elsewhere).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        registry.delete(&session).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(registry.get(&session).await.status(), StatusCode::NOT_FOUND);
    let response = registry.chunk(&session, 4, b"more").await;
    assert_eq!(code(response).await, "BLOB_UPLOAD_UNKNOWN");
    assert_no_uploads(&registry);
}

#[tokio::test]
async fn blobs_are_mounted_from_where_they_are() {
    let registry = Fixture::new().await;
    let digest = registry.push_blob("from", b"shared").await;
    let mount = |name: &str, query: &str| format!("/v2/{name}/blobs/uploads/?{query}");
    let response = registry
        .post(&mount("to", &format!("mount={digest}&from=from")))
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(
        header(&response, "location"),
        format!("/v2/to/blobs/{digest}")
    );
    let got = registry.get(&format!("/v2/to/blobs/{digest}")).await;
    assert_eq!(got.bytes().await.unwrap(), "shared");

    let other = Digest::sha256_of(b"absent");
    for query in [
        format!("mount={other}&from=from"),
        format!("mount={digest}&from=nowhere"),
        format!("mount={digest}&from=../from"),
        format!("mount={digest}"),
    ] {
        let response = registry.post(&mount("third", &query)).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{query}");
        assert!(header(&response, "location").starts_with("/v2/third/blobs/uploads/"));
    }
    let path = format!("/v2/third/blobs/{digest}");
    assert_eq!(registry.head(&path).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_same_blob_from_many_clients_at_once() {
    let registry = Fixture::new().await;
    let content = vec![42; 300_000];
    let pushes = (0..16).map(|index| {
        let (registry, content) = (&registry, &content);
        async move {
            registry
                .push_blob(&format!("r{}", index % 4), content)
                .await
        }
    });
    let digests = futures_util::future::join_all(pushes).await;
    assert!(
        digests
            .iter()
            .all(|digest| *digest == Digest::sha256_of(&content))
    );
    for index in 0..4 {
        let got = registry
            .get(&format!("/v2/r{index}/blobs/{}", digests[0]))
            .await;
        assert_eq!(got.bytes().await.unwrap(), content);
    }
    assert_no_uploads(&registry);
}

#[tokio::test]
async fn slow_clients_keep_nobody_waiting() {
    let registry = Fixture::new().await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let session = registry.session("slow").await;
        let mut stream = TcpStream::connect(registry.server.local_addr())
            .await
            .unwrap();
        let head =
            format!("PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf");
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push((stream, session));
    }
    let quick = timeout(Duration::from_secs(20), async {
        let (digest, manifest) = registry.push_image("quick", "v1", "x").await;
        let got = registry.get(&format!("/v2/quick/manifests/{digest}")).await;
        assert_eq!(got.bytes().await.unwrap(), manifest);
    });
    quick.await.expect("others are served meanwhile");
    // And the slow ones are still welcome.
    let (mut stream, _) = slow.pop().unwrap();
    stream.write_all(&[b'x'; 996]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
}

#[tokio::test]
async fn a_broken_connection_leaves_the_session_usable() {
    let registry = Fixture::new().await;
    let session = registry.session("a").await;
    registry.chunk(&session, 0, b"0123456789").await;
    let mut stream = TcpStream::connect(registry.server.local_addr())
        .await
        .unwrap();
    let head = format!("PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabcdef");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    let position = registry.get(&session).await;
    assert_eq!(position.status(), StatusCode::NO_CONTENT);
    let range = header(&position, "range").to_owned();
    let offset: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    let content = b"0123456789abcdefghij";
    assert!((10..=16).contains(&offset), "{range}");
    let digest = Digest::sha256_of(content);
    assert_eq!(
        registry
            .chunk(&session, offset, &content[offset..])
            .await
            .status(),
        StatusCode::ACCEPTED
    );
    let response = registry
        .send(Method::PUT, &format!("{session}?digest={digest}"), "")
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
}

fn assert_no_uploads(registry: &Fixture) {
    let left = std::fs::read_dir(registry.store().join("uploads")).unwrap();
    assert_eq!(left.count(), 0, "an upload was left behind");
}
