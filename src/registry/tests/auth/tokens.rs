//! Getting bearer tokens, and keeping them.

use super::*;

#[tokio::test]
async fn q01_a_token_is_fetched_with_credentials_and_used_again() {
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
async fn q01_every_scope_is_a_parameter_of_its_own() {
    let server = bearer_registry().await;
    let answer = r#"{"access_token":"Tx","token":"","expires_in":300}"#;
    server.on("GET", TOKEN, [Reply::new(200).body(answer)]);
    let client = Client::new(with_password(&server)).unwrap();
    let (to, digest) = (repository(&server, "a/b"), Digest::sha256_of(b"blob"));
    client.mount_blob(&to, &digest, "c").await.unwrap();
    let log = server.log();
    assert_eq!(
        log[1].query(),
        "service=the+service&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull&account=robot%24x"
    );
    assert_eq!(log[2].header("authorization"), Some("Bearer Tx"));
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
async fn q09_an_identity_token_is_exchanged_by_post() {
    let server = bearer_registry().await;
    server.on("POST", TOKEN, [token("Tp")]);
    let identity = Credential::IdentityToken(Secret::new(REFRESH[0]));
    let client = Client::new(with_credential(&server, identity)).unwrap();
    let repository = repository(&server, "a/b");
    let digest = Digest::sha256_of(b"blob");
    client.mount_blob(&repository, &digest, "c").await.unwrap();
    let post = &server.log()[1];
    assert_eq!(post.line(), "POST /token");
    assert_eq!(post.header("authorization"), None);
    assert_eq!(
        String::from_utf8_lossy(&post.body),
        "grant_type=refresh_token&client_id=sneakernet&refresh_token=refresh%2Bme\
         &service=the+service&scope=repository%3Aa%2Fb%3Apull%2Cpush+repository%3Ac%3Apull"
    );
    assert_eq!(server.log()[2].header("authorization"), Some("Bearer Tp"));
}

#[tokio::test]
async fn q09_a_service_without_oauth2_is_asked_by_get() {
    for status in [401, 404, 405] {
        let server = bearer_registry().await;
        server.on("POST", TOKEN, [error(status, "UNSUPPORTED")]);
        let identity = Credential::IdentityToken(Secret::new(REFRESH[0]));
        pull(with_credential(&server, identity), &server)
            .await
            .unwrap();
        let log = server.log();
        let get = log.iter().rfind(|r| r.path() == TOKEN).unwrap();
        assert_eq!(
            get.line(),
            "GET /token?service=the+service&scope=repository%3Aa%2Fb%3Apull"
        );
        let expected = format!("Basic {}", BASE64_STANDARD.encode("<token>:refresh+me"));
        assert_eq!(get.header("authorization"), Some(expected.as_str()));
    }
    // Any other refusal is one.
    let server = bearer_registry().await;
    server.on("POST", TOKEN, [error(400, "INVALID_GRANT")]);
    let identity = Credential::IdentityToken(Secret::new(REFRESH[0]));
    let failed = pull(with_credential(&server, identity), &server).await;
    assert!(matches!(failed, Err(RegistryError::Token { .. })));
    assert_eq!(server.count("GET", TOKEN), 0);
}

#[tokio::test]
async fn q10_no_offline_token_is_asked_for() {
    let identity = |server: &TestServer| {
        with_credential(server, Credential::IdentityToken(Secret::new(REFRESH[0])))
    };
    for config in [with_password, identity, |server: &TestServer| {
        config(&[server])
    }] {
        let server = bearer_registry().await;
        server.on("POST", TOKEN, [error(405, "UNSUPPORTED")]);
        pull(config(&server), &server).await.unwrap();
        for request in server.log() {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let all = format!("{}{body}", request.target);
            assert!(
                !all.contains("offline") && !all.contains("access_type"),
                "{all}"
            );
        }
    }
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
async fn a_token_service_that_is_overloaded_is_asked_again() {
    let server = bearer_registry().await;
    server.on("GET", TOKEN, [Reply::new(503), token("T1")]);
    pull(config(&[&server]), &server).await.unwrap();
    assert_eq!(server.count("GET", TOKEN), 2);
}

#[tokio::test]
async fn q11_an_answer_without_a_token_or_without_an_end_is_refused() {
    let endless = || Reply::new(200).body(vec![b' '; 10 << 20]);
    let refused = Reply {
        status: 401,
        ..endless()
    };
    for (reply, too_large) in [
        (Reply::new(200).body("{}"), false),
        (Reply::new(200).body("<html>"), false),
        (Reply::new(200).body(vec![b' '; 200 << 10]), true),
        (endless(), true),
        (endless().until_close(), true),
        (refused, true),
    ] {
        let server = bearer_registry().await;
        let shown = format!("{} {}", reply.status, reply.body.len());
        server.on("GET", TOKEN, [reply]);
        let failed = pull(config(&[&server]), &server).await.unwrap_err();
        let capped = matches!(failed, RegistryError::TooLarge { .. });
        assert_eq!(capped, too_large, "{shown}: {failed}");
        assert_eq!(server.count("GET", TOKEN), 1, "{shown}");
        assert_eq!(server.count("GET", MANIFEST), 0, "{shown}");
    }
}

#[tokio::test]
async fn q12_the_pull_secret_of_a_cluster_logs_in() {
    let server = bearer_registry().await;
    let port = server.host().rsplit(':').next().unwrap().to_owned();
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let inner = format!(r#"{{"auths":{{"127.0.*.?:{port}/a":{{"auth":"{auth}"}}}}}}"#);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pull-secret.yaml");
    let encoded = BASE64_STANDARD.encode(inner);
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: pull}}\n\
         type: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {encoded}\n"
    );
    std::fs::write(&file, secret).unwrap();
    let mut config = config(&[&server]);
    config.credentials.authfile = Some(file);
    let client = Client::new(config).unwrap();
    for path in ["a/b", "other"] {
        let repository = repository(&server, path);
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    let log = server.log();
    let asked: Vec<_> = log.iter().filter(|r| r.path() == TOKEN).collect();
    assert_eq!(asked[0].header("authorization"), Some(basic().as_str()));
    assert_eq!(asked[1].header("authorization"), None);
}
