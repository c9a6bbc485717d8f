//! Uploads of blobs that cannot be read twice.

use bytes::Bytes;

use super::*;
use crate::registry::{ChunkedUpload, RegistryError, test_registry::error, test_server::Fault};

const LENGTH: usize = 200;

/// A client whose own chunks are larger than those that are given here.
fn roomy(server: &TestServer) -> Client {
    let mut config = config(&[server]);
    config.chunk_size = 4096;
    Client::new(config).unwrap()
}

async fn begin(client: &Client, server: &TestServer, size: usize) -> ChunkedUpload {
    let digest = Digest::sha256_of(&pattern(size));
    let to = repository(server, "a/b");
    client
        .begin_upload(&to, &digest, size as u64)
        .await
        .unwrap()
}

async fn write_all(upload: &mut ChunkedUpload, chunk: usize) -> Result<(), RegistryError> {
    for chunk in pattern(LENGTH).chunks(chunk) {
        upload.write(Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(())
}

fn arrived(content: &TestRegistry, size: usize) -> bool {
    let digest = Digest::sha256_of(&pattern(size)).to_string();
    content.blob("a/b", &digest).is_some()
}

#[tokio::test]
async fn chunks_are_written_in_order() {
    let (content, server) = registry().await;
    let mut upload = begin(&roomy(&server), &server, LENGTH).await;
    assert_eq!(upload.chunk_min(), 0);
    write_all(&mut upload, 80).await.unwrap();
    upload.finish().await.unwrap();
    assert!(arrived(&content, LENGTH));
    let methods: Vec<_> = server.log().iter().map(|r| r.method.clone()).collect();
    assert_eq!(methods, ["GET", "POST", "PATCH", "PATCH", "PATCH", "PUT"]);
}

#[tokio::test]
async fn a_first_chunk_that_is_all_goes_in_one_piece_with_every_retry() {
    let (content, server) = registry().await;
    server.on("PUT", "/v2/a/b/blobs/uploads/u1", [Reply::new(500)]);
    let mut upload = begin(&roomy(&server), &server, LENGTH).await;
    upload.write(pattern(LENGTH).into()).await.unwrap();
    upload.finish().await.unwrap();
    assert!(arrived(&content, LENGTH));
    assert!(server.log().iter().all(|r| r.method != "PATCH"));

    let empty = begin(&roomy(&server), &server, 0).await;
    empty.finish().await.unwrap();
    assert!(arrived(&content, 0));
}

#[tokio::test]
async fn a_chunk_is_kept_until_it_has_arrived() {
    for lost in ["the chunk", "its answer"] {
        let (content, server) = registry().await;
        let mut upload = begin(&roomy(&server), &server, LENGTH).await;
        upload
            .write(pattern(LENGTH)[..80].to_vec().into())
            .await
            .unwrap();
        let path = "/v2/a/b/blobs/uploads/u1";
        let broken = match lost {
            "the chunk" => Reply::new(0).early(10).fault(Fault::NoAnswer),
            _ => {
                // The registry has taken it all the same.
                let mut request = server.log().pop().unwrap();
                request
                    .headers
                    .retain(|(name, _)| !name.eq_ignore_ascii_case("content-range"));
                request
                    .headers
                    .push(("content-range".to_owned(), "80-149".to_owned()));
                request.body = pattern(LENGTH)[80..150].to_vec();
                content.answer(&request);
                Reply::new(502)
            }
        };
        let healed = Reply::new(202);
        server.on("PATCH", path, [broken, healed]);
        let before = server.log().len();
        let second = upload.write(pattern(LENGTH)[80..150].to_vec().into()).await;
        second.unwrap();
        let after: Vec<_> = server.log()[before..]
            .iter()
            .map(|r| r.method.clone())
            .collect();
        match lost {
            "the chunk" => assert_eq!(after, ["PATCH", "GET", "PATCH"]),
            _ => assert_eq!(after, ["PATCH", "GET"]),
        }
    }
}

#[tokio::test]
async fn a_registry_without_chunks_says_so_by_its_type() {
    let (_, server) = registry().await;
    for reply in [
        error(405, "UNSUPPORTED"),
        error(404, "X"),
        Reply::new(202).header("Range", "0-0"),
    ] {
        let mut upload = begin(&roomy(&server), &server, LENGTH).await;
        let open = server.log().iter().filter(|r| r.method == "POST").count();
        server.on("PATCH", &format!("/v2/a/b/blobs/uploads/u{open}"), [reply]);
        let failed = write_all(&mut upload, 80).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::ChunkedUnsupported { .. }),
            "{failed}"
        );
        assert!(failed.hint().unwrap().contains("file"));
        upload.cancel().await;
        assert_eq!(server.log().last().unwrap().method, "DELETE");
    }
}

