//! Manifests and tags, as registries and their imitators serve them.

use super::{elsewhere::logged_in, *};
use crate::{
    oci::media_type,
    registry::{RegistryError, test_registry::error},
};

const MANIFEST: &str = "/v2/a/b/manifests/1";

async fn serving(reply: Reply) -> TestServer {
    let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
    server.on("GET", MANIFEST, [reply]);
    server
}

async fn pull(server: &TestServer) -> Result<crate::registry::PulledManifest, RegistryError> {
    let repository = repository(server, "a/b");
    client(server).manifest(&repository, &tag("1")).await
}

#[tokio::test]
async fn q51_a_manifest_is_kept_byte_for_byte_with_its_type() {
    let (content, server) = registry().await;
    let bytes = r#"{ "schemaVersion": 2, "manifests": [] }"#;
    let digest = content.add_manifest("a/b", "1", media_type::DOCKER_LIST, bytes);
    let client = client(&server);
    let repository = repository(&server, "a/b");
    for what in [tag("1"), TagOrDigest::Digest(digest.parse().unwrap())] {
        let pulled = client.manifest(&repository, &what).await.unwrap();
        assert_eq!(pulled.bytes, bytes);
        assert_eq!(pulled.digest.to_string(), digest);
        assert_eq!(pulled.media_type, media_type::DOCKER_LIST);
    }
    let request = server.log().pop().unwrap();
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    let accept = request.header("accept").unwrap();
    for wanted in [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_SCHEMA1_SIGNED,
    ] {
        assert!(accept.contains(wanted), "{wanted}");
    }
    assert_eq!(server.count("GET", "/v2/"), 1, "pinged once");
}

#[tokio::test]
async fn another_digest_is_never_believed() {
    let wrong = Digest::sha256_of(b"other").to_string();
    let server = serving(image().header("Docker-Content-Digest", wrong)).await;
    let failed = pull(&server).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::DigestMismatch { .. }),
        "{failed}"
    );
    assert_eq!(
        server.count("GET", MANIFEST),
        3,
        "it may have been damaged on the way"
    );

    let asked = Digest::sha256_of(b"asked");
    let server = TestServer::start(|request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => image(),
    })
    .await;
    let what = TagOrDigest::Digest(asked);
    let repository = repository(&server, "a/b");
    let failed = client(&server)
        .manifest(&repository, &what)
        .await
        .unwrap_err();
    assert!(matches!(failed, RegistryError::DigestMismatch { expected, .. } if *expected == asked),);
}

#[tokio::test]
async fn q57_the_digest_is_computed_by_the_algorithm_that_is_named() {
    use crate::oci::{Algorithm, Hasher};
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(IMAGE.as_bytes());
    let sha512 = hasher.finish();
    let server = serving(image().header("Docker-Content-Digest", sha512.to_string())).await;
    assert_eq!(pull(&server).await.unwrap().digest, sha512);
    let server = serving(image().header("Docker-Content-Digest", "blake3:abc")).await;
    let sha256 = Digest::sha256_of(IMAGE.as_bytes());
    assert_eq!(pull(&server).await.unwrap().digest, sha256);
}

#[tokio::test]
async fn damage_that_passes_is_repaired_by_asking_again() {
    let good = Digest::sha256_of(IMAGE.as_bytes()).to_string();
    let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
    let named = |reply: Reply| reply.header("Docker-Content-Digest", good.clone());
    server.on(
        "GET",
        MANIFEST,
        [
            named(image()).body(IMAGE.replace("2", "3")),
            named(image()).fault(crate::registry::test_server::Fault::CutAfter(5)),
            named(image()),
        ],
    );
    assert_eq!(pull(&server).await.unwrap().bytes, IMAGE);
}

