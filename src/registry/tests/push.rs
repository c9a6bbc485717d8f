//! What is there already, mounts, manifests.

use super::*;
use crate::registry::{Credential, Mount, RegistryError, Secret, test_registry::error};

fn blob_path(digest: &Digest) -> String {
    format!("/v2/a/b/blobs/{digest}")
}

#[tokio::test]
async fn q30_a_blob_is_there_only_without_any_doubt() {
    let (_, server) = registry().await;
    let digest = Digest::sha256_of(b"12345");
    let named =
        |reply: Reply, digest: &Digest| reply.header("Docker-Content-Digest", digest.to_string());
    let length = |n: u64| Reply::new(200).header("content-length", n.to_string());
    let other = Digest::sha256_of(b"other");
    for (reply, expected) in [
        (length(5), true),
        (named(length(5), &digest), true),
        (named(Reply::new(200), &digest), true),
        (
            named(length(99).header("content-encoding", "gzip"), &digest),
            true,
        ),
        (length(4), false),
        (named(length(5), &other), false),
        (named(length(4), &digest), false),
        (Reply::new(200), false),
        (
            length(5).header("content-type", "text/html; charset=utf-8"),
            false,
        ),
        (Reply::new(400), false),
        (Reply::new(403), false),
        (Reply::new(404), false),
        (Reply::new(405), false),
    ] {
        server.on("HEAD", &blob_path(&digest), [reply.clone()]);
        let there = client(&server)
            .blob_exists(&repository(&server, "a/b"), &digest, 5)
            .await;
        assert_eq!(there.unwrap(), expected, "{reply:?}");
    }
    for status in [401, 500] {
        for method in ["HEAD", "GET"] {
            server.on(method, &blob_path(&digest), [Reply::new(status)]);
        }
        let there = client(&server)
            .blob_exists(&repository(&server, "a/b"), &digest, 5)
            .await;
        assert!(there.is_err(), "{status}");
    }
}

#[tokio::test]
async fn q31_a_mount_works_or_leaves_an_upload_or_nothing() {
    let (content, server) = registry().await;
    let digest: Digest = content.add_blob("from/here", b"blob").parse().unwrap();
    let client = client(&server);
    let to = repository(&server, "a/b");
    let mounted = client.mount_blob(&to, &digest, "from/here").await.unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    assert!(content.blob("a/b", &digest.to_string()).is_some());
    assert_eq!(
        server.lines()[1],
        format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=from/here")
    );

    // 202: an upload was opened, and is used.
    let absent = Digest::sha256_of(b"absent");
    let Mount::Refused(Some(session)) = client.mount_blob(&to, &absent, "from/here").await.unwrap()
    else {
        panic!("an upload was expected");
    };
    let body = std::sync::Arc::new(bytes::Bytes::from("absent"));
    client
        .push_blob_in(&to, &absent, 6, body, Some(session))
        .await
        .unwrap();
    assert!(content.blob("a/b", &absent.to_string()).is_some());
    let posts = server.count("POST", "/v2/a/b/blobs/uploads/");
    assert_eq!(posts, 2, "no other upload was opened");

    // 202 and not wanted: it is closed.
    let Mount::Refused(Some(session)) = client
        .mount_blob(&to, &Digest::sha256_of(b"no"), "x")
        .await
        .unwrap()
    else {
        panic!("an upload was expected");
    };
    assert_eq!(content.open_uploads(), 1);
    client.cancel_upload(&to, session).await;
    assert_eq!(content.open_uploads(), 0);

    for status in [400, 401, 403, 404, 405, 500] {
        server.on("POST", "/v2/a/b/blobs/uploads/", [error(status, "NO")]);
        let refused = client.mount_blob(&to, &digest, "from/here").await.unwrap();
        assert!(matches!(refused, Mount::Refused(None)), "{status}");
    }
    // A registry that says that it mounted something else has not mounted this.
    let lie = Reply::new(201).header("Docker-Content-Digest", absent.to_string());
    server.on("POST", "/v2/a/b/blobs/uploads/", [lie]);
    let refused = client.mount_blob(&to, &digest, "from/here").await.unwrap();
    assert!(matches!(refused, Mount::Refused(None)));
}

