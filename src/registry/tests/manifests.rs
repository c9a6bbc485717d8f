//! Manifests as they are, whatever registries make of media types and digests.
//!
//! q58, q59, q60, q61, q64: what is in an index or a manifest is nothing to this client, which moves
//! bytes; the tests are where documents are read (`create`) and put in order (`load`).

use super::*;
use crate::{
    oci::{Algorithm, Hasher, media_type},
    registry::{RegistryError, test_registry::error},
};

fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

/// A client that waits for as long as some MiB may take on a machine with other things to do.
fn patient(server: &TestServer) -> Client {
    let mut config = config(&[server]);
    config.stall_timeout = Duration::from_secs(60);
    Client::new(config).unwrap()
}

async fn put(
    server: &TestServer,
    what: &TagOrDigest,
    media_type: &str,
    bytes: &str,
) -> Result<(), RegistryError> {
    let to = repository(server, "a/b");
    let bytes = bytes.to_owned().into();
    let client = patient(server);
    let put = client.put_manifest(&to, what, media_type, bytes).await;
    put.map(|_| ())
}

#[tokio::test]
async fn q51_what_the_registry_stored_is_what_was_sent_or_it_is_a_failure() {
    let (_, server) = registry().await;
    let path = "/v2/a/b/manifests/1";
    let other = Digest::sha256_of(b"other").to_string();
    let reply = |named: String| Reply::new(201).header("Docker-Content-Digest", named);
    for named in [other, sha512(b"other").to_string()] {
        server.on("PUT", path, [reply(named)]);
        let failed = put(&server, &tag("1"), IMAGE_TYPE, IMAGE)
            .await
            .unwrap_err();
        let RegistryError::DigestMismatch { .. } = failed else {
            panic!("{failed}");
        };
    }
    // Its own digest by another algorithm, one that nobody knows, or none.
    for named in [sha512(IMAGE.as_bytes()).to_string(), "blake3:00".to_owned()] {
        server.on("PUT", path, [reply(named)]);
        put(&server, &tag("1"), IMAGE_TYPE, IMAGE).await.unwrap();
    }
    server.on("PUT", path, [Reply::new(201)]);
    put(&server, &tag("1"), IMAGE_TYPE, IMAGE).await.unwrap();
    assert!(
        server
            .log()
            .iter()
            .filter(|r| r.method == "PUT")
            .all(|r| r.body == IMAGE.as_bytes())
    );
}

/// As Helm writes it.
const NO_MEDIA_TYPE: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[]}"#;

#[tokio::test]
async fn q52_a_manifest_without_media_type_keeps_its_bytes_and_its_type_beside_them() {
    let (content, server) = registry().await;
    let digest = content.add_manifest("a/b", "chart", IMAGE_TYPE, NO_MEDIA_TYPE);
    let from = repository(&server, "a/b");
    let pulled = client(&server)
        .manifest(&from, &tag("chart"))
        .await
        .unwrap();
    assert_eq!(pulled.media_type, IMAGE_TYPE);
    assert_eq!(pulled.bytes, NO_MEDIA_TYPE);
    let what = TagOrDigest::Digest(digest.parse().unwrap());
    put(&server, &what, &pulled.media_type, NO_MEDIA_TYPE)
        .await
        .unwrap();
    let request = server.log().pop().unwrap();
    assert_eq!(request.header("content-type"), Some(IMAGE_TYPE));
    assert_eq!(request.body, NO_MEDIA_TYPE.as_bytes());
}

