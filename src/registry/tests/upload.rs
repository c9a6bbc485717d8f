//! Uploads: in one piece, in chunks, and every way in which they have been seen to fail.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;

use super::*;
use crate::registry::{
    BlobReader, BlobSource, Credential, OpenBlob, RegistryError, Secret,
    test_registry::error,
    test_server::{Fault, Recorded},
};

pub(super) const POST: &str = "/v2/a/b/blobs/uploads/";
pub(super) const LENGTH: usize = 200;

fn source(bytes: &[u8]) -> Arc<dyn BlobSource> {
    Arc::new(Bytes::copy_from_slice(bytes))
}

/// Pushes a blob of `LENGTH` bytes, more than three chunks.
pub(super) async fn push(client: &Client, server: &TestServer) -> Result<(), RegistryError> {
    let bytes = pattern(LENGTH);
    let digest = Digest::sha256_of(&bytes);
    client
        .push_blob(
            &repository(server, "a/b"),
            &digest,
            LENGTH as u64,
            source(&bytes),
        )
        .await
}

pub(super) fn arrived(content: &TestRegistry) -> bool {
    let digest = Digest::sha256_of(&pattern(LENGTH)).to_string();
    content.blob("a/b", &digest).is_some()
}

fn methods(server: &TestServer) -> Vec<String> {
    let log = server.log();
    log.iter().skip(1).map(|r| r.method.clone()).collect()
}

/// A registry behind `before`, which may answer in its place.
pub(super) async fn behind(
    before: impl Fn(&Recorded, &TestRegistry) -> Option<Reply> + Send + Sync + 'static,
) -> (TestRegistry, TestServer) {
    let registry = TestRegistry::new();
    let content = registry.clone();
    let server = TestServer::start(move |request| {
        before(request, &content).unwrap_or_else(|| content.answer(request))
    })
    .await;
    (registry, server)
}

#[tokio::test]
async fn one_piece_comes_first() {
    let (content, server) = registry().await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(methods(&server), ["POST", "PUT"]);
    let put = server.log().pop().unwrap();
    let digest = Digest::sha256_of(&pattern(LENGTH))
        .to_string()
        .replace(':', "%3A");
    assert_eq!(put.query(), format!("_state=a%2Fb&digest={digest}"));
    assert_eq!(put.header("content-length"), Some("200"));
    assert_eq!(put.header("transfer-encoding"), None);
    assert_eq!(put.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn q43_empty_and_sha512_blobs_are_blobs() {
    use crate::oci::{Algorithm, Hasher};
    let (content, server) = registry().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    let empty = Digest::sha256_of(b"");
    client.push_blob(&to, &empty, 0, source(b"")).await.unwrap();
    assert_eq!(content.blob("a/b", &empty.to_string()), Some(Vec::new()));
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"abc");
    let sha512 = hasher.finish();
    client
        .push_blob(&to, &sha512, 3, source(b"abc"))
        .await
        .unwrap();
    assert!(content.blob("a/b", &sha512.to_string()).is_some());
    assert!(
        server
            .lines()
            .contains(&format!("POST {POST}?digest-algorithm=sha512"))
    );
}

#[tokio::test]
async fn a_sha512_blob_is_looked_for_after_it_was_taken() {
    use crate::oci::{Algorithm, Hasher};
    let (_, server) = behind(|request, _| (request.method == "PUT").then(|| Reply::new(201))).await;
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"abc");
    let to = repository(&server, "a/b");
    let (client, sha512) = (client(&server), hasher.finish());
    let pushed = client.push_blob(&to, &sha512, 3, source(b"abc")).await;
    let error = pushed.unwrap_err().to_string();
    assert!(error.contains("is not there afterwards"), "{error}");
}

