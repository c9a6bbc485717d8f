//! Challenges, tokens, credentials: what is sent, and to whom.

use base64::prelude::*;

use super::*;
use crate::registry::{Credential, RegistryError, Secret, test_registry::error};

const TOKEN: &str = "/token";
const MANIFEST: &str = "/v2/a/b/manifests/1";

fn with_password(server: &TestServer) -> ClientConfig {
    with_credential(
        server,
        Credential::Basic {
            username: "robot$x".to_owned(),
            password: Secret::new("p:w+"),
        },
    )
}

fn with_credential(server: &TestServer, credential: Credential) -> ClientConfig {
    let mut config = config(&[server]);
    config.credentials.explicit = Some((server.host(), credential));
    config
}

fn basic() -> String {
    format!("Basic {}", BASE64_STANDARD.encode("robot$x:p:w+"))
}

fn unauthorized(challenge: impl Into<String>) -> Reply {
    error(401, "UNAUTHORIZED").header("WWW-Authenticate", challenge)
}

fn token(value: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{value}"}}"#))
}

/// A registry that wants a bearer token `T1`, `T2`… from its own `/token`; the newest one counts.
async fn bearer_registry() -> TestServer {
    let server = TestServer::start(|request| match request.header("authorization") {
        Some(header) if header.starts_with("Bearer T") => image(),
        _ => unauthorized(
            r#"Bearer realm="/token",service="the service",scope="repository:a/b:pull""#,
        ),
    })
    .await;
    server.on("GET", TOKEN, ["T1", "T2", "T3", "T4"].map(token));
    server
}

async fn pull(config: ClientConfig, server: &TestServer) -> Result<(), RegistryError> {
    let client = Client::new(config).unwrap();
    let repository = repository(server, "a/b");
    client.manifest(&repository, &tag("1")).await.map(|_| ())
}