#[tokio::test]
async fn q54_a_registry_that_shows_only_what_is_accepted_shows_every_kind() {
    let kinds = [
        (
            media_type::OCI_INDEX,
            r#"{"schemaVersion":2,"manifests":[]}"#,
        ),
        (
            media_type::DOCKER_LIST,
            r#"{"schemaVersion":2,"manifests":[]}"#,
        ),
        (media_type::OCI_MANIFEST, NO_MEDIA_TYPE),
        (media_type::DOCKER_MANIFEST, NO_MEDIA_TYPE),
    ];
    for (kind, body) in kinds {
        let server = TestServer::start(move |request| {
            if request.path() == "/v2/" {
                return Reply::new(200).body("{}");
            }
            let accept = request.header("accept").unwrap_or_default();
            let accepted = |part: &str| part.split(';').next().is_some_and(|t| t.trim() == kind);
            match accept.split(',').any(accepted) {
                true => Reply::new(200).header("content-type", kind).body(body),
                false => error(404, "MANIFEST_UNKNOWN"),
            }
        })
        .await;
        let from = repository(&server, "a/b");
        let pulled = client(&server).manifest(&from, &tag("1")).await.unwrap();
        assert_eq!(
            (pulled.media_type.as_str(), &pulled.bytes[..]),
            (kind, body.as_bytes())
        );
        // To HEAD this server says neither digest nor size.
        let head = client(&server)
            .manifest_head(&from, &tag("1"))
            .await
            .unwrap();
        assert_eq!(head.unwrap().digest, Some(pulled.digest));
    }
}

