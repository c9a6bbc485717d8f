//! What a server asks for, and in which of its ways.

use super::*;

#[tokio::test]
async fn q04_a_registry_may_be_open_until_asked_for_more() {
    let server = bearer_registry().await;
    server.on("GET", "/v2/", [Reply::new(200).body("{}")]);
    pull(config(&[&server]), &server).await.unwrap();
    let lines = server.lines();
    assert_eq!(lines[1], "GET /v2/a/b/manifests/1");
    assert!(lines[2].starts_with("GET /token?"));
    assert_eq!(lines[3], "GET /v2/a/b/manifests/1");
}

#[tokio::test]
async fn q05_a_refused_token_is_replaced_once_by_the_challenge_of_the_ping() {
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
async fn q04_an_upload_may_be_the_first_to_be_challenged() {
    let server = TestServer::start(|request| {
        let path = "/v2/a/b/blobs/uploads/";
        match (request.method.as_str(), request.header("authorization")) {
            ("GET", _) if request.path() == "/v2/" => Reply::new(200).body("{}"),
            ("HEAD", None) => Reply::new(404),
            (_, None) => unauthorized(
                r#"Bearer realm="/token",service="s",scope="repository:a/b:pull,push""#,
            ),
            ("POST", Some("Bearer T1")) => Reply::new(202).header("Location", format!("{path}u1")),
            ("PUT", Some("Bearer T1")) => Reply::new(201),
            _ => error(403, "DENIED"),
        }
    })
    .await;
    server.on("GET", TOKEN, [token("T1")]);
    push(config(&[&server]), &server).await.unwrap();
    let methods: Vec<_> = server.log().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, ["GET", "POST", "GET", "POST", "PUT"]);
    assert_eq!(
        server.log()[2].query(),
        "service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush"
    );
}

#[tokio::test]
async fn q06_bearer_is_chosen_among_many_in_one_header_and_in_several() {
    let bearer = r#"Bearer realm="/token",service="a, b",scope="repository:a/b:pull""#;
    for challenges in [
        vec!["Negotiate", r#"Basic realm="x""#, bearer],
        vec![r#"NTLM, Basic realm="a, Bearer realm=\"/evil\"""#, bearer],
        vec![
            r#"Negotiate YII==, bearer realm="/token" , service="a, b",scope=repository:a/b:pull, Basic realm="x""#,
        ],
    ] {
        let offered = challenges.clone();
        let server = TestServer::start(move |request| match request.header("authorization") {
            Some("Bearer T1") => image(),
            _ => offered
                .iter()
                .fold(error(401, "UNAUTHORIZED"), |reply, challenge| {
                    reply.header("WWW-Authenticate", *challenge)
                }),
        })
        .await;
        server.on("GET", TOKEN, [token("T1")]);
        pull(with_password(&server), &server).await.unwrap();
        let log = server.log();
        assert_eq!(
            log[1].target,
            "/token?service=a%2C+b&scope=repository%3Aa%2Fb%3Apull&account=robot%24x",
            "{challenges:?}"
        );
        assert_eq!(log[1].header("authorization"), Some(basic().as_str()));
    }
}

#[tokio::test]
async fn q14_cookies_are_ignored() {
    let (content, target) = registry().await;
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE);
    let away = target.url("/v2/a/b/manifests/1");
    let cookie = |reply: Reply| {
        reply
            .header("Set-Cookie", "sid=abc; Path=/; HttpOnly")
            .header("Set-Cookie", "_gorilla_csrf=MTY; Path=/")
            .header("X-Harbor-CSRF-Token", "t")
    };
    let server = TestServer::start(move |request| {
        cookie(match (request.path(), request.header("authorization")) {
            (TOKEN, _) => token("T1"),
            (_, None) => unauthorized(r#"Bearer realm="/token""#),
            (MANIFEST, _) => Reply::new(307).header("Location", away.clone()),
            _ => content.answer(request),
        })
    })
    .await;
    let config = logged_in(&server, &[&target]);
    let client = Client::new(config.clone()).unwrap();
    for _ in 0..2 {
        let repository = repository(&server, "a/b");
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    push(config, &server).await.unwrap();
    for request in server.log() {
        assert_eq!(request.header("cookie"), None, "{}", request.line());
        assert_eq!(request.header("x-harbor-csrf-token"), None);
    }
    assert_eq!(target.log().len(), 2);
    assert_nothing_of_ours(&target);
}
