//! What is tried again, how often, and after which pause.

use std::time::Instant;

use super::*;
use crate::registry::{ConnectionFault, RegistryError, test_registry::error, test_server::Fault};

const MANIFEST: &str = "/v2/a/b/manifests/1";

async fn serving(replies: Vec<Reply>) -> TestServer {
    let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
    server.on("GET", MANIFEST, replies);
    server
}

async fn pull(server: &TestServer) -> Result<(), RegistryError> {
    let repository = repository(server, "a/b");
    let pulled = client(server).manifest(&repository, &tag("1")).await;
    pulled.map(|_| ())
}

#[tokio::test]
async fn q77_faults_that_pass_are_overcome() {
    for status in [408, 429, 500, 502, 503, 504, 522] {
        let server = serving(vec![error(status, "X"), Reply::new(status), image()]).await;
        pull(&server).await.unwrap();
        assert_eq!(server.count("GET", MANIFEST), 3, "{status}");
    }
    for fault in [Fault::NoAnswer, Fault::CutAfter(3), Fault::StallAfter(3)] {
        let server = serving(vec![image().fault(fault), image()]).await;
        pull(&server).await.unwrap();
        assert_eq!(server.count("GET", MANIFEST), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn q77_a_no_is_a_no() {
    for status in [400, 403, 404, 409, 413, 501] {
        let server = serving(vec![error(status, "NO"), image()]).await;
        let failed = pull(&server).await.unwrap_err();
        assert_eq!(failed.status().unwrap().as_u16(), status);
        assert_eq!(failed.code(), Some("NO"));
        assert_eq!(server.count("GET", MANIFEST), 1);
    }
}

#[tokio::test]
async fn attempts_are_counted() {
    let server = serving(vec![error(500, "SICK")]).await;
    let failed = pull(&server).await.unwrap_err();
    assert_eq!(failed.code(), Some("SICK"));
    assert_eq!(server.count("GET", MANIFEST), 3);
}

#[tokio::test]
async fn q76_retry_after_holds_everything_that_goes_to_the_host() {
    let server = serving(vec![
        error(429, "TOOMANYREQUESTS").header("Retry-After", "1"),
        image(),
    ])
    .await;
    server.on("GET", "/v2/a/b/manifests/2", [image()]);
    let client = client(&server);
    let repository = repository(&server, "a/b");
    client.ping(&server.host()).await.unwrap();
    let start = Instant::now();
    let other = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.manifest(&repository, &tag("2")).await.unwrap();
        start.elapsed()
    };
    let what = tag("1");
    let (first, other) = tokio::join!(client.manifest(&repository, &what), other);
    first.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(other >= Duration::from_millis(950), "{other:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let slow = image().delay(Duration::from_secs(60));
    let server = serving(vec![slow]).await;
    let failed = pull(&server).await.unwrap_err();
    assert!(
        matches!(
            failed,
            RegistryError::Connection {
                fault: ConnectionFault::Stalled,
                ..
            }
        ),
        "{failed}"
    );
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let server = TestServer::scripted().await;
    let host = server.host();
    let config = config(&[&server]);
    drop(server);
    let failed = Client::new(config).unwrap().ping(&host).await.unwrap_err();
    assert!(
        matches!(
            failed,
            RegistryError::Connection {
                fault: ConnectionFault::Unreachable,
                ..
            }
        ),
        "{failed}"
    );
    assert!(failed.to_string().contains(&host), "{failed}");
}

#[tokio::test]
async fn an_endless_error_body_is_cut() {
    let server = serving(vec![
        error(400, "LONG")
            .header("x", "y")
            .body("x".repeat(1 << 20)),
    ])
    .await;
    let failed = pull(&server).await.unwrap_err();
    assert!(
        failed.to_string().len() < 600,
        "{}",
        failed.to_string().len()
    );
}