#[tokio::test]
async fn q37_a_body_that_is_too_large_goes_in_chunks_and_the_next_one_at_once() {
    for status in [413, 405, 400] {
        let (content, server) = behind(move |request, _| {
            let large = request.method == "PUT" && request.body.len() > 100;
            large.then(|| Reply::new(status).body("<html>413 Request Entity Too Large</html>"))
        })
        .await;
        let client = client(&server);
        push(&client, &server).await.unwrap();
        assert!(arrived(&content));
        assert_eq!(
            methods(&server),
            [
                "POST", "PUT", "POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"
            ]
        );
        let log = server.log();
        let ranges: Vec<_> = log
            .iter()
            .filter_map(|r| r.header("content-range"))
            .collect();
        assert_eq!(ranges, ["0-63", "64-127", "128-191", "192-199"]);
        push(&client, &server).await.unwrap();
        assert_eq!(methods(&server)[8..10], ["POST", "PATCH"]);
    }
}

#[tokio::test]
async fn q37_a_connection_that_breaks_under_a_large_body_leads_to_chunks() {
    let (content, server) = registry().await;
    let put = "/v2/a/b/blobs/uploads/u1";
    server.on(
        "PUT",
        put,
        [Reply::new(413).early(50).fault(Fault::NoAnswer)],
    );
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert!(methods(&server).contains(&"PATCH".to_owned()));
}

#[tokio::test]
async fn q41_a_registry_without_chunks_gets_the_whole_again() {
    // The connection breaks by chance, and chunks are not supported.
    let (content, server) =
        behind(|request, _| (request.method == "PATCH").then(|| error(404, "UNSUPPORTED"))).await;
    server.on(
        "PUT",
        "/v2/a/b/blobs/uploads/u1",
        [Reply::new(1).early(50).fault(Fault::NoAnswer)],
    );
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(
        methods(&server),
        ["POST", "PUT", "POST", "PATCH", "POST", "PUT"]
    );

    // Neither way: the first refusal is the one that is told.
    let (_, server) = behind(|request, _| match request.method.as_str() {
        "PATCH" => Some(error(405, "UNSUPPORTED")),
        "PUT" => Some(error(413, "TOO_LARGE")),
        _ => None,
    })
    .await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert_eq!(failed.code(), Some("TOO_LARGE"));
}

#[tokio::test]
async fn q38_chunks_that_vanish_are_noticed() {
    // The registry answers as if nothing had come (ECR).
    let (_, server) = behind(|request, _| match request.method.as_str() {
        "PATCH" => Some(Reply::new(201).header("Range", "0-0")),
        "PUT" if request.body.len() > 100 => Some(error(413, "TOO_LARGE")),
        _ => None,
    })
    .await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert_eq!(failed.code(), Some("TOO_LARGE"));
    assert_eq!(
        server.log().iter().filter(|r| r.method == "PATCH").count(),
        1
    );
}