#[tokio::test]
async fn q55_without_the_header_the_digest_is_computed() {
    let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
    server.on("GET", "/v2/a/b/manifests/1", [image()]);
    server.on("HEAD", "/v2/a/b/manifests/1", [Reply::new(200)]);
    let (client, from) = (client(&server), repository(&server, "a/b"));
    let digest = Digest::sha256_of(IMAGE.as_bytes());
    assert_eq!(
        client.manifest(&from, &tag("1")).await.unwrap().digest,
        digest
    );
    let head = client
        .manifest_head(&from, &tag("1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.digest, Some(digest));
    assert_eq!(head.size, Some(IMAGE.len() as u64));
    let asked: Vec<_> = server.lines().split_off(1);
    let path = "/v2/a/b/manifests/1";
    assert_eq!(
        asked,
        ["GET", "HEAD", "GET"].map(|method| format!("{method} {path}"))
    );
}

#[tokio::test]
async fn q57_manifests_are_verified_by_the_algorithm_that_their_digest_names() {
    let (content, server) = registry().await;
    let digest = sha512(IMAGE.as_bytes());
    let what = TagOrDigest::Digest(digest);
    put(&server, &what, IMAGE_TYPE, IMAGE).await.unwrap();
    assert!(content.manifest("a/b", &digest.to_string()).is_some());
    let (client, from) = (client(&server), repository(&server, "a/b"));
    let pulled = client.manifest(&from, &what).await.unwrap();
    assert_eq!(pulled.digest, digest);
    let damaged = image().body(IMAGE.replace("config", "konfig"));
    server.on("GET", &format!("/v2/a/b/manifests/{digest}"), [damaged]);
    let failed = client.manifest(&from, &what).await.unwrap_err();
    let RegistryError::DigestMismatch { expected, .. } = failed else {
        panic!("{failed}");
    };
    assert_eq!(*expected, digest);
}

#[tokio::test]
async fn q57_a_registry_without_sha512_is_told_as_such() {
    let (_, server) = registry().await;
    let (client, to) = (client(&server), repository(&server, "a/b"));
    let blob = sha512(b"blob");
    let source = || Arc::new(bytes::Bytes::from("blob"));
    let uploads = "/v2/a/b/blobs/uploads/";
    let is_clear = |failed: RegistryError| {
        let text = failed.to_string();
        assert!(
            text.contains("no sha512 digests") && text.contains("400"),
            "{text}"
        );
        assert!(failed.hint().unwrap().contains("sha256"), "{text}");
        assert_eq!(failed.status().map(|s| s.as_u16()), Some(400));
    };
    // The parameter `digest-algorithm` is refused, then the digest itself.
    server.on("POST", uploads, [error(400, "UNSUPPORTED")]);
    is_clear(client.push_blob(&to, &blob, 4, source()).await.unwrap_err());
    is_clear(client.begin_upload(&to, &blob, 4).await.unwrap_err());
    let opened = Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/1");
    server.on("POST", uploads, [opened]);
    server.on(
        "PUT",
        "/v2/a/b/blobs/uploads/1",
        [error(400, "DIGEST_INVALID")],
    );
    is_clear(client.push_blob(&to, &blob, 4, source()).await.unwrap_err());
    let mut piped = client.begin_upload(&to, &blob, 4).await.unwrap();
    is_clear(piped.write("blob".into()).await.unwrap_err());
    let what = TagOrDigest::Digest(sha512(IMAGE.as_bytes()));
    let path = format!("/v2/a/b/manifests/{what}");
    server.on("PUT", &path, [error(400, "DIGEST_INVALID")]);
    is_clear(put(&server, &what, IMAGE_TYPE, IMAGE).await.unwrap_err());

    // Other refusals, and those of sha256, are not about the algorithm.
    server.on("PUT", &path, [error(400, "MANIFEST_BLOB_UNKNOWN")]);
    let failed = put(&server, &what, IMAGE_TYPE, IMAGE).await.unwrap_err();
    assert!(!failed.to_string().contains("sha512 digests"), "{failed}");
    server.on("POST", uploads, [error(400, "UNSUPPORTED")]);
    let blob = Digest::sha256_of(b"blob");
    let failed = client.push_blob(&to, &blob, 4, source()).await.unwrap_err();
    assert!(matches!(failed, RegistryError::Status { .. }), "{failed}");
}

#[tokio::test]
async fn q62_more_than_four_mebibytes_are_neither_sent_nor_read() {
    let (content, server) = registry().await;
    let fits = format!("{{{}}}", " ".repeat((4 << 20) - 2));
    let digest = Digest::sha256_of(fits.as_bytes());
    put(&server, &TagOrDigest::Digest(digest), IMAGE_TYPE, &fits)
        .await
        .unwrap();
    assert!(content.manifest("a/b", &digest.to_string()).is_some());
    let before = server.log().len();
    let large = fits + " ";
    let failed = put(&server, &tag("1"), IMAGE_TYPE, &large)
        .await
        .unwrap_err();
    let text = failed.to_string();
    assert!(text.contains("4194304") && text.contains("a/b:1"), "{text}");
    let sent = server.log().split_off(before);
    assert!(
        sent.iter().all(|request| request.method != "PUT"),
        "{sent:?}"
    );
    content.add_manifest("a/b", "1", IMAGE_TYPE, &large);
    let from = repository(&server, "a/b");
    let pulled = patient(&server).manifest(&from, &tag("1")).await;
    let failed = pulled.unwrap_err();
    assert!(matches!(failed, RegistryError::TooLarge { .. }), "{failed}");
}

#[tokio::test]
async fn q67_a_tag_that_cannot_be_changed_is_fine_where_it_is_right_already() {
    let (content, server) = registry().await;
    let path = "/v2/a/b/manifests/1";
    // ECR, Harbor, and others.
    let refusals = [
        (400, "ImageTagAlreadyExistsException"),
        (409, "TAG_IMMUTABLE"),
        (412, "PRECONDITION"),
    ];
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE);
    for (status, code) in refusals {
        server.on("PUT", path, [error(status, code)]);
        put(&server, &tag("1"), IMAGE_TYPE, IMAGE).await.unwrap();
    }
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE.replace("[]", "[ ]"));
    for (status, code) in refusals {
        server.on("PUT", path, [error(status, code)]);
        let failed = put(&server, &tag("1"), IMAGE_TYPE, IMAGE)
            .await
            .unwrap_err();
        assert_eq!(failed.code(), Some(code));
        if status == 412 {
            assert!(failed.hint().unwrap().contains("immutable"));
        }
    }
}
