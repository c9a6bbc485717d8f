//! The client against servers that behave as registries and their surroundings have been seen to.

mod auth;
mod blob;
mod one_pass;
mod pull;
mod push;
mod redirect;
mod retry;
mod tls;
mod upload;

use std::time::Duration;

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