#[tokio::test]
async fn a_first_chunk_that_broke_with_the_session_goes_into_another_one() {
    let (content, server) = registry().await;
    let mut upload = begin(&roomy(&server), &server, LENGTH).await;
    let first = "/v2/a/b/blobs/uploads/u1";
    let broken = Reply::new(0).early(10).fault(Fault::NoAnswer);
    server.on("PATCH", first, [broken]);
    server.on("GET", first, [error(404, "BLOB_UPLOAD_INVALID")]);
    write_all(&mut upload, 80).await.unwrap();
    upload.finish().await.unwrap();
    assert!(arrived(&content, LENGTH));
    assert_eq!(server.count("POST", "/v2/a/b/blobs/uploads/"), 2);
}

#[tokio::test]
async fn a_lost_session_is_final_once_something_was_in_it() {
    let (_, server) = registry().await;
    let mut upload = begin(&roomy(&server), &server, LENGTH).await;
    upload.write(pattern(80).into()).await.unwrap();
    server.on(
        "PATCH",
        "/v2/a/b/blobs/uploads/u1",
        [error(404, "BLOB_UPLOAD_UNKNOWN")],
    );
    let failed = upload.write(pattern(80).into()).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::UploadLost { offset: 80, .. }),
        "{failed}"
    );
}

#[tokio::test]
async fn another_size_than_announced_is_refused() {
    let (content, server) = registry().await;
    let mut upload = begin(&roomy(&server), &server, 10).await;
    assert!(upload.write(pattern(11).into()).await.is_err());
    upload.write(pattern(5).into()).await.unwrap();
    assert!(matches!(
        upload.finish().await,
        Err(RegistryError::Usage(_))
    ));
    assert!(!arrived(&content, 10));
}

#[tokio::test]
async fn the_minimum_of_the_registry_is_told() {
    let (_, server) = registry().await;
    let session = Reply::new(202)
        .header("Location", "/v2/a/b/blobs/uploads/u1")
        .header("OCI-Chunk-Min-Length", "4096");
    server.on("POST", "/v2/a/b/blobs/uploads/", [session]);
    let upload = begin(&roomy(&server), &server, 10).await;
    assert_eq!(upload.chunk_min(), 4096);
}

#[tokio::test]
async fn q37_a_piece_that_is_too_large_for_a_proxy_goes_in_smaller_ones() {
    const BIG: usize = 5 << 20;
    let content = TestRegistry::new();
    let registry = content.clone();
    let server = TestServer::start(move |request| match request.body.len() {
        0..=1_048_576 => registry.answer(request),
        _ => Reply::new(413).body("<html>too large</html>"),
    })
    .await;
    let mut config = config(&[&server]);
    config.chunk_size = 16 << 20;
    config.stall_timeout = Duration::from_secs(10);
    let mut upload = begin(&Client::new(config).unwrap(), &server, BIG).await;
    for piece in pattern(BIG).chunks(2 << 20) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish().await.unwrap();
    assert!(arrived(&content, BIG));
}
