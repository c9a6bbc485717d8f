//! Challenges, tokens, credentials: what is sent, and to whom.

mod challenges;
mod expiry;
mod realms;
mod refusals;
mod scopes;
mod tokens;

use base64::prelude::*;

use super::{
    elsewhere::{PASSWORD, REFRESH, USER, assert_nothing_of_ours, basic, logged_in},
    *,
};
use crate::registry::{Credential, RegistryError, Secret, test_registry::error};

const TOKEN: &str = "/token";
const MANIFEST: &str = "/v2/a/b/manifests/1";

fn with_password(server: &TestServer) -> ClientConfig {
    logged_in(server, &[])
}

fn with_credential(server: &TestServer, credential: Credential) -> ClientConfig {
    let mut config = config(&[server]);
    config.credentials.explicit = Some((server.host(), credential));
    config
}

fn unauthorized(challenge: impl Into<String>) -> Reply {
    error(401, "UNAUTHORIZED").header("WWW-Authenticate", challenge)
}

fn token(value: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{value}"}}"#))
}

/// A registry that wants a bearer token `T1`, `T2`… from its own `/token`; the newest one counts.
async fn bearer_registry() -> TestServer {
    let server = TestServer::start(|request| match request.header("authorization") {
        Some(header) if header.starts_with("Bearer T") => image(),
        _ => unauthorized(
            r#"Bearer realm="/token",service="the service",scope="repository:a/b:pull""#,
        ),
    })
    .await;
    server.on("GET", TOKEN, ["T1", "T2", "T3", "T4"].map(token));
    server
}

async fn pull(config: ClientConfig, server: &TestServer) -> Result<(), RegistryError> {
    let client = Client::new(config).unwrap();
    let repository = repository(server, "a/b");
    client.manifest(&repository, &tag("1")).await.map(|_| ())
}

/// Pushes a small blob.
async fn push(config: ClientConfig, server: &TestServer) -> Result<(), RegistryError> {
    let client = Client::new(config).unwrap();
    let digest = Digest::sha256_of(b"blob");
    let blob = Arc::new(bytes::Bytes::from("blob"));
    let repository = repository(server, "a/b");
    client.push_blob(&repository, &digest, 4, blob).await
}
