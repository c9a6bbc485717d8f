//! Authentication, TLS, hostile requests, limits.

use std::{fs, net::SocketAddr, time::Duration};

use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Fixture, client, code, header, loopback};
use crate::serve::{ServeError, ServeOptions, Server, TlsFiles};

/// Sends a request as it is, without the clean-up that client libraries do, and gives the status.
async fn raw(address: SocketAddr, method: &str, target: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\
         Content-Type: application/x\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_request_leaves_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    let store = directory.path().join("store");
    let mut options = ServeOptions::new(&store, loopback());
    options.allow_delete = true;
    let server = Server::start(options).await.unwrap();
    let address = server.local_addr();
    for target in [
        "/v2/../outside",
        "/v2/../../outside/tags/list",
        "/v2/a/../../../outside/tags/list",
        "/v2/a/%2e%2e/%2e%2e/tags/list",
        "/v2/a%2f..%2f..%2foutside/tags/list",
        "/v2/a/manifests/../../../../outside",
        "/v2/a/manifests/%2e%2e%2f%2e%2e%2foutside",
        "/v2/a/manifests/..",
        "/v2/a/blobs/sha256:../../../outside",
        "/v2/a/blobs/uploads/..",
        "/v2/a/blobs/uploads/../../outside",
        "/v2/a/blobs/uploads/%2e%2e",
        "/v2/a/referrers/sha256:..",
        "/v2/_blobs/manifests/v1",
        "/v2/a/_tags/manifests/v1",
        "/v2/a\\..\\b/manifests/v1",
        "/v2//a/manifests/v1",
        "/v2/a/manifests/v1/",
        "/v2/a/manifests/%00",
        "//v2/a/manifests/v1",
    ] {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"] {
            let status = raw(address, method, target).await;
            assert!(
                matches!(status, 400 | 404 | 405),
                "{method} {target}: {status}"
            );
        }
    }
    server.shutdown().await.unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "secret");
    for place in ["repositories", "uploads", "blobs", "temporary"] {
        let names: Vec<_> = fs::read_dir(store.join(place)).unwrap().collect();
        assert!(names.is_empty(), "{place}: {names:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn with_a_password_nothing_is_served_without_it() {
    let (user, password) = ("user", "pass:word$+ü");
    let credentials = (user.to_owned(), password.to_owned());
    let registry = Fixture::with(|options| options.basic_auth = Some(credentials)).await;
    for path in ["/v2/", "/v2/a/tags/list", "/v2/_catalog"] {
        let response = registry.get(path).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(header(&response, "www-authenticate").starts_with("Basic realm="));
        assert_eq!(code(response).await, "UNAUTHORIZED");
    }
    let get = || registry.request(reqwest::Method::GET, "/v2/");
    for (wrong_user, wrong_password) in [
        ("user", ""),
        ("user", "pass"),
        ("", "pass:word$+ü"),
        ("user:pass", "word$+ü2"),
    ] {
        let request = get().basic_auth(wrong_user, Some(wrong_password));
        let status = request.send().await.unwrap().status();
        assert_eq!(
            status,
            StatusCode::UNAUTHORIZED,
            "{wrong_user}:{wrong_password}"
        );
    }
    for header in [
        "Basic",
        "Basic !",
        "Bearer dXNlcg==",
        "Basic dXNlcg==",
        "nonsense",
    ] {
        let response = get().header("authorization", header).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header}");
    }
    let response = get().basic_auth(user, Some(password)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[test]
fn options_do_not_show_the_password() {
    let mut options = ServeOptions::new("store", loopback());
    options.basic_auth = Some(("user".into(), "hunter2".into()));
    let shown = format!("{options:?}");
    assert!(
        shown.contains("user") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn tls_is_served_with_the_given_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let files = TlsFiles {
        certificate: directory.path().join("server.crt"),
        key: directory.path().join("server.key"),
    };
    fs::write(&files.certificate, issued.cert.pem()).unwrap();
    fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
    let store = directory.path().join("store");
    let mut options = ServeOptions::new(&store, loopback());
    options.tls = Some(files.clone());
    // A reset, too, has to get through the TLS layer.
    options.faults = "GET:/broken/:reset".parse().unwrap();
    let server = Server::start(options.clone()).await.unwrap();
    let url = format!("https://{}/v2/", server.local_addr());

    let authority = reqwest::Certificate::from_pem(issued.cert.pem().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([authority])
        .build()
        .unwrap();
    // One that never shakes hands is in nobody's way.
    let _silent = TcpStream::connect(server.local_addr()).await.unwrap();
    let response = trusting.get(&url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        trusting
            .get(format!("{url}broken/tags/list"))
            .send()
            .await
            .is_err()
    );
    assert!(client().get(&url).send().await.is_err());
    assert!(
        client()
            .get(url.replace("https", "http"))
            .send()
            .await
            .is_err()
    );
    server.shutdown().await.unwrap();

    fs::write(&files.key, "no key").unwrap();
    let refused = Server::start(options).await.unwrap_err();
    assert!(
        matches!(&refused, ServeError::Tls { path, .. } if *path == files.key),
        "{refused}"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_reported() {
    let registry = Fixture::new().await;
    let directory = tempfile::tempdir().unwrap();
    let options = ServeOptions::new(directory.path(), registry.server.local_addr());
    let refused = Server::start(options).await.unwrap_err();
    assert!(matches!(refused, ServeError::Listen { .. }) && refused.hint().is_some());
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let options = ServeOptions::new(directory.path(), loopback());
    let server = Server::start_with(options, Duration::from_millis(100))
        .await
        .unwrap();
    for sent in [
        "",
        "GET /v2/ HT",
        "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{sent:?} keeps its connection");
    }
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_finish() {
    let registry = Fixture::failing("GET:/v2/:delay=300ms").await;
    let url = registry.url("/v2/");
    let running = tokio::spawn(registry.client.get(&url).send());
    while registry.log.entries().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    registry.server.shutdown().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().status(), StatusCode::OK);
    assert!(client().get(&url).send().await.is_err());
}

#[tokio::test]
async fn a_server_runs_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(ServeOptions::new(directory.path(), loopback()))
        .await
        .unwrap();
    let url = format!("http://{}/v2/", server.local_addr());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run_until(async { stopped.await.unwrap() }));
    assert_eq!(
        client().get(&url).send().await.unwrap().status(),
        StatusCode::OK
    );
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(client().get(&url).send().await.is_err());
}
