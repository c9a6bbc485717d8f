//! Tests of the registry over HTTP, as a client sees it.

mod broken;
mod discovery;
mod guarded;
mod manifests;
mod persistent;
mod pull;
mod uploads;

use std::{net::SocketAddr, path::Path};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FaultPlan, RequestLog, ServeOptions, Server};
use crate::oci::{Digest, media_type};

/// A running registry with its own store, and a client for it.
struct Fixture {
    server: Server,
    client: Client,
    directory: TempDir,
    log: RequestLog,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut ServeOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::on(directory, configure).await
    }

    async fn on(directory: TempDir, configure: impl FnOnce(&mut ServeOptions)) -> Self {
        let log = RequestLog::default();
        let mut options = ServeOptions::new(directory.path(), loopback());
        options.record = Some(log.clone());
        configure(&mut options);
        let server = Server::start(options).await.unwrap();
        let client = client();
        Self {
            server,
            client,
            directory,
            log,
        }
    }

    async fn failing(plan: &str) -> Self {
        let faults: FaultPlan = plan.parse().unwrap();
        Self::with(|options| options.faults = faults).await
    }

    /// Stops the server and starts another one on its store.
    async fn restarted(self, configure: impl FnOnce(&mut ServeOptions)) -> Self {
        self.server.shutdown().await.unwrap();
        Self::on(self.directory, configure).await
    }

    fn store(&self) -> &Path {
        self.directory.path()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.local_addr())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn head(&self, path: &str) -> Response {
        self.request(Method::HEAD, path).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(method, path).body(body).send().await.unwrap()
    }

    /// Opens an upload session and gives its path.
    async fn session(&self, name: &str) -> String {
        let response = self.post(&format!("/v2/{name}/blobs/uploads/")).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        header(&response, "location").to_owned()
    }

    /// Sends one chunk of an upload.
    async fn chunk(&self, session: &str, first: usize, bytes: &[u8]) -> Response {
        let range = format!("{first}-{}", first + bytes.len() - 1);
        self.request(Method::PATCH, session)
            .header("content-range", range)
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap()
    }

    async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        let session = self.session(name).await;
        let path = format!("{session}?digest={digest}");
        let response = self.send(Method::PUT, &path, bytes.to_vec()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(
            header(&response, "docker-content-digest"),
            digest.to_string()
        );
        digest
    }

    async fn put(&self, name: &str, reference: &str, kind: &str, bytes: &[u8]) -> Response {
        self.request(Method::PUT, &format!("/v2/{name}/manifests/{reference}"))
            .header("content-type", kind)
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap()
    }

    /// Pushes a small image under a tag; `seed` makes it differ from others.
    async fn push_image(&self, name: &str, tag: &str, seed: &str) -> (Digest, Vec<u8>) {
        let config = format!("{{\"seed\":\"{seed}\"}}").into_bytes();
        let layer = format!("layer {seed}").into_bytes();
        self.push_blob(name, &config).await;
        self.push_blob(name, &layer).await;
        let manifest = image(&config, &layer);
        let response = self
            .put(name, tag, media_type::OCI_MANIFEST, &manifest)
            .await;
        assert_eq!(response.status(), StatusCode::CREATED);
        (Digest::sha256_of(&manifest), manifest)
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {response:?}"))
        .to_str()
        .unwrap()
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": Digest::sha256_of(bytes), "size": bytes.len()})
}

fn image(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    serde_json::to_vec(&manifest).unwrap()
}

/// The code of the first error of an error answer.
async fn code(response: Response) -> String {
    assert_eq!(header(&response, "content-type"), "application/json");
    let body: Value = response.json().await.unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}
