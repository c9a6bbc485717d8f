//! Redirects: what goes along, and where it may go.

use super::{
    elsewhere::{assert_nothing_of_ours, basic, logged_in},
    *,
};
use crate::registry::{RegistryError, test_registry::error};

fn client_of(server: &TestServer, other: &TestServer) -> Client {
    Client::new(logged_in(server, &[other])).unwrap()
}

/// Wants Basic credentials; with them, sends blobs and manifests to `target`.
async fn redirecting(target: String) -> TestServer {
    redirecting_with(307, target).await
}

async fn redirecting_with(status: u16, target: String) -> TestServer {
    TestServer::start(move |request| match request.header("authorization") {
        None => error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => Reply::new(status)
            .header("Location", target.clone())
            .header("Set-Cookie", "session=1; Path=/")
            .body("<a href=x>moved</a>"),
    })
    .await
}

async fn read(
    client: &Client,
    server: &TestServer,
    bytes: &[u8],
) -> Result<Vec<u8>, RegistryError> {
    let digest = Digest::sha256_of(bytes);
    let size = bytes.len() as u64;
    let repository = repository(server, "a/b");
    let mut stream = client.blob(&repository, &digest, 2..size, size).await?;
    let mut all = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
async fn q19_a_blob_comes_from_elsewhere_without_credentials() {
    for (status, host) in [
        (301, "127.0.0.1"),
        (302, "127.0.0.1"),
        (303, "localhost"),
        (307, "127.0.0.1"),
        (307, "localhost"),
        (308, "localhost"),
    ] {
        let store = TestServer::start(|request| {
            assert_eq!(request.header("range"), Some("bytes=2-9"));
            Reply::new(206)
                .header("Content-Range", "bytes 2-9/10")
                .body(&pattern(10)[2..])
        })
        .await;
        let target = store.url("/bucket/x?signature=s%2Bs&b=1&a=2");
        let server = redirecting_with(status, target.replace("127.0.0.1", host)).await;
        let client = client_of(&server, &store);
        for _ in 0..2 {
            assert_eq!(
                read(&client, &server, &pattern(10)).await.unwrap(),
                pattern(10)[2..]
            );
        }
        let asked = "GET /bucket/x?signature=s%2Bs&b=1&a=2";
        assert_eq!(store.lines(), [asked, asked]);
        assert_nothing_of_ours(&store);
        let connections: Vec<_> = server.log().iter().map(|r| r.connection).collect();
        assert!(
            connections.iter().all(|c| *c == 0),
            "reused: {connections:?}"
        );
    }
}

#[tokio::test]
async fn q19_what_was_dropped_on_the_way_out_is_not_shown_on_the_way_back() {
    let server = TestServer::scripted().await;
    let back = server.url("/v2/a/b/manifests/2");
    let store = TestServer::start(move |_| Reply::new(307).header("Location", back.clone())).await;
    let wanted = || error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\"");
    server.on("GET", "/v2/", [wanted()]);
    server.on("GET", "/v2/a/b/manifests/2", [wanted()]);
    let away = Reply::new(307).header("Location", store.url("/x"));
    server.on("GET", "/v2/a/b/manifests/1", [away]);
    let failed = client_of(&server, &store)
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap_err();
    assert!(failed.is_denied(), "{failed}");
    assert_eq!(
        server.log()[1].header("authorization"),
        Some(basic().as_str())
    );
    assert_eq!(server.log()[2].header("authorization"), None);
    assert_nothing_of_ours(&store);
}

