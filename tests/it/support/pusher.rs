//! A small registry client for putting images in place and for looking at what is there. It is not
//! the client under test.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, header};
use sneakernet::oci::{Digest, media_type};

use super::{background::block_on, images::Image};

/// How a registry is reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Scheme, host and port.
    pub url: String,
    /// The authority that signed the registry's certificate.
    pub ca_pem: Option<String>,
    /// What is sent in the `Authorization` header.
    pub authorization: Option<Authorization>,
}

/// A credential.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// User and password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// A connection to one registry.
pub struct Client {
    access: Access,
    http: reqwest::Client,
    /// A repository that holds the blob, so that others can have it mounted.
    homes: Mutex<BTreeMap<Digest, String>>,
}

/// A document as the registry gave it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// From the `Content-Type` header.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Bytes,
}

impl Access {
    /// A client for this registry.
    pub fn client(&self) -> Client {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &self.ca_pem {
            let ca = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
            builder = builder.tls_certs_only([ca]);
        } else {
            builder = builder.tls_certs_only(no_certificates());
        }
        Client {
            access: self.clone(),
            http: builder.build().expect("a client"),
            homes: Mutex::default(),
        }
    }
}

// Without a certificate there is no TLS to be had, and the machine's trust store is not asked.
fn no_certificates() -> Vec<reqwest::Certificate> {
    static UNUSED: OnceLock<String> = OnceLock::new();
    let pem = UNUSED.get_or_init(|| super::pki::TestCa::new().pem());
    vec![reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate")]
}

impl Client {
    /// Pushes an image with everything below it: blobs, children, the document, and the tag.
    #[track_caller]
    pub fn push(&self, repository: &str, tag: &str, image: &Image) {
        block_on(self.push_all(repository, tag, image));
    }

    /// Pushes an image that is known by its digest only, as a referrer is.
    #[track_caller]
    pub fn push_untagged(&self, repository: &str, image: &Image) {
        block_on(self.push_all(repository, &image.digest.to_string(), image));
    }

    async fn push_all(&self, repository: &str, tag: &str, image: &Image) {
        for blob in image.all_blobs() {
            self.push_blob(repository, blob.digest, &blob.bytes).await;
        }
        // Children before the index that names them.
        for document in image.documents().into_iter().skip(1).rev() {
            let name = document.digest.to_string();
            self.push_document(repository, &name, document).await;
        }
        self.push_document(repository, tag, image).await;
    }

    async fn push_blob(&self, repository: &str, digest: Digest, bytes: &Bytes) {
        let place = format!("/v2/{repository}/blobs/{digest}");
        if self.send(Method::HEAD, &place, |r| r).await.status() == 200 {
            return;
        }
        let home = self.homes.lock().unwrap().get(&digest).cloned();
        let start = match home {
            Some(home) => format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={home}"),
            None => format!("/v2/{repository}/blobs/uploads/"),
        };
        let started = self.send(Method::POST, &start, |r| r).await;
        if started.status() != 201 {
            let started = expect(started, 202).await;
            let location = started.headers()[header::LOCATION].to_str().expect("ASCII");
            let joint = if location.contains('?') { '&' } else { '?' };
            let place = format!("{location}{joint}digest={digest}");
            let body = bytes.clone();
            let put = self.send(Method::PUT, &place, |r| {
                r.header(header::CONTENT_TYPE, media_type::OCTET_STREAM)
                    .body(body)
            });
            expect(put.await, 201).await;
        }
        let mut homes = self.homes.lock().unwrap();
        homes.insert(digest, repository.to_owned());
    }

    async fn push_document(&self, repository: &str, reference: &str, document: &Image) {
        let place = format!("/v2/{repository}/manifests/{reference}");
        let put = self.send(Method::PUT, &place, |r| {
            r.header(header::CONTENT_TYPE, &document.media_type)
                .body(document.bytes.clone())
        });
        expect(put.await, 201).await;
    }

    /// The manifest or index that a tag or digest names; `None` where there is none.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Served> {
        let place = format!("/v2/{repository}/manifests/{reference}");
        let accepted = [
            media_type::OCI_INDEX,
            media_type::DOCKER_LIST,
            media_type::OCI_MANIFEST,
            media_type::DOCKER_MANIFEST,
        ]
        .join(", ");
        block_on(async {
            let get = self.send(Method::GET, &place, |r| r.header(header::ACCEPT, accepted));
            let answer = get.await;
            if answer.status() == 404 {
                return None;
            }
            let answer = expect(answer, 200).await;
            let media_type = answer.headers()[header::CONTENT_TYPE]
                .to_str()
                .expect("ASCII");
            Some(Served {
                media_type: media_type.to_owned(),
                bytes: answer.bytes().await.expect("a body"),
            })
        })
    }

    /// A blob; `None` where there is none.
    pub fn blob(&self, repository: &str, digest: Digest) -> Option<Bytes> {
        let place = format!("/v2/{repository}/blobs/{digest}");
        block_on(async {
            let answer = self.send(Method::GET, &place, |r| r).await;
            if answer.status() == 404 {
                return None;
            }
            let answer = expect(answer, 200).await;
            Some(answer.bytes().await.expect("a body"))
        })
    }

    /// Takes a manifest away, and with it the tags that point to it.
    #[track_caller]
    pub fn delete_manifest(&self, repository: &str, digest: Digest) {
        let place = format!("/v2/{repository}/manifests/{digest}");
        block_on(async {
            expect(self.send(Method::DELETE, &place, |r| r).await, 202).await;
        });
    }

    /// The tags of a repository, sorted; none where there is no such repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let listed = self.json(&format!("/v2/{repository}/tags/list"));
        strings(&listed["tags"])
    }

    /// The repositories of the registry, sorted.
    pub fn repositories(&self) -> Vec<String> {
        strings(&self.json("/v2/_catalog?n=1000")["repositories"])
    }

    fn json(&self, place: &str) -> serde_json::Value {
        block_on(async {
            let answer = self.send(Method::GET, place, |r| r).await;
            if answer.status() == 404 {
                return serde_json::Value::Null;
            }
            expect(answer, 200).await.json().await.expect("JSON")
        })
    }

    /// The status of a GET request.
    pub fn status(&self, place: &str) -> u16 {
        block_on(async {
            let answer = self.send(Method::GET, place, |r| r).await;
            answer.status().as_u16()
        })
    }

    /// Asserts that the registry holds the image, byte for byte, with everything below it.
    #[track_caller]
    pub fn assert_holds(&self, repository: &str, tag: &str, image: &Image) {
        let place = format!("{repository}:{tag}");
        let top = self.manifest(repository, tag);
        let top = top.unwrap_or_else(|| panic!("{place} is missing"));
        assert_eq!(top.bytes, image.bytes, "{place}");
        assert_eq!(top.media_type, image.media_type, "{place}");
        for document in image.documents() {
            let digest = document.digest.to_string();
            let served = self.manifest(repository, &digest);
            let served = served.unwrap_or_else(|| panic!("{place}: {digest} is missing"));
            assert_eq!(served.bytes, document.bytes, "{place}: {digest}");
        }
        for blob in image.all_blobs() {
            let served = self.blob(repository, blob.digest);
            let served = served.unwrap_or_else(|| panic!("{place}: {} is missing", blob.digest));
            assert!(
                served == blob.bytes,
                "{place}: {} is not the same",
                blob.digest
            );
        }
    }

    async fn send(
        &self,
        method: Method,
        place: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Response {
        let url = if place.starts_with('/') {
            format!("{}{place}", self.access.url)
        } else {
            place.to_owned()
        };
        let mut request = complete(self.http.request(method.clone(), &url));
        request = match &self.access.authorization {
            Some(Authorization::Basic(user, password)) => request.basic_auth(user, Some(password)),
            Some(Authorization::Bearer(token)) => request.bearer_auth(token),
            None => request,
        };
        request
            .send()
            .await
            .unwrap_or_else(|e| panic!("{method} {url}: {e:?}"))
    }
}

async fn expect(answer: Response, status: u16) -> Response {
    if answer.status() == status {
        return answer;
    }
    let found = answer.status();
    let url = answer.url().clone();
    let body = answer.text().await.unwrap_or_default();
    panic!("{url}: expected {status}, found {found}: {body}");
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    let mut all: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect();
    all.sort();
    all
}
