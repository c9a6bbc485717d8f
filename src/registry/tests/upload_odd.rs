//! Uploads to registries that each have a habit of their own.
//!
//! q33: a blob is mounted only from a repository that is named; `?mount=` without `from` is never sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{
    upload::{LENGTH, POST, arrived, behind, push},
    *,
};
use crate::registry::{
    BlobReader, BlobSource, OpenBlob, RegistryError,
    test_registry::error,
    test_server::{Fault, Recorded},
};

fn is_large_put(request: &Recorded) -> bool {
    request.method == "PUT" && request.body.len() > 100
}

#[tokio::test]
async fn q29_a_blob_that_cannot_be_looked_for_is_uploaded() {
    for status in [400, 403, 404, 405] {
        let (content, server) =
            behind(move |request, _| (request.method == "HEAD").then(|| Reply::new(status))).await;
        let client = client(&server);
        let digest = Digest::sha256_of(&pattern(LENGTH));
        let to = repository(&server, "a/b");
        let there = client.blob_exists(&to, &digest, LENGTH as u64).await;
        assert!(!there.unwrap(), "{status}");
        push(&client, &server).await.unwrap();
        assert!(arrived(&content));
    }
}

#[tokio::test]
async fn q34_that_an_upload_cannot_be_closed_does_not_matter() {
    for status in [401, 404, 405, 500] {
        let (_, server) =
            behind(move |request, _| (request.method == "DELETE").then(|| error(status, "NO")))
                .await;
        let client = client(&server);
        client
            .check_push_access(&repository(&server, "a/b"))
            .await
            .unwrap();
        let deletes = server.log().iter().filter(|r| r.method == "DELETE").count();
        assert_eq!(deletes, 1, "asked once, whatever it says");
    }
}

