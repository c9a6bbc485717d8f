//! Blobs over connections that break, and from servers that do not do what they are asked.

use std::ops::Range;

use super::*;
use crate::registry::{
    RegistryError,
    test_server::{Fault, Recorded},
};

const LENGTH: usize = 1000;

/// A blob of `LENGTH` bytes; each request is answered by `answer(number, request, bytes)`.
async fn serving(
    answer: impl Fn(usize, &Recorded, &[u8]) -> Reply + Send + Sync + 'static,
) -> TestServer {
    let number = std::sync::atomic::AtomicUsize::new(0);
    TestServer::start(move |request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            answer(number, request, &pattern(LENGTH))
        }
    })
    .await
}

/// What a good server says.
fn good(request: &Recorded, bytes: &[u8]) -> Reply {
    match request
        .header("range")
        .and_then(|r| r.strip_prefix("bytes=")?.split_once('-'))
    {
        None => Reply::new(200).body(bytes),
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            Reply::new(206)
                .header(
                    "Content-Range",
                    format!("bytes {first}-{last}/{}", bytes.len()),
                )
                .body(&bytes[first..=last])
        }
    }
}

async fn read(server: &TestServer, range: Range<u64>) -> Result<Vec<u8>, RegistryError> {
    let digest = Digest::sha256_of(&pattern(LENGTH));
    let repository = repository(server, "a/b");
    let client = client(server);
    let mut stream = client
        .blob(&repository, &digest, range, LENGTH as u64)
        .await?;
    let mut all = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
    }
    assert_eq!(stream.chunk().await?, None);
    Ok(all)
}

/// The `Range` headers that blobs were asked with.
fn ranges(server: &TestServer) -> Vec<String> {
    let log = server.log();
    let blobs = log.iter().filter(|r| r.path() != "/v2/");
    blobs
        .map(|r| r.header("range").unwrap_or("-").to_owned())
        .collect()
}

#[tokio::test]
async fn wholes_and_parts_are_read() {
    let server = serving(|_, request, bytes| good(request, bytes)).await;
    let all = pattern(LENGTH);
    for range in [0..1000, 0..10, 10..1000, 500..501] {
        let expected = &all[range.start as usize..range.end as usize];
        assert_eq!(read(&server, range).await.unwrap(), expected);
    }
    assert_eq!(
        ranges(&server),
        ["-", "bytes=0-9", "bytes=10-999", "bytes=500-500"]
    );
    assert!(read(&server, 1000..1000).await.unwrap().is_empty());
    assert_eq!(ranges(&server).len(), 4, "nothing is asked for nothing");
    assert!(read(&server, 10..1001).await.is_err());
}

#[tokio::test]
async fn q48_a_broken_connection_goes_on_where_it_was() {
    for fault in [Fault::CutAfter(300), Fault::StallAfter(300)] {
        let server = serving(move |number, request, bytes| match number {
            0 => good(request, bytes).fault(fault),
            1 => Reply::new(503),
            _ => good(request, bytes),
        })
        .await;
        assert_eq!(read(&server, 0..1000).await.unwrap(), pattern(LENGTH));
        assert_eq!(ranges(&server), ["-", "bytes=300-999", "bytes=300-999"]);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_saying_so_is_noticed() {
    let server = serving(|number, request, bytes| match number {
        0 => Reply::new(200).body(&bytes[..400]).until_close(),
        _ => good(request, bytes),
    })
    .await;
    assert_eq!(read(&server, 0..1000).await.unwrap(), pattern(LENGTH));
    assert_eq!(ranges(&server), ["-", "bytes=400-999"]);
}

#[tokio::test]
async fn q48_a_server_that_cannot_go_on_starts_again_and_is_skipped() {
    let server = serving(|number, _, bytes| match number {
        0 => Reply::new(200).body(bytes).fault(Fault::CutAfter(700)),
        _ => Reply::new(200).body(bytes),
    })
    .await;
    assert_eq!(read(&server, 0..1000).await.unwrap(), pattern(LENGTH));
    assert_eq!(ranges(&server), ["-", "bytes=700-999"]);
}

#[tokio::test]
async fn a_part_that_is_answered_with_the_whole_is_the_callers_to_decide() {
    for range in [10..20, 0..20, 10..1000] {
        let server = serving(|_, _, bytes| Reply::new(200).body(bytes)).await;
        let failed = read(&server, range).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::RangeIgnored { .. }),
            "{failed}"
        );
        assert_eq!(ranges(&server).len(), 1);
    }
}

