//! What stays after a restart or a crash, and what does not.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use reqwest::{Method, StatusCode};

use super::{Fixture, header, loopback};
use crate::{
    oci::Digest,
    serve::{ServeError, ServeOptions, Server},
};

#[tokio::test]
async fn content_survives_a_restart() {
    let registry = Fixture::new().await;
    let (_, manifest) = registry.push_image("a/b", "v1", "x").await;
    let registry = registry.restarted(|_| {}).await;
    let got = registry.get("/v2/a/b/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), manifest);
    let layer = Digest::sha256_of(b"layer x");
    let got = registry.get(&format!("/v2/a/b/blobs/{layer}")).await;
    assert_eq!(got.bytes().await.unwrap(), "layer x");
}

#[tokio::test]
async fn an_upload_goes_on_after_a_crash() {
    let registry = Fixture::new().await;
    let session = registry.session("a").await;
    registry.chunk(&session, 0, b"before ").await;
    // No orderly shutdown: the server just ends. Its bytes behind the last acknowledged one, too,
    // are known by their number only.
    let Fixture {
        server, directory, ..
    } = registry;
    let store = server.store.clone();
    drop(server);
    while store.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let registry = Fixture::on(directory, |_| {}).await;
    let digest = Digest::sha256_of(b"before after");
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.head(&blob).await.status(), StatusCode::NOT_FOUND);
    let position = registry.get(&session).await;
    assert_eq!(position.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&position, "range"), "0-6");
    let path = format!("{session}?digest={digest}");
    let response = registry.send(Method::PUT, &path, "after").await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(
        registry.get(&blob).await.bytes().await.unwrap(),
        "before after"
    );
}

fn make_old(path: &Path) {
    let yesterday = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(yesterday)
        .unwrap();
}

#[tokio::test]
async fn leftovers_of_a_crash_are_invisible_and_removed() {
    let registry = Fixture::new().await;
    let old = registry.session("a").await;
    let young = registry.session("a").await;
    registry.chunk(&old, 0, b"half").await;
    registry.chunk(&young, 0, b"half").await;
    let id = old.rsplit('/').next().unwrap();
    let abandoned = registry.store().join("uploads").join(id);
    make_old(&abandoned.join("data"));
    // As a process leaves it that was killed while it wrote a tag and a manifest's link.
    let leftover = registry.store().join("temporary").join(".tmpAbC");
    fs::write(&leftover, Digest::sha256_of(b"half").to_string()).unwrap();
    let (digest, _) = registry.push_image("b", "v1", "x").await;
    let hex = digest.hex();
    fs::remove_file(
        registry
            .store()
            .join("repositories/b/_manifests/sha256")
            .join(&hex),
    )
    .unwrap();

    let registry = registry.restarted(|_| {}).await;
    assert!(!leftover.exists());
    assert!(!abandoned.exists());
    assert_eq!(registry.get(&old).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(registry.get(&young).await.status(), StatusCode::NO_CONTENT);
    let half = format!("/v2/a/blobs/{}", Digest::sha256_of(b"half"));
    assert_eq!(registry.head(&half).await.status(), StatusCode::NOT_FOUND);
    // Content and tag without the link: not there.
    assert_eq!(
        registry.head("/v2/b/manifests/v1").await.status(),
        StatusCode::NOT_FOUND
    );
    registry.push_image("b", "v1", "x").await;
    assert_eq!(
        registry.head("/v2/b/manifests/v1").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn damage_on_the_disk_is_no_answer() {
    let registry = Fixture::new().await;
    let (digest, manifest) = registry.push_image("a", "v1", "x").await;
    let hex = digest.hex();
    let content = registry
        .store()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    fs::write(&content, b"{}").unwrap();
    let response = registry.get("/v2/a/manifests/v1").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    // Pushed again, it is whole again.
    registry.push_image("a", "v1", "x").await;
    let got = registry.get("/v2/a/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), manifest);
}

async fn start(store: &Path, read_only: bool) -> Result<Server, ServeError> {
    let mut options = ServeOptions::new(store, loopback());
    options.read_only = read_only;
    Server::start(options).await
}

#[tokio::test]
async fn only_a_store_is_used_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("home");
    fs::create_dir_all(foreign.join("temporary")).unwrap();
    fs::write(foreign.join("temporary/thesis.txt"), "years of work").unwrap();
    let refused = start(&foreign, false).await.unwrap_err();
    assert!(matches!(refused, ServeError::NotAStore { .. }) && refused.hint().is_some());
    assert!(foreign.join("temporary/thesis.txt").exists());

    let missing = start(&directory.path().join("missing"), true)
        .await
        .unwrap_err();
    assert!(matches!(missing, ServeError::Store { .. }), "{missing}");
    assert!(!directory.path().join("missing").exists());

    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("registry-layout"), "2\n").unwrap();
    assert!(matches!(
        start(&other, false).await,
        Err(ServeError::Layout { .. })
    ));

    let new = directory.path().join("a/b/new");
    let server = start(&new, false).await.unwrap();
    let second = start(&new, false).await.unwrap_err();
    assert!(matches!(second, ServeError::InUse { .. }), "{second}");
    server.shutdown().await.unwrap();
    start(&new, false).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn a_read_only_registry_changes_nothing() {
    let registry = Fixture::new().await;
    let (digest, manifest) = registry.push_image("a", "v1", "x").await;
    let registry = registry
        .restarted(|options| {
            options.read_only = true;
            options.allow_delete = true;
        })
        .await;
    let blob = format!("/v2/a/blobs/{}", Digest::sha256_of(b"layer x"));
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (
            Method::POST,
            format!("/v2/b/blobs/uploads/?mount={digest}&from=a"),
        ),
        (Method::PUT, "/v2/a/manifests/v2".to_owned()),
        (Method::DELETE, "/v2/a/manifests/v1".to_owned()),
        (Method::DELETE, blob.clone()),
    ] {
        let response = registry.send(method.clone(), &path, "{}").await;
        assert_eq!(
            response.status(),
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}"
        );
    }
    let got = registry.get("/v2/a/manifests/v1").await;
    assert_eq!(got.bytes().await.unwrap(), manifest);
    assert_eq!(registry.get(&blob).await.bytes().await.unwrap(), "layer x");
}
