//! How fast, how many at a time, and how long: limits that the user sets, and those that servers have.
//!
//! q78: `ratelimit-remaining` is not looked at. What a registry counts is asked for once: a tag by one
//! GET, whose bytes are needed anyway, and everything below it by digest.

use std::{
    num::NonZeroU64,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;

use super::*;
use crate::registry::{
    ConnectionFault, Pause, RegistryError, test_registry::error, test_server::Fault,
};

const MANIFEST: &str = "/v2/a/b/manifests/1";

async fn serving(replies: Vec<Reply>) -> TestServer {
    let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
    server.on("GET", MANIFEST, replies);
    server
}

async fn pull(client: &Client, server: &TestServer) -> Result<(), RegistryError> {
    let pulled = client.manifest(&repository(server, "a/b"), &tag("1")).await;
    pulled.map(|_| ())
}

#[tokio::test]
async fn q47_a_body_that_trickles_in_is_given_up_on_and_a_slow_one_is_not() {
    let drip = |pause| image().fault(Fault::Drip(Duration::from_millis(pause)));
    let mut config = config(&[&serving(vec![]).await]);
    config.retries = 1;
    // A hundred bytes a second come; a thousand are wanted.
    let server = serving(vec![drip(10)]).await;
    config.plain_http = vec![server.host()];
    config.min_rate = 1000;
    let failed = pull(&Client::new(config.clone()).unwrap(), &server)
        .await
        .unwrap_err();
    assert!(
        matches!(
            &failed,
            RegistryError::Connection {
                fault: ConnectionFault::Stalled,
                ..
            }
        ),
        "{failed}"
    );
    assert!(
        failed.to_string().contains("less than 1000 bytes a second"),
        "{failed}"
    );
    // The same with a modest wish: longer than any time limit in all, and no fault.
    config.min_rate = 1;
    pull(&Client::new(config).unwrap(), &server).await.unwrap();
}

#[tokio::test]
async fn q47_a_source_that_is_slow_does_not_make_an_upload_fail() {
    struct Slow;
    impl crate::registry::BlobSource for Slow {
        fn open(&self, from: u64) -> crate::registry::OpenBlob<'_> {
            assert_eq!(from, 0, "the upload was not begun again");
            Box::pin(async {
                let pieces = futures_util::stream::unfold(0, |n| async move {
                    // Longer than the connection may be idle.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    (n < 3).then(|| (Ok(Bytes::from_static(b"0123456789")), n + 1))
                });
                Ok(Box::pin(pieces) as crate::registry::BlobReader)
            })
        }
    }
    let (content, server) = registry().await;
    let bytes = b"0123456789".repeat(3);
    let digest = Digest::sha256_of(&bytes);
    client(&server)
        .push_blob(&repository(&server, "a/b"), &digest, 30, Arc::new(Slow))
        .await
        .unwrap();
    assert_eq!(content.blob("a/b", &digest.to_string()), Some(bytes));
}