#[tokio::test]
async fn q32_a_mount_asks_for_both_scopes_and_survives_a_no() {
    let server = TestServer::start(|request| match request.header("authorization") {
        Some("Bearer T") => Reply::new(201),
        _ => error(401, "UNAUTHORIZED").header("WWW-Authenticate", r#"Bearer realm="/token""#),
    })
    .await;
    server.on("GET", "/token", [Reply::new(200).body(r#"{"token":"T"}"#)]);
    let digest = Digest::sha256_of(b"x");
    let to = repository(&server, "a/b");
    let mounted = client(&server).mount_blob(&to, &digest, "c").await.unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    assert_eq!(
        server.lines()[1],
        "GET /token?scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
    );
    server.on("GET", "/token", [Reply::new(403)]);
    let refused = client(&server).mount_blob(&to, &digest, "c").await.unwrap();
    assert!(matches!(refused, Mount::Refused(None)));
}

#[tokio::test]
async fn q51_a_manifest_is_written_as_it_is() {
    let (content, server) = registry().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    let digest = Digest::sha256_of(IMAGE.as_bytes());
    for what in [TagOrDigest::Digest(digest), tag("1")] {
        client
            .put_manifest(&to, &what, IMAGE_TYPE, IMAGE.into())
            .await
            .unwrap();
        let (media_type, bytes) = content.manifest("a/b", &what.to_string()).unwrap();
        assert_eq!(
            (media_type.as_str(), bytes.as_slice()),
            (IMAGE_TYPE, IMAGE.as_bytes())
        );
    }
    let request = server.log().pop().unwrap();
    assert_eq!(
        request.header("content-length"),
        Some(IMAGE.len().to_string().as_str())
    );
    assert_eq!(request.header("transfer-encoding"), None);
}

#[tokio::test]
async fn what_the_registry_says_it_stored_must_be_what_was_sent() {
    let (content, server) = registry().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    put_reply(
        &server,
        Reply::new(201).header("Docker-Content-Digest", Digest::sha256_of(b"x").to_string()),
    );
    let failed = client
        .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
        .await
        .unwrap_err();
    assert!(
        matches!(failed, RegistryError::DigestMismatch { .. }),
        "{failed}"
    );

    // A captive portal says 200 to everything.
    for status in [200, 202, 204] {
        put_reply(&server, Reply::new(status));
        assert!(
            client
                .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
                .await
                .is_err()
        );
    }
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE);
    for status in [200, 202, 204] {
        put_reply(&server, Reply::new(status));
        client
            .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
            .await
            .unwrap();
    }
    // A tag that cannot be changed and is right already.
    for status in [400, 409, 412] {
        put_reply(&server, error(status, "TAG_IMMUTABLE"));
        client
            .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
            .await
            .unwrap();
    }
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE.replace("[]", "[ ]"));
    put_reply(&server, error(412, "TAG_IMMUTABLE"));
    let failed = client
        .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Some("TAG_IMMUTABLE"));
    assert!(failed.hint().unwrap().contains("immutable"));
}

fn put_reply(server: &TestServer, reply: Reply) {
    server.on("PUT", "/v2/a/b/manifests/1", [reply]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_right_is_not_sent() {
    let (_, server) = registry().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    let other = TagOrDigest::Digest(Digest::sha256_of(b"other"));
    assert!(
        client
            .put_manifest(&to, &other, IMAGE_TYPE, IMAGE.into())
            .await
            .is_err()
    );
    let large = bytes::Bytes::from(vec![b' '; (4 << 20) + 1]);
    let failed = client
        .put_manifest(&to, &tag("1"), IMAGE_TYPE, large)
        .await
        .unwrap_err();
    assert!(matches!(failed, RegistryError::TooLarge { .. }), "{failed}");
    assert!(
        client
            .put_manifest(&to, &tag("1"), "a\nb", IMAGE.into())
            .await
            .is_err()
    );
    assert!(server.log().iter().all(|r| r.method != "PUT"));
}

#[tokio::test]
async fn refusals_come_with_what_to_do() {
    let (_, server) = registry().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    for (status, code, hint) in [
        (
            400,
            "MANIFEST_BLOB_UNKNOWN",
            "validation.manifests.indexes.platforms",
        ),
        (401, "UNAUTHORIZED", "log in"),
        (404, "NAME_UNKNOWN", "create it"),
        (413, "TOO_LARGE", "client_max_body_size"),
    ] {
        put_reply(&server, error(status, code));
        let failed = client
            .put_manifest(&to, &tag("1"), IMAGE_TYPE, IMAGE.into())
            .await
            .unwrap_err();
        assert!(
            failed.hint().unwrap().contains(hint),
            "{failed}: {:?}",
            failed.hint()
        );
    }
}

#[tokio::test]
async fn q34_the_right_to_push_is_checked_and_nothing_is_left_behind() {
    let (content, server) = registry().await;
    let to = repository(&server, "a/b");
    client(&server).check_push_access(&to).await.unwrap();
    assert_eq!(content.open_uploads(), 0);
    assert!(
        server
            .lines()
            .last()
            .unwrap()
            .starts_with("DELETE /v2/a/b/blobs/uploads/u1?_state=a%2Fb")
    );

    server.on("POST", "/v2/a/b/blobs/uploads/", [error(403, "DENIED")]);
    let mut config = config(&[&server]);
    let credential = Credential::Basic {
        username: "u".to_owned(),
        password: Secret::new("p"),
    };
    config.credentials.explicit = Some((server.host(), credential));
    let failed = Client::new(config)
        .unwrap()
        .check_push_access(&to)
        .await
        .unwrap_err();
    assert!(failed.is_denied() && failed.code() == Some("DENIED"));
}

#[tokio::test]
async fn q46_a_manifest_that_was_damaged_on_the_way_is_sent_again() {
    let stored = |bytes: &[u8]| {
        Reply::new(201).header(
            "Docker-Content-Digest",
            Digest::sha256_of(bytes).to_string(),
        )
    };
    for first in [
        error(400, "DIGEST_INVALID"),
        error(400, "MANIFEST_INVALID"),
        // It took something else, under a tag.
        stored(b"damaged"),
    ] {
        let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
        server.on(
            "PUT",
            "/v2/a/b/manifests/1",
            [first.clone(), stored(IMAGE.as_bytes())],
        );
        client(&server)
            .put_manifest(
                &repository(&server, "a/b"),
                &tag("1"),
                IMAGE_TYPE,
                IMAGE.into(),
            )
            .await
            .unwrap();
        let puts: Vec<_> = server
            .log()
            .into_iter()
            .filter(|r| r.method == "PUT")
            .collect();
        assert_eq!(puts.len(), 2, "{first:?}");
        assert_eq!(puts[1].body, IMAGE.as_bytes());
    }
}