#[tokio::test]
async fn q21_the_target_may_hand_out_a_token_to_anybody() {
    let store = TestServer::start(|request| match request.header("authorization") {
        Some("Bearer any") => image(),
        _ => error(401, "UNAUTHORIZED").header(
            "WWW-Authenticate",
            r#"Bearer realm="/token",service="s",scope="repository:x:pull""#,
        ),
    })
    .await;
    store.on(
        "GET",
        "/token",
        [Reply::new(200).body(r#"{"token":"any"}"#)],
    );
    let server = redirecting(store.url("/v2/x/manifests/1")).await;
    let client = client_of(&server, &store);
    let pulled = client
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap();
    assert_eq!(pulled.bytes, IMAGE);
    assert_eq!(
        store.lines(),
        [
            "GET /v2/x/manifests/1",
            "GET /token?service=s&scope=repository%3Ax%3Apull",
            "GET /v2/x/manifests/1"
        ]
    );
    let shown: Vec<_> = store
        .log()
        .iter()
        .map(|r| r.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(shown, [None, None, Some("Bearer any".to_owned())]);
    // That token is for that host: the registry gets its own credential again, and nothing else.
    client
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap();
    for request in &server.log()[1..] {
        assert_eq!(request.header("authorization"), Some(basic().as_str()));
    }
}

#[tokio::test]
async fn q21_a_challenge_for_basic_behind_a_redirect_gets_nothing() {
    let store = TestServer::start(|_| {
        error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\"")
    })
    .await;
    let server = redirecting(store.url("/x")).await;
    let client = client_of(&server, &store);
    let failed = client
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap_err();
    assert!(
        failed.is_denied() && failed.to_string().contains(&store.host()),
        "{failed}"
    );
    assert_eq!(store.log().len(), 1);
    assert_nothing_of_ours(&store);
}

#[tokio::test]
async fn q28_a_redirect_within_the_registry_keeps_credentials_and_loops_end() {
    let server =
        TestServer::start(
            |request| match (request.header("authorization"), request.path()) {
                (None, _) => {
                    error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\"")
                }
                (_, "/v2/a/b/manifests/1") => Reply::new(301).header("Location", "/real?x=1"),
                (_, "/real") => image(),
                _ => Reply::new(302).header("Location", "/v2/again"),
            },
        )
        .await;
    let client = client_of(&server, &server);
    let repository = repository(&server, "a/b");
    client.manifest(&repository, &tag("1")).await.unwrap();
    let failed = client.manifest(&repository, &tag("2")).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::RedirectRefused { reason, .. } if reason.contains("too many")),
    );
    assert_eq!(server.count("GET", "/v2/again"), 10);
}

#[tokio::test]
async fn q20_dangerous_targets_are_not_asked() {
    for target in [
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "http://u:p@127.0.0.1/",
        "http://",
        "",
    ] {
        let server = redirecting(target.to_owned()).await;
        let client = client_of(&server, &server);
        let failed = client
            .manifest(&repository(&server, "a/b"), &tag("1"))
            .await
            .unwrap_err();
        assert!(
            matches!(failed, RegistryError::RedirectRefused { .. }),
            "{target}: {failed}"
        );
        assert!(!failed.to_string().contains("u:p"), "{failed}");
    }
}

#[tokio::test]
async fn writes_are_not_redirected() {
    let other = TestServer::start(|_| Reply::new(201)).await;
    let server = redirecting(other.url("/take")).await;
    let client = client_of(&server, &other);
    let repository = repository(&server, "a/b");
    let put = client
        .put_manifest(&repository, &tag("1"), IMAGE_TYPE, IMAGE.into())
        .await;
    assert!(matches!(put, Err(RegistryError::RedirectRefused { .. })));
    let post = client
        .begin_upload(&repository, &Digest::sha256_of(b"x"), 1)
        .await;
    assert!(matches!(post, Err(RegistryError::RedirectRefused { .. })));
    assert_eq!(other.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_ping_that_is_redirected_names_no_realm_for_our_credentials() {
    let other = TestServer::start(|_| {
        error(401, "UNAUTHORIZED").header("WWW-Authenticate", r#"Bearer realm="/token""#)
    })
    .await;
    let server = TestServer::scripted().await;
    server.on(
        "GET",
        "/v2/",
        [Reply::new(307).header("Location", other.url("/v2/"))],
    );
    server.on("GET", "/v2/a/b/manifests/1", [image()]);
    let client = client_of(&server, &other);
    client
        .manifest(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap();
    assert_eq!(other.lines(), ["GET /v2/", "GET /token"]);
    for request in server.log() {
        assert_eq!(request.header("authorization"), None);
    }
    assert_nothing_of_ours(&other);
}
