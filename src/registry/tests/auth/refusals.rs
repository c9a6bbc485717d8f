//! What the user is told when the answer is no.

use super::*;

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

/// What is said about a push to `tigera/cni` that is answered so.
async fn push_hint(reply: Reply) -> (String, String) {
    let server = TestServer::scripted().await;
    server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
    server.on("POST", "/v2/tigera/cni/blobs/uploads/", [reply]);
    let failed = client(&server)
        .check_push_access(&repository(&server, "tigera/cni"))
        .await
        .unwrap_err();
    let hint = failed.hint().unwrap();
    assert!(hint.contains(&format!("bundle login {}", server.host())));
    (failed.to_string(), hint)
}

#[tokio::test]
async fn q17_a_refused_push_says_what_to_create_however_it_is_refused() {
    for (status, code) in [
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (404, "NAME_UNKNOWN"),
        (404, "NOT_FOUND"),
    ] {
        let body = format!(
            r#"{{"errors":[{{"code":"{code}","message":"project tigera not found","detail":{{"project":"tigera"}}}}]}}"#
        );
        let (said, hint) = push_hint(Reply::new(status).body(body)).await;
        let words = format!(r#"{code}: project tigera not found ({{"project":"tigera"}})"#);
        assert!(said.contains(&words), "{said}");
        assert!(
            hint.contains("the project `tigera` does not exist or you may not push to it"),
            "{hint}"
        );
    }
}

#[tokio::test]
async fn q17_a_refused_pull_is_not_found_or_not_permitted() {
    for (status, code) in [
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (404, "NAME_UNKNOWN"),
    ] {
        let server = TestServer::scripted().await;
        server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
        server.on("GET", MANIFEST, [error(status, code)]);
        let failed = pull(config(&[&server]), &server).await.unwrap_err();
        let hint = failed.hint().unwrap();
        assert!(hint.starts_with("not found or not permitted"), "{hint}");
        assert!(hint.contains(&format!("bundle login {}", server.host())));
    }
}

#[tokio::test]
async fn q18_a_refused_head_is_explained_by_a_get() {
    let digest = Digest::sha256_of(b"blob");
    let path = format!("/v2/a/b/blobs/{digest}");
    let exists = async |head: Reply, get: Reply| {
        let server = TestServer::scripted().await;
        server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
        server.on("HEAD", &path, [head]).on("GET", &path, [get]);
        let answer = client(&server)
            .blob_exists(&repository(&server, "a/b"), &digest, 4)
            .await;
        (server, answer)
    };
    let words = r#"{"errors":[{"code":"UNAUTHORIZED","message":"project a not found"}]}"#;
    // Words without an end are cut.
    for body in [words.to_owned(), format!("{words}{}", " ".repeat(10 << 20))] {
        let (server, answer) = exists(Reply::new(401), Reply::new(401).body(&body)).await;
        let failed = answer.unwrap_err();
        assert!(failed.is_denied(), "{failed}");
        let text = failed.to_string();
        assert!(text.contains("project a not found"), "{text}");
        assert!(text.len() < 1000, "{}", text.len());
        assert_eq!(server.count("GET", &path), 1);
        assert_eq!(
            server.log().last().unwrap().header("range"),
            Some("bytes=0-0")
        );
    }
    // Whoever may push and not read is not stopped here.
    for (head, get, asked) in [
        (401, 200, 1),
        (401, 403, 1),
        (401, 404, 1),
        (403, 500, 0),
        (404, 500, 0),
    ] {
        let (server, answer) = exists(Reply::new(head), Reply::new(get).body(words)).await;
        assert!(!answer.unwrap(), "{head} {get}");
        assert_eq!(server.count("GET", &path), asked);
    }
    // The same for manifests.
    let server = TestServer::scripted().await;
    server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
    server.on("HEAD", MANIFEST, [Reply::new(403)]);
    server.on("GET", MANIFEST, [Reply::new(403).body(words)]);
    let failed = client(&server)
        .manifest_head(&repository(&server, "a/b"), &tag("1"))
        .await
        .unwrap_err();
    assert!(
        failed.to_string().contains("project a not found"),
        "{failed}"
    );
}