#[tokio::test]
async fn q40_a_registry_that_is_elsewhere_in_the_blob_says_where() {
    // The second chunk was taken, and its answer lost: the third is refused with 416, or its repetition.
    for with_range in [true, false] {
        let patches = AtomicUsize::new(0);
        let (content, server) = behind(move |request, content| {
            if is_large_put(request) {
                return Some(Reply::new(413));
            }
            if request.method != "PATCH" || patches.fetch_add(1, Ordering::Relaxed) != 1 {
                return None;
            }
            content.answer(request);
            let mut reply = content.answer(request);
            assert_eq!(reply.status, 416, "the same chunk twice");
            if !with_range {
                reply.headers.clear();
            }
            Some(reply)
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
        let ranges: Vec<_> = server
            .log()
            .iter()
            .filter_map(|r| r.header("content-range").map(str::to_owned))
            .collect();
        assert_eq!(
            ranges,
            ["0-63", "64-127", "128-191", "192-199"],
            "nothing twice"
        );
    }
}

#[tokio::test]
async fn q40_without_a_state_to_ask_for_the_upload_begins_again() {
    // The answer to a chunk is lost, and the registry knows no GET of an upload (ECR).
    for status in [404, 405] {
        let patches = AtomicUsize::new(0);
        let (content, server) = behind(move |request, content| {
            if is_large_put(request) {
                return Some(Reply::new(413));
            }
            if request.method == "GET" && request.path().contains("/uploads/") {
                return Some(error(status, "UNSUPPORTED"));
            }
            let second = request.method == "PATCH" && patches.fetch_add(1, Ordering::Relaxed) == 1;
            second.then(|| {
                content.answer(request);
                Reply::new(202).fault(Fault::NoAnswer)
            })
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
        assert_eq!(server.count("POST", POST), 3, "413, lost, done");
    }
}

#[tokio::test]
async fn q42_a_registry_that_takes_only_chunks_gets_chunks() {
    for status in [400, 404, 405, 415] {
        let (content, server) = behind(move |request, _| {
            let whole = request.method == "PUT" && !request.body.is_empty();
            whole.then(|| error(status, "UNSUPPORTED"))
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content), "{status}");
    }
}

#[tokio::test]
async fn q43_the_empty_config_is_a_blob_as_any_other() {
    let (content, server) = registry().await;
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    client(&server)
        .push_blob(
            &repository(&server, "a/b"),
            &digest.parse().unwrap(),
            2,
            Arc::new(Bytes::from("{}")),
        )
        .await
        .unwrap();
    assert_eq!(content.blob("a/b", digest), Some(b"{}".to_vec()));
}

#[tokio::test]
async fn q46_what_was_damaged_on_the_way_is_sent_again() {
    // In one piece, and in chunks, where the registry tells only at the end.
    for chunked in [false, true] {
        let puts = AtomicUsize::new(0);
        let (content, server) = behind(move |request, content| {
            if chunked && is_large_put(request) {
                return Some(Reply::new(413));
            }
            let first = request.method == "PUT" && puts.fetch_add(1, Ordering::Relaxed) == 0;
            first.then(|| {
                let mut damaged = request.clone();
                damaged.body.push(0);
                let reply = content.answer(&damaged);
                assert_eq!(reply.status, 400);
                reply
            })
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
    }
    // A registry that never gets it right is given up on, with its own words.
    let (_, server) =
        behind(|request, _| (request.method == "PUT").then(|| error(400, "DIGEST_INVALID"))).await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert_eq!(failed.code(), Some("DIGEST_INVALID"));
    assert!(failed.to_string().contains("(3 attempts)"), "{failed}");
}

#[tokio::test]
async fn q81_a_server_that_says_yes_to_everything_has_nothing() {
    // A captive portal that looks like JSON to the ping.
    let server = TestServer::start(|request| match request.method.as_str() {
        "POST" => Reply::new(200).header("Location", "/v2/a/b/blobs/uploads/1"),
        _ => Reply::new(200).body("{}"),
    })
    .await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::Unexpected { .. }),
        "{failed}"
    );
    assert!(
        failed.to_string().contains("not there afterwards"),
        "{failed}"
    );
    let failed = client(&server)
        .put_manifest(
            &repository(&server, "a/b"),
            &tag("1"),
            IMAGE_TYPE,
            IMAGE.into(),
        )
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("not"), "{failed}");
}

#[tokio::test]
async fn q47_a_registry_that_puts_chunks_together_slowly_is_waited_for() {
    // Longer than a connection may be silent, as with a body: it moves and hashes everything.
    let (content, server) = behind(|request, content| {
        if is_large_put(request) {
            return Some(Reply::new(413));
        }
        let closing = request.method == "PUT";
        closing.then(|| content.answer(request).delay(Duration::from_millis(500)))
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    let patches = server.log().iter().filter(|r| r.method == "PATCH").count();
    assert_eq!(patches, 4, "sent once");
}

#[tokio::test]
async fn q40_a_registry_that_goes_back_and_forth_is_given_up_on() {
    // Two that do not know of each other behind one name.
    let asked = AtomicUsize::new(0);
    let (_, server) = behind(move |request, _| match request.method.as_str() {
        "PUT" => Some(Reply::new(413)),
        "PATCH" => Some(Reply::new(416)),
        "GET" if request.path().contains("/uploads/") => {
            let range = match asked.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => "0-63",
                _ => "0-0",
            };
            Some(Reply::new(204).header("Range", range))
        }
        _ => None,
    })
    .await;
    push(&client(&server), &server).await.unwrap_err();
    let patches = server.log().iter().filter(|r| r.method == "PATCH").count();
    assert!(patches < 50, "{patches}");
}

/// The body of an upload that comes from the same host, as a blob does that cannot be mounted.
struct OwnCopy(Client, Repository, Digest);

impl BlobSource for OwnCopy {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        Box::pin(async move {
            let size = LENGTH as u64;
            let opened = self
                .0
                .blob_beside_others(&self.1, &self.2, from..size, size);
            let blob = opened.await.map_err(std::io::Error::other)?;
            let pieces = futures_util::stream::try_unfold(blob, |mut blob| async move {
                let piece = blob.chunk().await.map_err(std::io::Error::other)?;
                Ok(piece.map(|piece| (piece, blob)))
            });
            Ok(Box::pin(pieces) as BlobReader)
        })
    }
}

#[tokio::test]
async fn q76_a_host_that_takes_one_request_at_a_time_can_still_be_its_own_source() {
    let (content, server) = registry().await;
    let bytes = pattern(LENGTH);
    let digest: Digest = content.add_blob("from/here", &bytes).parse().unwrap();
    let client = client(&server);
    // One refusal: one request at a time from now on.
    let from = repository(&server, "from/here");
    let other = Digest::sha256_of(b"none");
    let path = format!("/v2/from/here/blobs/{other}");
    server.on(
        "HEAD",
        &path,
        [error(429, "TOOMANYREQUESTS"), Reply::new(404)],
    );
    assert!(!client.blob_exists(&from, &other, 4).await.unwrap());
    let to = repository(&server, "a/b");
    let source = Arc::new(OwnCopy(client.clone(), from, digest));
    let push = client.push_blob(&to, &digest, LENGTH as u64, source);
    let pushed = tokio::time::timeout(Duration::from_secs(30), push).await;
    pushed.expect("they wait for each other").unwrap();
    assert!(arrived(&content));
}
