//! A registry in memory for tests, on top of [`TestServer`](super::test_server::TestServer): a
//! handler that does what the distribution specification says, and counts on being asked properly.

// Every user of this file needs another part of it.
#![allow(dead_code)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256, Sha512};

use super::test_server::{Recorded, Reply};

/// The content of a registry; clones share it.
#[derive(Clone, Default)]
pub struct TestRegistry(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    /// By repository and digest.
    blobs: HashMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest: media type and bytes.
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    opened: usize,
}

/// `sha256:…` of some bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn digest_like(name: &str, bytes: &[u8]) -> String {
    match name.starts_with("sha512:") {
        true => format!("sha512:{}", hex::encode(Sha512::digest(bytes))),
        false => sha256(bytes),
    }
}

impl TestRegistry {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add_blob(&self, repository: &str, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref().to_vec();
        let digest = sha256(&bytes);
        let key = (repository.to_owned(), digest.clone());
        self.0.lock().unwrap().blobs.insert(key, bytes);
        digest
    }

    pub fn add_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl AsRef<[u8]>,
    ) -> String {
        let bytes = bytes.as_ref().to_vec();
        let digest = sha256(&bytes);
        let mut content = self.0.lock().unwrap();
        for name in [tag, &digest] {
            let key = (repository.to_owned(), name.to_owned());
            let value = (media_type.to_owned(), bytes.clone());
            content.manifests.insert(key, value);
        }
        digest
    }

    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), digest.to_owned());
        self.0.lock().unwrap().blobs.get(&key).cloned()
    }

    /// Media type and bytes.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<(String, Vec<u8>)> {
        let key = (repository.to_owned(), name.to_owned());
        self.0.lock().unwrap().manifests.get(&key).cloned()
    }

    /// Uploads that are open.
    pub fn open_uploads(&self) -> usize {
        self.0.lock().unwrap().uploads.len()
    }

    /// Answers a request.
    pub fn answer(&self, request: &Recorded) -> Reply {
        let path = request.path();
        if path == "/v2/" {
            return Reply::new(200)
                .header("Docker-Distribution-API-Version", "registry/2.0")
                .body("{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return error(404, "NOT_FOUND");
        };
        let mut content = self.0.lock().unwrap();
        if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
            return content.upload(request, repository, id);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            let key = (repository.to_owned(), digest.to_owned());
            return match content.blobs.get(&key) {
                Some(bytes) => send(request, bytes, "application/octet-stream", digest),
                None => error(404, "BLOB_UNKNOWN"),
            };
        }
        if let Some((repository, name)) = rest.split_once("/manifests/") {
            return content.manifest(request, repository, name);
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            let names = content.manifests.keys();
            let mut tags: Vec<_> = names
                .filter(|(r, name)| r == repository && !name.contains(':'))
                .map(|(_, name)| name.clone())
                .collect();
            tags.sort();
            let list = serde_json::json!({"name": repository, "tags": tags});
            return Reply::new(200).body(list.to_string());
        }
        error(404, "NOT_FOUND")
    }
}

impl Content {
    fn manifest(&mut self, request: &Recorded, repository: &str, name: &str) -> Reply {
        let key = (repository.to_owned(), name.to_owned());
        if request.method != "PUT" {
            return match self.manifests.get(&key) {
                Some((media_type, bytes)) => {
                    send(request, bytes, media_type, &digest_like(name, bytes))
                }
                None => error(404, "MANIFEST_UNKNOWN"),
            };
        }
        let digest = digest_like(name, &request.body);
        if name.contains(':') && name != digest {
            return error(400, "DIGEST_INVALID");
        }
        let media_type = request.header("content-type").unwrap_or_default();
        let value = (media_type.to_owned(), request.body.clone());
        self.manifests.insert(key, value.clone());
        self.manifests
            .insert((repository.to_owned(), digest.clone()), value);
        created(&format!("/v2/{repository}/manifests/{digest}"), &digest)
    }

    fn upload(&mut self, request: &Recorded, repository: &str, id: &str) -> Reply {
        let query = |name: &str| {
            let pairs = request.query().split('&');
            let value = pairs
                .filter_map(|p| p.split_once('='))
                .find(|p| p.0 == name)?;
            Some(value.1.replace("%3A", ":"))
        };
        if request.method == "POST" {
            if let (Some(digest), Some(from)) = (query("mount"), query("from")) {
                let source = self.blobs.get(&(from, digest.clone())).cloned();
                if let Some(bytes) = source {
                    let key = (repository.to_owned(), digest.clone());
                    self.blobs.insert(key, bytes);
                    return created(&format!("/v2/{repository}/blobs/{digest}"), &digest);
                }
            }
            self.opened += 1;
            let id = format!("u{}", self.opened);
            self.uploads.insert(id.clone(), Vec::new());
            return progress(202, repository, &id, 0);
        }
        let Some(taken) = self.uploads.get_mut(id) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        };
        match request.method.as_str() {
            "GET" => progress(204, repository, id, taken.len()),
            "PATCH" => {
                let range = request.header("content-range").unwrap_or("0-");
                let (start, _) = range.split_once('-').unwrap_or_default();
                if start.parse() != Ok(taken.len()) {
                    return progress(416, repository, id, taken.len());
                }
                taken.extend_from_slice(&request.body);
                progress(202, repository, id, taken.len())
            }
            "PUT" => {
                let mut all = std::mem::take(taken);
                all.extend_from_slice(&request.body);
                self.uploads.remove(id);
                let digest = query("digest").unwrap_or_default();
                if digest != digest_like(&digest, &all) {
                    return error(400, "DIGEST_INVALID");
                }
                let key = (repository.to_owned(), digest.clone());
                self.blobs.insert(key, all);
                created(&format!("/v2/{repository}/blobs/{digest}"), &digest)
            }
            "DELETE" => {
                self.uploads.remove(id);
                Reply::new(204)
            }
            _ => error(405, "UNSUPPORTED"),
        }
    }
}

/// An error as registries send it.
pub fn error(status: u16, code: &str) -> Reply {
    let body = serde_json::json!({"errors": [{"code": code, "message": "in the test"}]});
    Reply::new(status)
        .header("content-type", "application/json")
        .body(body.to_string())
}

fn created(location: &str, digest: &str) -> Reply {
    Reply::new(201)
        .header("Location", location)
        .header("Docker-Content-Digest", digest)
}

fn progress(status: u16, repository: &str, id: &str, taken: usize) -> Reply {
    let location = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Fb");
    Reply::new(status)
        .header("Location", location)
        .header("Range", format!("0-{}", taken.saturating_sub(1)))
}

/// Content, or the part of it that was asked for.
fn send(request: &Recorded, bytes: &[u8], media_type: &str, digest: &str) -> Reply {
    let reply = |status| {
        Reply::new(status)
            .header("content-type", media_type)
            .header("Docker-Content-Digest", digest)
    };
    let range = request
        .header("range")
        .and_then(|r| r.strip_prefix("bytes="));
    if request.method == "HEAD" {
        return reply(200).header("content-length", bytes.len().to_string());
    }
    let Some((first, last)) = range.and_then(|r| r.split_once('-')) else {
        return reply(200).body(bytes);
    };
    let first: usize = first.parse().unwrap_or(usize::MAX);
    let last = last
        .parse()
        .unwrap_or(usize::MAX)
        .min(bytes.len().saturating_sub(1));
    if first > last {
        return error(416, "RANGE_INVALID");
    }
    reply(206)
        .header(
            "Content-Range",
            format!("bytes {first}-{last}/{}", bytes.len()),
        )
        .body(&bytes[first..=last])
}