#[tokio::test]
async fn a_token_is_fetched_with_credentials_and_used_again() {
    let server = bearer_registry().await;
    let client = Client::new(with_password(&server)).unwrap();
    let repository = repository(&server, "a/b");
    for _ in 0..2 {
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    assert_eq!(
        server.lines(),
        [
            "GET /v2/",
            "GET /token?service=the+service&scope=repository%3Aa%2Fb%3Apull&account=robot%24x",
            "GET /v2/a/b/manifests/1",
            "GET /v2/a/b/manifests/1",
        ]
    );
    let log = server.log();
    assert_eq!(log[0].header("authorization"), None);
    assert_eq!(log[1].header("authorization"), Some(basic().as_str()));
    assert_eq!(log[3].header("authorization"), Some("Bearer T1"));
}

#[tokio::test]
async fn without_credentials_the_token_is_anonymous() {
    let server = bearer_registry().await;
    server.on(
        "GET",
        TOKEN,
        [Reply::new(200).body(r#"{"access_token":"Tx","expires_in":300}"#)],
    );
    pull(config(&[&server]), &server).await.unwrap();
    let asked = &server.log()[1];
    assert_eq!(asked.path(), TOKEN);
    assert_eq!(asked.header("authorization"), None);
    assert!(!asked.query().contains("offline_token"));
    assert!(!asked.query().contains("account"));
}

#[tokio::test]
async fn many_tasks_share_one_token() {
    let server = bearer_registry().await;
    let slow = token("T1").delay(Duration::from_millis(50));
    server.on("GET", TOKEN, [slow, error(500, "SECOND")]);
    let client = client(&server);
    let repository = repository(&server, "a/b");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, repository) = (client.clone(), repository.clone());
        tasks.spawn(async move { client.manifest(&repository, &tag("1")).await.map(|_| ()) });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(server.count("GET", TOKEN), 1);
    assert_eq!(server.count("GET", "/v2/"), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = bearer_registry().await;
    // As gcr.io does it: no challenge in the answer to the request itself.
    server.on("GET", MANIFEST, [error(401, "UNAUTHORIZED"), image()]);
    pull(config(&[&server]), &server).await.unwrap();
    assert_eq!(server.count("GET", TOKEN), 2);
    assert_eq!(
        server.log().last().unwrap().header("authorization"),
        Some("Bearer T2")
    );

    server.on("GET", MANIFEST, [error(401, "UNAUTHORIZED")]);
    let failed = pull(config(&[&server]), &server).await.unwrap_err();
    assert!(
        failed.is_denied() && failed.hint().unwrap().contains("log in"),
        "{failed}"
    );
    assert_eq!(server.count("GET", MANIFEST), 4);
}

#[tokio::test]
async fn a_registry_may_be_open_until_asked_for_more() {
    let server = bearer_registry().await;
    server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
    pull(config(&[&server]), &server).await.unwrap();
    let lines = server.lines();
    assert_eq!(lines[1], "GET /v2/a/b/manifests/1");
    assert!(lines[2].starts_with("GET /token?"));
    assert_eq!(lines[3], "GET /v2/a/b/manifests/1");
}

#[tokio::test]
async fn a_missing_scope_is_added_in_front() {
    let server = bearer_registry().await;
    server.on(
        "GET",
        MANIFEST,
        [
            unauthorized(
                r#"Bearer realm="/token",service="s",scope="repository:base:pull repository:a/b:pull",error="insufficient_scope""#,
            ),
            image(),
        ],
    );
    pull(config(&[&server]), &server).await.unwrap();
    let log = server.log();
    let second = log.iter().rfind(|r| r.path() == TOKEN).unwrap();
    assert_eq!(
        second.query(),
        "service=s&scope=repository%3Abase%3Apull&scope=repository%3Aa%2Fb%3Apull"
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let server = bearer_registry().await;
    server.on("POST", TOKEN, [token("Tp")]);
    let identity = Credential::IdentityToken(Secret::new("refresh+me"));
    pull(with_credential(&server, identity.clone()), &server)
        .await
        .unwrap();
    let post = &server.log()[1];
    assert_eq!(post.line(), "POST /token");
    assert_eq!(
        String::from_utf8_lossy(&post.body),
        "grant_type=refresh_token&client_id=sneakernet&refresh_token=refresh%2Bme\
         &service=the+service&scope=repository%3Aa%2Fb%3Apull"
    );

    server.on("POST", TOKEN, [error(404, "NOT_FOUND")]);
    pull(with_credential(&server, identity), &server)
        .await
        .unwrap();
    let log = server.log();
    let get = log.iter().rfind(|r| r.path() == TOKEN).unwrap();
    assert_eq!(get.method, "GET");
    let expected = format!("Basic {}", BASE64_STANDARD.encode("<token>:refresh+me"));
    assert_eq!(get.header("authorization"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = bearer_registry().await;
    let credential = Credential::RegistryToken(Secret::new("Traw"));
    pull(with_credential(&server, credential), &server)
        .await
        .unwrap();
    assert_eq!(server.count("GET", TOKEN), 0);
    assert_eq!(server.log()[1].header("authorization"), Some("Bearer Traw"));
}

#[tokio::test]
async fn basic_is_used_where_it_is_offered_and_nothing_better() {
    let expected = basic();
    let server = TestServer::start(move |request| match request.header("authorization") {
        Some(header) if header == expected => image(),
        _ => unauthorized("Negotiate")
            .header("WWW-Authenticate", r#"Basic realm="x, y""#)
            .header("Set-Cookie", "csrf=1"),
    })
    .await;
    pull(with_password(&server), &server).await.unwrap();
    assert_eq!(server.lines(), ["GET /v2/", "GET /v2/a/b/manifests/1"]);
    assert!(server.log().iter().all(|r| r.header("cookie").is_none()));

    let failed = pull(config(&[&server]), &server).await.unwrap_err();
    assert!(failed.is_denied(), "{failed}");
    assert_eq!(
        server.count("GET", MANIFEST),
        2,
        "nothing to try again with"
    );
}

#[tokio::test]
async fn unknown_schemes_are_named() {
    let server = TestServer::start(|_| unauthorized("Negotiate YII=, Digest realm=\"x\"")).await;
    let failed = pull(with_password(&server), &server).await.unwrap_err();
    assert!(
        matches!(&failed, RegistryError::UnsupportedAuth { offered, .. } if offered == "negotiate, digest"),
        "{failed}"
    );
    assert!(
        server
            .log()
            .iter()
            .all(|r| r.header("authorization").is_none())
    );
}

#[tokio::test]
async fn wrong_credentials_are_said_to_be_wrong_and_not_tried_again() {
    let server = bearer_registry().await;
    server.on(
        "GET",
        TOKEN,
        [Reply::new(401).body(r#"{"details":"incorrect username or password"}"#)],
    );
    let failed = pull(with_password(&server), &server).await.unwrap_err();
    assert!(failed.is_denied() && failed.hint().unwrap().contains("password"));
    let text = failed.to_string();
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(!text.contains("p:w+") && !text.contains("cm9ib3"), "{text}");
    assert_eq!(server.count("GET", TOKEN), 1);
}

#[tokio::test]
async fn a_token_service_that_is_overloaded_is_asked_again() {
    let server = bearer_registry().await;
    server.on("GET", TOKEN, [Reply::new(503), token("T1")]);
    pull(config(&[&server]), &server).await.unwrap();
    assert_eq!(server.count("GET", TOKEN), 2);
}

#[tokio::test]
async fn an_answer_without_a_token_or_without_an_end_is_refused() {
    for body in ["{}".to_owned(), "<html>".to_owned(), " ".repeat(200 << 10)] {
        let server = bearer_registry().await;
        server.on("GET", TOKEN, [Reply::new(200).body(body)]);
        assert!(pull(config(&[&server]), &server).await.is_err());
        assert_eq!(server.count("GET", TOKEN), 1);
        assert_eq!(server.count("GET", MANIFEST), 0);
    }
}

#[tokio::test]
async fn credentials_do_not_go_to_a_realm_that_may_not_have_them() {
    for realm in [
        "http://evil.invalid/token",
        "https://u:p@evil.invalid/token",
        "file:///etc/passwd",
        "http://169.254.169.254/token",
        "https://169.254.169.254/token",
        "gopher://x/",
    ] {
        let server = TestServer::start(move |_| {
            unauthorized(format!(r#"Bearer realm="{realm}",service="s""#))
        })
        .await;
        let failed = pull(with_password(&server), &server).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::RealmRefused { .. }),
            "{realm}: {failed}"
        );
        assert!(!failed.to_string().contains("u:p"), "{failed}");
    }
}

#[tokio::test]
async fn a_redirected_token_request_carries_no_credentials_elsewhere() {
    let other = TestServer::start(|_| token("Tother")).await;
    let server = bearer_registry().await;
    let to_other = Reply::new(307).header("Location", other.url("/elsewhere"));
    server.on("GET", TOKEN, [to_other]);
    pull(with_password(&server), &server).await.unwrap();
    assert_eq!(other.log()[0].header("authorization"), None);

    // A refresh token is in the body and therefore goes nowhere else at all.
    let gone = Reply::new(307).header("Location", other.url("/post"));
    server.on("POST", TOKEN, [gone]);
    let identity = Credential::IdentityToken(Secret::new("refresh"));
    assert!(
        pull(with_credential(&server, identity), &server)
            .await
            .is_err()
    );
    assert_eq!(other.count("POST", "/post"), 0);
}