#[tokio::test]
async fn q39_ranges_are_understood_in_all_dialects() {
    type Dialect = fn(usize, usize) -> Option<String>;
    let dialects: [Dialect; 4] = [
        |_, _| None,
        |_, to| Some(format!("bytes=0-{}", to - 1)),
        |from, to| Some(format!("0-{}", to - from - 1)),
        |from, to| Some(format!("{from}-{}", to - 1)),
    ];
    for dialect in dialects {
        let (content, server) = behind(move |request, content| match request.method.as_str() {
            "PUT" if request.body.len() > 100 => Some(Reply::new(413)),
            "PATCH" => {
                let mut reply = content.answer(request);
                let (from, to) = request.header("content-range")?.split_once('-')?;
                let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
                reply.headers.retain(|(name, _)| name != "Range");
                Some(match dialect(from, to + 1) {
                    Some(range) => reply.header("Range", range),
                    None => reply,
                })
            }
            _ => None,
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
    }
}

#[tokio::test]
async fn q40_a_chunk_whose_answer_is_lost_is_not_sent_twice() {
    let seen = AtomicUsize::new(0);
    let (content, server) = behind(move |request, content| match request.method.as_str() {
        "PUT" if request.body.len() > 100 => Some(Reply::new(413)),
        "PATCH" if seen.fetch_add(1, Ordering::Relaxed) == 1 => {
            content.answer(request);
            Some(Reply::new(202).fault(Fault::NoAnswer))
        }
        _ => None,
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(
        methods(&server),
        [
            "POST", "PUT", "POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT"
        ]
    );
}

#[tokio::test]
async fn q39_a_registry_that_took_a_part_gets_the_rest() {
    let seen = AtomicUsize::new(0);
    let (content, server) = behind(move |request, content| match request.method.as_str() {
        "PUT" if request.body.len() > 100 => Some(Reply::new(413)),
        "PATCH" if seen.fetch_add(1, Ordering::Relaxed) == 1 => {
            let mut part = request.clone();
            part.body.truncate(10);
            Some(content.answer(&part))
        }
        _ => None,
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    let log = server.log();
    let ranges: Vec<_> = log
        .iter()
        .filter_map(|r| r.header("content-range"))
        .collect();
    assert_eq!(ranges, ["0-63", "64-127", "74-137", "138-199"]);
}

/// A registry behind a line that breaks whenever a few bytes of a body have gone through.
async fn behind_a_short_line() -> (TestRegistry, TestServer) {
    behind(|request, content| {
        let body = request.body.len();
        match request.method.as_str() {
            "PUT" if body > 20 => Some(Reply::new(201).fault(Fault::NoAnswer)),
            "PATCH" if body > 20 => {
                let mut part = request.clone();
                part.body.truncate(20);
                content.answer(&part);
                Some(Reply::new(202).fault(Fault::NoAnswer))
            }
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn a_line_that_breaks_again_and_again_gets_there() {
    // Chunks of 64 bytes, and one that is larger than the blob.
    for chunk_size in [64, 1 << 20] {
        let (content, server) = behind_a_short_line().await;
        let client = Client::new(ClientConfig {
            chunk_size,
            ..config(&[&server])
        });
        push(&client.unwrap(), &server).await.unwrap();
        assert!(arrived(&content), "{chunk_size}");
    }
}

/// As Distribution 2 and zot do it, behind something that cuts connections.
#[tokio::test]
async fn where_a_broken_chunk_costs_the_upload_smaller_ones_get_through() {
    const BIG: usize = 2 << 20;
    let (content, server) = behind(|request, _| {
        let body = matches!(request.method.as_str(), "PUT" | "PATCH");
        if body && request.body.len() > 1 << 20 {
            return Some(Reply::new(202).fault(Fault::NoAnswer));
        }
        (request.method == "GET" && request.path().contains("/uploads/"))
            .then(|| error(404, "BLOB_UPLOAD_INVALID"))
    })
    .await;
    let mut config = config(&[&server]);
    config.chunk_size = 4 << 20;
    config.stall_timeout = Duration::from_secs(5);
    let bytes = pattern(BIG);
    let digest = Digest::sha256_of(&bytes);
    let client = Client::new(config).unwrap();
    let to = repository(&server, "a/b");
    let pushed = client.push_blob(&to, &digest, BIG as u64, source(&bytes));
    pushed.await.unwrap();
    assert!(content.blob("a/b", &digest.to_string()).is_some());
    // From the first break on, what carried a large body may be near the end of what it carries.
    let log = server.log();
    let closes = |request: &Recorded| request.header("connection") == Some("close");
    let large = |request: &&Recorded| request.body.len() >= 1 << 20;
    let closing: Vec<bool> = log.iter().filter(large).map(closes).collect();
    assert!(!closing[0] && closing.len() > 1);
    assert!(closing[1..].iter().all(|closes| *closes), "{closing:?}");
    assert!(
        log.iter()
            .all(|request| large(&request) || !closes(request))
    );
}

#[tokio::test]
async fn q40_a_lost_session_starts_the_blob_again() {
    let seen = AtomicUsize::new(0);
    let (content, server) = behind(move |request, _| match request.method.as_str() {
        "PUT" if request.body.len() > 100 => Some(Reply::new(413)),
        "PATCH" if seen.fetch_add(1, Ordering::Relaxed) == 2 => {
            Some(error(404, "BLOB_UPLOAD_UNKNOWN"))
        }
        _ => None,
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(server.count("POST", POST), 3);
}

#[tokio::test]
async fn q35_chunks_shrink_below_the_limit_of_a_proxy_and_grow_to_that_of_the_registry() {
    const BIG: usize = 5 << 20;
    let (content, server) = behind(|request, _| {
        let body = matches!(request.method.as_str(), "PUT" | "PATCH");
        (body && request.body.len() > 1 << 20).then(|| Reply::new(413))
    })
    .await;
    let mut config = config(&[&server]);
    config.chunk_size = 4 << 20;
    config.stall_timeout = Duration::from_secs(5);
    let bytes = pattern(BIG);
    let digest = Digest::sha256_of(&bytes);
    let client = Client::new(config).unwrap();
    let to = repository(&server, "a/b");
    client
        .push_blob(&to, &digest, BIG as u64, source(&bytes))
        .await
        .unwrap();
    assert!(content.blob("a/b", &digest.to_string()).is_some());

    let (content, server) = behind(|request, content| match request.method.as_str() {
        "PUT" if request.body.len() > 100 => Some(Reply::new(413)),
        "POST" => Some(
            content
                .answer(request)
                .header("OCI-Chunk-Min-Length", "100"),
        ),
        _ => None,
    })
    .await;
    push(&self::client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    let log = server.log();
    let ranges: Vec<_> = log
        .iter()
        .filter_map(|r| r.header("content-range"))
        .collect();
    assert_eq!(ranges, ["0-99", "100-199"]);
}

#[tokio::test]
async fn q03_a_token_that_runs_out_in_the_middle_is_replaced_and_the_body_sent_again() {
    let tokens = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    let (content, server) = behind(move |request, _| {
        let challenge =
            || error(401, "UNAUTHORIZED").header("WWW-Authenticate", r#"Bearer realm="/token""#);
        if request.path() == "/token" {
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            return Some(Reply::new(200).body(format!(r#"{{"token":"T{number}"}}"#)));
        }
        match request.header("authorization") {
            None => Some(challenge()),
            // The first token is good until the body has been sent.
            Some("Bearer T0") if request.method == "PUT" => {
                refused.fetch_add(1, Ordering::Relaxed);
                Some(challenge())
            }
            Some(_) => None,
        }
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(server.count("POST", POST), 1, "the session went on");
    let puts: Vec<_> = server
        .log()
        .into_iter()
        .filter(|r| r.method == "PUT")
        .collect();
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[1].header("authorization"), Some("Bearer T1"));
    assert_eq!(puts[1].body, pattern(LENGTH));
}

#[tokio::test]
async fn q46_what_passes_is_tried_again_with_a_new_session() {
    let seen = AtomicUsize::new(0);
    let (content, server) = behind(move |request, _| match request.method.as_str() {
        "PUT" if seen.fetch_add(1, Ordering::Relaxed) < 2 => Some(error(503, "BUSY")),
        _ => None,
    })
    .await;
    push(&client(&server), &server).await.unwrap();
    assert!(arrived(&content));
    assert_eq!(server.count("POST", POST), 3);
}

#[tokio::test]
async fn q45_an_error_behind_which_the_blob_has_landed_is_none() {
    for status in [500, 404] {
        let (content, server) = behind(move |request, content| {
            (request.method == "PUT").then(|| {
                content.answer(request);
                error(status, "BLOB_UPLOAD_UNKNOWN")
            })
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
        assert_eq!(methods(&server), ["POST", "PUT", "HEAD"]);
    }
}

#[tokio::test]
async fn q36_a_success_that_is_not_201_is_looked_into() {
    for status in [200, 202, 204] {
        let (content, server) = behind(move |request, content| {
            (request.method == "PUT").then(|| {
                content.answer(request);
                Reply::new(status)
            })
        })
        .await;
        push(&client(&server), &server).await.unwrap();
        assert!(arrived(&content));
        assert_eq!(methods(&server), ["POST", "PUT", "HEAD"]);
        // A login page that takes everything has nothing.
        let (_, server) =
            behind(move |request, _| (request.method == "PUT").then(|| Reply::new(status))).await;
        assert!(push(&client(&server), &server).await.is_err());
    }
    let (_, server) = behind(|request, _| {
        let other = Digest::sha256_of(b"other").to_string();
        (request.method == "PUT").then(|| Reply::new(201).header("Docker-Content-Digest", other))
    })
    .await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::DigestMismatch { .. }),
        "{failed}"
    );
}

#[tokio::test]
async fn q24_a_body_sent_elsewhere_goes_without_credentials() {
    let store = TestServer::start(|_| Reply::new(201)).await;
    let elsewhere = store.url("/store/1?signature=a%2Bb");
    let (_, server) = behind(move |request, _| match request.header("authorization") {
        None => Some(error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\"")),
        Some(_) if request.method == "POST" => {
            Some(Reply::new(202).header("Location", elsewhere.clone()))
        }
        Some(_) => None,
    })
    .await;
    let mut config = config(&[&server, &store]);
    let credential = Credential::Basic {
        username: "u".to_owned(),
        password: Secret::new("p"),
    };
    config.credentials.explicit = Some((server.host(), credential));
    push(&Client::new(config).unwrap(), &server).await.unwrap();
    let put = store.log().pop().unwrap();
    assert!(
        put.target
            .starts_with("/store/1?signature=a%2Bb&digest=sha256%3A")
    );
    assert_eq!(put.header("authorization"), None);
    assert_eq!(put.body.len(), LENGTH);
}

#[tokio::test]
async fn locations_that_cannot_be_right_are_refused() {
    for location in [
        None,
        Some(String::new()),
        Some("http://u:p@127.0.0.1/x".to_owned()),
        Some("file:///x".to_owned()),
        Some("http://169.254.169.254/x".to_owned()),
        Some(format!("/{}", "x".repeat(10_000))),
    ] {
        let shown = format!("{location:?}").chars().take(40).collect::<String>();
        let (_, server) = behind(move |request, _| {
            let reply = Reply::new(202);
            (request.method == "POST").then(|| match &location {
                Some(location) => reply.header("Location", location.clone()),
                None => reply,
            })
        })
        .await;
        let failed = push(&client(&server), &server).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::UploadLocation { .. }),
            "{shown}: {failed}"
        );
        assert!(!methods(&server).contains(&"PUT".to_owned()));
    }
}

/// Content that turns out to be wrong at its very end.
struct Liar(Vec<u8>);

impl BlobSource for Liar {
    fn open(&self, from: u64) -> OpenBlob<'_> {
        let rest = Bytes::copy_from_slice(&self.0[from as usize..]);
        Box::pin(async move {
            let items = [
                Ok(rest),
                Err(io::Error::other("layer is not what it should be")),
            ];
            Ok(Box::pin(stream::iter(items)) as BlobReader)
        })
    }
}

#[tokio::test]
async fn content_that_is_not_what_it_should_be_is_never_completed() {
    for chunked in [false, true] {
        let (content, server) = registry().await;
        if chunked {
            server.on(
                "PUT",
                "/v2/a/b/blobs/uploads/u1",
                [Reply::new(413).early(0)],
            );
        }
        let mut config = config(&[&server]);
        config.chunk_size = 64;
        let bytes = pattern(LENGTH);
        let digest = Digest::sha256_of(&bytes);
        let client = Client::new(config).unwrap();
        let failed = client
            .push_blob(
                &repository(&server, "a/b"),
                &digest,
                LENGTH as u64,
                Arc::new(Liar(bytes)),
            )
            .await
            .unwrap_err();
        let RegistryError::Source(error) = &failed else {
            panic!("{failed}");
        };
        assert_eq!(error.to_string(), "layer is not what it should be");
        assert!(!arrived(&content));
        let log = server.log();
        assert_eq!(log.last().unwrap().method, "DELETE", "{:?}", server.lines());
        let sent: usize = log.iter().map(|r| r.body.len()).max().unwrap();
        assert!(sent < LENGTH, "the last byte stayed here");
    }
}

#[tokio::test]
async fn q35_an_absurd_minimum_means_no_chunks() {
    let (_, server) = behind(|request, content| match request.method.as_str() {
        "PUT" if request.body.len() > 100 => Some(error(413, "TOO_LARGE")),
        "POST" => Some(
            content
                .answer(request)
                .header("OCI-Chunk-Min-Length", "99999999999999"),
        ),
        _ => None,
    })
    .await;
    let failed = push(&client(&server), &server).await.unwrap_err();
    assert_eq!(failed.code(), Some("TOO_LARGE"));
    assert!(!methods(&server).contains(&"PATCH".to_owned()));
}
