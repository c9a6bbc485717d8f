//! Each kind of deliberate fault, as a client meets it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};

use super::{Fixture, code, header};
use crate::oci::Digest;

const SIZE: usize = 200_000;

fn content() -> Vec<u8> {
    (0..SIZE).map(|i| (i % 249) as u8).collect()
}

/// A registry with a blob, whose downloads go wrong in the given way.
async fn failing_download(fault: &str) -> (Fixture, String) {
    let registry = Fixture::failing(&format!("GET:/v2/a/blobs/sha256:{fault}")).await;
    let digest = registry.push_blob("a", &content()).await;
    (registry, format!("/v2/a/blobs/{digest}"))
}

/// What arrives of a body, and whether it ended well.
async fn read(response: reqwest::Response) -> (Vec<u8>, bool) {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => all.extend_from_slice(&chunk),
            Err(_) => return (all, false),
        }
    }
    (all, true)
}

#[tokio::test]
async fn a_status_with_a_time_to_wait() {
    let (registry, path) = failing_download(":status=503:retry-after=7:times=2").await;
    for _ in 0..2 {
        let response = registry.get(&path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&response, "retry-after"), "7");
        assert_eq!(code(response).await, "UNKNOWN");
    }
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), content());
}

#[tokio::test]
async fn a_slow_body() {
    let (registry, path) = failing_download(":slow=1000000").await;
    let start = Instant::now();
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), content());
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_reset_connection() {
    let (registry, path) = failing_download(":reset:nth=2").await;
    assert_eq!(registry.get(&path).await.status(), StatusCode::OK);
    // On its own connection: on one that was used before, the client library tries again by itself.
    let fresh = super::client();
    let error = fresh.get(registry.url(&path)).send().await.unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let kind = cause
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset), "{cause}");
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), content());
}

#[tokio::test]
async fn a_body_that_ends_early() {
    let (registry, path) = failing_download(":cut=65537:times=1").await;
    let response = registry.get(&path).await;
    assert_eq!(header(&response, "content-length"), SIZE.to_string());
    let (got, ended_well) = read(response).await;
    assert_eq!(got, content()[..65537]);
    assert!(!ended_well);
    let rest = registry
        .request(Method::GET, &path)
        .header("range", "bytes=65537-");
    assert_eq!(
        read(rest.send().await.unwrap()).await,
        (content()[65537..].to_vec(), true)
    );
}

#[tokio::test]
async fn a_cut_behind_the_end_is_none() {
    let (registry, path) = failing_download(&format!(":cut={SIZE}")).await;
    assert_eq!(read(registry.get(&path).await).await, (content(), true));
}

#[tokio::test]
async fn a_body_that_pauses() {
    let (registry, path) = failing_download(":stall=300ms:at=1000").await;
    let started = Instant::now();
    let mut stream = registry.get(&path).await.bytes_stream();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first, content()[..1000]);
    let mut all = first.to_vec();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(all, content());
}

#[tokio::test]
async fn a_byte_that_is_wrong() {
    let (registry, path) = failing_download(":corrupt=150000:times=1").await;
    let got = registry.get(&path).await.bytes().await.unwrap();
    let mut expected = content();
    expected[150_000] = !expected[150_000];
    assert_eq!(got, expected);
    assert_eq!(registry.get(&path).await.bytes().await.unwrap(), content());
}

#[tokio::test]
async fn an_answer_that_comes_late() {
    let (registry, path) = failing_download(":delay=200ms").await;
    let started = Instant::now();
    assert_eq!(registry.get(&path).await.status(), StatusCode::OK);
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_there() {
    let registry = Fixture::failing("PUT:/blobs/uploads/:lose-answer").await;
    let session = registry.session("a").await;
    let digest = Digest::sha256_of(&content());
    let request = registry.request(Method::PUT, &format!("{session}?digest={digest}"));
    assert!(request.body(content()).send().await.is_err());
    let got = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(got.bytes().await.unwrap(), content());
}

#[tokio::test]
async fn an_upload_that_is_reset_was_not_looked_at() {
    let registry = Fixture::failing("PUT:/blobs/uploads/:reset:times=1").await;
    let session = registry.session("a").await;
    let digest = Digest::sha256_of(b"small");
    let path = format!("{session}?digest={digest}");
    let request = registry.request(Method::PUT, &path);
    assert!(request.body("small").send().await.is_err());
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.head(&blob).await.status(), StatusCode::NOT_FOUND);
    let response = registry.send(Method::PUT, &path, "small").await;
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_that_is_cut_can_go_on_from_there() {
    let registry = Fixture::failing("PATCH::cut=70000:times=1").await;
    let session = registry.session("a").await;
    let request = registry.request(Method::PATCH, &session);
    assert!(request.body(content()).send().await.is_err());
    let position = registry.get(&session).await;
    assert_eq!(header(&position, "range"), "0-69999");
    let digest = Digest::sha256_of(&content());
    let path = format!("{session}?digest={digest}");
    let response = registry
        .send(Method::PUT, &path, content()[70_000..].to_vec())
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_that_arrives_wrong_is_refused() {
    let registry = Fixture::failing("PUT:/blobs/uploads/:corrupt=5:times=1").await;
    let session = registry.session("a").await;
    let digest = Digest::sha256_of(&content());
    let path = format!("{session}?digest={digest}");
    let response = registry.send(Method::PUT, &path, content()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(code(response).await, "DIGEST_INVALID");
    registry.push_blob("a", &content()).await;
}

#[tokio::test]
async fn an_upload_of_a_refused_request_is_read_to_its_end() {
    let registry = Fixture::failing("PUT:/blobs/uploads/:status=429").await;
    let session = registry.session("a").await;
    let body = vec![0; 20 << 20];
    let response = registry.send(Method::PUT, &session, body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(code(response).await, "TOOMANYREQUESTS");
}
