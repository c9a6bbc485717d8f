//! Where uploads go: `Location` in its many forms, and what goes along.
//!
//! q23: whether two addresses are the same authority is shown beside the code that compares them
//! (`origin.rs`), for a test server cannot have port 443.

use super::{
    elsewhere::{assert_nothing_of_ours, logged_in},
    tls::certified,
    *,
};
use crate::registry::{RegistryError, test_registry::error, test_server::Recorded};

const POST: &str = "/v2/a/b/blobs/uploads/";

fn wanted() -> Reply {
    error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"r\"")
}

async fn push(client: &Client, server: &TestServer, bytes: &[u8]) -> Result<(), RegistryError> {
    let digest = Digest::sha256_of(bytes);
    let blob = Arc::new(bytes::Bytes::copy_from_slice(bytes));
    let size = bytes.len() as u64;
    let repository = repository(server, "a/b");
    client.push_blob(&repository, &digest, size, blob).await
}

/// What a registry answers that sends its uploads to `location`, where `HOST` is its own address.
fn sending_to(location: &str, request: &Recorded) -> Reply {
    let host = request.header("host").unwrap();
    match request.method.as_str() {
        "GET" => Reply::new(200).body("{}"),
        "POST" => Reply::new(202).header("Location", location.replace("HOST", host)),
        "PUT" => Reply::new(201),
        _ => Reply::new(404),
    }
}

#[tokio::test]
async fn q22_every_form_of_location_is_followed_and_its_query_kept() {
    let digest = Digest::sha256_of(b"blob").to_string().replace(':', "%3A");
    for (location, asked) in [
        (
            "http://HOST/up/1?_state=b%2F+a%3D&z=1&a=2",
            "/up/1?_state=b%2F+a%3D&z=1&a=2&",
        ),
        ("/up/1", "/up/1?"),
        ("/up/1?", "/up/1?"),
        (
            "1?_state=x==&_state=y",
            "/v2/a/b/blobs/uploads/1?_state=x==&_state=y&",
        ),
        ("../uploads/2", "/v2/a/b/blobs/uploads/2?"),
        ("?upload=7", "/v2/a/b/blobs/uploads/?upload=7&"),
        ("HOST/v2/a/b/up/3?k", "/v2/a/b/up/3?k&"),
        ("//HOST/up/4?u=http://x/", "/up/4?u=http://x/&"),
        (" /up/5 ", "/up/5?"),
    ] {
        let server = TestServer::start(|request| sending_to(location, request)).await;
        push(&client(&server), &server, b"blob").await.unwrap();
        let put = server.log().pop().unwrap();
        assert_eq!(
            put.line(),
            format!("PUT {asked}digest={digest}"),
            "{location}"
        );
    }
}

#[tokio::test]
async fn q24_chunks_sent_elsewhere_go_without_credentials() {
    let store = TestServer::start(|request| {
        let next = format!("/store/2?part={}", request.body.len());
        match request.method.as_str() {
            // It wants to know who is asking, and is not told.
            "PUT" if request.body.len() > 100 => Reply {
                status: 413,
                ..wanted()
            },
            "PATCH" => Reply::new(202).header("Location", next),
            _ => Reply::new(201),
        }
    })
    .await;
    let elsewhere = store.url("/store/1?signature=a%2Bb");
    let server = TestServer::start(move |request| match request.header("authorization") {
        None => wanted().header("Set-Cookie", "csrf=1; Path=/"),
        Some(_) => sending_to(&elsewhere, request),
    })
    .await;
    let client = Client::new(logged_in(&server, &[&store])).unwrap();
    push(&client, &server, &pattern(200)).await.unwrap();
    let paths: Vec<_> = store.log().iter().map(Recorded::line).collect();
    assert_eq!(paths.len(), 6, "{paths:?}");
    assert_eq!(paths[1], "PATCH /store/1?signature=a%2Bb");
    assert!(paths[5].starts_with("PUT /store/2?part=8&digest=sha256%3A"));
    assert_nothing_of_ours(&store);
    assert_eq!(server.count("POST", POST), 2);
}

#[tokio::test]
async fn q24_a_store_that_refuses_is_not_shown_who_is_asking() {
    let store = TestServer::start(|_| {
        wanted().header("WWW-Authenticate", r#"Bearer realm="/token",service="s""#)
    })
    .await;
    let elsewhere = store.url("/store/1");
    let server = TestServer::start(move |request| match request.header("authorization") {
        None => wanted(),
        Some(_) => sending_to(&elsewhere, request),
    })
    .await;
    let client = Client::new(logged_in(&server, &[&store])).unwrap();
    let failed = push(&client, &server, b"blob").await.unwrap_err();
    assert!(failed.to_string().contains(&store.host()), "{failed}");
    assert_eq!(store.count("PUT", "/store/1"), 1);
    assert_nothing_of_ours(&store);
}

#[tokio::test]
async fn q24_places_that_are_no_store_are_refused() {
    for location in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/x",
        "http://0.0.0.0/x",
        "http://u:p@HOST/x",
        "ftp://HOST/x",
    ] {
        let server = TestServer::start(|request| sending_to(location, request)).await;
        let failed = push(&client(&server), &server, b"blob").await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::UploadLocation { .. }),
            "{location}: {failed}"
        );
        assert_eq!(server.log().last().unwrap().method, "POST");
    }
}

#[tokio::test]
async fn q25_a_registry_behind_a_proxy_that_ends_tls_stays_on_https() {
    let (tls, authority) = certified();
    for location in [
        "http://HOST/up/1?_state=a%2Bb",
        // Without the port, as the registry inside is asked; and with the port inside.
        "http://127.0.0.1/up/1?_state=a%2Bb",
        "http://127.0.0.1:5000/up/1?_state=a%2Bb",
    ] {
        let server = TestServer::start_tls(tls.clone(), move |request| {
            match request.header("authorization") {
                None => wanted(),
                Some(_) => sending_to(location, request),
            }
        })
        .await;
        let config = ClientConfig {
            plain_http: Vec::new(),
            ca_files: vec![authority.path().to_owned()],
            ..logged_in(&server, &[])
        };
        let client = Client::new(config).unwrap();
        for bytes in [b"one", b"two"] {
            push(&client, &server, bytes).await.unwrap();
        }
        let put = server.log().pop().unwrap();
        assert!(put.target.starts_with("/up/1?_state=a%2Bb&digest="));
        assert!(put.header("authorization").is_some(), "{location}");
        let warnings = client.take_warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&server.host()), "{warnings:?}");
        assert!(warnings[0].contains("X-Forwarded-Proto"), "{warnings:?}");
    }
}

#[tokio::test]
async fn q25_another_host_in_plain_http_is_refused_by_its_cause() {
    let plain = TestServer::start(|_| Reply::new(201)).await;
    let elsewhere = plain.url("/up/1").replace("127.0.0.1", "localhost");
    let (tls, authority) = certified();
    let server = TestServer::start_tls(tls, move |request| sending_to(&elsewhere, request)).await;
    let config = ClientConfig {
        plain_http: vec![plain.host()],
        ca_files: vec![authority.path().to_owned()],
        ..logged_in(&server, &[])
    };
    let failed = push(&Client::new(config).unwrap(), &server, b"blob")
        .await
        .unwrap_err();
    assert!(
        matches!(failed, RegistryError::UploadLocation { .. }),
        "{failed}"
    );
    assert!(
        failed.to_string().contains("from https to http"),
        "{failed}"
    );
    assert!(failed.hint().unwrap().contains("X-Forwarded-Proto"));
    assert_eq!(plain.lines(), Vec::<String>::new());
}