#[tokio::test]
async fn q76_throttled_requests_become_fewer_and_all_of_them_succeed() {
    // A registry that takes two requests at a time.
    let (now, most, refused) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let app = {
        let (now, most, refused) = (now.clone(), most.clone(), refused.clone());
        axum::Router::new().fallback(move |request: axum::extract::Request| {
            let (now, most, refused) = (now.clone(), most.clone(), refused.clone());
            async move {
                use axum::response::IntoResponse as _;
                if request.uri().path() == "/v2/" {
                    return "{}".into_response();
                }
                // Also where the client gives up.
                struct Leave(Arc<AtomicUsize>);
                impl Drop for Leave {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                let together = now.fetch_add(1, Ordering::SeqCst) + 1;
                let _leave = Leave(now);
                if together > 2 {
                    refused.fetch_add(1, Ordering::SeqCst);
                    return axum::http::StatusCode::TOO_MANY_REQUESTS.into_response();
                }
                most.fetch_max(together, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                ([("content-type", IMAGE_TYPE)], IMAGE).into_response()
            }
        })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = config(&[]);
    config.plain_http = vec![host.clone()];
    config.retries = 20;
    config.stall_timeout = Duration::from_secs(10);
    let client = Client::new(config).unwrap();
    let repository = Repository::new(&host, "a/b").unwrap();
    client.ping(&host).await.unwrap();
    let pulls = (0..60).map(|_| {
        let (client, repository) = (client.clone(), repository.clone());
        tokio::spawn(async move { client.manifest(&repository, &tag("1")).await.map(|_| ()) })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    serving.abort();
    assert_eq!(most.load(Ordering::SeqCst), 2);
    // Without a lesson learnt, most of the sixty would be refused again and again.
    let refused = refused.load(Ordering::SeqCst);
    assert!((1..200).contains(&refused), "{refused}");
}

#[tokio::test]
async fn q76_a_date_and_a_malformed_429_are_understood() {
    // What an edge of Docker Hub has been seen to send: bare line feeds, and no JSON.
    let bare = Reply::new(429).raw(
        "HTTP/1.1 429 Too Many Requests\nRetry-After: 1\nContent-Length: 18\n\nToo Many Requests.\n",
    );
    let server = serving(vec![bare, image()]).await;
    let start = Instant::now();
    pull(&client(&server), &server).await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "its wish was heard"
    );

    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&now)
        .unwrap();
    let dated = error(503, "LATER").header("Retry-After", date);
    let server = serving(vec![dated, image()]).await;
    let start = Instant::now();
    pull(&client(&server), &server).await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "its wish was heard"
    );
}

#[tokio::test]
async fn q77_a_host_that_fails_everything_is_given_up_on_in_time() {
    let server = serving(vec![error(500, "SICK")]).await;
    let mut config = config(&[&server]);
    config.retries = 1000;
    config.retry_budget = Duration::from_millis(200);
    let start = Instant::now();
    let failed = pull(&Client::new(config.clone()).unwrap(), &server)
        .await
        .unwrap_err();
    let attempts = server.count("GET", MANIFEST);
    assert!((3..100).contains(&attempts), "{attempts}");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(
        failed
            .to_string()
            .contains(&format!("({attempts} attempts)")),
        "{failed}"
    );

    // A wish for a pause that is longer is refused at once, and its length told.
    let server = serving(vec![error(503, "LATER").header("Retry-After", "120")]).await;
    config.plain_http = vec![server.host()];
    config.retry_budget = Duration::from_secs(60);
    let failed = pull(&Client::new(config).unwrap(), &server)
        .await
        .unwrap_err();
    assert_eq!(server.count("GET", MANIFEST), 1);
    let hint = failed.hint().unwrap();
    assert!(
        hint.contains("120 s") && hint.contains("--retry-budget"),
        "{hint}"
    );
}

#[tokio::test]
async fn q77_a_host_that_never_answered_is_not_waited_for_as_long_as_one_that_did() {
    let server = TestServer::start(|_| Reply::new(502)).await;
    let mut config = config(&[&server]);
    config.retries = 50;
    let failed = Client::new(config).unwrap().ping(&server.host()).await;
    assert_eq!(failed.unwrap_err().status().unwrap().as_u16(), 502);
    assert_eq!(server.count("GET", "/v2/"), 4);
}

#[tokio::test]
async fn pauses_are_told() {
    let server = serving(vec![error(500, "SICK"), image()]).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut config = config(&[&server]);
    let listener = told.clone();
    config.on_pause = Some(Arc::new(move |pause: &Pause<'_>| {
        let line = format!("{}: {}", pause.host, pause.error);
        listener.lock().unwrap().push(line);
    }));
    pull(&Client::new(config).unwrap(), &server).await.unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&server.host()), "{told:?}");
    assert!(told[0].contains("SICK"), "{told:?}");
}

#[tokio::test]
async fn a_rate_limit_holds_in_both_directions_and_is_no_stall() {
    let (content, server) = registry().await;
    let mut config = config(&[&server]);
    // Half a second for each of the two, more than the time without a byte that is permitted.
    config.rate_limit = NonZeroU64::new(200_000);
    let client = Client::new(config).unwrap();
    let bytes = pattern(100_000);
    let digest = Digest::sha256_of(&bytes);
    let repository = repository(&server, "a/b");
    client.ping(&server.host()).await.unwrap();
    let start = Instant::now();
    client
        .push_blob(
            &repository,
            &digest,
            100_000,
            Arc::new(Bytes::from(bytes.clone())),
        )
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        content.blob("a/b", &digest.to_string()).as_ref(),
        Some(&bytes)
    );
    let start = Instant::now();
    let mut blob = client
        .blob(&repository, &digest, 0..100_000, 100_000)
        .await
        .unwrap();
    let mut arrived = Vec::new();
    while let Some(chunk) = blob.chunk().await.unwrap() {
        arrived.extend_from_slice(&chunk);
    }
    assert_eq!(arrived, bytes);
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        server
            .lines()
            .iter()
            .filter(|line| line.starts_with("PUT"))
            .count(),
        1
    );
}

#[tokio::test]
async fn q76_the_longest_pause_that_is_granted_is_granted_to_all() {
    let server = serving(vec![]).await;
    let later = error(503, "LATER").header("Retry-After", "1");
    let mut config = config(&[&server]);
    config.retry_budget = Duration::from_secs(1);
    let client = Client::new(config).unwrap();
    client.ping(&server.host()).await.unwrap();
    let pulls = ["1", "2", "3", "4"].map(|name| {
        let path = format!("/v2/a/b/manifests/{name}");
        server.on("GET", &path, [later.clone(), image()]);
        let (client, repository) = (client.clone(), repository(&server, "a/b"));
        async move { client.manifest(&repository, &tag(name)).await }
    });
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.unwrap();
    }
}