#[tokio::test]
async fn a_part_that_breaks_and_comes_back_as_the_whole_is_skipped_to() {
    let server = serving(|number, request, bytes| match number {
        0 => good(request, bytes).fault(Fault::CutAfter(50)),
        _ => Reply::new(200).body(bytes),
    })
    .await;
    assert_eq!(
        read(&server, 100..300).await.unwrap(),
        pattern(LENGTH)[100..300]
    );
}

#[tokio::test]
async fn it_gives_up_when_nothing_arrives_any_more() {
    let server = serving(|_, request, bytes| good(request, bytes).fault(Fault::CutAfter(0))).await;
    let failed = read(&server, 0..1000).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::Connection { .. }),
        "{failed}"
    );
    assert_eq!(ranges(&server).len(), 3);
}

#[tokio::test]
async fn attempts_begin_anew_with_every_piece_that_arrives() {
    const BIG: usize = 3 << 20;
    let content = pattern(BIG);
    let digest = Digest::sha256_of(&content);
    let server = TestServer::start(move |request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => good(request, &content).fault(Fault::CutAfter(300 << 10)),
    })
    .await;
    let repository = repository(&server, "a/b");
    let size = BIG as u64;
    let mut stream = client(&server)
        .blob(&repository, &digest, 0..size, size)
        .await
        .unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(Digest::sha256_of(&all), digest);
    assert!(ranges(&server).len() > 10);
}

#[tokio::test]
async fn q49_another_size_is_refused_at_once() {
    for reply in [
        |bytes: &[u8]| Reply::new(200).body(&bytes[1..]),
        |bytes: &[u8]| Reply::new(200).body([bytes, b"x"].concat()),
    ] {
        let server = serving(move |_, _, bytes| reply(bytes)).await;
        let failed = read(&server, 0..1000).await.unwrap_err();
        assert!(matches!(failed, RegistryError::Size { .. }), "{failed}");
        assert_eq!(ranges(&server).len(), 1);
    }
    let server =
        serving(|_, _, bytes| Reply::new(200).body([bytes, b"x"].concat()).until_close()).await;
    let failed = read(&server, 0..1000).await.unwrap_err();
    assert!(matches!(failed, RegistryError::Size { .. }), "{failed}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_refused() {
    type Answer = fn(&[u8]) -> Reply;
    let other: [Answer; 6] = [
        |bytes| Reply::new(206).body(&bytes[10..20]),
        |bytes| {
            Reply::new(206)
                .header("Content-Range", "bytes 11-20/1000")
                .body(&bytes[11..21])
        },
        |bytes| {
            Reply::new(206)
                .header("Content-Range", "bytes 10-19/999")
                .body(&bytes[10..20])
        },
        |bytes| {
            Reply::new(206)
                .header("Content-Range", "bytes 10-18/1000")
                .body(&bytes[10..19])
        },
        |_| Reply::new(204),
        |bytes| {
            Reply::new(206)
                .header("Content-Range", "bytes 10-19/1000")
                .header("Content-Encoding", "gzip")
                .body(&bytes[10..20])
        },
    ];
    for answer in other {
        let server = serving(move |_, _, bytes| answer(bytes)).await;
        let failed = read(&server, 10..20).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::Unexpected { .. }),
            "{failed}"
        );
    }
    let server = serving(|_, _, bytes| {
        Reply::new(206)
            .header("Content-Range", "bytes 0-999/1000")
            .body(bytes)
    })
    .await;
    assert!(
        read(&server, 0..1000).await.is_err(),
        "nobody asked for a part"
    );
    let server =
        serving(|_, _, _| crate::registry::test_registry::error(404, "BLOB_UNKNOWN")).await;
    let failed = read(&server, 0..1000).await.unwrap_err();
    assert!(failed.is_not_found());
    assert_eq!(ranges(&server).len(), 1);
}

#[tokio::test]
async fn q50_bytes_are_asked_for_as_they_are_and_encoded_ones_refused() {
    let server = serving(|_, request, bytes| good(request, bytes)).await;
    read(&server, 0..1000).await.unwrap();
    for request in server.log() {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    let gzip = |_: usize, _: &Recorded, bytes: &[u8]| {
        let reply = Reply::new(200).header("Content-Encoding", "gzip");
        reply.body(bytes)
    };
    let server = serving(gzip).await;
    let failed = read(&server, 0..1000).await.unwrap_err();
    assert!(failed.to_string().contains("encoded as `gzip`"), "{failed}");
    let encoded = image().header("Content-Encoding", "gzip");
    server.on("GET", "/v2/a/b/manifests/1", [encoded]);
    let pulled = client(&server)
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await;
    assert!(pulled.unwrap_err().to_string().contains("encoded"));
}
