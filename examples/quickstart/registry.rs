//! What it takes to fill a registry and to read it back, by the OCI distribution specification.
//! This is not the client of the program: the comparison must not rest on what it compares.

use std::{collections::BTreeMap, net::SocketAddr};

use reqwest::{Method, StatusCode, header};
use serde_json::Value;
use sneakernet::oci::{Digest, media_type};

use crate::{Failure, images::Image};

/// The size in bytes of everything below a tag, by digest.
pub type Found = BTreeMap<Digest, usize>;

/// A registry on this machine.
pub struct Registry {
    http: reqwest::Client,
    pub address: SocketAddr,
}

/// What a tag points to, and all that was found from there on.
#[derive(PartialEq, Eq)]
pub struct Tagged {
    pub digest: Digest,
    pub documents: Found,
    pub blobs: Found,
}

impl Registry {
    pub fn at(address: SocketAddr) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, address })
    }

    /// Pushes an image: blobs, manifests, and the index under its tag.
    pub async fn push(&self, image: &Image) -> Result<(), Failure> {
        let repository = image.repository;
        for blob in &image.blobs {
            let path = format!("{repository}/blobs/uploads/?digest={}", blob.digest);
            self.send(Method::POST, &path, media_type::OCTET_STREAM, &blob.bytes)
                .await?;
        }
        for manifest in &image.manifests {
            let path = format!("{repository}/manifests/{}", manifest.digest);
            self.send(Method::PUT, &path, manifest.media_type, &manifest.bytes)
                .await?;
        }
        let path = format!("{repository}/manifests/{}", image.tag);
        self.send(
            Method::PUT,
            &path,
            image.index.media_type,
            &image.index.bytes,
        )
        .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(), Failure> {
        let sent = self
            .http
            .request(method, self.url(path))
            .header(header::CONTENT_TYPE, content_type)
            .body(body.to_vec())
            .send()
            .await?;
        match sent.status() {
            StatusCode::CREATED => Ok(()),
            status => Err(format!("pushing {path}: {status}").into()),
        }
    }

    /// Reads everything below a tag, every byte of it, and takes its digest here.
    pub async fn read(&self, repository: &str, tag: &str) -> Result<Tagged, Failure> {
        let top = self
            .get(&format!("{repository}/manifests/{tag}"))
            .await?
            .ok_or_else(|| format!("{repository}:{tag} is not there"))?;
        let digest = Digest::sha256_of(&top);
        let mut documents = Found::new();
        let mut blobs = Found::new();
        let mut pending = vec![top];
        while let Some(document) = pending.pop() {
            documents.insert(Digest::sha256_of(&document), document.len());
            let document: Value = serde_json::from_slice(&document)?;
            for manifest in named(&document, "manifests") {
                pending.push(self.content(repository, "manifests", manifest).await?);
            }
            let config = document.get("config");
            for blob in named(&document, "layers").chain(config) {
                let bytes = self.content(repository, "blobs", blob).await?;
                blobs.insert(Digest::sha256_of(&bytes), bytes.len());
            }
        }
        Ok(Tagged {
            digest,
            documents,
            blobs,
        })
    }

    /// Whether there is a manifest of this name.
    pub async fn has_manifest(&self, repository: &str, name: &str) -> Result<bool, Failure> {
        let found = self.get(&format!("{repository}/manifests/{name}")).await?;
        Ok(found.is_some())
    }

    /// What a descriptor describes.
    async fn content(
        &self,
        repository: &str,
        kind: &str,
        descriptor: &Value,
    ) -> Result<Vec<u8>, Failure> {
        let named = descriptor["digest"].as_str().unwrap_or_default();
        let bytes = self
            .get(&format!("{repository}/{kind}/{named}"))
            .await?
            .ok_or_else(|| format!("{repository}: {named} is not there"))?;
        let is = Digest::sha256_of(&bytes).to_string();
        if is != named {
            return Err(format!("{repository}: the content of {named} is {is}").into());
        }
        Ok(bytes)
    }

    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let accepted = [
            media_type::OCI_INDEX,
            media_type::OCI_MANIFEST,
            media_type::DOCKER_LIST,
            media_type::DOCKER_MANIFEST,
        ];
        let answer = self
            .http
            .get(self.url(path))
            .header(header::ACCEPT, accepted.join(", "))
            .send()
            .await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.bytes().await?.to_vec())),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(format!("reading {path}: {status}").into()),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.address)
    }
}

fn named<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    document
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
