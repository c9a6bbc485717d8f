//! Tokens that run out while a blob is on its way.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::*;
use crate::registry::{BlobReader, BlobSource, OpenBlob, test_server::Recorded};

const LENGTH: usize = 200;

/// A registry whose tokens are each good for so many requests, and say that they live for a second.
/// `before` may answer in its place.
async fn short_lived(
    requests: usize,
    before: impl Fn(&Recorded) -> Option<Reply> + Send + Sync + 'static,
) -> (TestRegistry, TestServer) {
    let (issued, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let content = TestRegistry::new();
    let registry = content.clone();
    let server = TestServer::start(move |request| {
        if request.path() == TOKEN {
            used.store(0, Ordering::Relaxed);
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            let body = format!(r#"{{"token":"T{number}","expires_in":1}}"#);
            return Reply::new(200).body(body);
        }
        let good = format!("Bearer T{}", issued.load(Ordering::Relaxed));
        let shown = request.header("authorization") == Some(&good);
        if !shown || used.fetch_add(1, Ordering::Relaxed) >= requests {
            return unauthorized(r#"Bearer realm="/token",service="s",error="invalid_token""#);
        }
        before(request).unwrap_or_else(|| content.answer(request))
    })
    .await;
    (registry, server)
}

async fn push(
    server: &TestServer,
    bytes: &[u8],
    source: Arc<dyn BlobSource>,
) -> Result<(), RegistryError> {
    let client = Client::new(with_password(server)).unwrap();
    let digest = Digest::sha256_of(bytes);
    let repository = repository(server, "a/b");
    let size = bytes.len() as u64;
    client.push_blob(&repository, &digest, size, source).await
}

#[tokio::test]
async fn q03_a_token_that_runs_out_between_chunks_does_not_end_the_upload() {
    let (content, server) = short_lived(2, |request| {
        let whole = request.method == "PUT" && request.body.len() > 100;
        whole.then(|| Reply::new(413))
    })
    .await;
    let bytes = pattern(LENGTH);
    push(&server, &bytes, Arc::new(Bytes::from(bytes.clone())))
        .await
        .unwrap();
    let digest = Digest::sha256_of(&bytes).to_string();
    assert_eq!(content.blob("a/b", &digest), Some(bytes));
    let log = server.log();
    let ranges: Vec<_> = log
        .iter()
        .filter_map(|r| Some((r.header("content-range")?, r.header("authorization")?)))
        .collect();
    // T1: the upload in one piece; T2: a new session and its first chunk; and so on.
    assert_eq!(
        ranges,
        [
            ("0-63", "Bearer T2"),
            ("64-127", "Bearer T2"),
            ("64-127", "Bearer T3"),
            ("128-191", "Bearer T3"),
            ("192-199", "Bearer T3"),
            ("192-199", "Bearer T4"),
        ]
    );
    let uploads = "/v2/a/b/blobs/uploads/";
    // The second one met the end of the first token and was sent again.
    assert_eq!(server.count("POST", uploads), 3, "{:?}", server.lines());
    assert_eq!(server.count("GET", &format!("{uploads}u2")), 0);
}

/// Content that takes its time.
struct Slow(Vec<u8>);

impl BlobSource for Slow {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        let rest = self.0[from as usize..].to_vec();
        Box::pin(async move {
            let pieces: Vec<_> = rest.chunks(50).map(Bytes::copy_from_slice).collect();
            let slow = stream::iter(pieces).then(|piece| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                io::Result::Ok(piece)
            });
            Ok(Box::pin(slow) as BlobReader)
        })
    }
}

#[tokio::test]
async fn q03_a_slow_blob_in_one_piece_is_sent_again_with_a_new_token() {
    // The token is good for opening the upload, and refused behind the body.
    let (content, server) = short_lived(1, |_| None).await;
    let bytes = pattern(LENGTH);
    push(&server, &bytes, Arc::new(Slow(bytes.clone())))
        .await
        .unwrap();
    let digest = Digest::sha256_of(&bytes).to_string();
    assert_eq!(content.blob("a/b", &digest), Some(bytes.clone()));
    let puts: Vec<_> = server
        .log()
        .into_iter()
        .filter(|r| r.method == "PUT")
        .collect();
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[0].path(), puts[1].path(), "the session went on");
    for (put, token) in puts.iter().zip(["Bearer T1", "Bearer T2"]) {
        assert_eq!(put.header("authorization"), Some(token));
        assert_eq!(put.body, bytes);
    }
    assert_eq!(server.count("GET", TOKEN), 2);
}

#[tokio::test]
async fn q03_a_blob_that_takes_longer_than_any_token_lives_goes_in_chunks() {
    let (content, server) = short_lived(usize::MAX, |request| {
        let whole = request.method == "PUT" && request.body.len() > 100;
        whole.then(|| unauthorized(r#"Bearer realm="/token",service="s",error="invalid_token""#))
    })
    .await;
    let bytes = pattern(LENGTH);
    push(&server, &bytes, Arc::new(Bytes::from(bytes.clone())))
        .await
        .unwrap();
    let digest = Digest::sha256_of(&bytes).to_string();
    assert_eq!(content.blob("a/b", &digest), Some(bytes));
    let count = |method: &str| server.log().iter().filter(|r| r.method == method).count();
    // Twice in one piece; then in pieces, and an end without a body.
    assert_eq!((count("PUT"), count("PATCH")), (3, 4));

    // Who may not write at all is told so.
    let server = TestServer::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up/1"),
        "PUT" | "PATCH" => error(401, "DENIED"),
        _ => Reply::new(200).body("{}"),
    })
    .await;
    let bytes = pattern(LENGTH);
    let failed = push(&server, &bytes, Arc::new(Bytes::from(bytes.clone())))
        .await
        .unwrap_err();
    assert!(failed.is_denied() && failed.code() == Some("DENIED"));
    assert!(failed.hint().unwrap().contains("project `a`"), "{failed}");
}
