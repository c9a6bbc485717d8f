//! The client against servers that behave as registries and their surroundings have been seen to.

mod auth;
mod blob;
mod download;
mod elsewhere;
mod location;
mod manifests;
mod one_pass;
mod pace;
mod pull;
mod push;
mod redirect;
mod referrers;
mod referrers_tag;
mod retry;
mod tls;
mod upload;
mod upload_odd;

use std::{sync::Arc, time::Duration};

use super::{
    Client, ClientConfig, CredentialConfig,
    test_registry::TestRegistry,
    test_server::{Reply, TestServer},
};
use crate::oci::{Digest, Repository, TagOrDigest};

const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}"#;
const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Fast to give up, anonymous, plain HTTP to these servers.
fn config(servers: &[&TestServer]) -> ClientConfig {
    ClientConfig {
        plain_http: servers.iter().map(|server| server.host()).collect(),
        backoff: Duration::from_millis(2),
        stall_timeout: Duration::from_millis(250),
        connect_timeout: Duration::from_secs(2),
        retries: 3,
        chunk_size: 64,
        credentials: CredentialConfig::anonymous(),
        ..ClientConfig::default()
    }
}

fn client(server: &TestServer) -> Client {
    Client::new(config(&[server])).unwrap()
}

fn repository(server: &TestServer, path: &str) -> Repository {
    Repository::new(&server.host(), path).unwrap()
}

fn tag(name: &str) -> TagOrDigest {
    TagOrDigest::Tag(name.to_owned())
}

/// Callers run all of this in tasks of their own.
#[test]
fn everything_can_be_sent_to_another_task() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let client = Client::new(config(&[])).unwrap();
    let repository = Repository::new("r.example", "a").unwrap();
    let digest = Digest::sha256_of(b"");
    drop(sendable(client.manifest(&repository, &tag("1"))));
    drop(sendable(client.manifest_head(&repository, &tag("1"))));
    drop(sendable(client.tags(&repository, 1)));
    drop(sendable(async {
        let mut blob = client.blob(&repository, &digest, 0..1, 1).await?;
        blob.chunk().await
    }));
    drop(sendable(client.mount_blob(&repository, &digest, "b")));
    drop(sendable(client.put_manifest(
        &repository,
        &tag("1"),
        IMAGE_TYPE,
        IMAGE.into(),
    )));
    let source = Arc::new(bytes::Bytes::new());
    drop(sendable(client.push_blob(&repository, &digest, 0, source)));
    drop(sendable(async {
        let mut upload = client.begin_upload(&repository, &digest, 0).await?;
        upload.write(bytes::Bytes::new()).await?;
        upload.finish().await
    }));
    drop(sendable(super::login::login(
        config(&[]),
        "r.example",
        "u",
        super::Secret::new("p"),
        super::login::Check::WithRegistry,
    )));
}

/// A registry in memory and the server in front of it.
async fn registry() -> (TestRegistry, TestServer) {
    let registry = TestRegistry::new();
    let content = registry.clone();
    let server = TestServer::start(move |request| content.answer(request)).await;
    (registry, server)
}

/// A manifest as a good registry serves it.
fn image() -> Reply {
    Reply::new(200)
        .header("content-type", IMAGE_TYPE)
        .body(IMAGE)
}

/// Bytes that are all different in their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Each behaviour of docs/registries.md has a test that begins with its number, or a line in a test
/// file that says why it needs none.
#[test]
fn every_behaviour_of_registries_has_a_test_or_a_reason() {
    fn sources(directory: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/registries.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let numbers: Vec<u32> = rows
        .filter_map(|row| row.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=85).collect::<Vec<_>>());
    let mut all = String::new();
    for directory in ["src", "tests"] {
        sources(&root.join(directory), &mut all);
    }
    let without: Vec<_> = numbers
        .iter()
        .filter(|n| {
            !all.contains(&format!("fn q{n:02}_")) && !all.contains(&format!("//! q{n:02}: "))
        })
        .collect();
    assert!(without.is_empty(), "without a test: {without:?}");
}