#[tokio::test]
async fn what_is_not_a_manifest_is_refused() {
    for reply in [
        Reply::new(200)
            .header("content-type", "text/html")
            .body("<html>login</html>"),
        Reply::new(200)
            .header("content-type", "application/json")
            .body(r#"{"errors":[{"code":"X"}]}"#),
        Reply::new(200),
        Reply::new(204),
        Reply::new(206)
            .header("content-type", IMAGE_TYPE)
            .body(IMAGE),
        Reply::new(304),
        image().header("content-encoding", "gzip"),
        image().header("content-length", "9999999"),
        Reply::new(200)
            .body(" ".repeat((4 << 20) + 1))
            .until_close(),
    ] {
        let server = serving(reply.clone()).await;
        let failed = pull(&server).await.unwrap_err();
        assert!(!failed.is_not_found(), "{failed}");
        assert_eq!(
            server.count("GET", MANIFEST),
            1,
            "{} {failed}",
            reply.status
        );
    }
}

#[tokio::test]
async fn q56_schema_1_is_refused_by_its_name() {
    let server = serving(
        Reply::new(200)
            .header(
                "content-type",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            )
            .body(r#"{"schemaVersion":1,"fsLayers":[]}"#),
    )
    .await;
    let failed = pull(&server).await.unwrap_err();
    assert!(
        failed.to_string().contains("schema 1") && failed.to_string().contains("a/b:1"),
        "{failed}"
    );
}

#[tokio::test]
async fn q53_general_media_types_are_replaced_by_a_look_inside() {
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let (oci_index, oci_manifest) = (media_type::OCI_INDEX, media_type::OCI_MANIFEST);
    let with_parameter = format!("{}; charset=utf-8", media_type::DOCKER_LIST);
    for (content_type, body, expected) in [
        ("application/json", index, oci_index),
        ("application/json", manifest, oci_manifest),
        ("text/plain; charset=utf-8", index, oci_index),
        ("text/plain; charset=utf-8", manifest, oci_manifest),
        ("application/octet-stream", manifest, oci_manifest),
        // A parameter is no part of the type.
        (&with_parameter, index, media_type::DOCKER_LIST),
        // What the document says of itself goes before its shape.
        ("application/json", IMAGE, IMAGE_TYPE),
    ] {
        let reply = Reply::new(200).header("content-type", content_type);
        let server = serving(reply.body(body)).await;
        let pulled = pull(&server).await.unwrap();
        assert_eq!(pulled.media_type, expected, "{content_type} {body}");
        assert_eq!(pulled.bytes, body);
    }
    // What it contradicts is not believed.
    let wrong = Reply::new(200).header("content-type", media_type::OCI_INDEX);
    let server = serving(wrong.body(manifest)).await;
    assert!(pull(&server).await.is_err());
}

#[tokio::test]
async fn q55_head_is_believed_when_it_says_enough_and_else_get_is_used() {
    let digest = Digest::sha256_of(IMAGE.as_bytes());
    let (content, server) = registry().await;
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE);
    let client = client(&server);
    let repository = repository(&server, "a/b");
    let head = client
        .manifest_head(&repository, &tag("1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.digest, Some(digest));
    assert_eq!(head.media_type.as_deref(), Some(IMAGE_TYPE));
    assert_eq!(head.size, Some(IMAGE.len() as u64));
    assert_eq!(server.count("GET", MANIFEST), 0);
    assert_eq!(
        client.manifest_head(&repository, &tag("2")).await.unwrap(),
        None
    );

    for reply in [Reply::new(200), Reply::new(405), Reply::new(400)] {
        server.on("HEAD", MANIFEST, [reply]);
        let head = client
            .manifest_head(&repository, &tag("1"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(head.digest, Some(digest));
    }
    // HEAD has no body to explain itself with.
    server.on("HEAD", MANIFEST, [Reply::new(403)]);
    server.on("GET", MANIFEST, [error(403, "DENIED")]);
    let failed = client
        .manifest_head(&repository, &tag("1"))
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Some("DENIED"));
}

#[tokio::test]
async fn q81_something_that_is_no_registry_is_recognised_by_its_ping() {
    for reply in [
        Reply::new(200)
            .header("content-type", "text/html")
            .body("welcome"),
        Reply::new(200).body("\n<!DOCTYPE html>"),
        Reply::new(404).body("nothing here"),
    ] {
        let server = TestServer::start(move |_| reply.clone()).await;
        let failed = client(&server).ping(&server.host()).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::NotARegistry { .. }),
            "{failed}"
        );
        assert!(failed.hint().is_some());
    }
    for reply in [Reply::new(200), Reply::new(403), Reply::new(401)] {
        let server = TestServer::start(move |_| reply.clone()).await;
        client(&server).ping(&server.host()).await.unwrap();
    }
}

#[tokio::test]
async fn a_mirror_is_asked_and_both_names_are_told() {
    let (content, server) = registry().await;
    content.add_manifest("cache/library/alpine", "3", IMAGE_TYPE, IMAGE);
    let mut config = config(&[&server]);
    config.mirrors = vec![
        format!("docker.io={}/cache", server.host())
            .parse()
            .unwrap(),
    ];
    let client = Client::new(config).unwrap();
    let hub = Repository::new("docker.io", "library/alpine").unwrap();
    client.manifest(&hub, &tag("3")).await.unwrap();
    let failed = client.manifest(&hub, &tag("4")).await.unwrap_err();
    assert!(failed.is_not_found());
    let text = failed.to_string();
    assert!(
        text.contains("docker.io/library/alpine:4") && text.contains(&server.host()),
        "{text}"
    );
    assert_eq!(failed.code(), Some("MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn q26_tags_are_read_page_by_page_within_the_registry() {
    let server = TestServer::start(|request| match (request.path(), request.query()) {
        ("/v2/", _) => Reply::new(200).body("{}"),
        (_, "n=3") => Reply::new(200)
            .header("Link", r#"</v2/a/b/tags/list?n=3&last=b>; rel="next""#)
            .body(r#"{"name":"a/b","tags":["a","b"]}"#),
        (_, "n=3&last=b") => Reply::new(200).body(r#"{"tags":["c","d","e"]}"#),
        (_, "n=1000") => Reply::new(200)
            .header("Link", r#"<http://evil.invalid/v2/>; rel="next""#)
            .body(r#"{"tags":["a"]}"#),
        _ => Reply::new(200).body(r#"{"tags":null}"#),
    })
    .await;
    let client = client(&server);
    let repository = repository(&server, "a/b");
    assert_eq!(client.tags(&repository, 3).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(
        client.tags(&repository, 7).await.unwrap(),
        Vec::<String>::new()
    );
    let failed = client.tags(&repository, 5000).await.unwrap_err();
    assert!(failed.to_string().contains("evil.invalid"), "{failed}");
}

#[tokio::test]
async fn q26_endless_pages_end() {
    let server = TestServer::start(|request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => Reply::new(200)
            .header("Link", r#"</v2/a/b/tags/list?again>; rel="next""#)
            .body(r#"{"tags":["a"]}"#),
    })
    .await;
    let tags = client(&server)
        .tags(&repository(&server, "a/b"), 1_000_000)
        .await
        .unwrap();
    assert_eq!(tags.len(), 100);
}

#[tokio::test]
async fn q26_a_page_elsewhere_is_not_asked_for() {
    let other = TestServer::start(|_| Reply::new(200).body(r#"{"tags":["evil"]}"#)).await;
    let digest = Digest::sha256_of(b"subject");
    for host in ["127.0.0.1", "localhost"] {
        let next = other.url("/v2/a/b/next").replace("127.0.0.1", host);
        let server = TestServer::start(move |request| {
            let list = match request.path().contains("referrers") {
                true => r#"{"schemaVersion":2,"manifests":[]}"#,
                false => r#"{"tags":["a"]}"#,
            };
            match request.header("authorization") {
                None => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
                Some(_) => Reply::new(200)
                    .header("Link", format!("<{next}>; rel=\"next\""))
                    .header("Content-Type", "application/vnd.oci.image.index.v1+json")
                    .body(list),
            }
        })
        .await;
        let client = Client::new(logged_in(&server, &[&other])).unwrap();
        let repository = repository(&server, "a/b");
        let tags = client.tags(&repository, 10).await.unwrap_err();
        let referrers = client.referrers(&repository, &digest).await.unwrap_err();
        for failed in [tags, referrers] {
            assert!(
                failed.to_string().contains("its next page is at"),
                "{failed}"
            );
        }
        // What is enough needs no next page.
        assert_eq!(client.tags(&repository, 1).await.unwrap(), ["a"]);
    }
    assert_eq!(other.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn q27_no_page_is_larger_than_registries_permit() {
    let server = TestServer::start(|request| {
        let size = request
            .query()
            .split('&')
            .find_map(|p| p.strip_prefix("n="));
        match (request.path(), size.and_then(|n| n.parse::<u32>().ok())) {
            ("/v2/", _) => Reply::new(200).body("{}"),
            // As ECR does it.
            (_, None | Some(1001..)) => error(400, "UNSUPPORTED"),
            (_, Some(n)) if request.query().contains("last=") => {
                Reply::new(200).body(format!(r#"{{"tags":["c{n}"]}}"#))
            }
            _ => Reply::new(200)
                .header("Link", r#"</v2/a/b/tags/list?last=b&n=1000>; rel="next""#)
                .body(r#"{"tags":["a","b"]}"#),
        }
    })
    .await;
    for limit in [1001, 5000, usize::MAX] {
        let tags = client(&server)
            .tags(&repository(&server, "a/b"), limit)
            .await
            .unwrap();
        assert_eq!(tags, ["a", "b", "c1000"]);
    }
}

#[tokio::test]
async fn q82_warnings_of_the_registry_are_kept_once() {
    let server = serving(image().header("Warning", "299 - \"this registry moves\"")).await;
    let client = client(&server);
    let repository = repository(&server, "a/b");
    for _ in 0..2 {
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    let expected = format!("{}: this registry moves", server.host());
    assert_eq!(client.take_warnings(), [expected]);
    assert_eq!(client.take_warnings(), Vec::<String>::new());
}
